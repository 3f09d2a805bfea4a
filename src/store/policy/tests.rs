//! Each rule beside a naive one, and what each is chosen for.

use super::Eviction;
use crate::clock::Millis;
use crate::store::{Bounds, Key, KeyHasher, Op, Reply, Store, Verb};

const ENTRIES: usize = 50;
const REQUESTS: u32 = if cfg!(miri) { 100 } else { 30_000 };

struct Cache {
    store: Store,
    hasher: KeyHasher,
}

impl Cache {
    fn new(eviction: Eviction, entries_max: usize) -> Self {
        let bounds = Bounds {
            memory_bytes_max: 1 << 20,
            key_bytes_max: 16,
            value_bytes_max: 16,
            entries_max,
        };
        let store = Store::with_eviction(&bounds, eviction);
        Self { store, hasher: KeyHasher::with_seed(3) }
    }

    fn run(&mut self, id: u32, verb: Verb<&[u8]>) -> bool {
        let key = id.to_le_bytes();
        let key = Key { bytes: &key[..], hash: self.hasher.hash(&key) };
        self.store.execute(&Op { key, verb }, Millis(0)) != Reply::Absent
    }

    /// Reads, and puts what is not there. True for a hit.
    fn request(&mut self, id: u32) -> bool {
        let hit = self.run(id, Verb::get());
        if !hit {
            self.run(id, Verb::put(b"", None));
        }
        hit
    }

    fn hits(&mut self, ids: impl Iterator<Item = u32>) -> usize {
        ids.filter(|&id| self.request(id)).count()
    }
}

/// A queue from the newest to the oldest: id and whether it was visited.
#[derive(Default)]
struct Naive {
    queue: Vec<(u32, bool)>,
    hand: Option<usize>,
}

impl Naive {
    fn request(&mut self, eviction: Eviction, id: u32) -> bool {
        if let Some(at) = self.queue.iter().position(|&(held, _)| held == id) {
            self.queue[at].1 = true;
            if eviction == Eviction::Lru {
                let entry = self.queue.remove(at);
                self.queue.insert(0, entry);
            }
            return true;
        }
        if self.queue.len() == ENTRIES {
            let mut victim = ENTRIES - 1;
            if eviction == Eviction::Sieve {
                victim = self.hand.unwrap_or(ENTRIES - 1);
                while self.queue[victim].1 {
                    self.queue[victim].1 = false;
                    victim = victim.checked_sub(1).unwrap_or(ENTRIES - 1);
                }
                self.hand = victim.checked_sub(1);
            }
            self.queue.remove(victim);
        }
        self.queue.insert(0, (id, false));
        self.hand = self.hand.map(|hand| hand + 1);
        false
    }
}

fn skewed(random: &mut fastrand::Rng, ids: f64) -> u32 {
    let exponent = random.f64();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number")]
    let id = ids.powf(exponent) as u32;
    id
}

#[test]
fn each_hit_and_miss_is_that_of_the_naive_rule() {
    for eviction in [Eviction::Lru, Eviction::Fifo, Eviction::Sieve] {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut cache, mut naive) = (Cache::new(eviction, ENTRIES), Naive::default());
        for request in 0..REQUESTS {
            let id = skewed(&mut random, 2_000.0);
            let hit = cache.request(id);
            assert_eq!(hit, naive.request(eviction, id), "{eviction:?}, request {request}");
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes many requests")]
fn after_a_flush_a_rule_is_as_new() {
    for eviction in [Eviction::Lru, Eviction::Fifo, Eviction::Sieve, Eviction::S3Fifo] {
        let ids = |seed| {
            let mut random = fastrand::Rng::with_seed(seed);
            (0..20_000).map(move |_| random.u32(..900))
        };
        let mut cache = Cache::new(eviction, 300);
        cache.hits(ids(1));
        cache.store.flush();
        assert_eq!(cache.hits(ids(2)), Cache::new(eviction, 300).hits(ids(2)), "{eviction:?}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes many requests")]
fn what_is_used_often_outlasts_a_scan() {
    for eviction in [Eviction::Lfu, Eviction::Sieve, Eviction::S3Fifo, Eviction::WTinyLfu] {
        let mut cache = Cache::new(eviction, 1_000);
        for _ in 0..20 {
            cache.hits(0..500);
        }
        cache.hits(10_000..14_000);
        let kept = cache.hits(0..500);
        assert!(kept > 400, "{eviction:?} kept {kept} of 500");
    }
    let mut lru = Cache::new(Eviction::Lru, 1_000);
    lru.hits(0..500);
    lru.hits(10_000..14_000);
    assert_eq!(lru.hits(0..500), 0);
}

#[test]
#[cfg_attr(miri, ignore = "takes many requests")]
fn no_rule_is_stuck_with_what_was_popular_once() {
    // New keys alone keep the hand of SIEVE from ever reaching the old ones again.
    let stuck = [Eviction::Sieve, Eviction::None];
    let rules = Eviction::NAMES.into_iter().filter(|(_, rule)| !stuck.contains(rule));
    for (name, eviction) in rules {
        let mut cache = Cache::new(eviction, 1_000);
        for popular in 0..5 {
            for _ in 0..60 {
                cache.hits(popular * 10_000..popular * 10_000 + 800);
            }
        }
        let hits = cache.hits(40_000..40_800);
        assert!(hits > 600, "{name} holds {hits} of 800");
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes many requests")]
fn a_skewed_load_is_hit_at_least_as_often_as_by_fifo() {
    let hits = |eviction| {
        let mut random = fastrand::Rng::with_seed(11);
        let ids = (0..60_000).map(|_| skewed(&mut random, 100_000.0)).collect::<Vec<_>>();
        Cache::new(eviction, 1_000).hits(ids.into_iter())
    };
    let fifo = hits(Eviction::Fifo);
    for (name, eviction) in Eviction::NAMES.into_iter().filter(|(name, _)| *name != "none") {
        let others = hits(eviction);
        assert!(others >= fifo, "{name} hit {others} times, fifo {fifo} times");
    }
}
