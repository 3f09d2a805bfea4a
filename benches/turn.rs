//! CPU time per request of one shard without its sockets: request bytes in, answer bytes out.
//!
//! `cargo bench --bench turn [-- SECONDS]` prints nanoseconds per request, the least of many
//! rounds, for requests that come alone and in batches of 16, over 32 connections and 10,000 keys; and
//! what it costs to time one that comes alone.
//! `cargo bench --bench turn -- count NAME` runs one of the cases 200,000 times, for a profiler
//! that counts instructions.

use kvcache::{
    clock::{Clock, Millis},
    config::Config,
    latency::{Latency, Start, Timing},
    metrics::{Operation, Outcome, ProtocolName},
    shard::{ConnectionId, Role, Shard},
    store::KeyHasher,
};
use std::{
    hint::black_box,
    time::{Duration, SystemTime},
};

const CONNECTIONS: usize = 32;
const KEYS: usize = 10_000;
/// Answers that are timed in a row.
const ANSWERS: u32 = 100_000;

struct Case {
    name: &'static str,
    depth: usize,
    /// What every connection sends, several times over.
    batches: Vec<Vec<u8>>,
}

fn request(kind: &str, key: usize) -> String {
    let value = "v".repeat(128);
    match kind {
        "get" => format!("GET /get?key=key-{key:06} HTTP/1.1\r\nHost: localhost:7171\r\n\r\n"),
        "put" => {
            let body = format!("{{\"key\":\"key-{key:06}\",\"value\":\"{value}\"}}");
            format!(
                "POST /put HTTP/1.1\r\nHost: localhost:7171\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            )
        }
        "kv get" => format!("GET /kv/key-{key:06} HTTP/1.1\r\nHost: localhost:7171\r\n\r\n"),
        "kv put" => format!(
            "PUT /kv/key-{key:06} HTTP/1.1\r\nHost: localhost:7171\r\nContent-Length: 128\r\n\r\n{value}"
        ),
        _ => unreachable!("one of the four"),
    }
}

fn cases() -> Vec<Case> {
    let mut random = 1_u64;
    let mut key = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(random >> 33).expect("31 bits") % KEYS
    };
    let mut cases = Vec::new();
    for name in ["get", "put", "kv get", "kv put"] {
        for depth in [1, 16] {
            let mut batch = || (0..depth).map(|_| request(name, key())).collect::<String>();
            let batches = (0..1024).map(|_| batch().into_bytes()).collect();
            cases.push(Case { name, depth, batches });
        }
    }
    cases
}

/// A full shard with its connections.
fn shard() -> (Shard, Vec<ConnectionId>) {
    let config = Config { shards: 1, memory_bytes: 64 << 20, ..Config::default() };
    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    let mut shard = Shard::new(0, config, KeyHasher::random(), Millis(1), date);
    let ids: Vec<_> = (0..CONNECTIONS).map(|_| shard.open(Role::Data)).collect();
    for key in 0..KEYS {
        shard.receive(ids[0], request("put", key).as_bytes(), false);
        answer(&mut shard, ids[0]);
    }
    (shard, ids)
}

fn answer(shard: &mut Shard, id: ConnectionId) -> usize {
    let bytes = black_box(shard.unsent(id)).len();
    shard.sent(id, bytes);
    black_box(shard.intent(id));
    bytes
}

fn round(shard: &mut Shard, ids: &[ConnectionId], case: &Case) {
    shard.begin_turn(Millis(2));
    for (batch, &id) in case.batches.iter().zip(ids.iter().cycle()) {
        shard.receive(id, batch, false);
        assert!(answer(shard, id) > 50 * case.depth, "every request is answered");
    }
}

/// Times what came alone, as the server does: a look at the clock and one more in a histogram.
fn time(latency: &mut Latency, clock: &Clock) {
    for number in 0..ANSWERS {
        let now_us = clock.micros();
        // From 1 us to about 16 ms, mostly short.
        let took = 1 << (number.wrapping_mul(0x9e37_79b9).leading_zeros() % 15);
        #[expect(clippy::cast_possible_truncation, reason = "as the server's own")]
        let micros = (now_us as u32).wrapping_sub(took);
        let start = Start { protocol: ProtocolName::Http, operation: Operation::Get, micros };
        let timing = Timing { start, answers: 1, outcome: Outcome::Ok, end: 0 };
        black_box(latency.record(&timing, now_us));
    }
}

fn cpu_nanos() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).expect("time is positive")
}

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let (mut shard, ids) = shard();
    if let [count, name] = arguments.as_slice()
        && count == "count"
    {
        let case =
            cases().into_iter().find(|case| format!("{} {}", case.name, case.depth) == *name);
        let case = case.expect("a case is get, put, kv get or kv put and 1 or 16");
        for _ in 0..200_000 / 1024 {
            round(&mut shard, &ids, &case);
        }
        return;
    }
    let seconds: u64 = arguments.first().map_or(1, |text| text.parse().expect("seconds"));
    for case in cases() {
        let (mut least, mut spent) = (u64::MAX, 0);
        while spent < seconds * 1_000_000_000 {
            let start = cpu_nanos();
            round(&mut shard, &ids, &case);
            let took = cpu_nanos() - start;
            spent += took;
            least = least.min(took);
        }
        let requests = u64::try_from(case.batches.len() * case.depth).expect("few");
        eprintln!("{:8} {:2} in a batch: {:4} ns", case.name, case.depth, least / requests);
    }
    let (mut latency, clock) = (Latency::default(), Clock::start());
    let took = (0..100).map(|_| {
        let start = cpu_nanos();
        time(&mut latency, &clock);
        cpu_nanos() - start
    });
    let least = took.min().expect("some rounds");
    eprintln!("timing one that comes alone: {:4} ns", least / u64::from(ANSWERS));
}
