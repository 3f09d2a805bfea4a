//! What the program says instead of starting, and what asks a program that runs.

use crate::{
    common::client::get,
    faults::{can_inject, failing},
    serving::{MISCONFIGURED, PROGRAM, Serving, complaint, program},
};
use rustix::process::Signal;
use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    path::Path,
    process::Command,
    thread,
};

#[test]
fn a_port_in_use_is_one_line() {
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
fn a_second_program_on_the_same_port_is_refused() {
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
fn a_bad_setting_is_one_line() {
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
