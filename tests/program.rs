//! The program itself: its exit codes, its one line on standard error, its signals.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common {
    pub(crate) mod answer;
    pub(crate) mod client;
}

use common::client::{Client, found, get, put};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{self, TcpListener},
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    path::Path,
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_kvcache");
/// Long enough to tell a hang from a slow machine.
const HANG: Duration = Duration::from_secs(30);
/// Nothing that a restart could cure.
const MISCONFIGURED: i32 = 78;

fn program() -> Command {
    with_our_flags(Command::new(PROGRAM))
}

/// A small server on free ports, whatever the environment says.
fn with_our_flags(mut command: Command) -> Command {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("KVCACHE_")) {
        command.env_remove(name);
    }
    command.args(["--listen", "127.0.0.1:0", "--admin-listen", "none"]);
    command.args(["--shards", "2", "--memory", "8MiB", "--connections-max", "100"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A program that serves. It is killed should its test fail.
struct Serving {
    child: Child,
    stderr: BufReader<ChildStderr>,
    address: net::SocketAddr,
}

impl Serving {
    fn start(flags: &[&str]) -> Self {
        let mut command = program();
        command.args(flags);
        Self::of(command)
    }

    fn of(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut greeting = String::new();
        while !greeting.contains("listening on ") {
            assert_ne!(stderr.read_line(&mut greeting).unwrap(), 0, "not a greeting: {greeting}");
        }
        let address =
            greeting.split("listening on ").nth(1).and_then(|rest| rest.split(',').next());
        Self { address: address.unwrap().parse().unwrap(), child, stderr }
    }

    fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The exit status, and what was said after the greeting.
    fn end(mut self) -> (ExitStatus, String) {
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap(), said)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // After `end` there is nothing left to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs to the end; it must not serve, but say one line and exit with 78.
#[track_caller]
fn complaint(mut command: Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(MISCONFIGURED), "{said}");
    assert_eq!(said.matches('\n').count(), 1, "{said}");
    assert!(said.starts_with("kvcache: ") && said.ends_with('\n'), "{said}");
    assert_eq!(output.stdout, b"");
    said
}

#[test]
fn row_69_a_port_in_use_is_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = Command::new(PROGRAM);
    command.args(["--listen", &address, "--admin-listen", "none", "--memory", "8MiB"]);
    let said = complaint(command);
    assert!(said.contains(&address) && said.contains("in use"), "{said}");
    let mut command = Command::new(PROGRAM);
    command.args(["--listen", "127.0.0.1:0", "--admin-listen", &address, "--memory", "8MiB"]);
    let said = complaint(command);
    assert!(said.contains(&address) && said.contains("in use"), "{said}");
}

#[test]
fn row_69_a_second_program_on_the_same_port_is_refused() {
    let first = Serving::start(&[]);
    let mut command = Command::new(PROGRAM);
    let address = first.address.to_string();
    command.args(["--listen", &address, "--admin-listen", "none", "--memory", "8MiB"]);
    assert!(complaint(command).contains("in use"));
    assert_eq!(first.connect().ask(get("a")).status, 404);
    first.signal(Signal::TERM);
    assert!(first.end().0.success());
}

#[test]
fn row_69_a_bad_setting_is_one_line() {
    for (flags, named) in [
        (&["--nonsense"][..], "--nonsense"),
        (&["--read-timeout", "soon"], "--read-timeout"),
        (&["--key-bytes-max", "0"], "--key-bytes-max"),
        (&["--connections-max", "-1"], "--connections-max"),
        (&["--default-ttl", "9999999999s"], "--default-ttl"),
        (&["--config", "/nonexistent/kvcache.toml"], "/nonexistent/kvcache.toml"),
        (&["word"], "word"),
    ] {
        let mut command = program();
        command.args(flags);
        let said = complaint(command);
        assert!(said.contains(named), "{said}");
    }
    let mut command = Command::new(PROGRAM);
    command.args(["--memory", "8MiB"]).env("KVCACHE_SHARDS", "none");
    assert!(complaint(command).contains("KVCACHE_SHARDS"));
    let mut command = Command::new(PROGRAM);
    command.args(["--listen", "192.0.2.1:7171", "--admin-listen", "none", "--memory", "8MiB"]);
    assert!(complaint(command).contains("192.0.2.1:7171"));
}

#[test]
fn the_doctor_says_whether_it_would_start() {
    let mut command = program();
    let output = command.arg("doctor").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.ends_with("The server would start.\n") && !said.contains("LACK"), "{said}");
    for subject in ["kernel", "io_uring", "locked memory", "descriptors", "CPUs", "memory"] {
        assert!(said.contains(subject), "{said}");
    }
}

