//! Values that leave in pieces, and clients that do not take them.

use crate::{
    common::answer::Answer,
    common::cluster::{Cluster, End},
    input::{get, health, post, put, request},
    tell::{SLACK, read_all, statuses, with_limits},
};
use kvcache::{config::Limits, shard::Role};

/// A cluster in which every key holds a value of `value_bytes`.
pub(crate) fn cluster_of_large_values(shards: usize, value_bytes: usize) -> Cluster {
    let mut config = with_limits(shards, |limits| {
        limits.value_bytes_max = value_bytes;
        limits.body_bytes_max = 8 << 20;
    });
    config.memory_bytes = 32 << 20;
    let mut cluster = Cluster::new(&config);
    let client = cluster.connect(0, Role::Data);
    for key in ["a", "b"] {
        cluster.send(client, put(key, &"v".repeat(value_bytes)));
    }
    statuses(&read_all(&cluster.output(client)), &[200, 200]);
    cluster.reset(client);
    cluster
}

/// Pinned values, and pins that were revoked.
fn lent(cluster: &Cluster) -> (u64, u64) {
    let stores = cluster.reports().into_iter().map(|report| report.store);
    stores.fold((0, 0), |(lent, revoked), store| (lent + store.lent, revoked + store.revoked))
}

/// What waits in memory for a client that takes nothing of its large values.
const UNSENT_MAX: usize = Limits::DEFAULT.piece_bytes_max + 1_000;

#[test]
fn a_client_that_never_reads_is_not_read_either() {
    for (shards, key) in [(1, "a"), (2, "a"), (2, "b")] {
        for value_bytes in [64 << 10, 1 << 20] {
            let mut cluster = cluster_of_large_values(shards, value_bytes);
            let client = cluster.connect(0, Role::Data);
            cluster.take_only(client, 0);
            let input = get(key).repeat(100_000);
            cluster.send(client, &input);
            let unread = cluster.unread(client);
            assert!(unread > input.len() - 3 * Limits::DEFAULT.read_bytes_max, "{unread} unread");
            // Another byte is taken, and another piece comes.
            cluster.take_only(client, 1_000);
            let unsent = cluster.unsent(client);
            assert!(unsent <= UNSENT_MAX, "{unsent} bytes wait for a client that does not read");
            assert_eq!(lent(&cluster), (1, 0));
            cluster.pass(Limits::DEFAULT.write_timeout);
            assert_eq!(cluster.end(client), End::Open);
            cluster.pass(SLACK);
            assert_eq!(cluster.end(client), End::Closed);
            assert!(cluster.is_quiet());
            assert_eq!(lent(&cluster), (0, 0));
        }
    }
}

#[test]
fn a_large_value_leaves_in_pieces_whatever_becomes_of_it() {
    let plain = "v".repeat(300_000);
    let mixed = "v\u{e9}\u{1f600}x\"\n\u{1}".repeat(20_000);
    for (shards, key) in [(1, "a"), (2, "a"), (2, "b")] {
        for (value, fate) in [(&plain, 0), (&mixed, 1), (&mixed, 2)] {
            let mut cluster = cluster_of_large_values(shards, 1 << 20);
            let (client, writer) = (cluster.connect(0, Role::Data), cluster.connect(0, Role::Data));
            let body = serde_json::json!({ "key": key, "value": value }).to_string();
            cluster.send(writer, post(&body));
            cluster.take_only(client, 0);
            cluster.send(client, get(key) + &get("b") + &health() + &get(key));
            let mut output = Vec::new();
            for step in 0.. {
                cluster.take_only(client, 9_999);
                let taken = cluster.output(client);
                if taken.is_empty() {
                    break;
                }
                output.extend(taken);
                assert!(cluster.unsent(client) <= UNSENT_MAX);
                if step == 5 && fate > 0 {
                    let fresh = if fate == 1 { "small".to_owned() } else { "n".repeat(400_000) };
                    cluster.send(writer, put(key, &fresh));
                }
            }
            let answers = read_all(&output);
            statuses(&answers, &[200, 200, 200, 200]);
            for answer in [&answers[0], &answers[3]] {
                let found: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
                assert_eq!(found["value"], serde_json::Value::from(value.as_str()));
            }
            assert_eq!((cluster.end(client), lent(&cluster)), (End::Open, (0, 0)));
        }
    }
}

