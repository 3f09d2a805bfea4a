//! Nothing is lost below 70 % of the budget: `cargo bench --bench fill -- [MIB KEYS]`.
//!
//! Fills a store with entries of mixed sizes until they take 70 % of its budget, headers included,
//! then overwrites them at random for four turns while the usual size drifts. Each value follows
//! from its key and the number of its write; all are read back after the filling and after each
//! turn. Exits with 1 if a key is missing or a value is wrong.

#![expect(clippy::print_stdout, clippy::cast_possible_truncation, reason = "its output; small")]

use kvcache::clock::Millis;
use kvcache::store::{Bounds, Key, KeyHasher, Op, Reply, Store, Verb};
use std::process::ExitCode;

const VALUE_BYTES_MAX: usize = 2 << 10;
/// Header and key of an entry.
const OVERHEAD_BYTES: usize = 16 + 16;
const TURNS: usize = 4;

/// What was last written under a key.
#[derive(Clone, Copy)]
struct Written {
    count: u32,
    len: u16,
}

struct Run {
    store: Store,
    hasher: KeyHasher,
    random: fastrand::Rng,
    keys: Vec<Written>,
    /// Bytes of all entries, and what they may come to.
    bytes: usize,
    bytes_max: usize,
    misses: u64,
    wrong: u64,
}

fn main() -> ExitCode {
    let numbers: Vec<usize> =
        std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let cases = match numbers[..] {
        [mib, keys] => vec![(mib, keys)],
        _ => vec![(16, 37_000), (256, 600_000), (2_048, 5_000_000)],
    };
    println!("{:>6} {:>9} {:>16} {:>9} {:>7}", "MiB", "keys", "", "missing", "wrong");
    let mut failed = false;
    for (mib, keys) in cases {
        failed |= !Run::new(mib << 20, keys).go(mib);
    }
    ExitCode::from(u8::from(failed))
}

impl Run {
    fn new(memory_bytes_max: usize, keys: usize) -> Self {
        let bounds = Bounds {
            memory_bytes_max,
            key_bytes_max: 256,
            value_bytes_max: VALUE_BYTES_MAX,
            entries_max: 0,
        };
        Self {
            store: Store::new(&bounds),
            hasher: KeyHasher::random(),
            random: fastrand::Rng::with_seed(1),
            keys: vec![Written { count: 0, len: 0 }; keys],
            bytes: 0,
            bytes_max: memory_bytes_max / 10 * 7,
            misses: 0,
            wrong: 0,
        }
    }

    fn go(&mut self, mib: usize) -> bool {
        let keys = self.keys.len();
        let mean = (self.bytes_max / keys).checked_sub(OVERHEAD_BYTES).expect("fewer KEYS");
        for id in 0..keys {
            // The last ones take what the others have left.
            let fair = (self.bytes_max - self.bytes) / (keys - id) - OVERHEAD_BYTES;
            let len = self.random.usize(..=2 * fair);
            self.write(id, len);
        }
        self.report(mib, "filled");
        for turn in 0..TURNS {
            for step in 0..keys {
                // Small, then large, then small: a usual size for each tenth of a turn.
                let usual = mean / 4 + 2 * mean * (step * 10 / keys) / 9;
                let len = match self.random.u8(..16) {
                    0 => self.random.usize(..VALUE_BYTES_MAX),
                    _ => self.random.usize(usual / 2..=usual),
                };
                let id = self.random.usize(..keys);
                self.write(id, len);
            }
            self.report(mib, &format!("overwritten {}", turn + 1));
        }
        self.misses + self.wrong == 0
    }

    fn key(id: usize) -> [u8; 16] {
        (id as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_le_bytes()
    }

    fn value(id: usize, written: Written) -> Vec<u8> {
        let seed = (id as u64) << 32 | u64::from(written.count);
        let mut value = vec![0; usize::from(written.len)];
        fastrand::Rng::with_seed(seed).fill(&mut value);
        value
    }

    /// Writes a key, with a value as long as that or as long as there is room below the bound.
    fn write(&mut self, id: usize, len: usize) {
        let old = self.keys[id];
        if old.count > 0 {
            self.bytes -= usize::from(old.len) + OVERHEAD_BYTES;
        }
        let room = (self.bytes_max - self.bytes).saturating_sub(OVERHEAD_BYTES);
        let written = Written { count: old.count + 1, len: len.min(room) as u16 };
        self.bytes += usize::from(written.len) + OVERHEAD_BYTES;
        self.keys[id] = written;
        let (bytes, value) = (Self::key(id), Self::value(id, written));
        let key = Key { bytes: &bytes[..], hash: self.hasher.hash(&bytes) };
        let verb = Verb::put(&value[..], None);
        self.store.execute(&Op { key, verb }, Millis(0));
    }

    fn report(&mut self, mib: usize, what: &str) {
        for (id, &written) in self.keys.iter().enumerate() {
            let bytes = Self::key(id);
            let key = Key { bytes: &bytes[..], hash: self.hasher.hash(&bytes) };
            match self.store.execute(&Op { key, verb: Verb::get() }, Millis(0)) {
                Reply::Value(value) => {
                    self.wrong += u64::from(value != Self::value(id, written));
                }
                _ => self.misses += 1,
            }
        }
        let (keys, stats) = (self.keys.len(), self.store.stats());
        println!("{mib:>6} {keys:>9} {what:>16} {:>9} {:>7}", self.misses, self.wrong);
        println!(
            "       entries take {} of {} bytes, pages in use {}; {} evictions",
            stats.payload_bytes, stats.budget_bytes, stats.used_bytes, stats.evictions
        );
    }
}