/// The server refuses to start, and the doctor says so of the same thing. `command` runs the
/// program with the flags that follow.
#[track_caller]
fn refused(command: &dyn Fn() -> Command, flags: &[&str], subject: &str, why: &str) {
    let mut server = command();
    server.args(flags);
    let said = complaint(server);
    assert!(said.contains(why), "{said}");
    let mut doctor = command();
    let output = doctor.args(flags).arg("doctor").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(MISCONFIGURED), "{said}");
    let lack = said.lines().find(|line| line.starts_with("LACK")).unwrap();
    assert!(lack.starts_with(&format!("LACK {subject} ")) && lack.contains(why), "{said}");
    assert!(said.ends_with("The server would not start.\n"), "{said}");
}

#[test]
fn the_doctor_finds_what_the_server_would_not_start_without() {
    let bare = || Command::new(PROGRAM);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let flags = ["--memory", "8MiB", "--admin-listen"];
    refused(&bare, &[&flags[..], &["none", "--listen", &address]].concat(), "listen", "in use");
    let free = ["--listen", "127.0.0.1:0"];
    refused(&bare, &[&flags[..], &[&address], &free].concat(), "admin-listen", "in use");
    let nowhere = "unix:/nonexistent/admin";
    refused(&bare, &[&flags[..], &[nowhere], &free].concat(), "admin-listen", nowhere);

    refused(&program, &["--auth-token-file", "/nonexistent/tokens"], "tokens", "/nonexistent/");
    let nowhere = ["--snapshot-path", "/nonexistent/snapshot"];
    refused(&program, &nowhere, "snapshots", "no directory /nonexistent");
    let damaged = Path::new(env!("CARGO_TARGET_TMPDIR")).join("damaged.snapshot");
    fs::write(&damaged, "not a snapshot").unwrap();
    let damaged = ["--snapshot-path", damaged.to_str().unwrap()];
    refused(&program, &damaged, "snapshots", "--restore best-effort");
    let mut doctor = program();
    let output =
        doctor.args(damaged).args(["--restore", "best-effort", "doctor"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("hint snapshots"), "{said}");

    let limited = |limit: &'static str| {
        move || {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("ulimit {limit} && exec \"$0\" \"$@\""), PROGRAM]);
            command
        }
    };
    let many = ["--listen", "127.0.0.1:0", "--admin-listen", "none", "--memory", "1GiB"];
    refused(&limited("-v 600000"), &many, "memory", "--memory");
    refused(&limited("-n 256"), &many, "descriptors", "LimitNOFILE");
    if can_inject() {
        let unpinned = || failing("sched_setaffinity", "error=EPERM");
        refused(&unpinned, &[], "CPUs", "sched_setaffinity");
        for error in ["EPERM", "ENOSYS", "ENOMEM"] {
            let without = || failing("io_uring_setup", &format!("error={error}"));
            refused(&without, &[], "io_uring", error);
        }
    }
}

#[test]
fn a_health_check_tells_a_server_that_answers_from_none() {
    let health = |address: &str| {
        let mut command = Command::new(PROGRAM);
        command.args(["health", "--listen", address]);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let serving = Serving::start(&[]);
    let address = serving.address.to_string();
    assert_eq!(health(&address), (Some(0), String::new()));
    let everywhere = format!("0.0.0.0:{}", serving.address.port());
    assert_eq!(health(&everywhere), (Some(0), String::new()));
    serving.signal(Signal::TERM);
    assert!(serving.end().0.success());
    let (code, said) = health(&address);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("does not answer") && said.matches('\n').count() == 1, "{said}");

    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let answers = thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        let mut asked = [0; 17];
        stream.read_exact(&mut asked).unwrap();
        assert_eq!(&asked, b"GET /healthz HTTP");
        stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap();
    });
    let (code, said) = health(&address);
    answers.join().unwrap();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("HTTP/1.1 503"), "{said}");
}

/// The program, whose system calls `calls` fail in the way of strace's `inject`.
fn failing(calls: &str, how: &str) -> Command {
    let mut command = Command::new("strace");
    // -D: what is started is the program, and not the tracer.
    command.args(["-D", "-f", "-qq", "-o", "/dev/null"]);
    command.args([
        "-e",
        &format!("trace={calls}"),
        "-e",
        &format!("inject={calls}:{how}"),
        PROGRAM,
    ]);
    with_our_flags(command)
}

