//! Slow and silent clients, and how long they may be so.

use crate::{
    common::cluster::{Client, Cluster, End},
    input::{BODY, chunked, get, post, put},
    tell::{ABSENT, SLACK, STORED, config, is_problem, read_all},
};
use kvcache::{
    clock::Millis,
    config::Limits,
    shard::{BEAT_MS, Role, Shard},
    store::KeyHasher,
};
use std::time::{Duration, SystemTime};

/// Sends `byte by byte` with a pause after each until the server ends the connection. Returns how
/// long that took.
fn trickle(cluster: &mut Cluster, client: Client, input: &str, pause: Duration) -> Duration {
    let mut spent = Duration::ZERO;
    for byte in input.bytes() {
        cluster.send(client, [byte]);
        if cluster.end(client) != End::Open {
            return spent;
        }
        cluster.pass(pause);
        spent += pause;
    }
    panic!("still open after {spent:?}");
}

#[test]
fn a_head_that_trickles_is_408() {
    let limit = Limits::DEFAULT.read_timeout;
    for input in [get(&"k".repeat(100)), "GET ".to_owned() + &"/".repeat(200)] {
        for first in ["", &get("a")] {
            let mut cluster = Cluster::new(&config(2));
            let client = cluster.connect(0, Role::Data);
            cluster.send(client, first);
            cluster.output(client);
            let spent = trickle(&mut cluster, client, &input, Duration::from_millis(100));
            assert!(spent > limit && spent <= limit + SLACK, "{spent:?}");
            let answers = read_all(&cluster.output(client));
            is_problem(&answers, 408, "request_timeout", input.as_bytes());
            assert!(answers[0].says_close());
        }
    }
}

#[test]
fn many_that_are_late_at_once_do_not_fill_a_turn() {
    const LATE: usize = 2_000;
    let date = || SystemTime::UNIX_EPOCH;
    let mut now = Millis(1_000);
    let mut shard = Shard::new(0, config(1), KeyHasher::random(), now, date());
    for _ in 0..LATE {
        let id = shard.open(Role::Data);
        shard.receive(id, b"G", false);
    }
    let mut listed = Vec::new();
    while !shard.has_listed() {
        shard.take_listed(&mut Vec::new());
        now.0 += BEAT_MS;
        shard.beat(now, date());
    }
    let mut turns = 0;
    while listed.len() < LATE {
        let before = listed.len();
        shard.take_listed(&mut listed);
        assert!(listed.len() > before && listed.len() - before <= 64, "turn {turns}");
        assert_eq!(shard.has_unswept(), listed.len() < LATE);
        shard.begin_turn(now);
        turns += 1;
    }
    assert!(listed.iter().all(|id| shard.unsent(*id).starts_with(b"HTTP/1.1 408 ")));
}

#[test]
fn a_body_that_stalls_is_408() {
    let limit = Limits::DEFAULT.read_timeout;
    for (shards, home) in [(1, 0), (2, 1)] {
        for input in [put("a", "b"), chunked(&format!("17\r\n{BODY}\r\n0\r\n\r\n"))] {
            let mut cluster = Cluster::new(&config(shards));
            let client = cluster.connect(home, Role::Data);
            cluster.send(client, &input[..input.len() - 1]);
            cluster.pass(limit);
            assert_eq!(cluster.end(client), End::Open);
            cluster.pass(SLACK);
            assert_eq!(cluster.end(client), End::HalfClosed);
            let answers = read_all(&cluster.output(client));
            is_problem(&answers, 408, "request_timeout", input.as_bytes());
            assert!(answers[0].says_close());
            cluster.send(client, &input[input.len() - 1..]);
            assert_eq!((cluster.entries(), cluster.output(client)), (0, Vec::new()));
        }
    }
}

#[test]
fn a_large_body_has_more_time() {
    let body = format!(r#"{{"key":"a","value":"b"{}}}"#, " ".repeat(256 << 10));
    let input = post(&body);
    let stretch = Duration::from_secs(4);
    let mut cluster = Cluster::new(&config(1));
    let client = cluster.connect(0, Role::Data);
    cluster.send(client, &input[..200]);
    cluster.pass(Limits::DEFAULT.read_timeout + stretch);
    assert_eq!(cluster.end(client), End::Open);
    let late = cluster.connect(0, Role::Data);
    cluster.send(late, &input[..200]);
    cluster.send(client, &input[200..]);
    assert_eq!(read_all(&cluster.output(client))[0].body, STORED);
    cluster.pass(Limits::DEFAULT.read_timeout + stretch + SLACK);
    assert_eq!(cluster.end(late), End::HalfClosed);
}

#[test]
fn head_and_body_each_have_their_time() {
    let input = put("a", "b");
    let body = input.find("\r\n\r\n").unwrap() + 4;
    let mut cluster = Cluster::new(&config(1));
    let client = cluster.connect(0, Role::Data);
    for piece in [&input[..10], &input[10..=body], &input[body + 1..]] {
        cluster.send(client, piece);
        assert_eq!(cluster.end(client), End::Open);
        cluster.pass(Limits::DEFAULT.read_timeout.saturating_sub(SLACK));
    }
    assert_eq!(read_all(&cluster.output(client))[0].body, STORED);
}

#[test]
fn an_idle_connection_is_closed_without_an_answer() {
    for config in [config(1), config(2)] {
        let mut cluster = Cluster::new(&config);
        let clients = [cluster.connect(0, Role::Data), cluster.connect(0, Role::Data)];
        cluster.send(clients[1], [get("a"), get("b")].concat());
        assert_eq!(read_all(&cluster.output(clients[1])).len(), 2);
        cluster.pass(Limits::DEFAULT.idle_timeout);
        let busy = cluster.connect(0, Role::Data);
        assert!(clients.iter().all(|client| cluster.end(*client) == End::Open));
        cluster.pass(SLACK);
        for client in clients {
            assert_eq!((cluster.end(client), cluster.output(client)), (End::Closed, Vec::new()));
        }
        cluster.send(busy, get("a"));
        assert_eq!(read_all(&cluster.output(busy))[0].body, ABSENT);
        assert_eq!(cluster.end(busy), End::Open);
    }
}

#[test]
fn empty_lines_after_an_answer_are_no_late_request() {
    let mut cluster = Cluster::new(&config(1));
    let client = cluster.connect(0, Role::Data);
    cluster.send(client, get("a") + "\r\n");
    assert_eq!(read_all(&cluster.output(client)).len(), 1);
    cluster.pass(Limits::DEFAULT.read_timeout + SLACK);
    assert_eq!((cluster.end(client), cluster.output(client)), (End::Open, Vec::new()));
    cluster.send(client, get("a"));
    assert_eq!(read_all(&cluster.output(client))[0].body, ABSENT);
}

#[test]
fn a_stopped_process_does_not_find_its_clients_late() {
    let mut cluster = Cluster::new(&config(2));
    let clients = [cluster.connect(0, Role::Data), cluster.connect(1, Role::Data)];
    cluster.send(clients[0], &put("a", "b")[..70]);
    cluster.freeze(Duration::from_hours(1));
    assert!(clients.iter().all(|client| cluster.end(*client) == End::Open));
    cluster.send(clients[0], &put("a", "b")[70..]);
    assert_eq!(read_all(&cluster.output(clients[0]))[0].body, STORED);
}
