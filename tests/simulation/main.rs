//! A seeded simulation of everything but sockets: clients, connections, shards and the messages
//! between them take their turns as one seed decides.
//!
//! Checked are: one answer for each complete request, in order and with what it must say; nothing
//! after the last answer; no effect of a request that was incomplete or wrong; every key
//! linearizable, with its life, tags, leases, conditions, sums and removals; no wake-up lost; no
//! channel too full; nothing left at the end.
//!
//! ```text
//! KVCACHE_SIM_SEEDS=100000 cargo test --test simulation               # seeds 0 to 99,999
//! KVCACHE_SIM_SEED=17 cargo test --test simulation -- --nocapture     # one seed, step by step
//! ```

mod answer;
mod client;
mod coverage;
mod history;
mod profile;
mod response;
mod scheduler;
mod script;
mod upstream;
mod world;

use coverage::Coverage;
use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};
use world::World;

const SEEDS: u64 = 2_000;

/// With fewer seeds some of the rare places may not be reached.
const SEEDS_FOR_COVERAGE: u64 = 2_000;

/// Says which seed failed, and lets no further one begin.
struct Seed<'a> {
    seed: u64,
    next: &'a AtomicU64,
}

impl Drop for Seed<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.next.store(u64::MAX / 2, Ordering::Relaxed);
            eprintln!("to replay: KVCACHE_SIM_SEED={} cargo test --test simulation", self.seed);
        }
    }
}

fn run(seed: u64, next: &AtomicU64, is_traced: bool) -> Coverage {
    let _seed = Seed { seed, next };
    let mut world = World::new(seed, is_traced);
    world.run();
    world.coverage
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text:?}")))
}

#[test]
fn every_seed_keeps_the_promises() {
    if let Some(seed) = number("KVCACHE_SIM_SEED") {
        run(seed, &AtomicU64::new(0), true);
        return;
    }
    let seeds = number("KVCACHE_SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let work = || {
        let mut coverage = Coverage::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return coverage;
            }
            coverage.merge(&run(seed, &next, false));
        }
    };
    let mut coverage = Coverage::default();
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let Ok(reached) = worker.join() else { panic!("a seed failed") };
            coverage.merge(&reached);
        }
    });
    eprintln!("{coverage:#?}");
    if seeds >= SEEDS_FOR_COVERAGE {
        let missing = coverage.missing();
        assert!(missing.is_empty(), "never reached: {missing:?}");
    }
}
