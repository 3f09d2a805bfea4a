//! What signals and the service manager bring about.

use crate::{
    common::client::{Client, found, get, put},
    serving::{HANG, Serving, program},
};
use rustix::process::Signal;
use std::{
    io::Write as _,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    sync::mpsc,
    thread,
};

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
pub(crate) fn told(manager: &UnixDatagram, last: &str) -> Vec<String> {
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
fn a_signal_under_load_loses_no_request() {
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
fn a_second_signal_ends_at_once() {
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
fn the_drain_timeout_ends_what_does_not_end() {
    let serving = Serving::start(&["--drain-timeout", "50ms", "--read-timeout", "1h"]);
    let mut half = serving.connect();
    half.send("GET /get");
    half.await_arrival();
    serving.signal(Signal::TERM);
    let (status, _) = serving.end();
    assert_eq!(status.code(), Some(0));
    half.expect_end();
}
