//! The budget of a store, and the room that is made for a large body while it arrives.

use crate::{
    common::cluster::{Client, Cluster},
    input::{chunked, get, put},
    tell::{STORED, config, read_all, statuses, with_limits},
};
use kvcache::{shard::Role, store::Eviction};

#[test]
fn the_budget_holds_and_nothing_is_missing_before_it_is_reached() {
    for shards in [1, 2] {
        let mut cluster = Cluster::new(&config(shards));
        let client = cluster.connect(0, Role::Data);
        cluster.leave_unrecorded();
        let key = |number: u32| format!("key-{number:012}");
        let within = |cluster: &Cluster, percent: u64| {
            let reports = cluster.reports();
            reports.iter().all(|r| r.store.used_bytes * 100 <= r.store.budget_bytes * percent)
        };
        let mut count = 0;
        while within(&cluster, 70) {
            cluster.send(client, put(&key(count), &"v".repeat(128)));
            count += 1;
        }
        cluster.output(client);
        for number in 0..count {
            cluster.send(client, get(&key(number)));
        }
        let answers = read_all(&cluster.output(client));
        assert!(count > 1_000 && answers.iter().all(|answer| answer.status == 200));
        for number in count..4 * count {
            cluster.send(client, put(&key(number), &"v".repeat(128)));
            assert!(within(&cluster, 100), "after {number} puts");
        }
        let answers = read_all(&cluster.output(client));
        assert!(answers.iter().all(|answer| answer.body == STORED));
        cluster.send(client, get(&key(4 * count - 1)) + &get(&key(0)));
        statuses(&read_all(&cluster.output(client)), &[200, 404]);
    }
}

/// Shards of 1 MiB and a client that has filled them with small entries until they evict, but for
/// `None`, or put a few.
fn cluster_of_small_values(shards: usize, eviction: Eviction, puts: usize) -> (Cluster, Client) {
    let mut config = with_limits(shards, |limits| {
        limits.value_bytes_max = LARGE_BYTES;
        limits.body_bytes_max = 4 * LARGE_BYTES;
    });
    config.eviction = eviction;
    let mut cluster = Cluster::new(&config);
    cluster.leave_unrecorded();
    let client = cluster.connect(0, Role::Data);
    let small = "s".repeat(100);
    for first in (0..puts).step_by(100) {
        let input: String = (first..first + 100).map(|id| put(&id.to_string(), &small)).collect();
        cluster.send(client, input);
        cluster.output(client);
    }
    (cluster, client)
}

const LARGE_BYTES: usize = 150 << 10;

fn evictions(cluster: &Cluster) -> Vec<u64> {
    cluster.reports().iter().map(|report| report.store.evictions).collect()
}

#[test]
fn room_is_made_on_every_shard_while_a_large_body_arrives() {
    let whole = put("large", &"v".repeat(LARGE_BYTES));
    let (_, body) = whole.split_once("\r\n\r\n").unwrap();
    let size = body.len();
    let chunks = chunked(&format!("{size:x}\r\n{body}\r\n0\r\n\r\n"));
    for (shards, input) in [(1, &whole), (2, &whole), (1, &chunks), (2, &chunks)] {
        let (mut cluster, client) = cluster_of_small_values(shards, Eviction::Lru, 20_000);
        let before = evictions(&cluster);
        assert!(before.iter().all(|evictions| *evictions > 0));
        cluster.send(client, &input[..80 << 10]);
        while cluster.turn() {}
        let after = evictions(&cluster);
        assert!(before.iter().zip(&after).all(|(before, after)| before < after));
        for report in cluster.reports() {
            let free = report.store.budget_bytes - report.store.used_bytes;
            assert!(free >= LARGE_BYTES as u64, "{free} bytes are free");
        }
        cluster.send(client, &input[80 << 10..]);
        statuses(&read_all(&cluster.output(client)), &[200]);
        assert_eq!(evictions(&cluster), after);
    }
}

#[test]
fn no_room_is_made_where_none_is_needed_or_none_can_be_made() {
    let body = "v".repeat(LARGE_BYTES);
    let large = put("large", &body);
    let elsewhere = large.replacen("/put", "/get", 1);
    for (eviction, puts, input) in [
        (Eviction::Lru, 100, &large),
        (Eviction::None, 20_000, &large),
        (Eviction::Lru, 20_000, &elsewhere),
    ] {
        let (mut cluster, client) = cluster_of_small_values(2, eviction, puts);
        let before = evictions(&cluster);
        cluster.send(client, &input[..100 << 10]);
        assert!(!cluster.turn(), "a shard goes on for nothing");
        assert_eq!(evictions(&cluster), before);
    }
}
