//! What a stop or a request writes to the disk, a start has again; and what is no good it refuses.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "other tests need more of it")]
mod common {
    pub(crate) mod answer;
    pub(crate) mod client;
}

use common::client::{Client, found, get, put};
use kvcache::{
    clock::Clock,
    config::{AdminAddress, Config, Restore},
    server::Server,
    snapshot::{Blocks, Entry, Header, Writer},
    store::{Eviction, TagKey},
};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use std::{
    fs,
    io::{BufRead, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr},
    ops::Deref,
    os::unix::net::{UnixDatagram, UnixStream},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
    time::Duration,
};

/// A directory of its own for each test, with a place for a snapshot.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("snapshots-{name}"));
        // A run before may have left it.
        drop(fs::remove_dir_all(&directory));
        fs::create_dir(&directory).unwrap();
        Self(directory)
    }

    fn file(&self) -> PathBuf {
        self.0.join("kvcache.snapshot")
    }

    /// The names of what is there.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn config(&self, shards: usize) -> Config {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Config {
            listen: anywhere,
            admin_listen: Some(anywhere.into()),
            shards,
            memory_bytes: shards * (4 << 20),
            snapshot_path: Some(self.file()),
            drain_timeout: Duration::from_mins(1),
            ..Config::default()
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

struct Running(Server);

impl Deref for Running {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

impl Running {
    fn start(config: &Config) -> Self {
        Self(Server::start(config).unwrap())
    }

    fn connect(&self) -> Client {
        Client::connect(self.data_address())
    }

    fn admin(&self) -> Client {
        match self.admin_address() {
            Some(AdminAddress::Tcp(address)) => Client::connect(*address),
            other => panic!("{other:?}"),
        }
    }

    fn stop(self) {
        self.0.stop().unwrap();
    }

