//! The program itself: its exit codes, its one line on standard error, its signals.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common {
    pub(crate) mod answer;
    pub(crate) mod client;
}

use common::client::{Client, found, get, put};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{self, TcpListener},
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::mpsc,
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
        stderr.read_line(&mut greeting).unwrap();
        let address =
            greeting.split("listening on ").nth(1).and_then(|rest| rest.split(',').next());
        let address = address.unwrap_or_else(|| panic!("not a greeting: {greeting}"));
        Self { address: address.parse().unwrap(), child, stderr }
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

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = Command::new(PROGRAM);
    command.args(["doctor", "--listen", &address, "--admin-listen", "none", "--memory", "8MiB"]);
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(MISCONFIGURED), "{said}");
    let lack = said.lines().find(|line| line.starts_with("LACK")).unwrap();
    assert!(lack.contains(&address) && lack.contains("in use"), "{said}");
    assert!(said.ends_with("The server would not start.\n"), "{said}");
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
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=io_uring_setup", "-e"]);
        command.args([&format!("inject=io_uring_setup:error={error}"), PROGRAM]);
        let said = complaint(with_our_flags(command));
        assert!(said.contains(error), "{said}");
    }
    // Refused only once the executors start.
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=io_uring_setup", "-e"]);
    command.args(["inject=io_uring_setup:error=ENOMEM:when=2+", PROGRAM]);
    assert!(complaint(with_our_flags(command)).contains("shard"));
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
    while lines.last().is_none_or(|line| line != last) {
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
        serving.signal(Signal::TERM);
        assert!(told(manager, "STATUS=Draining").contains(&"STOPPING=1".to_owned()));
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
