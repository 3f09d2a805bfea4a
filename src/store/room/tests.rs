//! What one put may do to others, and what is reported of the victims.

use crate::clock::Millis;
use crate::store::{Bounds, Eviction, Key, KeyHasher, Op, Reply, Stats, Store, Verb};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::num::NonZeroU64;

const MIB: usize = 1 << 20;
const BOUNDS: Bounds =
    Bounds { memory_bytes_max: MIB, key_bytes_max: 16, value_bytes_max: MIB, entries_max: 0 };

struct Cache {
    store: Store,
    hasher: KeyHasher,
    now: Millis,
}

impl Cache {
    fn new(bounds: &Bounds, eviction: Eviction) -> Self {
        let store = Store::with_eviction(bounds, eviction);
        Self { store, hasher: KeyHasher::with_seed(5), now: Millis(0) }
    }

    fn run(&mut self, id: u32, verb: Verb<&[u8]>) -> Reply<&[u8]> {
        let key = id.to_le_bytes();
        let key = Key { bytes: &key[..], hash: self.hasher.hash(&key) };
        self.store.execute(&Op { key, verb }, self.now)
    }

    fn put(&mut self, id: u32, value: &[u8], ttl_ms: u64) -> Reply<&[u8]> {
        self.run(id, Verb::put(value, NonZeroU64::new(ttl_ms)))
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes many requests")]
fn a_small_put_evicts_and_moves_little_whatever_came_before() {
    let mut random = fastrand::Rng::with_seed(1);
    let value = vec![1; MIB];
    // The smaller the memory, the fewer chunks there are to a page: eight, two and one.
    for mib in [128, 32, 4] {
        let bounds = Bounds { memory_bytes_max: mib * MIB, ..BOUNDS };
        let mut cache = Cache::new(&bounds, Eviction::Lru);
        let puts = u32::try_from(mib).expect("small") * 1_000;
        for id in 0..puts {
            // In turns, the store fills with large values, with small ones, and with both.
            let large = match id * 6 / puts {
                0 | 3 => 2,
                1 | 4 => 0,
                _ => 40,
            };
            if large > 0 && random.u32(..large) == 0 && id % 20 == 0 {
                let len = random.usize(1 << 13..MIB.min(mib * MIB / 8));
                cache.put(id, &value[..len], random.u64(..900));
                continue;
            }
            cache.now.0 += u64::from(id % 50 == 0);
            let before = cache.store.stats();
            cache.put(random.u32(id / 2..=id), &value[..random.usize(..550)], random.u64(..900));
            let after = cache.store.stats();
            assert!(after.evictions - before.evictions <= 32, "{mib} MiB, put {id}");
            assert!(after.relocations - before.relocations <= 65, "{mib} MiB, put {id}");
        }
        let stats = cache.store.stats();
        assert!(stats.evictions > 0 && stats.relocations > 0, "{mib} MiB were never full");
        assert_eq!(stats.forced, 0, "{mib} MiB");
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes many requests")]
fn scattered_chunks_are_gathered_before_anything_is_refused_or_evicted() {
    for eviction in [Eviction::None, Eviction::Lru] {
        let bounds = Bounds { memory_bytes_max: 32 * MIB, ..BOUNDS };
        let mut cache = Cache::new(&bounds, eviction);
        let value = vec![1; 8 << 10];
        let mut held = 0;
        while cache.store.stats().used_bytes < 30 * MIB as u64 {
            assert_eq!(cache.put(held, &value, 0), Reply::Created);
            held += 1;
        }
        for id in (0..held).step_by(2) {
            cache.run(id, Verb::delete());
        }
        let before = cache.store.stats().relocations;
        for id in held..held + 60_000 {
            assert_eq!(cache.put(id, &value[..200], 0), Reply::Created, "{eviction:?}, {id}");
        }
        assert_eq!((cache.store.stats().evictions, cache.store.stats().rejected), (0, 0));
        assert!(cache.store.stats().relocations > before + u64::from(held / 8));
        for id in (1..held).step_by(2) {
            assert_eq!(cache.run(id, Verb::get()), Reply::Value(&value[..]));
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes many requests")]
fn the_idle_age_of_the_last_victim_is_that_of_a_plain_queue() {
    const ENTRIES: usize = 4_000;
    let bounds = Bounds { entries_max: ENTRIES, ..BOUNDS };
    let mut random = fastrand::Rng::with_seed(9);
    let mut cache = Cache::new(&bounds, Eviction::Lru);
    // When each entry was used, and the order of that.
    let (mut used, mut queue) = (HashMap::new(), BTreeMap::new());
    let (mut told_rightly, mut told) = (0, 0);
    // The idle ages of the last victims: one in 16 entries.
    let mut ages = VecDeque::new();
    for step in 0..60_000_u32 {
        // Now fast, now slow, and once there is nothing at all for a long time.
        let pause = if step == 40_000 { 10_000_000 } else { 0 };
        cache.now.0 += pause + random.u64(..2 + u64::from(step / 10_000 % 2) * 20);
        let hot = random.u32(step.saturating_sub(20_000)..=step);
        let id = if random.bool() { step } else { hot };
        let is_held = used.contains_key(&id);
        assert_eq!(cache.run(id, Verb::get()) != Reply::Absent, is_held);
        if !is_held {
            cache.put(id, &[0; 90][..random.usize(..90)], 0);
        }
        if let Some(before) = used.insert(id, (cache.now.0, step)) {
            queue.remove(&before);
        }
        queue.insert((cache.now.0, step), id);
        if used.len() > ENTRIES {
            let ((victim_used, _), victim) = queue.pop_first().expect("there are entries");
            used.remove(&victim);
            let idle = cache.now.0 - victim_used;
            ages.push_back(idle);
            if ages.len() > ENTRIES / 16 {
                ages.pop_front();
                let age = cache.store.stats().victim_idle_ms;
                let shortest = *ages.iter().min().expect("there are some");
                let longest = *ages.iter().max().expect("there are some");
                let bounds = shortest - shortest / 10..=longest + longest / 10;
                assert!(bounds.contains(&age), "step {step}: {age} ms, not {bounds:?}");
                told += 1;
                told_rightly += u32::from(age.abs_diff(idle) <= idle / 10);
            }
        }
    }
    assert!(cache.store.stats().relocations > 1_000, "few entries moved");
    // Wrong by more than a tenth only where ages change at a stroke.
    assert!(told_rightly > told / 100 * 98, "{told_rightly} of {told}");
}

#[test]
#[cfg_attr(miri, ignore = "takes many requests")]
fn a_use_counts_under_every_rule_and_nothing_is_told_before_an_eviction() {
    let bounds = Bounds { entries_max: 1_000, ..BOUNDS };
    for (name, eviction) in Eviction::NAMES.into_iter().filter(|(name, _)| *name != "none") {
        let mut cache = Cache::new(&bounds, eviction);
        for id in 0..1_000 {
            cache.put(id, b"", 0);
        }
        cache.now = Millis(1_000_000);
        assert_eq!(cache.store.stats().victim_idle_ms, 0, "{name}");
        for id in 0..1_000 {
            cache.run(id, Verb::get());
        }
        cache.now = Millis(1_000_700);
        for id in 1_000..1_500 {
            cache.put(id, b"", 0);
        }
        // Those that were there are victims by now, or the new ones are.
        let idle = cache.store.stats().victim_idle_ms;
        assert!(idle == 700 || idle == 0, "{name}: {idle}");
        if matches!(eviction, Eviction::Lru | Eviction::Fifo) {
            assert_eq!(idle, 700, "{name}");
        }
    }
}

#[test]
fn of_two_shards_the_longer_idle_age_is_told() {
    let mut total = Stats { victim_idle_ms: 5, evictions: 1, ..Stats::default() };
    total += Stats { victim_idle_ms: 7, evictions: 2, ..Stats::default() };
    total += Stats { victim_idle_ms: 6, ..Stats::default() };
    assert_eq!((total.victim_idle_ms, total.evictions), (7, 3));
}
