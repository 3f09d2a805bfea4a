//! From when to when a request's time runs, on shards whose clock moves only when a test says so.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use kvcache::{
    clock::Millis,
    config::Config,
    mesh::owner,
    metrics::{Operation, Outcome, ProtocolName},
    shard::{ConnectionId, Role, Shard, Slow},
    store::KeyHasher,
};
use serde_json::Value;
use std::time::{Duration, SystemTime};

const GET: &[u8] = b"GET /get?key=a HTTP/1.1\r\nHost: h\r\n\r\n";

fn shards(number: usize) -> Vec<Shard> {
    let config = Config { memory_bytes: number << 20, shards: number, ..Config::default() };
    let hasher = KeyHasher::random();
    let date = SystemTime::UNIX_EPOCH;
    let shard = |me| Shard::new(me, config.clone(), hasher.clone(), Millis(1), date);
    (0..number).map(shard).collect()
}

/// At `micros` something is read.
fn read(shard: &mut Shard, id: ConnectionId, micros: u64, bytes: &[u8]) {
    shard.tick(micros);
    shard.receive(id, bytes, false);
}

/// At `micros` so many bytes are sent, or all.
fn send(shard: &mut Shard, id: ConnectionId, micros: u64, bytes: Option<usize>) {
    let bytes = bytes.unwrap_or(usize::MAX).min(shard.unsent(id).len());
    assert!(bytes > 0);
    shard.tick(micros);
    shard.sent(id, bytes);
}

/// Carries messages until there are none.
fn exchange(shards: &mut [Shard]) {
    loop {
        let mut mail = Vec::new();
        for (from, shard) in shards.iter_mut().enumerate() {
            shard.take_listed(&mut Vec::new());
            shard.flush(|to, message| {
                mail.push((from, to, message));
                Ok(())
            });
        }
        if mail.is_empty() {
            return;
        }
        for (from, to, message) in mail {
            shards[to].deliver(from, message);
        }
    }
}

/// What the first shard tells: count, least and most of gets and puts, in microseconds.
fn told(shards: &mut [Shard], operation: &str) -> [u64; 3] {
    let id = shards[0].open(Role::Admin);
    let target = format!("/latency?format=json&op={operation}");
    let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
    shards[0].receive(id, request.as_bytes(), false);
    exchange(shards);
    let answer = String::from_utf8(shards[0].unsent(id).to_vec()).unwrap();
    let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let figures = &body["operations"][operation];
    ["count", "min", "max"].map(|name| figures[name].as_u64().unwrap())
}

#[test]
fn a_request_that_comes_in_parts_began_with_the_first_of_them() {
    let mut shards = shards(1);
    let id = shards[0].open(Role::Data);
    read(&mut shards[0], id, 1_000, &GET[..3]);
    read(&mut shards[0], id, 1_400, &GET[3..9]);
    read(&mut shards[0], id, 1_800, &GET[9..]);
    send(&mut shards[0], id, 2_000, None);
    assert_eq!(told(&mut shards, "get"), [1, 1_000, 1_000]);
    // What came behind it began when that was read, and nothing that was before counts for it.
    let mut both = GET.to_vec();
    both.extend_from_slice(&GET[..5]);
    read(&mut shards[0], id, 10_000, &both);
    send(&mut shards[0], id, 10_100, None);
    read(&mut shards[0], id, 10_300, &GET[5..]);
    send(&mut shards[0], id, 10_500, None);
    assert_eq!(told(&mut shards, "get"), [3, 100, 1_000]);
}

#[test]
fn empty_lines_between_requests_begin_none() {
    let mut shards = shards(1);
    let id = shards[0].open(Role::Data);
    read(&mut shards[0], id, 1_000, b"\r\n\r\n");
    read(&mut shards[0], id, 9_000, GET);
    send(&mut shards[0], id, 9_050, None);
    assert_eq!(told(&mut shards, "get"), [1, 50, 50]);
}