    /// The counters of snapshots, of all shards.
    fn counted(&self) -> serde_json::Value {
        let answer = self.admin().ask("GET /stats HTTP/1.1\r\nHost: a\r\n\r\n");
        let stats: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        stats["totals"]["snapshots"].clone()
    }
}

const SNAPSHOT: &str = "POST /snapshot HTTP/1.1\r\nHost: a\r\n\r\n";

fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn write(path: &str, fields: &str, value: &str) -> String {
    let length = value.len();
    format!("PUT {path} HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: {length}\r\n\r\n{value}")
}

fn read(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

fn fill(client: &mut Client, keys: std::ops::Range<usize>, value: &str) {
    for first in keys.clone().step_by(500) {
        let entry = |key| format!("{{\"key\":\"key-{key}\",\"value\":\"{value}\"}}");
        let entries: Vec<String> = (first..keys.end.min(first + 500)).map(entry).collect();
        let answer = client.ask(post("/mput", &format!("{{\"entries\":[{}]}}", entries.join(","))));
        assert_eq!(answer.status, 200);
    }
}

#[test]
fn everything_is_there_again_on_any_number_of_shards() {
    for (before, after) in [(1, 2), (2, 3), (3, 1), (2, 2)] {
        let place = Place::new(&format!("again-{before}-{after}"));
        let server = Running::start(&place.config(before));
        let mut client = server.connect();
        fill(&mut client, 0..3000, "some value");
        let fields = "Content-Type: text/html\r\nKv-Tags: news, front\r\n";
        assert_eq!(client.ask(write("/kv/page?ttl=500&stale_ttl=90", fields, "<p>")).status, 201);
        assert_eq!(client.ask(write("/kv/over", "Kv-Tags: old\r\n", "x")).status, 201);
        assert_eq!(client.ask(post("/invalidate", "{\"tag\":\"old\"}")).status, 200);
        let answer = server.admin().ask(SNAPSHOT);
        let told: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((answer.status, &told["entries"]), (200, &3001.into()));
        assert_eq!(told["bytes"], fs::metadata(place.file()).unwrap().len());
        // The last snapshot has what came after.
        assert_eq!(client.ask(put("late", "value")).status, 200);
        let old = client.ask(read("/kv/page")).field("etag").unwrap().to_owned();
        drop(client);
        server.stop();
        assert_eq!(place.names(), ["kvcache.snapshot"]);

        let server = Running::start(&place.config(after));
        let counted = server.counted();
        assert_eq!((&counted["restored"], &counted["restored_expired"]), (&3002.into(), &0.into()));
        let mut client = server.connect();
        for key in 0..3000 {
            let key = format!("key-{key}");
            assert_eq!(client.ask(get(&key)).body, found(&key, "some value"));
        }
        assert_eq!(client.ask(get("late")).body, found("late", "value"));
        assert_eq!(client.ask(get("over")).status, 404);
        let page = client.ask(read("/kv/page"));
        assert_eq!((page.status, &page.body[..]), (200, "<p>"));
        assert_eq!(page.field("content-type"), Some("text/html"));
        let age = page.field("cache-control").unwrap().strip_prefix("max-age=").unwrap();
        assert!((400..=500).contains(&age.parse::<u32>().unwrap()), "{age}");
        assert_ne!(page.field("etag").unwrap(), old, "a version never means two values");
        assert_eq!(client.ask(post("/invalidate", "{\"tag\":\"front\"}")).status, 200);
        assert_eq!(client.ask(get("page")).status, 404);
        drop(client);
        server.stop();
    }
}

#[test]
fn a_smaller_budget_keeps_what_was_used_last() {
    for eviction in [Eviction::Lru, Eviction::S3Fifo, Eviction::WTinyLfu, Eviction::None] {
        let place = Place::new(&format!("smaller-{}", eviction.name()));
        let config = Config { memory_bytes: 8 << 20, ..place.config(2) };
        let server = Running::start(&config);
        fill(&mut server.connect(), 0..20_000, &"v".repeat(200));
        server.stop();

        let config = Config { memory_bytes: 2 << 20, eviction, ..place.config(1) };
        let server = Running::start(&config);
        let counted = server.counted();
        let (restored, evicted) = (&counted["restored"], &counted["restored_evicted"]);
        let (restored, evicted) = (restored.as_u64().unwrap(), evicted.as_u64().unwrap());
        assert!(restored > 5_000 && evicted > 0 && restored + evicted == 20_000, "{counted}");
        let mut client = server.connect();
        let mut held = |key: u64| client.ask(get(&format!("key-{key}"))).status == 200;
        // Two shards of about the same size wrote: what is near the border may be either.
        let border = 20_000 - restored;
        for key in (0..border - 1000).step_by(7) {
            assert!(!held(key), "{} {key}", eviction.name());
        }
        for key in (border + 1000..20_000).step_by(7) {
            assert!(held(key), "{} {key}", eviction.name());
        }
        drop(client);
        server.stop();
    }
}

#[test]
fn one_snapshot_at_a_time() {
    let place = Place::new("one");
    let server = Running::start(&place.config(2));
    let mut admin = server.admin();
    admin.send(format!("{SNAPSHOT}{SNAPSHOT}"));
    let first = admin.answer();
    let second = admin.answer();
    assert_eq!((first.status, second.status), (200, 409));
    assert!(second.body.contains("snapshot_running"));
    assert_eq!(admin.ask(SNAPSHOT).status, 200);
    drop(admin);
    server.stop();
    let server = Running::start(&Config { snapshot_path: None, ..place.config(1) });
    let refused = server.admin().ask(SNAPSHOT);
    assert_eq!(refused.status, 409);
    assert!(refused.body.contains("no_snapshot_path"));
    server.stop();
}

#[test]
fn snapshots_come_at_their_interval() {
    let place = Place::new("interval");
    let interval = Some(Duration::from_millis(1));
    let server = Running::start(&Config { snapshot_interval: interval, ..place.config(2) });
    while server.counted()["written"].as_u64().unwrap() < 2 {}
    assert!(place.file().exists());
    server.stop();
}

#[test]
fn snapshots_are_told_on_a_socket_file_to_whoever_listens() {
    let (place, sockets) = (Place::new("events"), Place::new("sockets"));
    let path = sockets.0.join("admin");
    let admin_listen = Some(AdminAddress::Unix(path.clone()));
    let server = Running::start(&Config { admin_listen, ..place.config(2) });
    let connect = || {
        let stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        BufReader::new(stream)
    };
    let (mut listener, mut admin) = (connect(), connect());
    let stream = "GET /events?types=snapshot,flushed HTTP/1.1\r\nHost: a\r\n\r\n";
    listener.get_mut().write_all(stream.as_bytes()).unwrap();
    let mut told = String::new();
    let mut hear = |word: &str| {
        while !told.contains(word) {
            assert_ne!(listener.read_line(&mut told).unwrap(), 0, "no {word} in {told}");
        }
        told.clear();
    };
    let mut ask = |request: &str| admin.get_mut().write_all(request.as_bytes()).unwrap();
    hear("200 OK\r\n");
    fill(&mut server.connect(), 0..100, "v");
    ask(SNAPSHOT);
    hear("data: {\"state\":\"begun\"}");
    hear("\"entries\":100,\"state\":\"done\"}");
    fs::remove_dir_all(&place.0).unwrap();
    ask(SNAPSHOT);
    hear("data: {\"state\":\"begun\"}");
    hear("\"state\":\"failed\"}");
    fs::create_dir(&place.0).unwrap();
    ask(&post("/flush", ""));
    hear("\"shard\":0}");
    hear("\"shard\":1}");
    server.stop();
    let mut rest = String::new();
    listener.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("\r\n0\r\n\r\n"), "{rest}");
}

#[test]
fn a_directory_that_goes_away_fails_a_snapshot_and_nothing_else() {
    let place = Place::new("away");
    let server = Running::start(&place.config(2));
    let mut client = server.connect();
    fill(&mut client, 0..100, "v");
    fs::remove_dir(&place.0).unwrap();
    let failed = server.admin().ask(SNAPSHOT);
    let told = failed.body;
    assert_eq!(failed.status, 500);
    assert!(told.contains("snapshot_failed") && told.contains("No such file"), "{told}");
    assert_eq!(client.ask(get("key-7")).status, 200);
    assert_eq!(server.counted()["failed"], 1);
    fs::create_dir(&place.0).unwrap();
    assert_eq!(server.admin().ask(SNAPSHOT).status, 200);
    let counted = server.counted();
    assert_eq!((&counted["written"], &counted["entries"]), (&1.into(), &100.into()));
    drop(client);
    server.stop();
}

/// A file of these entries.
fn write_file(path: &Path, created: u64, entries: &[Entry<'_>]) {
    let (mut writer, mut file) = Writer::new(&Header { created, tag_key: TagKey([1; 16]) });
    let mut blocks = Blocks::of(0);
    for entry in entries {
        blocks.push(entry);
    }
    file.extend(blocks.take().map(|block| writer.block(block)).unwrap_or_default());
    file.extend(writer.footer());
    fs::write(path, file).unwrap();
}

fn entry<'a>(key: &'a [u8], value: &'a [u8], expires: Option<u64>) -> Entry<'a> {
    Entry { key, value, content_type: None, tags: None, expires, stale_until: None }
}

#[test]
fn what_is_over_or_too_long_is_left_out_and_counted() {
    let place = Place::new("left-out");
    let created = Clock::wall_millis() - 10_000;
    let stale = Entry {
        stale_until: Some(created + 100_000),
        ..entry(b"stale", b"still good", Some(created + 5_000))
    };
    let entries = [
        entry(b"over", b"v", Some(created + 5_000)),
        stale,
        entry(b"lives", b"v", Some(created + 100_000)),
        entry(b"long", &[b'v'; 300], None),
        entry(&[b'k'; 300], b"v", None),
        entry(b"twice", b"1", None),
        entry(b"twice", b"2", None),
    ];
    write_file(&place.file(), created, &entries);
    let server = Running::start(&place.config(2));
    let counted = server.counted();
    let [restored, expired, large] =
        ["restored", "restored_expired", "restored_too_large"].map(|name| counted[name].as_u64());
    assert_eq!((restored, expired, large), (Some(3), Some(1), Some(2)));
    let mut client = server.connect();
    assert_eq!(client.ask(get("over")).status, 404);
    assert_eq!(client.ask(get("lives")).status, 200);
    assert_eq!(client.ask(get("twice")).body, found("twice", "2"));
    loop {
        // It takes a millisecond until it is stale again.
        let answer = client.ask(get("stale"));
        assert_eq!(answer.body, found("stale", "still good"));
        if answer.field("kv-stale") == Some("1") {
            break;
        }
    }
    drop(client);
    server.stop();
}

#[test]
fn a_clock_that_was_put_back_lets_nothing_live_longer() {
    let place = Place::new("clock");
    let created = Clock::wall_millis() + 365 * 86_400_000;
    let forever = entry(b"forever", b"v", Some(created + 20 * 365 * 86_400_000));
    let entries = [entry(b"ten", b"v", Some(created + 10_000)), forever];
    write_file(&place.file(), created, &entries);
    let server = Running::start(&place.config(1));
    let mut client = server.connect();
    let mut left = |path| {
        let answer = client.ask(read(path));
        let control = answer.field("cache-control").unwrap().to_owned();
        control.strip_prefix("max-age=").unwrap().parse::<u64>().unwrap()
    };
    assert!((1..=10).contains(&left("/kv/ten")));
    let ten_years = 87_660 * 3600;
    assert!((ten_years - 60..=ten_years).contains(&left("/kv/forever")));
    drop(client);
    server.stop();
}

#[test]
fn a_damaged_file_is_refused_or_set_aside_and_never_lost() {
    let place = Place::new("damaged");
    let server = Running::start(&place.config(2));
    fill(&mut server.connect(), 0..3000, "value");
    server.stop();
    let whole = fs::read(place.file()).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let cases = [
        (flipped, format!("damaged at byte {}", whole.len() - 24)),
        (whole[..whole.len() / 2].to_vec(), "damaged at byte ".to_owned()),
        (Vec::new(), "damaged at byte 0: the file is empty".to_owned()),
        (b"something else altogether, and long enough for a header".to_vec(), "byte 0".to_owned()),
    ];
    for (damaged, place_of_damage) in cases {
        fs::write(place.file(), &damaged).unwrap();
        let error = Server::start(&place.config(2)).err().unwrap();
        let line = error.to_string();
        assert!(error.is_configuration() && !line.contains('\n'), "{line}");
        assert!(line.contains(&place_of_damage) && line.contains("best-effort"), "{line}");
        assert_eq!(fs::read(place.file()).unwrap(), damaged, "it stays where it is");

        let config = Config { restore: Restore::BestEffort, ..place.config(2) };
        let server = Running::start(&config);
        assert_eq!(server.counted()["restored"], 0);
        let mut client = server.connect();
        assert_eq!(client.ask(get("key-1")).status, 404);
        assert_eq!(client.ask(put("key-1", "new")).status, 200);
        drop(client);
        server.stop();
        let names = place.names();
        let aside = names.iter().find(|name| name.starts_with("kvcache.snapshot.damaged-"));
        let aside = place.0.join(aside.unwrap());
        assert_eq!(fs::read(&aside).unwrap(), damaged);
        fs::remove_file(aside).unwrap();
        assert_eq!(place.names(), ["kvcache.snapshot"], "and there is a new one");
    }
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_kvcache");

/// The program, serving. It is killed should its test fail.
struct Program {
    child: Child,
    _stderr: BufReader<ChildStderr>,
    data: SocketAddr,
    admin: SocketAddr,
}

impl Program {
    fn command(place: &Place) -> Command {
        let mut command = Command::new(PROGRAM);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("KVCACHE_")) {
            command.env_remove(name);
        }
        command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        command.args(["--shards", "2", "--memory", "8MiB", "--connections-max", "100"]);
        command.arg("--snapshot-path").arg(place.file());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on ") {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it does not serve");
        }
        let address = |before| {
            let rest = line.split(before).nth(1).unwrap();
            rest.split([',', ' ', '\n']).next().unwrap().parse().unwrap()
        };
        let (data, admin) = (address("listening on "), address("admin on "));
        Self { child, _stderr: stderr, data, admin }
    }

