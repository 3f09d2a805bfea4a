//! Walks over all entries, and the restore of what a walk has met.

use super::{BOUNDS, NOW, op, put, put_for};
use crate::clock::Millis;
use crate::store::{Eviction, Reply, Store, Verb};

#[test]
fn a_walk_meets_the_coldest_first() {
    let mut store = Store::new(&BOUNDS);
    for key in [b"a", b"b", b"c", b"d"] {
        store.execute(&op(key, put(key)), NOW);
    }
    store.execute(&op(b"e", put_for(b"e", 5)), NOW);
    store.execute(&op(b"b", Verb::get()), NOW);
    store.start_walk();
    let mut met = Vec::new();
    while let Some(item) = store.walk_on(Millis(NOW.0 + 5), &mut { u32::MAX }) {
        assert_eq!((item.key, item.expires), (item.value, None));
        met.extend_from_slice(item.key);
    }
    assert_eq!(met, b"acdb");
    assert_eq!(store.walk_on(NOW, &mut { u32::MAX }), None);
}

#[test]
fn a_walk_misses_nothing_that_stays() {
    let rules = if cfg!(miri) { 1 } else { Eviction::NAMES.len() };
    for (name, eviction) in Eviction::NAMES.into_iter().take(rules) {
        let mut random = fastrand::Rng::with_seed(5);
        let mut store = Store::with_eviction(&BOUNDS, eviction);
        let keys = if cfg!(miri) { 60 } else { 3_000_u32 };
        for id in 0..keys {
            store.execute(&op(&id.to_le_bytes(), put(&[1; 40])), NOW);
        }
        store.start_walk();
        let mut met = std::collections::HashSet::new();
        let mut gone = std::collections::HashSet::new();
        let mut steps = 1;
        while store.is_walking() {
            if let Some(item) = store.walk_on(NOW, &mut steps) {
                let id = u32::from_le_bytes(*item.key.first_chunk().unwrap());
                let is_written = id % 6 == 4;
                assert!(met.insert(id) || is_written, "{name}: {id} is met again");
            }
            // A third is left alone, a third is used, a third leaves or is written anew: all of it
            // several times in the time of the walk.
            for _ in 0..if steps == 0 { 5 } else { 0 } {
                let id = random.u32(..keys);
                let key = id.to_le_bytes();
                match id % 6 {
                    0 | 1 => {}
                    2 | 3 => drop(store.execute(&op(&key, Verb::get()), NOW)),
                    4 => drop(store.execute(&op(&key, put(&[2; 80])), NOW)),
                    _ => {
                        gone.insert(id);
                        store.execute(&op(&key, Verb::delete()), NOW);
                    }
                }
            }
            steps = 1;
        }
        assert_eq!(store.stats().evictions, 0);
        let missed: Vec<u32> =
            (0..keys).filter(|id| !gone.contains(id) && !met.contains(id)).collect();
        assert!(missed.is_empty(), "{name}: {missed:?}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes many requests")]
fn a_restore_keeps_the_last_whatever_the_rule() {
    for (name, eviction) in Eviction::NAMES {
        let mut store = Store::with_eviction(&BOUNDS, eviction);
        let keys = 30_000_u32;
        store.start_restore();
        for id in 0..keys {
            let reply = store.execute(&op(&id.to_le_bytes(), put(&[1; 200])), NOW);
            assert_eq!(reply, Reply::Created, "{name}");
        }
        assert_eq!(store.stats().evictions, u64::from(keys) - store.stats().entries);
        store.finish_restore();
        let stats = store.stats();
        assert_eq!((stats.created, stats.evictions), (0, 0));
        let first = keys - u32::try_from(stats.entries).unwrap();
        assert!(0 < first && first < keys, "{name}");
        for id in 0..keys {
            let reply = store.execute(&op(&id.to_le_bytes(), Verb::peek()), NOW);
            assert_eq!(reply != Reply::Absent, id >= first, "{name}: {id}");
        }
        // The rule is in force again.
        let replies: Vec<_> = (keys..2 * keys)
            .map(|id| store.execute(&op(&id.to_le_bytes(), put(&[1; 200])), NOW) == Reply::Full)
            .collect();
        let is_refusing = replies.contains(&true);
        assert_eq!(is_refusing, eviction == Eviction::None, "{name}");
        assert_eq!(store.stats().evictions == 0, is_refusing, "{name}");
    }
}
