//! How connections end, and how many there may be.

use crate::{
    common::cluster::{Cluster, End},
    input::{BODY, chunked, get, put},
    large_values::cluster_of_large_values,
    tell::{ABSENT, SLACK, STORED, closed, config, is_problem, kept, read_all, statuses},
};
use kvcache::{config::Limits, shard::Role};

#[test]
fn connection_options_decide_what_follows() {
    let ask = |version: &str, field: &str| {
        format!("GET /get?key=a HTTP/{version}\r\nHost: h\r\n{field}\r\n")
    };
    for field in
        ["close", "Close", "keep-alive, close", "x ,\tCLOSE", "close\r\nConnection: keep-alive"]
    {
        let field = format!("Connection: {field}\r\n");
        for version in ["1.0", "1.1"] {
            let answers = closed(ask(version, &field));
            assert_eq!(answers[0].body, ABSENT);
        }
    }
    for field in ["", "Connection: x\r\n", "Keep-Alive: timeout=5\r\n"] {
        assert_eq!(closed(ask("1.0", field))[0].body, ABSENT);
        let answers = kept(ask("1.1", field));
        assert_eq!((answers[0].body.as_str(), answers[0].field("connection")), (ABSENT, None));
    }
    let keep_alive = "Connection: Keep-Alive\r\n";
    let answers = kept(ask("1.0", keep_alive) + &ask("1.1", keep_alive));
    statuses(&answers, &[404, 404]);
    assert_eq!(answers[0].field("connection"), Some("keep-alive"));
    assert_eq!(answers[1].field("connection"), None);
}

#[test]
fn a_connection_that_breaks_leaves_nothing_behind() {
    for shards in [1, 2] {
        let mut cluster = Cluster::new(&config(shards));
        let input = [put("a", "b"), put("b", "c"), get("a"), get("b")].concat();
        for cut in 0..input.len() {
            let client = cluster.connect(0, Role::Data);
            cluster.send(client, &input[..cut]);
            cluster.reset(client);
        }
        assert!(cluster.is_quiet());
        let open: u64 = cluster.reports().iter().map(|r| r.counters.connections.open).sum();
        assert_eq!(open, 0);
    }
}

#[test]
fn input_that_ends_is_answered_if_it_is_whole() {
    for (shards, home) in [(1, 0), (2, 0), (2, 1)] {
        for (input, expected) in [(put("a", "b"), STORED), (get("a"), ABSENT)] {
            let mut cluster = Cluster::new(&config(shards));
            let client = cluster.connect(home, Role::Data);
            cluster.send(client, &input);
            cluster.finish(client);
            let answers = read_all(&cluster.output(client));
            assert_eq!((answers.len(), answers[0].body.as_str()), (1, expected));
            assert_eq!(cluster.end(client), End::Closed);
        }
        for input in [put("a", "b"), chunked(&format!("17\r\n{BODY}\r\n0\r\n\r\n"))] {
            for cut in 0..input.len() {
                let mut cluster = Cluster::new(&config(shards));
                let client = cluster.connect(home, Role::Data);
                cluster.send(client, &input[..cut]);
                cluster.finish(client);
                assert_eq!(cluster.end(client), End::Closed, "cut at {cut}");
                assert_eq!(cluster.output(client), b"", "cut at {cut}");
                assert_eq!(cluster.entries(), 0);
            }
        }
    }
}

#[test]
fn answers_are_sent_after_the_end_of_input() {
    for key in ["a", "b"] {
        let mut cluster = cluster_of_large_values(2, 10_000);
        let client = cluster.connect(0, Role::Data);
        cluster.take_only(client, 0);
        cluster.send(client, get(key).repeat(100));
        cluster.finish(client);
        cluster.take_only(client, usize::MAX);
        assert_eq!(read_all(&cluster.output(client)).len(), 100);
        assert_eq!(cluster.end(client), End::Closed);
    }
}