    fn end(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // After `end` there is nothing left to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn without_room_on_the_disk_the_snapshot_before_stays() {
    let place = Place::new("full");
    let program = Program::start(Program::command(&place));
    let mut client = Client::connect(program.data);
    let mut admin = Client::connect(program.admin);
    fill(&mut client, 0..100, "v");
    assert_eq!(admin.ask(SNAPSHOT).status, 200);
    let before = fs::read(place.file()).unwrap();
    fill(&mut client, 0..3000, "value");
    let process = Some(Pid::from_child(&program.child));
    let limit = |bytes| {
        let most = Rlimit { current: bytes, maximum: None };
        prlimit(process, Resource::Fsize, most).unwrap();
    };
    limit(Some(50_000));
    let failed = admin.ask(SNAPSHOT);
    let told = failed.body;
    assert_eq!(failed.status, 507, "{told}");
    assert!(told.contains("disk_full"), "{told}");
    assert_eq!(fs::read(place.file()).unwrap(), before);
    assert_eq!(place.names(), ["kvcache.snapshot"]);
    assert_eq!(client.ask(get("key-2999")).status, 200);
    limit(None);
    assert_eq!(admin.ask(SNAPSHOT).status, 200);
    assert!(fs::read(place.file()).unwrap().len() > 50_000);
    drop((client, admin));
    program.end();
}

#[test]
fn a_directory_that_is_not_there_is_one_line() {
    let place = Place::new("nowhere");
    let mut command = Command::new(PROGRAM);
    command.args(["--listen", "127.0.0.1:0", "--admin-listen", "none", "--memory", "8MiB"]);
    command.arg("--snapshot-path").arg(place.0.join("nowhere/kvcache.snapshot"));
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.matches('\n').count()), (Some(78), 1), "{said}");
    assert!(said.contains("--snapshot-path: there is no directory"), "{said}");
}