/// Whether system calls can be made to fail here.
fn can_inject() -> bool {
    let mut probe = Command::new("strace");
    probe.args(["-f", "-o", "/dev/null", "true"]);
    probe.stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

#[test]
fn row_57_a_host_without_io_uring_is_one_line() {
    if !can_inject() {
        eprintln!("skipped: strace is not here or may not trace");
        return;
    }
    for error in ["EPERM", "ENOSYS", "ENOMEM"] {
        let said = complaint(failing("io_uring_setup", &format!("error={error}")));
        assert!(said.contains(error), "{said}");
    }
    // Refused only once the executors start.
    assert!(complaint(failing("io_uring_setup", "error=ENOMEM:when=2+")).contains("shard"));
}

/// The calls that the profile of `seccomp.json` allows.
fn allowed_calls() -> BTreeSet<String> {
    let profile = fs::read_to_string("seccomp.json").unwrap();
    let profile: serde_json::Value = serde_json::from_str(&profile).unwrap();
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let rules = profile["syscalls"].as_array().unwrap();
    let allowed = rules.iter().filter(|rule| rule["action"] == "SCMP_ACT_ALLOW");
    let names = allowed.flat_map(|rule| rule["names"].as_array().unwrap());
    names.map(|name| name.as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_seccomp_profile_allows_what_the_server_calls() {
    let allowed = allowed_calls();
    for needed in ["io_uring_setup", "io_uring_enter", "io_uring_register", "clone", "execve"] {
        assert!(allowed.contains(needed), "{needed}");
    }
    for forbidden in ["ptrace", "mount", "unshare", "setns", "bpf", "init_module", "clone3"] {
        assert!(!allowed.contains(forbidden), "{forbidden}");
    }
    if !can_inject() {
        eprintln!("skipped: strace is not here or may not trace");
        return;
    }
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("seccomp");
    // A run before may have left it.
    drop(fs::remove_dir_all(&directory));
    fs::create_dir(&directory).unwrap();
    let [calls, snapshot] = ["calls", "snapshot"].map(|name| directory.join(name));
    // The second start restores what the first has written in the end.
    for expected in [404, 200] {
        let mut command = Command::new("strace");
        command.args(["-D", "-f", "-qq", "-A", "-o", calls.to_str().unwrap(), PROGRAM]);
        let mut command = with_our_flags(command);
        command.args(["--snapshot-path", snapshot.to_str().unwrap()]);
        let mut serving = Serving::of(command);
        let mut client = serving.connect();
        assert_eq!(client.ask(get("a")).status, expected);
        assert_eq!(client.ask(put("a", "b")).status, 200);
        serving.signal(Signal::HUP);
        serving.stderr.read_line(&mut String::new()).unwrap();
        drop(client);
        serving.signal(Signal::TERM);
        assert!(serving.end().0.success());
    }
    let calls = fs::read_to_string(calls).unwrap();
    let calls: BTreeSet<&str> = calls
        .lines()
        .filter_map(|line| line.split_once(' ')?.1.trim_start().split_once('('))
        .map(|(name, _)| name)
        .filter(|name| name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_'))
        // The C library takes clone where this one is not there.
        .filter(|name| *name != "clone3")
        .collect();
    assert!(calls.contains("io_uring_enter") && calls.contains("accept4"), "{calls:?}");
    let refused: Vec<_> = calls.iter().filter(|name| !allowed.contains(**name)).collect();
    assert!(refused.is_empty(), "{refused:?}");
}

#[test]
fn row_58_calls_that_are_interrupted_lose_no_request() {
    if !can_inject() {
        eprintln!("skipped: strace is not here or may not trace");
        return;
    }
    let waits = "epoll_wait,epoll_pwait,epoll_pwait2";
    let cases = [("io_uring_enter", ["EINTR", "EAGAIN", "EBUSY"].as_slice()), (waits, &["EINTR"])];
    for (calls, errors) in cases {
        for (error, step) in errors.iter().zip(3..) {
            // The first calls make the executors, which may say no.
            let how = format!("error={error}:when=5+{step}");
            let serving = Serving::of(failing(calls, &how));
            let mut clients = [(); 4].map(|()| serving.connect());
            for round in 0..25 {
                for (name, client) in clients.iter_mut().enumerate() {
                    let key = format!("{name}x{round}");
                    client.send(put(&key, "v") + &get(&key));
                }
                for (name, client) in clients.iter_mut().enumerate() {
                    assert_eq!(client.answer().status, 200, "{calls} {how}");
                    assert_eq!(client.answer().body, found(&format!("{name}x{round}"), "v"));
                }
            }
            serving.signal(Signal::TERM);
            clients.iter_mut().for_each(Client::expect_end);
            drop(clients);
            let (status, said) = serving.end();
            assert_eq!(status.code(), Some(0), "{calls} {how}: {said}");
            assert!(
                said.ends_with(" info draining\n") && said.matches('\n').count() == 1,
                "{said}"
            );
        }
    }
}

#[test]
fn row_56_without_descriptors_clients_wait_until_there_are_some() {
    const CLIENTS: usize = 200;
    const FREE: usize = 32;
    let serving = Serving::start(&["--read-timeout", "1h"]);
    let open = format!("/proc/{}/fd", serving.child.id());
    let descriptors = || fs::read_dir(&open).unwrap().count();
    let limit = descriptors() + FREE;
    let most = Rlimit { current: Some(limit as u64), maximum: Some(limit as u64) };
    prlimit(Some(Pid::from_child(&serving.child)), Resource::Nofile, most).unwrap();
    let clients: Vec<Client> = (0..CLIENTS)
        .map(|_| {
            let mut client = serving.connect();
            client.send(get("a"));
            client
        })
        .collect();
    while descriptors() < limit {
        thread::yield_now();
    }
    // Who is answered leaves, and makes room for the next.
    thread::scope(|scope| {
        for mut client in clients {
            scope.spawn(move || assert_eq!(client.answer().status, 404));
        }
    });
    serving.signal(Signal::TERM);
    assert_eq!(serving.end().0.code(), Some(0));
}

#[test]
fn a_signal_ends_an_idle_program_well() {
    for signal in [Signal::TERM, Signal::INT] {
        let serving = Serving::start(&[]);
        let mut client = serving.connect();
        assert_eq!(client.ask(put("a", "b")).status, 200);
        assert_eq!(client.ask(get("a")).body, found("a", "b"));
        serving.signal(signal);
        client.expect_end();
        drop(client);
        let (status, said) = serving.end();
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(said.ends_with(" info draining\n") && said.matches('\n').count() == 1, "{said}");
    }
}

/// What a service manager that listens is told, until `last`.
fn told(manager: &UnixDatagram, last: &str) -> Vec<String> {
    let mut lines = Vec::new();
    while !lines.iter().any(|line| line == last) {
        let mut datagram = [0; 1024];
        let length = manager.recv(&mut datagram).unwrap();
        let text = std::str::from_utf8(&datagram[..length]).unwrap();
        lines.extend(text.lines().map(str::to_owned));
    }
    lines
}

#[test]
fn a_service_manager_hears_ready_alive_and_stopping() {
    let path = std::env::temp_dir().join(format!("kvcache-notify-{}", std::process::id()));
    let name = format!("kvcache-notify-{}", std::process::id());
    let by_path = UnixDatagram::bind(&path).unwrap();
    let by_name = SocketAddr::from_abstract_name(&name).unwrap();
    let by_name = UnixDatagram::bind_addr(&by_name).unwrap();
    let addresses = [path.to_str().unwrap().to_owned(), format!("@{name}")];
    for (manager, address) in [by_path, by_name].iter().zip(&addresses) {
        manager.set_read_timeout(Some(HANG)).unwrap();
        let mut command = program();
        command.env("NOTIFY_SOCKET", address).env("WATCHDOG_USEC", "150000");
        let serving = Serving::of(command);
        let start = told(manager, "WATCHDOG=1");
        assert_eq!(start[0], "READY=1");
        assert!(start[1].starts_with("STATUS=listening on "), "{start:?}");
        told(manager, "WATCHDOG=1");
        serving.signal(Signal::HUP);
        let reload = told(manager, "RELOADING=1");
        assert!(reload.last().is_some_and(|line| line.starts_with("MONOTONIC_USEC=")));
        told(manager, "READY=1");
        serving.signal(Signal::TERM);
        assert!(told(manager, "STOPPING=1").ends_with(&["STATUS=Draining".to_owned()]));
        assert!(serving.end().0.success());
    }
    std::fs::remove_file(&path).unwrap();
}

/// Sends batch after batch until the connection ends. Each batch arrives at once, so it must be
/// answered as a whole or, when it meets a connection that was closed as idle, not at all.
fn load(mut client: Client, name: usize, warm: &mpsc::Sender<()>) {
    const BATCH: usize = 20;
    const BATCHES_WARM: usize = 50;
    let key = |number| format!("key{name}x{number}");
    for number in 0..BATCH {
        assert_eq!(client.ask(put(&key(number), "v")).status, 200);
    }
    let batch: String = (0..BATCH).map(|number| get(&key(number))).collect();
    for round in 0.. {
        if round == BATCHES_WARM {
            warm.send(()).unwrap();
        }
        if client.stream.write_all(batch.as_bytes()).is_err() {
            return;
        }
        for number in 0..BATCH {
            let Some(answer) = client.answer_or_end() else {
                assert_eq!(number, 0, "the rest of a batch was not answered");
                return;
            };
            assert_eq!(answer.body, found(&key(number), "v"));
            if answer.says_close() {
                assert_eq!(number + 1, BATCH, "an answer says close before the last");
                return client.expect_end();
            }
        }
    }
}

#[test]
fn row_64_a_signal_under_load_loses_no_request() {
    const CLIENTS: usize = 8;
    let serving = Serving::start(&["--drain-timeout", "60s", "--read-timeout", "60s"]);
    let (warm, warmed) = mpsc::channel();
    thread::scope(|scope| {
        for name in 0..CLIENTS {
            let (client, warm) = (serving.connect(), warm.clone());
            scope.spawn(move || load(client, name, &warm));
        }
        for _ in 0..CLIENTS {
            warmed.recv().unwrap();
        }
        serving.signal(Signal::TERM);
    });
    let (status, said) = serving.end();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.ends_with(" info draining\n") && said.matches('\n').count() == 1, "{said}");
}

#[test]
fn row_64_a_second_signal_ends_at_once() {
    let serving = Serving::start(&["--drain-timeout", "1h", "--read-timeout", "1h"]);
    let [mut idle, mut half] = [(); 2].map(|()| serving.connect());
    half.send("GET /get");
    half.await_arrival();
    assert_eq!(idle.ask(get("a")).status, 404);
    serving.signal(Signal::TERM);
    idle.expect_end();
    drop(idle);
    serving.signal(Signal::TERM);
    let (status, _) = serving.end();
    assert!(!status.success(), "it did not drain to the end");
    half.expect_end();
}

#[test]
fn row_64_the_drain_timeout_ends_what_does_not_end() {
    let serving = Serving::start(&["--drain-timeout", "50ms", "--read-timeout", "1h"]);
    let mut half = serving.connect();
    half.send("GET /get");
    half.await_arrival();
    serving.signal(Signal::TERM);
    let (status, _) = serving.end();
    assert_eq!(status.code(), Some(0));
    half.expect_end();
}

/// A file of tokens that is removed with its test.
struct TokenFile(std::path::PathBuf);

impl TokenFile {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("kvcache-{}-{name}.tokens", std::process::id());
        let file = Self(std::env::temp_dir().join(name));
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
    }

    fn name(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

#[test]
fn tokens_are_read_again_at_sighup_and_stay_where_that_fails() {
    let file = TokenFile::new("reload", "first-secret\n");
    let mut serving = Serving::start(&["--auth-token-file", file.name()]);
    let ask = |token: &str| {
        let field = format!("Host: h\r\nAuthorization: Bearer {token}\r\n");
        get("a").replacen("Host: h\r\n", &field, 1)
    };
    // One connection on each shard.
    let mut clients = [serving.connect(), serving.connect()];
    let statuses = |clients: &mut [Client], token| {
        clients.iter_mut().map(|client| client.ask(ask(token)).status).collect::<Vec<_>>()
    };
    assert_eq!(statuses(&mut clients, "first-secret"), [404, 404]);
    assert_eq!(statuses(&mut clients, "second-secret"), [401, 401]);

    let reload = |serving: &mut Serving| {
        serving.signal(Signal::HUP);
        let mut said = String::new();
        serving.stderr.read_line(&mut said).unwrap();
        assert!(!said.contains("secret"), "{said}");
        said
    };
    file.write("second-secret\nread third-secret");
    assert!(reload(&mut serving).ends_with(" were read again tokens=2\n"));
    while statuses(&mut clients, "second-secret") != [404, 404] {}
    assert_eq!(statuses(&mut clients, "first-secret"), [401, 401]);

    file.write("first-secret\nno secret");
    let said = reload(&mut serving);
    assert!(said.contains(&format!("{}: line 2: ", file.name())), "{said}");
    assert!(said.contains(" error the old settings stay in force "), "{said}");
    assert_eq!(statuses(&mut clients, "second-secret"), [404, 404]);
    assert_eq!(statuses(&mut clients, "first-secret"), [401, 401]);

    serving.signal(Signal::TERM);
    let (status, said) = serving.end();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.ends_with(" info draining\n") && said.matches('\n').count() == 1, "{said}");
}

#[test]
fn settings_that_can_change_are_read_again_at_sighup() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reload.toml");
    let set = |text: &str| fs::write(&file, text).unwrap();
    set("");
    let name = format!("kvcache-reload-{}", std::process::id());
    let manager = SocketAddr::from_abstract_name(&name).unwrap();
    let manager = UnixDatagram::bind_addr(&manager).unwrap();
    manager.set_read_timeout(Some(HANG)).unwrap();
    let mut command = program();
    command.args(["--config", file.to_str().unwrap()]).env("NOTIFY_SOCKET", format!("@{name}"));
    let mut serving = Serving::of(command);
    told(&manager, "READY=1");
    let next_line = |serving: &mut Serving| {
        let mut said = String::new();
        serving.stderr.read_line(&mut said).unwrap();
        said
    };
    // One connection on each shard.
    let mut clients = [serving.connect(), serving.connect()];
    let key = "k".repeat(200);
    for client in &mut clients {
        assert_eq!(client.ask(get(&key)).status, 404);
    }

    set("slow-log-us = 1\nkey-bytes-max = 100\n");
    serving.signal(Signal::HUP);
    assert!(next_line(&mut serving).ends_with(" were read again tokens=0\n"));
    told(&manager, "READY=1");
    let said = next_line(&mut serving);
    assert!(
        said.contains(" warn some settings wait for a restart settings=key-bytes-max,"),
        "{said}"
    );
    // The shards hear of it a little later.
    let done = AtomicBool::new(false);
    let slow = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for client in &mut clients {
                    assert_eq!(client.ask(get(&key)).status, 404);
                }
            }
        });
        let slow = next_line(&mut serving);
        done.store(true, Ordering::Relaxed);
        slow
    });
    assert!(slow.contains(" warn slow request protocol=http operation=get us="), "{slow}");
    assert!(slow.contains(" outcome=not_found bytes=") && slow.contains(" shard="), "{slow}");
    assert!(!slow.contains(&key), "{slow}");

    set("log-level = 7\n");
    serving.signal(Signal::HUP);
    let refused = std::iter::repeat_with(|| next_line(&mut serving));
    let refused = refused.into_iter().find(|line| !line.contains("slow request")).unwrap();
    assert!(refused.contains(" error the old settings stay in force reason="), "{refused}");
    assert!(refused.contains("reload.toml: log-level: "), "{refused}");
    told(&manager, "READY=1");

    set("log-level = \"error\"\n");
    serving.signal(Signal::HUP);
    told(&manager, "RELOADING=1");
    told(&manager, "READY=1");
    serving.signal(Signal::TERM);
    drop(clients);
    let (status, said) = serving.end();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(!said.contains("read again") && !said.contains("draining"), "{said}");
}

