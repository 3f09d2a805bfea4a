//! System calls that fail, and what a host does not allow.

use crate::{
    common::client::{Client, found, get, put},
    serving::{PROGRAM, Serving, complaint, with_our_flags},
};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use std::{
    collections::BTreeSet,
    fs,
    io::BufRead as _,
    path::Path,
    process::{Command, Stdio},
    thread,
};

/// The program, whose system calls `calls` fail in the way of strace's `inject`.
pub(crate) fn failing(calls: &str, how: &str) -> Command {
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
pub(crate) fn can_inject() -> bool {
    let mut probe = Command::new("strace");
    probe.args(["-f", "-o", "/dev/null", "true"]);
    probe.stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

#[test]
fn a_host_without_io_uring_is_one_line() {
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
fn calls_that_are_interrupted_lose_no_request() {
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
fn without_descriptors_clients_wait_until_there_are_some() {
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