#[test]
fn a_reader_whose_value_is_revoked_is_cut_off() {
    for (shards, key) in [(1, "a"), (2, "a"), (2, "b")] {
        let mut cluster = cluster_of_large_values(shards, 1 << 20);
        let (client, writer) = (cluster.connect(0, Role::Data), cluster.connect(0, Role::Data));
        cluster.take_only(client, 50_000);
        cluster.send(client, get(key) + &health());
        // The reader of each value keeps it; the oldest is the first to go.
        for _ in 0..6 {
            cluster.send(writer, put(key, &"w".repeat(1 << 20)));
            let reader = cluster.connect(0, Role::Data);
            cluster.take_only(reader, 0);
            cluster.send(reader, get(key));
        }
        assert!(lent(&cluster).1 > 0, "{:?}", lent(&cluster));
        cluster.take_only(client, usize::MAX);
        let output = cluster.output(client);
        assert_eq!(cluster.end(client), End::Closed);
        assert!((50_000..1 << 20).contains(&output.len()), "{} bytes", output.len());
        assert!(output.ends_with(b"vvvv"), "something follows half an answer");
        cluster.pass(Limits::DEFAULT.write_timeout + SLACK);
        assert_eq!(lent(&cluster).0, 0);
    }
}

#[test]
fn head_of_a_large_value_lends_nothing() {
    for (shards, key) in [(1, "a"), (2, "a"), (2, "b")] {
        let mut cluster = cluster_of_large_values(shards, 1 << 20);
        let client = cluster.connect(0, Role::Data);
        cluster.send(client, get(key).replacen("GET", "HEAD", 1));
        let output = cluster.output(client);
        let (answer, length) = Answer::read(&output, true).unwrap();
        assert_eq!((answer.status, length), (200, output.len()));
        let body = 1 << 20 | br#"{"status":"OK","key":"a","value":""}"#.len();
        assert_eq!(answer.field("content-length"), Some(body.to_string().as_str()));
        assert_eq!(lent(&cluster), (0, 0));
    }
}

#[test]
fn a_client_that_stops_reading_is_closed() {
    const VALUE_BYTES: usize = 1 << 20;
    for (shards, key) in [(1, "a"), (2, "a"), (2, "b")] {
        let mut cluster = cluster_of_large_values(shards, VALUE_BYTES);
        let client = cluster.connect(0, Role::Data);
        cluster.take_only(client, 1_000);
        cluster.send(client, get(key));
        cluster.pass(Limits::DEFAULT.write_timeout.saturating_sub(SLACK));
        cluster.take_only(client, 1);
        let unsent = cluster.unsent(client);
        assert!(unsent <= UNSENT_MAX, "{unsent} bytes wait for a client that does not read");
        cluster.pass(Limits::DEFAULT.write_timeout);
        assert_eq!((cluster.end(client), lent(&cluster)), (End::Open, (1, 0)), "a byte in time");
        cluster.pass(SLACK);
        assert_eq!((cluster.end(client), lent(&cluster)), (End::Closed, (0, 0)));
        assert_eq!(cluster.output(client).len(), 1_001);
        assert!(cluster.is_quiet());
    }
}

#[test]
fn a_large_value_leaves_in_pieces_and_with_all_that_is_said_of_it() {
    let value: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
    for (shards, key, fate) in [(1, "a", "PUT"), (2, "a", "DELETE"), (2, "b", "PUT")] {
        let mut cluster = cluster_of_large_values(shards, 1 << 20);
        let (client, writer) = (cluster.connect(0, Role::Data), cluster.connect(0, Role::Data));
        let target = format!("/kv/{key}");
        cluster.send(writer, request("PUT", &target, "Content-Type: image/png\r\n", &value));
        cluster.take_only(client, 0);
        cluster.send(client, request("HEAD", &target, "", ""));
        cluster.send(client, request("GET", &target, "", ""));
        cluster.send(client, request("GET", "/healthz", "", ""));
        let mut output = Vec::new();
        for step in 0.. {
            cluster.take_only(client, 9_999);
            let taken = cluster.output(client);
            if taken.is_empty() {
                break;
            }
            output.extend(taken);
            assert!(cluster.unsent(client) <= UNSENT_MAX, "{} bytes", cluster.unsent(client));
            if step == 5 {
                assert_eq!(lent(&cluster), (1, 0));
                cluster.send(writer, request(fate, &target, "", "fresh"));
            }
        }
        let (head, length) = Answer::read(&output, true).unwrap();
        let (answer, end) = Answer::read(&output[length..], false).unwrap();
        assert!((answer.status, &answer.bytes) == (200, &value));
        for field in ["content-length", "content-type", "etag", "cache-control", "vary"] {
            assert_eq!(answer.field(field), head.field(field), "{field}");
        }
        assert_eq!(answer.field("content-type"), Some("image/png"));
        let (health, _) = Answer::read(&output[length + end..], false).unwrap();
        assert_eq!((health.status, lent(&cluster)), (200, (0, 0)));
    }
}
