//! `kvcache load` on a whole server, and on peers that answer wrongly on purpose.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use base64::Engine as _;
use hdrhistogram::{
    Histogram,
    serialization::{
        Deserializer,
        interval_log::{IntervalLogIterator, LogEntry},
    },
};
use kvcache::{config::Config, server::Server, tools::load};
use serde_json::Value;
use std::{
    collections::HashMap,
    ffi::OsString,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::Command,
    thread,
};

const RUNS_MAX: usize = 50;

/// Where the run of this name leaves its files.
fn directory(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("load").join(name)
}

/// Loads for a short while. Returns whether that was without errors, and `run.json`.
fn run(name: &str, address: SocketAddr, flags: &[&str]) -> (bool, Value) {
    let out = directory(name);
    let fixed = [
        format!("--address={address}"),
        format!("--out={}", out.display()),
        "--warmup=0s".to_owned(),
        "--duration=100ms".to_owned(),
    ];
    let flags = fixed.into_iter().chain(flags.iter().map(|&flag| flag.to_owned()));
    let outcome = load::run(flags.map(OsString::from)).unwrap();
    let run = fs::read_to_string(out.join("run.json")).unwrap();
    (outcome.is_clean, serde_json::from_str(&run).unwrap())
}

/// The kinds of errors that there were.
fn kinds(run: &Value) -> Vec<&str> {
    let errors = run["results"]["errors"].as_object().unwrap();
    errors.iter().filter(|(_, count)| **count != 0).map(|(kind, _)| kind.as_str()).collect()
}

fn server() -> Server {
    let config = Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        admin_listen: None,
        shards: 2,
        memory_bytes: 16 << 20,
        ..Config::default()
    };
    Server::start(&config).unwrap()
}

#[test]
fn a_server_s_answers_are_right_and_all_is_written_down() {
    let server = server();
    for (name, flags) in [
        ("closed", &["--mix=get=50,put=30,delete=5,mget=15", "--depth=4", "--threads=2"][..]),
        ("open", &["--rate=500", "--distribution=zipf", "--ttl=5ms..1h", "--value-bytes=32..256"]),
        ("rest", &["--protocol=rest", "--mix=get=50,put=40,delete=10", "--ttl=1h"]),
        ("sequential", &["--mix=get=1", "--distribution=sequential", "--connections=1"]),
    ] {
        let name_flag = format!("--name={name}");
        let flags = [flags, &["--keys=200", &name_flag]].concat();
        let (is_clean, run) = run(name, server.data_address(), &flags);
        let results = &run["results"];
        assert!(is_clean && kinds(&run).is_empty(), "{run:#}");
        let requests = results["requests"].as_u64().unwrap();
        let operations = results["operations"].as_object().unwrap().values();
        assert_eq!(operations.map(|count| count.as_u64().unwrap()).sum::<u64>(), requests);
        assert!(requests > 0 && results["hits"].as_u64().unwrap() > 0, "{run:#}");
        if name == "sequential" {
            assert_eq!(results["hit_ratio"], 1.0, "nothing is deleted or expires");
        }
        if name == "open" {
            let unsent = results["unsent"].as_u64().unwrap();
            assert_eq!((&run["loop"], requests + unsent), (&"open".into(), 50));
        }
        let unsent = results["unsent"].as_u64().unwrap();
        assert_eq!(results["latency_us"]["count"], requests + unsent);
        assert_eq!(logged(name), requests + unsent);
        let hgrm = fs::read_to_string(directory(name).join(name).with_extension("hgrm")).unwrap();
        assert!(hgrm.contains(&format!("Total count    = {:>12}]", requests + unsent)), "{hgrm}");
    }
    server.stop().unwrap();
}

/// How many latencies the log of a run has.
fn logged(name: &str) -> u64 {
    let log = fs::read_to_string(directory(name).join(name).with_extension("hlog")).unwrap();
    // What reads it back takes no legend.
    let log: Vec<&str> = log.lines().filter(|line| !line.starts_with('"')).collect();
    let log = log.join("\n") + "\n";
    let intervals = IntervalLogIterator::new(log.as_bytes()).map(|entry| match entry.unwrap() {
        LogEntry::Interval(interval) => {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(interval.encoded_histogram())
                .unwrap();
            let found: Histogram<u64> =
                Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
            found.len()
        }
        _ => 0,
    });
    intervals.sum()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Redis,
    Memcached,
}

