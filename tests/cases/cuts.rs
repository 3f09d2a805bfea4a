//! Requests of every kind, cut at every byte.

use crate::{
    common::cluster::{Cluster, End, blank_versions},
    common::requests,
    input::{chunked, get, health, post, put},
    tell::{CONTINUE, Told, config, shown, statuses, tell, tell_in, value_of},
};
use kvcache::{config::Config, shard::Role};

#[test]
fn a_pipeline_may_be_cut_anywhere() {
    let body = "a;x=\"y\"\r\n{\"key\":\"a\"\r\nd\r\n,\"value\":\"c\"}\r\n0\r\nT: u\r\n\r\n";
    let input = [
        put("a", "b"),
        "\r\n".to_owned(),
        get("a"),
        chunked(body),
        get("a"),
        "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        post("[]"),
        get("b"),
    ];
    let input = input.concat();
    let whole = tell(&input);
    let answers = whole.answers();
    statuses(&answers, &[200, 200, 200, 200, 204, 400, 404]);
    assert_eq!((value_of(&answers[1]), value_of(&answers[3])), ("b".to_owned(), "c".to_owned()));
    for (shards, home) in [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)] {
        for cut in 1..input.len() {
            let pieces = [&input.as_bytes()[..cut], &input.as_bytes()[cut..]];
            let told = tell_in(&config(shards), home, Role::Data, pieces.into_iter());
            assert_eq!(told, whole, "cut at {cut}, shard {home} of {shards}");
        }
    }
}

/// Sends the pieces of one request to a store that holds something, then asks for health.
fn tell_pieces(config: &Config, home: usize, role: Role, pieces: &[&[u8]]) -> Told {
    let mut cluster = Cluster::new(config);
    let before = cluster.connect(0, Role::Data);
    cluster.send(before, requests::BEFORE.iter().map(requests::sized).collect::<String>());
    cluster.reset(before);
    let client = cluster.connect(home, role);
    for piece in pieces {
        cluster.send(client, piece);
    }
    cluster.send(client, health());
    let mut bytes = cluster.output(client);
    // Nothing but this depends on whether the body has arrived with the head.
    if bytes.starts_with(CONTINUE) {
        bytes.drain(..CONTINUE.len());
    }
    blank_versions(&mut bytes);
    Told { bytes, is_open: cluster.end(client) == End::Open, entries: cluster.entries() }
}

#[test]
fn every_request_may_be_cut_anywhere() {
    let requests = requests::all();
    assert!(requests.len() >= 60);
    for (role, request) in requests {
        let request = request.as_bytes();
        for (shards, home) in [(1, 0), (2, 0), (2, 1)] {
            let config = config(shards);
            let ways = format!("shard {home} of {shards}: {}", shown(request));
            let whole = tell_pieces(&config, home, role, &[request]);
            assert!(whole.bytes.starts_with(b"HTTP/1.1 "), "no answer, {ways}");
            let bits: Vec<&[u8]> = request.chunks(1).collect();
            assert_eq!(tell_pieces(&config, home, role, &bits), whole, "in bits, {ways}");
            for cut in 1..request.len() {
                let (first, second) = request.split_at(cut);
                let told = tell_pieces(&config, home, role, &[first, second]);
                assert_eq!(told, whole, "cut at {cut}, {ways}");
            }
        }
    }
}
