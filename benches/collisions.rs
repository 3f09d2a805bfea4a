//! Keys chosen to collide cost no more than random ones: `cargo bench --bench collisions -- [SECONDS]`.
//!
//! Four stores of as many keys, all 16 bytes long: random keys; keys of one public slot; keys that
//! collide under a hash whose seed everybody knows, in a store that has a secret one; and, to show
//! that those would be a danger, the same keys in a store that has the known seed. The calls, each
//! a get or a put, alternate between the stores. Exits with 1 if the 99th percentile of the second
//! or the third is more than twice that of the first, or that of the last is not.

#![expect(clippy::print_stdout, reason = "this is its output")]

use kvcache::clock::Millis;
use kvcache::mesh;
use kvcache::store::{Bounds, Key, KeyHasher, Op, Reply, Store, Verb};
use rustix::time::{ClockId, clock_gettime};
use std::process::ExitCode;

const KEYS: usize = 100_000;
/// Low bits of the hash, which pick the bucket, that colliding keys share.
const BITS_SHARED: u64 = (1 << 10) - 1;
const SECONDS: u64 = 10;
const RATIO_MAX: f64 = 2.0;
/// Calls to one store in a row.
const ROW: usize = 64;

type Bytes = [u8; 16];

struct Case {
    name: &'static str,
    store: Box<Store>,
    hasher: KeyHasher,
    keys: Vec<Bytes>,
    calls_ns: Vec<u32>,
}

fn main() -> ExitCode {
    let seconds = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(SECONDS);
    let mut random = fastrand::Rng::with_seed(1);
    let known = KeyHasher::with_seed(1);
    let colliding = keys(&mut random, |key| known.hash(key) & BITS_SHARED == 0);
    let mut cases = [
        Case::new("random", KeyHasher::random(), keys(&mut random, |_| true)),
        Case::new("one slot", KeyHasher::random(), of_one_slot(&mut random)),
        Case::new("colliding, seed unknown", KeyHasher::random(), colliding.clone()),
        Case::new("colliding, seed known", known, colliding),
    ];
    let start = now_ns();
    while now_ns() - start < seconds * 1_000_000_000 {
        for case in &mut cases {
            case.calls(&mut random);
        }
    }
    println!("{:<24} {:>10} {:>8} {:>8} {:>6}", "keys", "calls", "p50 ns", "p99 ns", "ratio");
    let rows = cases.each_mut().map(Case::percentiles);
    let base = f64::from(rows[0].3);
    let mut failed = false;
    for (index, (name, calls, p50, p99)) in rows.into_iter().enumerate() {
        let ratio = f64::from(p99) / base;
        println!("{name:<24} {calls:>10} {p50:>8} {p99:>8} {ratio:>6.2}");
        failed |= (ratio > RATIO_MAX) != (index == 3);
    }
    ExitCode::from(u8::from(failed))
}

fn keys(random: &mut fastrand::Rng, accept: impl Fn(&Bytes) -> bool) -> Vec<Bytes> {
    std::iter::repeat_with(|| random.u128(..).to_le_bytes()).filter(accept).take(KEYS).collect()
}

/// Keys of slot 0. The checksum is linear, so the last two bytes can be looked up.
fn of_one_slot(random: &mut fastrand::Rng) -> Vec<Bytes> {
    let mut ends = vec![0; mesh::SLOTS];
    for end in 0..=u16::MAX {
        let mut key = Bytes::default();
        key[14..].copy_from_slice(&end.to_le_bytes());
        ends[mesh::slot(&key)] = end;
    }
    let keys = std::iter::repeat_with(|| {
        let mut key = random.u128(..).to_le_bytes();
        key[14..].fill(0);
        let end: u16 = ends[mesh::slot(&key)];
        key[14..].copy_from_slice(&end.to_le_bytes());
        key
    });
    // Braces, which a slot minds, spoil some.
    keys.filter(|key| mesh::slot(key) == 0).take(KEYS).collect()
}

impl Case {
    fn new(name: &'static str, hasher: KeyHasher, keys: Vec<Bytes>) -> Self {
        let bounds = Bounds {
            memory_bytes_max: 64 << 20,
            key_bytes_max: 256,
            value_bytes_max: 256,
            entries_max: 0,
        };
        let mut case =
            Self { name, store: Box::new(Store::new(&bounds)), hasher, keys, calls_ns: Vec::new() };
        for index in 0..KEYS {
            case.call(index, true);
        }
        case
    }

    fn call(&mut self, index: usize, is_put: bool) {
        let bytes = &self.keys[index];
        let key = Key { bytes: &bytes[..], hash: self.hasher.hash(bytes) };
        let verb = if is_put { Verb::put(&[7; 128][..], None) } else { Verb::get() };
        let reply = self.store.execute(&Op { key, verb }, Millis(0));
        assert!(matches!(reply, Reply::Value(_) | Reply::Created | Reply::Replaced));
    }

    fn calls(&mut self, random: &mut fastrand::Rng) {
        for _ in 0..ROW {
            let (index, is_put) = (random.usize(..KEYS), random.u8(..10) == 0);
            let start = now_ns();
            self.call(index, is_put);
            self.calls_ns.push(u32::try_from(now_ns() - start).unwrap_or(u32::MAX));
        }
    }

    /// Its name, its calls, and their 50th and 99th percentile.
    fn percentiles(&mut self) -> (&'static str, usize, u32, u32) {
        self.calls_ns.sort_unstable();
        let at = |share: usize| self.calls_ns[self.calls_ns.len() * share / 100];
        (self.name, self.calls_ns.len(), at(50), at(99))
    }
}

fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).expect("time is positive")
}