/// What a peer does wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// One byte of every value is another.
    Flip,
    /// The first value of a key stays.
    Old,
    /// Every key has the value that was put last.
    Swap,
    /// The second half of every value is of another.
    Torn,
    Refuse,
    Garble,
    HangUp,
    Silence,
}

enum Ask {
    Get(Vec<String>),
    Set(String, Vec<u8>),
    Delete(String),
}

/// Reads one request; `None` at the end.
fn ask(protocol: Protocol, input: &mut BufReader<TcpStream>) -> Option<Ask> {
    let mut line = || {
        let mut line = String::new();
        (input.read_line(&mut line).ok()? > 0).then(|| line.trim_end().to_owned())
    };
    let first = line()?;
    let words: Vec<String> = match protocol {
        Protocol::Memcached => first.split(' ').map(str::to_owned).collect(),
        Protocol::Redis => {
            let words = first.strip_prefix('*').unwrap().parse().unwrap();
            let mut word = || {
                let length: usize = line()?.strip_prefix('$').unwrap().parse().unwrap();
                line().inspect(|word| assert_eq!(word.len(), length))
            };
            (0..words).map(|_| word()).collect::<Option<_>>()?
        }
    };
    Some(match words[0].to_lowercase().as_str() {
        "get" | "mget" => Ask::Get(words[1..].to_vec()),
        "del" | "delete" => Ask::Delete(words[1].clone()),
        "set" if protocol == Protocol::Redis => {
            Ask::Set(words[1].clone(), words[2].clone().into_bytes())
        }
        "set" => {
            let mut value = vec![0; words[4].parse::<usize>().unwrap() + 2];
            input.read_exact(&mut value).ok()?;
            assert!(value.ends_with(b"\r\n"));
            value.truncate(value.len() - 2);
            Ask::Set(words[1].clone(), value)
        }
        other => panic!("nobody said what {other} means"),
    })
}

/// A peer that serves one connection after another until the process ends.
fn peer(protocol: Protocol, flaw: Flaw) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut store = HashMap::new();
        let mut last = Vec::new();
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let mut output = stream.try_clone().unwrap();
            let mut input = BufReader::new(stream);
            while let Some(ask) = ask(protocol, &mut input) {
                if let Ask::Set(_, value) = &ask {
                    last.clone_from(value);
                }
                let Some(answer) = answer(protocol, flaw, ask, &mut store, &last) else { break };
                if output.write_all(&answer).is_err() {
                    break;
                }
            }
        }
    });
    address
}

/// What a peer answers; `None`: it closes the connection.
fn answer(
    protocol: Protocol,
    flaw: Flaw,
    ask: Ask,
    store: &mut HashMap<String, Vec<u8>>,
    last: &[u8],
) -> Option<Vec<u8>> {
    let of = |redis: &str, memcached: &str| {
        let text = if protocol == Protocol::Redis { redis } else { memcached };
        Some(format!("{text}\r\n").into_bytes())
    };
    match ask {
        Ask::Set(..) if flaw == Flaw::Refuse => of("-OOM", "SERVER_ERROR out of memory"),
        Ask::Set(key, value) => {
            if flaw != Flaw::Old || !store.contains_key(&key) {
                store.insert(key, value);
            }
            of("+OK", "STORED")
        }
        Ask::Delete(key) => match store.remove(&key) {
            Some(_) => of(":1", "DELETED"),
            None => of(":0", "NOT_FOUND"),
        },
        Ask::Get(_) if flaw == Flaw::Garble => of("$x", "VALUE"),
        Ask::Get(_) if flaw == Flaw::HangUp => None,
        Ask::Get(_) if flaw == Flaw::Silence => Some(Vec::new()),
        Ask::Get(keys) => {
            let mut out = Vec::new();
            if protocol == Protocol::Redis && keys.len() > 1 {
                write!(out, "*{}\r\n", keys.len()).unwrap();
            }
            for key in &keys {
                let value = store.get(key).cloned().map(|mut value| {
                    let half = value.len() / 2;
                    match flaw {
                        Flaw::Flip => value[half] ^= 1,
                        Flaw::Swap => value = last.to_vec(),
                        Flaw::Torn => value[half..].copy_from_slice(&last[half..]),
                        _ => {}
                    }
                    value
                });
                match (protocol, value) {
                    (Protocol::Redis, None) => out.extend_from_slice(b"$-1\r\n"),
                    (Protocol::Memcached, None) => {}
                    (_, Some(value)) => {
                        let length = value.len();
                        let head = match protocol {
                            Protocol::Redis => format!("${length}\r\n"),
                            Protocol::Memcached => format!("VALUE {key} 0 {length}\r\n"),
                        };
                        out.extend_from_slice(&[head.as_bytes(), &value, b"\r\n"].concat());
                    }
                }
            }
            if protocol == Protocol::Memcached {
                out.extend_from_slice(b"END\r\n");
            }
            Some(out)
        }
    }
}

