//! CPU time per request of one shard without its sockets: request bytes in, answer bytes out.
//!
//! `cargo bench --bench turn [-- SECONDS]` prints nanoseconds per request, the least of many
//! rounds, for requests that come alone and in batches of 16, over 32 connections and 10,000 keys; the
//! same of two shards that have half of the keys each and exchange messages on one thread; and what
//! it costs to time one that comes alone.
//! `cargo bench --bench turn -- count NAME` runs one of the cases, `get 16` or `get 16 of two`, for
//! 200,000 batches, for a profiler that counts instructions.

use kvcache::{
    clock::{Clock, Millis},
    config::Config,
    latency::{Latency, Start, Timing},
    metrics::{Operation, Outcome, ProtocolName},
    shard::{ConnectionId, Message, Role, Shard},
    store::KeyHasher,
};
use std::{
    hint::black_box,
    time::{Duration, SystemTime},
};

const CONNECTIONS: usize = 32;
const KEYS: usize = 10_000;
/// What stands behind the name of a case of two shards.
const OF_TWO: &str = " of two";
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

/// Full shards, each with its connections, and the messages between them.
struct Server {
    shards: Vec<(Shard, Vec<ConnectionId>)>,
    mail: Vec<(usize, usize, Message)>,
    listed: Vec<ConnectionId>,
}

/// Connections of one shard that are read before its messages leave.
const READ_AHEAD: usize = 4;

impl Server {
    fn new(shards: usize) -> Self {
        let config = Config { shards, memory_bytes: shards * (64 << 20), ..Config::default() };
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let hasher = KeyHasher::random();
        let shard = |me| {
            let mut shard = Shard::new(me, config.clone(), hasher.clone(), Millis(1), date);
            let ids = (0..CONNECTIONS / shards).map(|_| shard.open(Role::Data)).collect();
            (shard, ids)
        };
        let shards = (0..shards).map(shard).collect();
        let mut server = Self { shards, mail: Vec::new(), listed: Vec::new() };
        for key in 0..KEYS {
            let (shard, ids) = &mut server.shards[0];
            let id = ids[0];
            shard.receive(id, request("put", key).as_bytes(), false);
            answer(shard, id);
            server.exchange();
        }
        server
    }

    /// Carries messages until every request is answered. Returns the bytes of the answers.
    fn exchange(&mut self) -> usize {
        let mut bytes = 0;
        loop {
            for (from, (shard, _)) in self.shards.iter_mut().enumerate() {
                let mail = &mut self.mail;
                shard.flush(|to, message| {
                    mail.push((from, to, message));
                    Ok(())
                });
            }
            if self.mail.is_empty() {
                return bytes;
            }
            for (from, to, message) in self.mail.drain(..) {
                let (shard, _) = &mut self.shards[to];
                shard.deliver(from, message);
                shard.take_listed(&mut self.listed);
                bytes += self.listed.drain(..).map(|id| answer(shard, id)).sum::<usize>();
            }
        }
    }

    fn round(&mut self, case: &Case) {
        for (shard, _) in &mut self.shards {
            shard.begin_turn(Millis(2));
        }
        let count = self.shards.len();
        let mut number = 0;
        for batches in case.batches.chunks(READ_AHEAD * count) {
            let mut bytes = 0;
            for batch in batches {
                let (shard, ids) = &mut self.shards[number % count];
                let id = ids[number / count % ids.len()];
                number += 1;
                shard.receive(id, batch, false);
                bytes += answer(shard, id);
            }
            if count > 1 {
                bytes += self.exchange();
            }
            assert!(bytes > 50 * case.depth * batches.len(), "every request is answered");
        }
    }
}

fn answer(shard: &mut Shard, id: ConnectionId) -> usize {
    let bytes = black_box(shard.unsent(id)).len();
    shard.sent(id, bytes);
    black_box(shard.intent(id));
    bytes
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
    let servers = [Server::new(1), Server::new(2)];
    if let [count, name] = arguments.as_slice()
        && count == "count"
    {
        let [mut one, mut two] = servers;
        let (name, server) = match name.strip_suffix(OF_TWO) {
            Some(name) => (name, &mut two),
            None => (name.as_str(), &mut one),
        };
        let case =
            cases().into_iter().find(|case| format!("{} {}", case.name, case.depth) == *name);
        let case = case.expect("a case is get, put, kv get or kv put and 1 or 16");
        for _ in 0..200_000 / 1024 {
            server.round(&case);
        }
        return;
    }
    let seconds: u64 = arguments.first().map_or(1, |text| text.parse().expect("seconds"));
    for (mut server, suffix) in servers.into_iter().zip(["", OF_TWO]) {
        for case in cases() {
            let (mut least, mut spent) = (u64::MAX, 0);
            while spent < seconds * 1_000_000_000 {
                let start = cpu_nanos();
                server.round(&case);
                let took = cpu_nanos() - start;
                spent += took;
                least = least.min(took);
            }
            let requests = u64::try_from(case.batches.len() * case.depth).expect("few");
            let (name, depth, each) = (case.name, case.depth, least / requests);
            eprintln!("{name:8} {depth:2} in a batch{suffix}: {each:4} ns");
        }
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
