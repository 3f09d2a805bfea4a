//! The hot paths allocate nothing once they are warm: every request that its own shard answers, and
//! every batch that goes to another shard but for the batch itself.

use allocation_counter::measure;
use kvcache::{
    clock::Millis,
    config::Config,
    shard::{ConnectionId, Message, Role, Shard},
    store::KeyHasher,
};
use std::time::{Duration, SystemTime};

const KEYS: usize = 4_000;
/// Requests in one read.
const BATCH: usize = 16;
const TURNS: usize = 100;

struct World {
    shards: Vec<Shard>,
    ids: Vec<ConnectionId>,
    mail: Vec<(usize, usize, Message)>,
    listed: Vec<ConnectionId>,
    /// Messages that have gone between shards.
    messages: u64,
}

impl World {
    fn new(count: usize) -> Self {
        let config = Config { shards: count, memory_bytes: 64 << 20, ..Config::default() };
        let hasher = KeyHasher::random();
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let shard = |me| Shard::new(me, config.clone(), hasher.clone(), Millis(1), date);
        let mut shards: Vec<Shard> = (0..count).map(shard).collect();
        let ids = shards.iter_mut().map(|shard| shard.open(Role::Data)).collect();
        Self { shards, ids, mail: Vec::new(), listed: Vec::new(), messages: 0 }
    }

    /// Each shard reads one batch; until all is answered. Returns the bytes of the answers.
    fn ask(&mut self, batch: &[u8]) -> usize {
        for (shard, &id) in self.shards.iter_mut().zip(&self.ids) {
            shard.receive(id, batch, false);
        }
        let mut bytes = 0;
        loop {
            for (from, shard) in self.shards.iter_mut().enumerate() {
                shard.begin_turn(Millis(2));
                shard.take_listed(&mut self.listed);
                shard.flush(|to, message| {
                    self.mail.push((from, to, message));
                    Ok(())
                });
            }
            for (shard, &id) in self.shards.iter_mut().zip(&self.ids) {
                let length = shard.unsent(id).len();
                shard.sent(id, length);
                bytes += length;
            }
            self.listed.clear();
            if self.mail.is_empty() {
                return bytes;
            }
            self.messages += self.mail.len() as u64;
            for (from, to, message) in self.mail.drain(..) {
                self.shards[to].deliver(from, message);
            }
        }
    }
}

fn batches(kind: &str) -> Vec<Vec<u8>> {
    let value = "v".repeat(128);
    let request = |key: usize| match kind {
        "GET /get" => format!("GET /get?key=key-{key:06} HTTP/1.1\r\nHost: a\r\n\r\n"),
        "GET /kv" => format!("GET /kv/key-{key:06} HTTP/1.1\r\nHost: a\r\n\r\n"),
        "PUT /kv" => format!(
            "PUT /kv/key-{key:06} HTTP/1.1\r\nHost: a\r\nContent-Length: 128\r\n\r\n{value}"
        ),
        _ => {
            let body = format!(r#"{{"key":"key-{key:06}","value":"{value}"}}"#);
            format!("POST /put HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        }
    };
    let keys: Vec<usize> = (0..KEYS).collect();
    keys.chunks(BATCH)
        .map(|keys| keys.iter().map(|&key| request(key)).collect::<String>().into())
        .collect()
}

/// Allocations, answered bytes and messages of many turns, all keys being there and all paths warm.
/// A debug build's store checks itself after more operations than two rounds have, and allocates
/// then; so the better of two counts.
fn count(shards: usize, kind: &str) -> (u64, usize, u64) {
    let mut world = World::new(shards);
    let (puts, batches) = (batches("POST /put"), batches(kind));
    for batch in puts.iter().chain(&puts).chain(&batches).chain(&batches) {
        world.ask(batch);
    }
    let mut round = || {
        let (mut bytes, before) = (0, world.messages);
        let found = measure(|| {
            for batch in batches.iter().cycle().take(TURNS) {
                bytes += world.ask(batch);
            }
        });
        (found.count_total, bytes, world.messages - before)
    };
    round().min(round())
}

#[test]
fn what_a_shard_answers_alone_allocates_nothing() {
    for kind in ["GET /get", "POST /put", "GET /kv", "PUT /kv"] {
        let (allocations, bytes, messages) = count(1, kind);
        assert!(bytes > 50 * BATCH * TURNS, "{kind}: every request is answered");
        assert_eq!((allocations, messages), (0, 0), "{kind}");
    }
}

#[test]
fn what_goes_to_another_shard_allocates_less_than_once_a_message() {
    for kind in ["GET /get", "POST /put", "GET /kv", "PUT /kv"] {
        let (allocations, bytes, messages) = count(2, kind);
        assert!(bytes > 2 * 50 * BATCH * TURNS, "{kind}: every request is answered");
        assert!(messages >= 2 * TURNS as u64, "{kind}: both shards ask each other");
        assert!(allocations <= messages, "{kind}: {allocations} for {messages} messages");
    }
}