#[test]
fn what_a_peer_does_wrong_is_counted_by_its_kind() {
    for (flaw, expected) in [
        (Flaw::None, &[][..]),
        (Flaw::Flip, &["wrong"]),
        (Flaw::Old, &["stale"]),
        (Flaw::Swap, &["wrong"]),
        (Flaw::Torn, &["wrong"]),
        (Flaw::Refuse, &["refused"]),
        (Flaw::Garble, &["malformed"]),
        (Flaw::HangUp, &["closed"]),
        (Flaw::Silence, &["timeout"]),
    ] {
        for (name, protocol) in [("redis", Protocol::Redis), ("memcached", Protocol::Memcached)] {
            // Only silence takes long.
            let timeout = if flaw == Flaw::Silence { "20ms" } else { "1m" };
            let flags = [
                format!("--protocol={name}"),
                "--mix=get=40,put=40,delete=5,mget=15".to_owned(),
                "--batch=2".to_owned(),
                "--keys=2".to_owned(),
                "--connections=1".to_owned(),
                format!("--timeout={timeout}"),
            ];
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            let name = format!("{name}-{}", expected.first().unwrap_or(&"right"));
            // A slow machine may not come to see it in the first run, and take as long to connect.
            let mut runs = (0..RUNS_MAX).map(|_| {
                let (is_clean, run) = run(&name, peer(protocol, flaw), &flags);
                let mut kinds: Vec<String> = kinds(&run).into_iter().map(str::to_owned).collect();
                assert_eq!(is_clean, kinds.is_empty());
                kinds.retain(|kind| flaw != Flaw::Silence || kind != "connect");
                kinds
            });
            let seen = runs.find(|kinds| kinds.is_empty() == expected.is_empty());
            assert_eq!(seen.expect(&name), expected, "{name}");
        }
    }
}

/// Runs the program; its exit code, standard output and standard error.
fn program(flags: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvcache"));
    let output = command.arg("load").args(flags).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_program_says_what_it_found_and_how_it_ended() {
    let address = format!("--address={}", peer(Protocol::Redis, Flaw::None));
    let short = ["--connections=1", "--protocol=redis", "--warmup=0s", "--duration=50ms"];
    let (code, found, progress) = program(&[&[address.as_str()][..], &short].concat());
    assert_eq!(code, Some(0), "{found}{progress}");
    for row in ["asked", "got", "requests", "errors", "hit ratio", "p50", "p99.99", "max"] {
        assert!(found.lines().any(|line| line.starts_with(row)), "{row}: {found}");
    }
    assert!(progress.lines().any(|line| line.starts_with("load ")), "{progress}");

    // Nobody listens there any more.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let address = format!("--address={gone}");
    let (code, found, _) = program(&[&[address.as_str(), "--timeout=1ms"][..], &short].concat());
    assert_eq!(code, Some(1), "{found}");
    assert!(found.lines().any(|line| line.starts_with("  connect ")), "{found}");

    let (code, found, said) = program(&["--value-bytes=8"]);
    assert_eq!((code, found.as_str(), said.matches('\n').count()), (Some(78), "", 1), "{said}");
    assert!(
        said.starts_with("kvcache load: --value-bytes: 8 is below the minimum of 32"),
        "{said}"
    );
    let (code, found, _) = program(&["--help"]);
    assert!(code == Some(0) && found.contains("--distribution"), "{found}");
}
