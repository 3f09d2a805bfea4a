//! The store under random programs, beside a model.
//!
//! `KVCACHE_SEED=<n>` plays one program again; `KVCACHE_PROGRAM=<file>` one that the fuzzer found.

mod common {
    pub(crate) mod model;
}

use common::model::{If, Program, Setup, Step, play};
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

/// Where nothing is evicted, readers get versions and leases all the same.
#[test]
#[cfg_attr(miri, ignore = "Miri takes minutes to fill a megabyte")]
fn a_full_store_that_evicts_nothing_is_read_and_touched() {
    let (ids, len) = (3_000, 700);
    let setup = Setup {
        eviction: "none",
        memory_kib: 1 << 10,
        key_bytes_max: 16,
        entries_max: 0,
        hash_mask: !0,
        start_ms: 0,
    };
    let only = If::Always;
    let write = |id: u32| {
        let (type_bytes, tags, stale_ms) = (0, 0, 100_000);
        let len = len - 3 * id as usize;
        Step::Write { id, len, fill: 1, ttl_ms: 1_000, only, type_bytes, tags, stale_ms }
    };
    let put = |id: u32| Step::Put { id, len: len - id as usize % 64, fill: 1, ttl_ms: 0 };
    let read = |id: u32| Step::Read { id, only, lease_ms: 700, is_use: true, details: true };
    let read_known = |id: u32| Step::Read {
        id,
        only: If::ItsVersion,
        lease_ms: 0,
        is_use: false,
        details: true,
    };
    let mut steps: Vec<Step> = (0..24).map(write).chain((24..ids).map(put)).collect();
    steps.push(Step::Wait { ms: 1_000 });
    // Nothing changed for who was refused: neither the entry nor its lease.
    steps.extend((0..24).flat_map(|id| {
        [read(id), Step::Touch { id, ttl_ms: 0, only }, read(id), Step::Wait { ms: 700 }]
    }));
    steps.extend((0..ids).flat_map(|id| [read(id), read_known(id)]));
    steps.extend((0..ids).step_by(2).map(|id| Step::Delete { id }));
    steps.extend((0..ids).flat_map(|id| [read_known(id), read(id)]));
    play(&setup, &steps);
}

/// Whoever changes a key ends its lease, wherever the entry then lies.
#[test]
fn every_change_of_a_key_ends_its_lease() {
    let setup = Setup {
        eviction: "lru",
        memory_kib: 1 << 10,
        key_bytes_max: 16,
        entries_max: 0,
        hash_mask: !0,
        start_ms: 0,
    };
    let only = If::Always;
    let (type_bytes, tags, stale_ms) = (9, 3, 100_000);
    let write =
        |id, len| Step::Write { id, len, fill: 0, ttl_ms: 9, only, type_bytes, tags, stale_ms };
    let changes = |id| {
        [
            Step::Put { id, len: 20, fill: 0, ttl_ms: 0 },
            Step::Put { id, len: 50, fill: 0, ttl_ms: 9 },
            Step::Put { id, len: 3_000, fill: 1, ttl_ms: 0 },
            write(id, 20),
            write(id, 3),
            Step::Touch { id, ttl_ms: 5, only },
            Step::Touch { id, ttl_ms: 0, only },
            Step::Add { id, by: 1, only },
        ]
    };
    let steps = (0..8).flat_map(|id| {
        let read = Step::Read { id, only, lease_ms: 1_000, is_use: true, details: true };
        let change = changes(id)[id as usize];
        [write(id, 18), Step::Wait { ms: 10 }, read, read, change, Step::Delete { id }, read, read]
            .into_iter()
            .chain([Step::Wait { ms: 2_000 }])
    });
    play(&setup, &steps.collect::<Vec<Step>>());
}
