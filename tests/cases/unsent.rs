//! What clients that do not take their answers can make a shard hold: a bound for all together.

use crate::{
    common::cluster::{Client, Cluster},
    input::{get, mget, put, request},
    tell::{STORED, read_all, with_limits},
};
use kvcache::{
    config::{Config, Limits},
    shard::Role,
};
use std::time::Duration;

const VALUE_BYTES: usize = 90_000;
/// Three answers of about two values each stay below it, the fourth makes it full.
const REPLIES_BYTES_MAX: usize = 700_000;

fn narrow(shards: usize) -> Config {
    let change = |limits: &mut Limits| {
        limits.value_bytes_max = VALUE_BYTES;
        limits.reply_bytes_max = 200_000;
        limits.buffered_bytes_max = REPLIES_BYTES_MAX;
    };
    Config { memory_bytes: shards << 23, ..with_limits(shards, change) }
}

fn buffered(cluster: &Cluster) -> u64 {
    cluster.reports().iter().map(|it| it.counters.connections.buffered_bytes).sum()
}

/// Clients of one shard that have each asked for two values and take nothing.
fn deaf(cluster: &mut Cluster, count: usize) -> Vec<Client> {
    let deaf: Vec<Client> = (0..count).map(|_| cluster.connect(0, Role::Data)).collect();
    for &client in &deaf {
        cluster.take_only(client, 0);
        cluster.send(client, mget(&["a", "b"]));
    }
    deaf
}

/// What a new client is answered.
fn status(cluster: &mut Cluster, input: impl AsRef<[u8]>) -> u16 {
    let client = cluster.connect(0, Role::Data);
    cluster.send(client, input);
    read_all(&cluster.output(client))[0].status
}

#[test]
fn long_answers_that_nobody_takes_are_bounded_together() {
    for shards in [1, 2] {
        let mut cluster = Cluster::new(&narrow(shards));
        let good = cluster.connect(0, Role::Data);
        for key in ["a", "b"] {
            cluster.send(good, put(key, &"v".repeat(VALUE_BYTES)));
        }
        cluster.send(good, put("small", "v"));
        assert!(read_all(&cluster.output(good)).iter().all(|answer| answer.body == STORED));
        assert_eq!(buffered(&cluster), 0);

        let deaf = deaf(&mut cluster, 40);
        let held = buffered(&cluster);
        let bound = (REPLIES_BYTES_MAX, REPLIES_BYTES_MAX + 200_000);
        assert!((bound.0 as u64..bound.1 as u64).contains(&held), "{held}");
        let unsent: usize = deaf.iter().map(|&client| cluster.unsent(client)).sum();
        assert!(unsent < bound.1 + deaf.len() * 400, "{unsent}");

        // What may be long is refused, whatever it would find, and so are writes; all else goes on.
        cluster.send(good, mget(&["small"]));
        let answer = read_all(&cluster.output(good)).remove(0);
        assert_eq!((answer.status, answer.field("retry-after")), (503, Some("1")));
        assert!(answer.body.contains(r#""code":"overloaded""#), "{}", answer.body);
        assert_eq!(status(&mut cluster, request("GET", "/get?key=a&lease=1", "", "")), 503);
        // What is lent holds nothing.
        assert_eq!(status(&mut cluster, request("GET", "/kv/a", "", "")), 200);
        assert_eq!(status(&mut cluster, get("small")), 200);
        assert_eq!(status(&mut cluster, get("a")), 200);
        assert_eq!(status(&mut cluster, put("other", "v")), 503);
        assert_eq!(status(&mut cluster, request("GET", "/healthz", "", "")), 200);

        // One that is gone and one that takes all make room.
        cluster.reset(deaf[0]);
        cluster.take_only(deaf[1], usize::MAX);
        assert!(buffered(&cluster) < held - 2 * 2 * VALUE_BYTES as u64);
        assert_eq!(status(&mut cluster, mget(&["small"])), 200);
        assert_eq!(status(&mut cluster, request("GET", "/get?key=a&lease=1", "", "")), 200);
        cluster.pass(Duration::from_secs(5));
        assert_eq!(buffered(&cluster), 0);
        assert_eq!(status(&mut cluster, put("other", "v")), 200);
    }
}

#[test]
fn answers_that_are_away_count_before_they_come() {
    let mut cluster = Cluster::new(&narrow(2));
    let clients: Vec<Client> = (0..10).map(|_| cluster.connect(0, Role::Data)).collect();
    let foreign = ["1", "2", "3"].map(|key| format!("{{a}}{key}"));
    let foreign: Vec<&str> = foreign.iter().map(String::as_str).collect();
    for &client in &clients {
        cluster.send_bytes(client, mget(&foreign));
    }
    cluster.turn();
    let refused = |cluster: &mut Cluster, client| {
        read_all(&cluster.output(client)).first().is_some_and(|answer| answer.status == 503)
    };
    let refusals = clients.iter().filter(|&&client| refused(&mut cluster, client)).count();
    // Each may bring `reply_bytes_max`.
    assert_eq!(refusals, 10 - REPLIES_BYTES_MAX.div_ceil(200_000));
    cluster.pass(Duration::from_millis(250));
    assert_eq!(buffered(&cluster), 0, "there was nothing to find");
}