#[test]
fn a_request_ends_with_the_last_byte_of_its_answer() {
    let mut shards = shards(1);
    let id = shards[0].open(Role::Data);
    let body = r#"{"key":"b","value":"v"}"#;
    let put = format!("POST /put HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len());
    let requests = [GET, put.as_bytes(), body.as_bytes()].concat();
    read(&mut shards[0], id, 500, &requests);
    let answers = shards[0].unsent(id).to_vec();
    let second = answers.windows(8).rposition(|eight| eight == b"HTTP/1.1").unwrap();
    send(&mut shards[0], id, 600, Some(second - 1));
    assert_eq!(told(&mut shards, "get")[0], 0);
    send(&mut shards[0], id, 700, Some(2));
    assert_eq!((told(&mut shards, "get"), told(&mut shards, "put")[0]), ([1, 200, 200], 0));
    send(&mut shards[0], id, 900, None);
    assert_eq!(
        (told(&mut shards, "get"), told(&mut shards, "put")),
        ([1, 200, 200], [1, 400, 400])
    );
}

#[test]
fn the_way_to_the_owner_of_a_key_and_back_counts() {
    let mut shards = shards(2);
    let (here, away) = (b"b", b"a");
    assert_eq!((owner(here, 2), owner(away, 2)), (0, 1));
    let id = shards[0].open(Role::Data);
    let near = String::from_utf8(GET.to_vec()).unwrap().replace("key=a", "key=b");
    let far = GET;
    // One that is here stands behind one that is away, and another kind behind both.
    let head =
        "HEAD /get?key=b HTTP/1.1\r\nHost: h\r\n\r\nGET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
    let near = near.as_bytes();
    let requests = [far, near, near, far, head.as_bytes()].concat();
    read(&mut shards[0], id, 1_000, &requests);
    assert_eq!(shards[0].unsent(id), b"");
    exchange(&mut shards);
    send(&mut shards[0], id, 1_700, None);
    assert_eq!(told(&mut shards, "get"), [5, 700, 700]);
    assert_eq!(told(&mut shards, "health"), [1, 700, 700]);
}

/// A value of so many bytes leaves in pieces.
const LONG_BYTES: usize = 100_000;

fn shard_with_a_long_value(slow_log: Duration) -> (Shard, ConnectionId) {
    let mut config = Config { memory_bytes: 1 << 20, slow_log, ..Config::default() };
    config.limits.value_bytes_max = 1 << 17;
    config.limits.body_bytes_max = 1 << 18;
    let date = SystemTime::UNIX_EPOCH;
    let mut shard = Shard::new(0, config, KeyHasher::random(), Millis(1), date);
    let id = shard.open(Role::Data);
    let put = format!("PUT /kv/a HTTP/1.1\r\nHost: h\r\nContent-Length: {LONG_BYTES}\r\n\r\n");
    let put = [put.as_bytes(), &vec![b'v'; LONG_BYTES]].concat();
    read(&mut shard, id, 1_000, &put);
    send(&mut shard, id, 1_010, None);
    (shard, id)
}

/// Asks for the long value, whose length as JSON is measured in some turns before it is answered.
fn ask_for_the_long_value(shard: &mut Shard, id: ConnectionId, now_us: u64) {
    read(shard, id, now_us, GET);
    assert!(shard.unsent(id).is_empty(), "it is not measured yet");
    while shard.begin_turn(Millis(1)) {}
}

#[test]
fn an_answer_in_pieces_ends_with_the_last() {
    let (shard, id) = shard_with_a_long_value(Duration::ZERO);
    let mut shards = [shard];
    ask_for_the_long_value(&mut shards[0], id, 2_000);
    let mut micros = 2_000;
    while !shards[0].unsent(id).is_empty() {
        assert_eq!(told(&mut shards, "get")[0], 0, "at {micros}");
        micros += 100;
        send(&mut shards[0], id, micros, None);
    }
    assert!(micros > 2_200, "it came in pieces");
    assert_eq!(told(&mut shards, "get"), [1, micros - 2_000, micros - 2_000]);
    assert_eq!(shards[0].take_slow(), None);
}

#[test]
fn the_slow_log_knows_the_outcome_and_all_bytes_of_an_answer() {
    let (mut shard, id) = shard_with_a_long_value(Duration::from_micros(150));
    let slow = |operation, micros, outcome, bytes| {
        let protocol = ProtocolName::Http;
        Some(Slow { protocol, operation, micros, outcome, bytes, more: 0 })
    };
    // In pieces.
    ask_for_the_long_value(&mut shard, id, 2_000);
    let (mut micros, mut bytes) = (2_000, 0);
    while !shard.unsent(id).is_empty() {
        assert_eq!(shard.take_slow(), None);
        micros += 100;
        bytes += shard.unsent(id).len();
        send(&mut shard, id, micros, None);
    }
    assert!(bytes > LONG_BYTES);
    let elapsed = u32::try_from(micros - 2_000).unwrap();
    assert_eq!(shard.take_slow(), slow(Operation::Get, elapsed, Outcome::Ok, bytes));
    // Two that are sent as a part of the second is.
    let absent = b"GET /kv/b HTTP/1.1\r\nHost: h\r\n\r\nDELETE /kv/a HTTP/1.1\r\nHost: h\r\n\r\n";
    read(&mut shard, id, 9_000, absent);
    let all = shard.unsent(id).len();
    let first = shard.unsent(id).windows(8).rposition(|eight| eight == b"HTTP/1.1").unwrap();
    send(&mut shard, id, 9_200, Some(first + 1));
    assert_eq!(shard.take_slow(), slow(Operation::Get, 200, Outcome::NotFound, first));
    send(&mut shard, id, 9_300, None);
    assert_eq!(shard.take_slow(), slow(Operation::Delete, 300, Outcome::Ok, all - first));
    // On the bound, and with a bound that has changed.
    read(&mut shard, id, 10_000, GET);
    send(&mut shard, id, 10_150, None);
    assert_eq!(shard.take_slow(), None);
    shard.set_config(Config { memory_bytes: 1 << 20, ..Config::default() });
    read(&mut shard, id, 11_000, GET);
    send(&mut shard, id, 91_000, None);
    assert_eq!(shard.take_slow(), None);
    assert_eq!(told(&mut [shard], "get")[0], 4);
}

#[test]
fn of_requests_that_came_at_once_the_slow_log_has_the_worst_outcome() {
    let ask = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
    let [far, near, wrong] = ["/get?key=a", "/get?key=b", "/get?key="].map(ask);
    let mut shards = shards(2);
    let slow_log = Duration::from_micros(1);
    let config = Config { memory_bytes: 2 << 20, shards: 2, slow_log, ..Config::default() };
    shards[0].set_config(config);
    let id = shards[0].open(Role::Data);
    for (begun, requests, outcome) in [
        (1_000, [&near, &near, &near], Outcome::NotFound),
        (2_000, [&near, &wrong, &near], Outcome::Invalid),
        (3_000, [&wrong, &far, &near], Outcome::Invalid),
        (4_000, [&far, &wrong, &near], Outcome::Invalid),
        (5_000, [&far, &near, &wrong], Outcome::Invalid),
        (6_000, [&far, &far, &near], Outcome::NotFound),
    ] {
        read(&mut shards[0], id, begun, requests.map(String::as_str).concat().as_bytes());
        exchange(&mut shards);
        let bytes = shards[0].unsent(id).len();
        send(&mut shards[0], id, begun + 500, None);
        let slow = shards[0].take_slow().unwrap();
        assert_eq!((slow.outcome, slow.micros, slow.bytes, slow.more), (outcome, 500, bytes, 2));
    }
}