#[test]
fn the_manager_hears_of_the_last_snapshot() {
    let place = Place::new("manager");
    let socket = place.0.join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut told = Vec::new();
    let mut hear = |last: &str| {
        let mut datagram = [0; 1024];
        while !told.iter().any(|line: &String| line.contains(last)) {
            let length = manager.recv(&mut datagram).unwrap();
            told.extend(
                String::from_utf8(datagram[..length].to_vec()).unwrap().lines().map(str::to_owned),
            );
        }
        std::mem::take(&mut told)
    };
    let mut command = Program::command(&place);
    command.env("NOTIFY_SOCKET", &socket);
    let program = Program::start(command);
    hear("READY=1");
    fill(&mut Client::connect(program.data), 0..100, "v");
    program.end();
    let told_at_the_end = hear("EXTEND_TIMEOUT_USEC=");
    assert!(told_at_the_end.contains(&"STOPPING=1".to_owned()), "{told_at_the_end:?}");
    let mut command = Program::command(&place);
    command.env("NOTIFY_SOCKET", &socket);
    let program = Program::start(command);
    let start = hear("READY=1");
    let restoring = start.iter().find(|line| line.contains("Restoring a snapshot, "));
    assert!(restoring.is_some(), "{start:?}");
    program.end();
}

#[test]
fn an_inspection_tells_by_its_exit_code_whether_the_file_is_whole() {
    let place = Place::new("inspect");
    let inspect = |path: &Path| {
        let output =
            Command::new(PROGRAM).args(["snapshot", "inspect"]).arg(path).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    write_file(&place.file(), 1_700_000_000_000, &[entry(b"k", b"v", None)]);
    let (code, text) = inspect(&place.file());
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("entries      1\n"), "{text}");
    fs::write(place.file(), b"nonsense").unwrap();
    let (code, text) = inspect(&place.file());
    assert_eq!(code, 1);
    assert!(text.contains("damaged at byte 8"), "{text}");
    assert_eq!(inspect(&place.0.join("absent")).0, 1);
}