#[test]
fn a_connection_above_the_limit_is_503() {
    let mut cluster = Cluster::new(&config(1));
    let client = cluster.connect_in_vain(0);
    let answers = read_all(&cluster.output(client));
    is_problem(&answers, 503, "too_many_connections", b"");
    assert_eq!(answers[0].field("retry-after"), Some("1"));
    assert!(answers[0].says_close());
    assert_eq!(cluster.end(client), End::HalfClosed);
    cluster.send(client, get("a"));
    assert_eq!(cluster.output(client), b"");
    cluster.finish(client);
    assert_eq!(cluster.end(client), End::Closed);
    assert_eq!(cluster.reports()[0].counters.connections.open, 0);
}

#[test]
fn what_comes_after_the_last_answer_is_drained_within_bounds() {
    let limits = Limits::DEFAULT;
    let broken = "GET / HTTP/1.1\r\n\r\n";
    let mut cluster = Cluster::new(&config(1));
    let [patient, flooded, slow] = [(); 3].map(|()| cluster.connect(0, Role::Data));
    for client in [patient, flooded, slow] {
        cluster.send(client, broken);
        assert_eq!(cluster.end(client), End::HalfClosed);
        cluster.output(client);
    }
    cluster.send(patient, vec![b'x'; limits.linger_bytes_max]);
    cluster.send(flooded, vec![b'x'; limits.linger_bytes_max]);
    assert_eq!(cluster.end(flooded), End::HalfClosed);
    cluster.send(flooded, "x");
    assert_eq!(cluster.end(flooded), End::Closed);
    cluster.finish(patient);
    assert_eq!(cluster.end(patient), End::Closed);
    cluster.pass(limits.linger_timeout);
    assert_eq!(cluster.end(slow), End::HalfClosed);
    cluster.pass(SLACK);
    assert_eq!(cluster.end(slow), End::Closed);
    for client in [patient, flooded, slow] {
        assert_eq!(cluster.output(client), b"");
    }
}

#[test]
fn a_server_that_drains_answers_what_has_arrived() {
    for (shards, home) in [(1, 0), (2, 0), (2, 1)] {
        let mut cluster = Cluster::new(&config(shards));
        let [idle, half, busy] = [(); 3].map(|()| cluster.connect(home, Role::Data));
        let request = put("a", "b");
        cluster.send(half, &request[..40]);
        cluster.take_only(busy, 0);
        cluster.send(busy, get("a").repeat(500));
        cluster.drain();
        assert_eq!(cluster.end(idle), End::HalfClosed);
        assert_eq!((cluster.end(half), cluster.end(busy)), (End::Open, End::Open));

        cluster.send(half, &request[40..]);
        let answers = read_all(&cluster.output(half));
        assert_eq!((answers[0].body.as_str(), answers[0].says_close()), (STORED, true));
        assert_eq!(cluster.end(half), End::HalfClosed);

        cluster.take_only(busy, usize::MAX);
        let answers = read_all(&cluster.output(busy));
        assert_eq!(answers.len(), 500);
        assert!(answers[499].says_close(), "the last answer says so");
        assert!(answers[..499].iter().all(|answer| !answer.says_close()));
        assert_eq!(cluster.end(busy), End::HalfClosed);
        assert_eq!(cluster.output(idle), b"");
        for client in [idle, half, busy] {
            cluster.finish(client);
        }
        assert!(cluster.is_quiet());
    }
}

#[test]
fn a_server_that_drains_reads_all_that_was_sent_before() {
    // Requests of 64 bytes: a read ends where a request ends.
    let request = "GET /get?key=a HTTP/1.1\r\nHost: h\r\nX: 01234567890123456789012\r\n\r\n";
    assert_eq!(request.len(), 64);
    for (shards, home) in [(1, 0), (2, 0), (2, 1)] {
        let mut cluster = Cluster::new(&config(shards));
        let client = cluster.connect(home, Role::Data);
        cluster.take_only(client, 0);
        cluster.send(client, request.repeat(4_096));
        assert!(cluster.unread(client) > 0);
        cluster.drain();
        cluster.take_only(client, usize::MAX);
        let answers = read_all(&cluster.output(client));
        assert_eq!(answers.len(), 4_096);
        assert_eq!(cluster.end(client), End::HalfClosed);
    }
}