#[test]
fn a_sighup_without_tokens_changes_nothing() {
    let mut serving = Serving::start(&[]);
    serving.signal(Signal::HUP);
    let mut said = String::new();
    serving.stderr.read_line(&mut said).unwrap();
    assert!(
        said.ends_with(" info the settings that can change were read again tokens=0\n"),
        "{said}"
    );
    assert_eq!(serving.connect().ask(get("a")).status, 404);
}

#[test]
fn row_69_a_bad_file_of_tokens_is_one_line() {
    for (text, named) in [("a\nb c\n", "line 2: "), ("# none\n", "no token")] {
        let file = TokenFile::new("bad", text);
        let mut command = program();
        command.args(["--auth-token-file", file.name()]);
        let said = complaint(command);
        assert!(said.contains("--auth-token-file: ") && said.contains(named), "{said}");
    }
    let mut command = program();
    command.args(["--auth-token-file", "/nonexistent/tokens"]);
    assert!(complaint(command).contains("/nonexistent/tokens"));
}

#[test]
fn the_configuration_names_the_file_of_tokens_and_no_token() {
    let file = TokenFile::new("print", "the-secret\n");
    let mut command = program();
    command.args(["--auth-token-file", file.name(), "--print-config"]);
    let printed = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(printed.contains(&format!("auth-token-file = \"{}\"", file.name())), "{printed}");
    assert!(!printed.contains("the-secret"), "{printed}");
}
