//! The store under random programs, beside a model.
//!
//! `KVCACHE_SEED=<n>` plays one program again; `KVCACHE_PROGRAM=<file>` one that the fuzzer found.

mod common {
    pub(crate) mod model;
}

use common::model::{Program, Setup, Step, play};
use kvcache::store::Eviction;

const SEEDS: u64 = if cfg!(miri) { 3 } else { 24 };
/// Bytes of a program; a step takes about seven.
const PROGRAM_BYTES: usize = if cfg!(miri) { 1_500 } else { 140_000 };

fn random_program(seed: u64) -> Program {
    eprintln!("KVCACHE_SEED={seed}");
    let mut bytes = vec![0; PROGRAM_BYTES];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    Program::decode(&bytes)
}

#[test]
fn agrees_with_a_map_and_a_queue() {
    if let Ok(seed) = std::env::var("KVCACHE_SEED") {
        return random_program(seed.parse().expect("KVCACHE_SEED is a number")).play();
    }
    for seed in 0..SEEDS / 2 {
        random_program(seed).play();
    }
    for _ in 0..SEEDS.div_ceil(2) {
        random_program(fastrand::u64(..)).play();
    }
}

#[test]
fn agrees_on_a_program_from_a_file() {
    let Ok(path) = std::env::var("KVCACHE_PROGRAM") else { return };
    Program::decode(&std::fs::read(path).expect("KVCACHE_PROGRAM is a file")).play();
}

/// Whichever entries a rule evicts: no more are gone than it says, and the others are whole.
#[test]
fn every_rule_loses_only_what_it_evicts() {
    let puts = if cfg!(miri) { 40 } else { 6_000 };
    for (eviction, _) in Eviction::NAMES {
        let setup = Setup {
            eviction,
            memory_kib: 1 << 10,
            key_bytes_max: 256,
            entries_max: puts as usize / 3,
            hash_mask: !0,
            start_ms: 0,
        };
        let step = |number: u32| {
            let (id, len) = (number * 7 % (puts / 2), number as usize % 600);
            match number % 4 {
                0 | 1 => Step::Put { id: id + number % 2 * puts, len, fill: 1, ttl_ms: 0 },
                2 => Step::Delete { id: id / 8 },
                _ => Step::Get { id: id / 2 },
            }
        };
        let mut steps: Vec<Step> = (0..4 * puts).map(step).collect();
        steps.extend([Step::WalkAll, Step::Flush, Step::Put { id: 1, len: 9, fill: 1, ttl_ms: 0 }]);
        play(&setup, &steps);
    }
}
