//! Streams of events: what happens on every shard, to whom it is told, and how a stream ends.

use crate::{
    common::cluster::{Cluster, End},
    input::put,
    tell::{config, with_limits},
};
use kvcache::{
    auth::Tokens,
    config::{Config, Limits},
    shard::{BEAT_MS, Role},
};
use serde_json::{Value, json};
use std::time::Duration;

const LISTEN: &str = "GET /events HTTP/1.1\r\nHost: h\r\n\r\n";
/// What happened is collected at one beat and told at the next.
const TWO_BEATS: Duration = Duration::from_millis(2 * BEAT_MS);

/// The head of a stream and its events so far, with what stands for them on the wire taken off.
fn split(bytes: &[u8]) -> (String, Vec<(String, Value)>, bool) {
    let text = std::str::from_utf8(bytes).unwrap();
    let (head, mut rest) = text.split_once("\r\n\r\n").unwrap();
    let (mut body, mut is_ended) = (String::new(), false);
    if head.contains("\r\nTransfer-Encoding: chunked") {
        while let Some((size, data)) = rest.split_once("\r\n") {
            assert!(!is_ended, "nothing stands behind the end: {text}");
            let size = usize::from_str_radix(size, 16).unwrap();
            body += &data[..size];
            rest = data[size..].strip_prefix("\r\n").unwrap();
            is_ended = size == 0;
        }
    } else {
        body += rest;
    }
    (head.to_owned(), events(&body), is_ended)
}

fn events(body: &str) -> Vec<(String, Value)> {
    let events = body.split_terminator("\n\n").map(|event| match event.split_once('\n') {
        None => (event.to_owned(), Value::Null),
        Some((name, data)) => {
            let data = data.strip_prefix("data: ").unwrap();
            (name.strip_prefix("event: ").unwrap().to_owned(), serde_json::from_str(data).unwrap())
        }
    });
    events.collect()
}

fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn short_lived(key: &str) -> String {
    post("/put", &format!(r#"{{"key":"{key}","value":"v","ttl":0.1}}"#))
}

/// Without a word of how long clients may take.
fn patient(shards: usize, change: impl FnOnce(&mut Limits)) -> Config {
    with_limits(shards, |limits| {
        limits.write_timeout = Duration::from_hours(1);
        change(limits);
    })
}

#[test]
fn what_happens_on_every_shard_is_told_once() {
    let mut cluster = Cluster::new(&config(2));
    let listener = cluster.connect(0, Role::Admin);
    cluster.send(listener, LISTEN);
    let (client, admin) = (cluster.connect(1, Role::Data), cluster.connect(0, Role::Admin));
    cluster.pass(TWO_BEATS);
    let (head, told, _) = split(&cluster.output(listener));
    let fields = "\r\nCache-Control: no-store\r\nContent-Type: text/event-stream\r\n\
        Transfer-Encoding: chunked";
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with(fields), "{head}");
    assert_eq!(told, [], "nothing has happened");

    let hear = |cluster: &mut Cluster| {
        cluster.pass(TWO_BEATS);
        let body = [b"\r\nTransfer-Encoding: chunked\r\n\r\n", &*cluster.output(listener)].concat();
        let (_, mut told, is_ended) = split(&body);
        assert!(!is_ended);
        told.sort_by_key(|(_, data)| data["shard"].as_u64());
        told
    };
    cluster.send(client, [short_lived("a"), short_lived("b")].concat());
    cluster.pass(Duration::from_millis(500));
    let expired = |shard, key| ("expired".to_owned(), json!({"shard":shard,"one_in":1,"key":key}));
    assert_eq!(hear(&mut cluster), [expired(0, "b"), expired(1, "a")]);

    let raw = "PUT /kv/%ff%2f?ttl=0.1 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n";
    cluster.send(client, raw);
    cluster.pass(Duration::from_millis(500));
    let told = hear(&mut cluster);
    assert_eq!((told.len(), &told[0].1["path"]), (1, &json!("/kv/%FF%2F")), "{told:?}");

    cluster.send(client, [put("a", "1"), put("b", "1"), put("{b}2", "1")].concat());
    cluster.send(admin, post("/delete-prefix", r#"{"prefix":"a","dry_run":true}"#));
    cluster.send(admin, post("/delete-prefix", r#"{"prefix":"a"}"#));
    cluster.send(admin, post("/flush", ""));
    let told = hear(&mut cluster);
    let of = |shard: u64, kind| {
        let mine = told.iter().filter(|(name, data)| name == kind && data["shard"] == shard);
        mine.map(|(_, data)| data["entries"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((of(0, "prefix_deleted"), of(1, "prefix_deleted")), (vec![0], vec![1]));
    assert_eq!((of(0, "flushed"), of(1, "flushed")), (vec![2], vec![0]));
    assert_eq!(told.len(), 4, "{told:?}");
    assert_eq!(hear(&mut cluster), [], "each is told once");
}

#[test]
fn a_flood_of_evictions_is_sampled_and_adds_up() {
    let mut cluster = Cluster::new(&config(2));
    cluster.leave_unrecorded();
    let listener = cluster.connect(0, Role::Admin);
    cluster.send(listener, LISTEN.replace("/events", "/events?types=evicted"));
    let client = cluster.connect(0, Role::Data);
    let fill = |cluster: &mut Cluster, from: u32| {
        for number in from..from + 10_000 {
            cluster.send(client, put(&format!("key-{number}"), &"v".repeat(200)));
        }
        cluster.output(client);
    };
    fill(&mut cluster, 0);
    cluster.send(client, short_lived("not asked for"));
    cluster.pass(TWO_BEATS);
    let (_, told, _) = split(&cluster.output(listener));
    for (shard, report) in cluster.reports().iter().enumerate() {
        let mine: Vec<u64> = told
            .iter()
            .filter(|(_, data)| data["shard"] == shard)
            .map(|(_, data)| data["one_in"].as_u64().unwrap())
            .collect();
        let one_in = mine[0];
        let sum = mine.iter().sum::<u64>();
        let evictions = report.store.evictions;
        assert!(evictions > 100 && (1..=16).contains(&mine.len()), "{evictions} {mine:?}");
        assert!(sum >= evictions && sum < evictions + one_in, "{sum} for {evictions}");
    }
    assert!(told.iter().all(|(name, data)| {
        name == "evicted" && data["key"].as_str().unwrap().starts_with("key-")
    }));

    cluster.reset(listener);
    fill(&mut cluster, 10_000);
    let listener = cluster.connect(0, Role::Admin);
    cluster.send(listener, LISTEN);
    cluster.pass(TWO_BEATS + TWO_BEATS);
    let (_, told, _) = split(&cluster.output(listener));
    assert_eq!(told, [], "nothing is noted when nobody listens");
}

#[test]
fn a_slow_reader_loses_events_and_is_told_how_many() {
    let mut cluster = Cluster::new(&patient(2, |limits| limits.events_bytes_max = 300));
    let (slow, quick) = (cluster.connect(0, Role::Admin), cluster.connect(0, Role::Admin));
    cluster.send(slow, LISTEN);
    cluster.send(quick, LISTEN);
    cluster.take_only(slow, 0);
    let client = cluster.connect(0, Role::Data);
    for number in 0..100 {
        cluster.send(client, short_lived(&format!("key-{number}")));
        cluster.pass(TWO_BEATS);
    }
    cluster.pass(Duration::from_secs(1));
    let unsent = cluster.unsent(slow);
    assert!(unsent < 1500, "{unsent} bytes wait for one that takes nothing");
    cluster.take_only(slow, usize::MAX);
    let heard = |cluster: &mut Cluster, client| {
        let (_, told, _) = split(&cluster.output(client));
        let lost = told.iter().filter(|(name, _)| name == "lost");
        let lost: u64 = lost.map(|(_, data)| data["count"].as_u64().unwrap()).sum();
        let expired = told.iter().filter(|(name, _)| name == "expired").count();
        (expired as u64, lost)
    };
    assert_eq!(heard(&mut cluster, quick), (100, 0));
    let (expired, lost) = heard(&mut cluster, slow);
    assert_eq!(expired + lost, 100);
    assert!(lost > 50, "{lost}");
}

#[test]
fn only_so_many_listen_at_a_time() {
    let mut cluster = Cluster::new(&patient(1, |limits| limits.event_readers_max = 2));
    let listen = |cluster: &mut Cluster| {
        let client = cluster.connect(0, Role::Admin);
        cluster.send(client, LISTEN);
        (client, String::from_utf8(cluster.output(client)).unwrap())
    };
    let (one, answer) = listen(&mut cluster);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(listen(&mut cluster).1.starts_with("HTTP/1.1 200 "));
    let (refused, answer) = listen(&mut cluster);
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("too_many_readers"), "{answer}");
    assert_eq!(cluster.end(refused), End::Open);
    cluster.reset(one);
    assert!(listen(&mut cluster).1.starts_with("HTTP/1.1 200 "), "a place is free again");
}

#[test]
fn a_silent_stream_beats_and_no_deadline_ends_it() {
    let mut cluster = Cluster::new(&config(2));
    let listener = cluster.connect(0, Role::Admin);
    cluster.send(listener, LISTEN);
    cluster.pass(Duration::from_secs(14));
    assert_eq!(split(&cluster.output(listener)).1, []);
    cluster.pass(Duration::from_secs(46));
    let output = String::from_utf8(cluster.output(listener)).unwrap();
    assert_eq!(output, "3\r\n:\n\n\r\n".repeat(4));
    cluster.pass(Duration::from_mins(10));
    assert_eq!(cluster.end(listener), End::Open);
}

#[test]
fn a_drain_ends_streams_and_what_was_noted_is_told_before() {
    let mut cluster = Cluster::new(&config(2));
    let (new, old) = (cluster.connect(0, Role::Admin), cluster.connect(0, Role::Admin));
    cluster.send(new, LISTEN.repeat(2));
    cluster.send(old, LISTEN.replace("HTTP/1.1", "HTTP/1.0"));
    let admin = cluster.connect(0, Role::Admin);
    cluster.send(admin, post("/flush", ""));
    cluster.pass(TWO_BEATS);
    cluster.drain();
    let bytes = cluster.output(new);
    let both = String::from_utf8(bytes).unwrap();
    let parts: Vec<&str> = both.split_inclusive("\r\n0\r\n\r\n").collect();
    assert_eq!(parts.len(), 2, "{both}");
    let (_, told, is_ended) = split(parts[0].as_bytes());
    assert_eq!((told.len(), is_ended), (2, true), "{both}");
    let (head, told, is_ended) = split(&cluster.output(old));
    assert!(head.contains("\r\nConnection: close") && !head.contains("chunked"), "{head}");
    assert_eq!((told.len(), is_ended), (2, false));
    assert_eq!(cluster.end(old), End::HalfClosed);
    cluster.finish(old);
    assert!(cluster.is_quiet());
}

#[test]
fn head_has_no_stream_and_keys_are_not_for_everybody() {
    let mut cluster = Cluster::new(&config(1));
    let client = cluster.connect(0, Role::Admin);
    let ask = |cluster: &mut Cluster, request: &str| {
        cluster.send(client, request);
        String::from_utf8(cluster.output(client)).unwrap()
    };
    let answer = ask(&mut cluster, &LISTEN.replace("GET", "HEAD"));
    assert!(answer.contains("text/event-stream") && answer.ends_with("\r\n\r\n"), "{answer}");
    let answer = ask(&mut cluster, &LISTEN.replace("/events", "/events?types=evicted,gone"));
    assert!(answer.contains("bad_parameter") && answer.contains("`types`"), "{answer}");
    cluster.set_tokens(&Tokens::parse(b"read secret").unwrap());
    let answer = ask(&mut cluster, LISTEN);
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let authorized = LISTEN.replace("Host", "Authorization: Bearer secret\r\nHost");
    let answer = ask(&mut cluster, &authorized);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
