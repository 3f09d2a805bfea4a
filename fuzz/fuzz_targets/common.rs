//! What the targets share.

#![allow(dead_code, reason = "each target uses a part of it")]

#[path = "../../tests/common/cluster.rs"]
pub(crate) mod cluster;
/// Nothing of made-up input is recorded: each target says itself what must be answered.
mod recording {
    pub(crate) fn check(_: &super::cluster::Exchange<'_>) {}
}

use cluster::{Cluster, End, blank_versions};
use kvcache::{config::Config, shard::Role};

/// The rest of the input, and a place in it that its first two bytes choose.
pub(crate) fn cut(input: &[u8]) -> Option<(&[u8], usize)> {
    let (place, rest) = input.split_first_chunk()?;
    Some((rest, usize::from(u16::from_le_bytes(*place)) % (rest.len() + 1)))
}

pub(crate) fn cluster(shards: usize) -> Cluster {
    Cluster::new(&Config { shards, memory_bytes: shards << 20, ..Config::default() })
}

/// What shard `home` answers to the pieces, and whether it keeps the connection.
pub(crate) fn tell(cluster: &mut Cluster, home: usize, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
    let client = cluster.connect(home, Role::Data);
    for piece in pieces {
        cluster.send(client, piece);
    }
    let is_open = cluster.end(client) == End::Open;
    let mut output = cluster.output(client);
    blank_versions(&mut output);
    (output, is_open)
}

/// The statuses of answers one after the other, of which none is to HEAD.
pub(crate) fn statuses(mut output: &[u8]) -> Vec<u16> {
    let mut statuses = Vec::new();
    while !output.is_empty() {
        let end = output.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
        let head = std::str::from_utf8(&output[..end]).expect("a head is ASCII");
        statuses.push(head[9..12].parse().expect("a status"));
        let length = head.split("\r\nContent-Length: ").nth(1);
        let length = length.map_or(0, |rest| {
            let digits = rest.split("\r\n").next().unwrap_or_default();
            digits.parse().expect("a length")
        });
        output = &output[end + 4 + length..];
    }
    statuses
}

/// A request with this body.
pub(crate) fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}
