//! Many requests at once: their order, and what holds them up.

use crate::{
    common::cluster::{Cluster, End},
    input::{get, put},
    large_values::cluster_of_large_values,
    tell::{ABSENT, config, kept, read_all, value_of, with_limits},
};
use kvcache::shard::Role;
use std::time::Duration;

#[test]
fn a_full_way_between_shards_is_503_and_the_connection_stays() {
    let config = with_limits(2, |limits| limits.hop_requests_max = 2);
    // Two keys of each shard: CRC16 of "a" and "b" lie in different halves.
    let input = [get("a"), get("b")].concat().repeat(4);
    for home in [0, 1] {
        let mut cluster = Cluster::new(&config);
        let client = cluster.connect(home, Role::Data);
        cluster.send(client, &input);
        let answers = read_all(&cluster.output(client));
        let overloaded: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
        assert_eq!((answers.len(), overloaded.len()), (8, 2));
        for answer in overloaded {
            assert_eq!(
                (answer.code().as_str(), answer.field("retry-after")),
                ("overloaded", Some("1"))
            );
        }
        cluster.send(client, get("a"));
        assert_eq!(read_all(&cluster.output(client))[0].body, ABSENT);
        assert_eq!(cluster.end(client), End::Open);
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let puts: String = keys.iter().map(|key| put(key, &format!("value of {key}"))).collect();
    let gets: String = keys.iter().map(|key| get(key)).collect();
    let answers = kept(puts + &gets);
    for (key, answer) in keys.iter().zip(&answers[keys.len()..]) {
        assert_eq!(value_of(answer), format!("value of {key}"));
    }
}

#[test]
fn answers_that_wait_for_a_shard_hold_up_the_later_ones() {
    let mut cluster = Cluster::new(&config(2));
    let (one, two) = (cluster.connect(0, Role::Data), cluster.connect(1, Role::Data));
    let input: String = ["a", "b", "b", "a", "a", "b"].map(get).concat();
    for client in [one, two] {
        cluster.send(client, put("a", "1") + &put("b", "2"));
        cluster.output(client);
        cluster.send(client, &input);
        let answers = read_all(&cluster.output(client));
        let values: String = answers.iter().map(value_of).collect();
        assert_eq!(values, "122112");
    }
}

#[test]
fn foreign_requests_leave_together_where_values_may_be_large() {
    let mut cluster = cluster_of_large_values(2, 1 << 20);
    let client = cluster.connect(0, Role::Data);
    cluster.send(client, put("a", "small") + &put("b", "small"));
    cluster.output(client);
    let messages = |cluster: &Cluster| cluster.reports()[0].hops.messages;
    let before = messages(&cluster);
    for key in ["a", "b"] {
        cluster.send(client, get(key).repeat(16));
        assert_eq!(read_all(&cluster.output(client)).len(), 16);
    }
    assert_eq!(messages(&cluster) - before, 4);
}

#[test]
fn a_client_that_reads_late_gets_every_answer() {
    for key in ["a", "b"] {
        let mut cluster = cluster_of_large_values(2, 1_000);
        let client = cluster.connect(0, Role::Data);
        cluster.take_only(client, 0);
        cluster.send(client, get(key).repeat(3_000));
        while cluster.unread(client) > 0 {
            cluster.pass(Duration::from_secs(1));
            cluster.take_only(client, 10_000);
        }
        cluster.take_only(client, usize::MAX);
        let answers = read_all(&cluster.output(client));
        assert_eq!(answers.len(), 3_000);
        assert!(answers.iter().all(|answer| answer.status == 200));
        assert_eq!(cluster.end(client), End::Open);
    }
}
