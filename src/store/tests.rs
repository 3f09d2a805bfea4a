//! Edges of the store that random operations seldom meet.

use super::{
    Condition, Eviction, Extras, Key, KeyHasher, Op, Reply, Settings, Store, Verb, Versions,
};
use crate::clock::Millis;
use std::num::NonZeroU64;

mod extras;
mod pinned;

const SETTINGS: Settings = Settings {
    memory_bytes_max: 1 << 20,
    key_bytes_max: 256,
    value_bytes_max: 256,
    entries_max: 0,
};

fn op<'a>(key: &'a [u8], verb: Verb<&'a [u8]>) -> Op<&'a [u8]> {
    Op { key: Key { bytes: key, hash: KeyHasher::with_seed(1).hash(key) }, verb }
}

fn put(value: &[u8]) -> Verb<&[u8]> {
    Verb::Put { value, ttl_ms: None }
}

fn put_for(value: &[u8], ttl_ms: u64) -> Verb<&[u8]> {
    Verb::Put { value, ttl_ms: NonZeroU64::new(ttl_ms) }
}

const NOW: Millis = Millis(1_000);

#[test]
fn an_empty_value_is_a_value() {
    let mut store = Store::new(&SETTINGS);
    assert_eq!(store.execute(op(b"k", put(b"")), NOW), Reply::Created);
    assert_eq!(store.execute(op(b"k", Verb::Get), NOW), Reply::Value(&b""[..]));
    assert_eq!(store.execute(op(b"k", Verb::Delete), NOW), Reply::Deleted);
    assert_eq!(store.execute(op(b"k", Verb::Delete), NOW), Reply::Absent);
}

#[test]
fn the_largest_key_and_value_fit_and_one_byte_more_does_not() {
    let mut store = Store::new(&SETTINGS);
    let (key, value) = ([7; 256], [9; 256]);
    assert_eq!(store.execute(op(&key, put(&value)), NOW), Reply::Created);
    assert_eq!(store.execute(op(&key, Verb::Get), NOW), Reply::Value(&value[..]));
    assert_eq!(store.execute(op(&key, put(&[9; 257])), NOW), Reply::TooLarge);
    assert_eq!(store.execute(op(&[7; 257], put(&value)), NOW), Reply::TooLarge);
    assert_eq!(store.execute(op(&key, Verb::Get), NOW), Reply::Value(&value[..]));
    assert_eq!(store.stats().rejected, 2);
}

#[test]
fn an_overwrite_may_grow_and_shrink() {
    let mut store = Store::new(&SETTINGS);
    let value: Vec<u8> = (0..=255).collect();
    assert_eq!(store.execute(op(b"k", put(b"")), NOW), Reply::Created);
    for len in [1, 2, 255, 3, 256, 0, 100, 101] {
        assert_eq!(store.execute(op(b"k", put(&value[..len])), NOW), Reply::Replaced);
        assert_eq!(store.execute(op(b"k", Verb::Get), NOW), Reply::Value(&value[..len]));
    }
    assert_eq!(store.stats().entries, 1);
}

#[test]
fn a_ttl_ends_at_its_millisecond() {
    let mut store = Store::new(&SETTINGS);
    store.execute(op(b"k", put_for(b"v", 250)), NOW);
    assert_eq!(store.execute(op(b"k", Verb::Get), Millis(1_249)), Reply::Value(&b"v"[..]));
    assert_eq!(store.execute(op(b"k", Verb::Get), Millis(1_250)), Reply::Absent);
    let stats = store.stats();
    assert_eq!((stats.entries, stats.expirations, stats.expired, stats.misses), (0, 1, 1, 1));
}

#[test]
fn an_expired_entry_is_neither_replaced_nor_deleted() {
    let mut store = Store::new(&SETTINGS);
    store.execute(op(b"k", put_for(b"v", 1)), NOW);
    assert_eq!(store.execute(op(b"k", put_for(b"w", 1)), Millis(1_001)), Reply::Created);
    assert_eq!(store.execute(op(b"k", Verb::Delete), Millis(1_002)), Reply::Absent);
    assert_eq!(store.stats().expirations, 2);
}

#[test]
fn a_put_without_a_ttl_takes_the_old_one_away() {
    let mut store = Store::new(&SETTINGS);
    store.execute(op(b"k", put_for(b"v", 1)), NOW);
    store.execute(op(b"k", put(b"w")), NOW);
    let in_ten_years = Millis(10 * 365 * 86_400_000);
    assert_eq!(store.execute(op(b"k", Verb::Get), in_ten_years), Reply::Value(&b"w"[..]));
    store.execute(op(b"k", put_for(b"v", u64::MAX)), NOW);
    assert_eq!(store.execute(op(b"k", Verb::Get), in_ten_years), Reply::Value(&b"v"[..]));
}

#[test]
fn keys_of_one_hash_stay_apart() {
    let mut store = Store::new(&SETTINGS);
    let keys = if cfg!(miri) { 60 } else { 2_000_u32 };
    let bytes: Vec<[u8; 4]> = (0..keys).map(u32::to_le_bytes).collect();
    let keys: Vec<Key<&[u8]>> =
        bytes.iter().map(|bytes| Key { bytes: &bytes[..], hash: 42 }).collect();
    for &key in &keys {
        let op = Op { key, verb: put(key.bytes) };
        assert_eq!(store.execute(op, NOW), Reply::Created);
    }
    for &key in keys.iter().step_by(3) {
        assert_eq!(store.execute(Op { key, verb: Verb::Delete }, NOW), Reply::Deleted);
    }
    for (id, &key) in keys.iter().enumerate() {
        let held = if id % 3 == 0 { Reply::Absent } else { Reply::Value(key.bytes) };
        assert_eq!(store.execute(Op { key, verb: Verb::Get }, NOW), held);
    }
}

#[test]
fn the_coldest_goes_first_and_a_peek_does_not_warm() {
    let mut store = Store::new(&Settings { entries_max: 3, ..SETTINGS });
    for key in [b"a", b"b", b"c"] {
        store.execute(op(key, put(b"")), NOW);
    }
    store.execute(op(b"a", Verb::Get), NOW);
    store.execute(op(b"b", Verb::Peek), NOW);
    store.execute(op(b"d", put(b"")), NOW);
    assert_eq!(store.execute(op(b"b", Verb::Peek), NOW), Reply::Absent);
    store.execute(op(b"c", put(b"larger")), NOW);
    store.execute(op(b"e", put(b"")), NOW);
    assert_eq!(store.execute(op(b"a", Verb::Peek), NOW), Reply::Absent);
    assert_eq!(store.stats().evictions, 2);
}

#[test]
fn an_overwrite_that_must_evict_leaves_its_own_key() {
    let settings = Settings { value_bytes_max: 1 << 17, ..SETTINGS };
    let mut store = Store::new(&settings);
    let (small, large) = ([1; 1000], vec![2; 1 << 17]);
    let keys = if cfg!(miri) { 50 } else { 2_000_u32 };
    for id in 0..keys {
        store.execute(op(&id.to_le_bytes(), put(&small)), NOW);
    }
    // The coldest key of all that are left is rewritten, larger.
    let coldest = (0..keys)
        .find(|id| store.execute(op(&id.to_le_bytes(), Verb::Peek), NOW) != Reply::Absent)
        .expect("some are left")
        .to_le_bytes();
    assert_eq!(store.execute(op(&coldest, put(&large)), NOW), Reply::Replaced);
    assert_eq!(store.execute(op(&coldest, Verb::Get), NOW), Reply::Value(&large[..]));
    assert!(store.stats().used_bytes <= store.stats().budget_bytes);
}

#[test]
fn what_no_budget_can_hold_is_refused_and_changes_nothing() {
    let mut store = Store::new(&Settings { value_bytes_max: usize::MAX, ..SETTINGS });
    store.execute(op(b"k", put(b"old")), NOW);
    let before = store.stats();
    assert_eq!(store.execute(op(b"k", put(&vec![0; 1 << 20])), NOW), Reply::TooLarge);
    assert_eq!(store.execute(op(b"k", Verb::Get), NOW), Reply::Value(&b"old"[..]));
    assert_eq!((store.stats().entries, store.stats().evictions), (before.entries, 0));
}

#[test]
fn way_is_made_for_a_large_value_before_it_comes() {
    let settings = Settings { value_bytes_max: 1 << 17, ..SETTINGS };
    let mut store = Store::new(&settings);
    let keys = if cfg!(miri) { 50 } else { 20_000_u32 };
    for id in 0..keys {
        store.execute(op(&id.to_le_bytes(), put(b"small")), NOW);
    }
    let value = vec![2; 1 << 17];
    while !store.make_way(value.len(), NOW, 64) {}
    let before = store.stats();
    assert_eq!(store.execute(op(b"k", put(&value)), NOW), Reply::Created);
    assert_eq!((store.stats().evictions, store.stats().forced), (before.evictions, 0));
    assert_eq!(store.execute(op(b"k", Verb::Get), NOW), Reply::Value(&value[..]));
}

#[test]
fn expired_entries_give_their_memory_back_in_slices() {
    let mut store = Store::new(&SETTINGS);
    let keys = if cfg!(miri) { 100 } else { 3_000_u64 };
    // Some outlive the others by far: every level of the wheel is used.
    let ttl = |id: u64| if id.is_multiple_of(2) { 1 + id } else { 1 << (id % 38) };
    for id in 0..keys {
        store.execute(op(&id.to_le_bytes(), put_for(b"", ttl(id))), NOW);
    }
    let mut at = NOW.0;
    while at < 1 << 38 {
        at = at * 5 / 4;
        while store.expire(Millis(at), 16) {}
        // The wheel may be a tick late, and never early.
        let left = |at| (0..keys).filter(|&id| NOW.0 + ttl(id) > at).count() as u64;
        let entries = store.stats().entries;
        assert!((left(at)..=left(at - 128)).contains(&entries), "{entries} at {at}");
    }
    assert_eq!((store.stats().entries, store.stats().expirations), (0, keys));
}

#[test]
fn a_flush_leaves_an_empty_store_that_works() {
    let mut store = Store::new(&SETTINGS);
    store.prefault();
    store.execute(op(b"a", put_for(b"old", 500)), NOW);
    store.execute(op(b"b", put(b"old")), NOW);
    store.flush();
    assert_eq!(store.execute(op(b"b", Verb::Get), NOW), Reply::Absent);
    assert_eq!((store.stats().entries, store.stats().flushed), (0, 2));
    store.execute(op(b"b", put(b"new")), NOW);
    assert!(!store.expire(Millis(5_000), 9));
    assert_eq!(store.execute(op(b"b", Verb::Get), NOW), Reply::Value(&b"new"[..]));
}

const READ: Verb<&[u8]> =
    Verb::Read { condition: Condition::NONE, lease_ms: None, is_use: true, above: usize::MAX };

fn write<'a>(value: &'a [u8], condition: Condition<&'a [u8]>) -> Verb<&'a [u8]> {
    Verb::Write { value, extras: Extras::NONE, ttl_ms: None, condition }
}

fn touch(ttl_ms: u64) -> Verb<&'static [u8]> {
    Verb::Touch { ttl_ms: NonZeroU64::new(ttl_ms), condition: Condition::NONE }
}

fn add(by: i64) -> Verb<&'static [u8]> {
    Verb::Add { by, condition: Condition::NONE }
}

fn unless(versions: &[u8]) -> Condition<&[u8]> {
    Condition { matches: None, none_match: Some(Versions::Listed(versions)) }
}

/// The key has one of the versions, which are held as they travel.
fn matches(versions: &[u8]) -> Condition<&[u8]> {
    Condition { matches: Some(Versions::Listed(versions)), none_match: None }
}

fn version(store: &mut Store, key: &[u8]) -> u64 {
    match store.execute(op(key, READ), NOW) {
        Reply::Entry { version, .. } => version,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_write_keeps_to_its_condition() {
    let mut store = Store::new(&SETTINGS);
    for condition in [Condition::PRESENT, matches(&[0; 8]), matches(&[])] {
        assert_eq!(store.execute(op(b"k", write(b"v", condition)), NOW), Reply::Refused);
    }
    assert_eq!(store.execute(op(b"k", write(b"1", Condition::ABSENT)), NOW), Reply::Created);
    assert_eq!(store.execute(op(b"k", write(b"2", Condition::ABSENT)), NOW), Reply::Refused);
    let first = version(&mut store, b"k");
    let listed = [[0; 8], first.to_le_bytes()].concat();
    let again = write(b"2", matches(&listed));
    assert_eq!(store.execute(op(b"k", again), NOW), Reply::Replaced);
    assert_eq!(store.execute(op(b"k", again), NOW), Reply::Refused);
    assert_eq!(store.execute(op(b"k", write(b"3", Condition::PRESENT)), NOW), Reply::Replaced);
    assert_eq!(store.execute(op(b"k", Verb::Get), NOW), Reply::Value(&b"3"[..]));
}

#[test]
fn every_verb_keeps_to_its_condition() {
    let mut store = Store::new(&SETTINGS);
    store.execute(op(b"k", put(b"1")), NOW);
    let old = version(&mut store, b"k").to_le_bytes();
    store.execute(op(b"k", put(b"2")), NOW);
    let new = version(&mut store, b"k").to_le_bytes();
    let read =
        |condition| Verb::Read { condition, lease_ms: None, is_use: true, above: usize::MAX };
    for condition in [matches(&old), unless(&new), Condition::ABSENT] {
        for verb in [
            write(b"3", condition),
            Verb::Remove { condition },
            Verb::Touch { ttl_ms: None, condition },
            Verb::Add { by: 1, condition },
        ] {
            assert_eq!(store.execute(op(b"k", verb), NOW), Reply::Refused, "{verb:?}");
        }
    }
    assert_eq!(store.execute(op(b"k", read(matches(&old))), NOW), Reply::Refused);
    for condition in [unless(&new), Condition::ABSENT] {
        let reply = store.execute(op(b"k", read(condition)), NOW);
        assert!(matches!(reply, Reply::Unchanged { .. }), "{reply:?}");
    }
    // Both must hold, and the first that does not is the answer.
    let both = Condition { none_match: Some(Versions::Any), ..matches(&old) };
    assert_eq!(store.execute(op(b"k", read(both)), NOW), Reply::Refused);
    for condition in [matches(&new), unless(&old), Condition::PRESENT] {
        let reply = store.execute(op(b"k", read(condition)), NOW);
        assert!(matches!(reply, Reply::Entry { value: b"2", .. }), "{reply:?}");
        let touch = Verb::Touch { ttl_ms: None, condition };
        assert_eq!(store.execute(op(b"k", touch), NOW), Reply::Touched);
    }
    let add = Verb::Add { by: 1, condition: matches(&new) };
    assert_eq!(store.execute(op(b"k", add), NOW), Reply::Number(3));
    let remove = Verb::Remove { condition: Condition::PRESENT };
    assert_eq!(store.execute(op(b"k", remove), NOW), Reply::Deleted);
    // Where nothing is there, only what would put something asks for the condition.
    for condition in [Condition::PRESENT, Condition::ABSENT, matches(&new)] {
        for verb in
            [read(condition), Verb::Remove { condition }, Verb::Touch { ttl_ms: None, condition }]
        {
            assert_eq!(store.execute(op(b"k", verb), NOW), Reply::Absent, "{verb:?}");
        }
    }
    for condition in [Condition::PRESENT, matches(&new)] {
        for verb in [write(b"3", condition), Verb::Add { by: 1, condition }] {
            assert_eq!(store.execute(op(b"k", verb), NOW), Reply::Refused, "{verb:?}");
        }
    }
}

#[test]
fn every_write_changes_the_version_and_nothing_else_does() {
    let settings = Settings { value_bytes_max: 1 << 17, ..SETTINGS };
    let mut store = Store::new(&settings);
    let large = vec![3; 1 << 17];
    let mut seen = Vec::new();
    let writes = [
        write(b"same", Condition::NONE),
        write(b"same", Condition::NONE),
        put(b"other"),
        put(b"another"),
        write(&large, Condition::NONE),
        put(&large),
        write(b"5", Condition::NONE),
        add(0),
    ];
    for verb in writes {
        store.execute(op(b"k", verb), NOW);
        let now = version(&mut store, b"k");
        assert!(!seen.contains(&now), "{verb:?}");
        for verb in [Verb::Get, touch(9), Verb::Peek] {
            store.execute(op(b"k", verb), NOW);
            assert_eq!(version(&mut store, b"k"), now);
        }
        seen.push(now);
    }
}

#[test]
fn a_touch_sets_moves_and_takes_away_the_end() {
    let settings = Settings { value_bytes_max: 1 << 17, ..SETTINGS };
    for value in [vec![], vec![1; 100], vec![2; 1 << 17]] {
        let mut store = Store::new(&settings);
        assert_eq!(store.execute(op(b"k", touch(5)), NOW), Reply::Absent);
        store.execute(op(b"k", put(&value)), NOW);
        for (verb, left) in
            [(touch(50), 40), (touch(0), 0), (touch(0), 0), (touch(70), 60), (touch(30), 20)]
        {
            assert_eq!(store.execute(op(b"k", verb), NOW), Reply::Touched);
            let reply = store.execute(op(b"k", READ), Millis(NOW.0 + 10));
            let Reply::Entry { value: held, ttl_ms, .. } = reply else { panic!("{reply:?}") };
            assert_eq!((held, ttl_ms), (&value[..], NonZeroU64::new(left)));
        }
        assert_eq!(store.execute(op(b"k", READ), Millis(NOW.0 + 30)), Reply::Absent);
    }
}

#[test]
fn an_addition_reads_what_it_would_print() {
    let mut store = Store::new(&SETTINGS);
    assert_eq!(store.execute(op(b"n", add(-5)), NOW), Reply::Number(-5));
    assert_eq!(store.execute(op(b"n", add(105)), NOW), Reply::Number(100));
    assert_eq!(store.execute(op(b"n", Verb::Get), NOW), Reply::Value(&b"100"[..]));
    assert_eq!(store.execute(op(b"n", add(i64::MAX)), NOW), Reply::Overflow);
    for text in ["", "+1", "01", "-0", " 1", "1 ", "1.0", "9223372036854775808", "x"] {
        store.execute(op(b"t", put(text.as_bytes())), NOW);
        assert_eq!(store.execute(op(b"t", add(1)), NOW), Reply::NotANumber, "{text:?}");
        assert_eq!(store.execute(op(b"t", Verb::Get), NOW), Reply::Value(text.as_bytes()));
    }
    store.execute(op(b"e", put_for(b"1", 50)), NOW);
    store.execute(op(b"e", add(1)), NOW);
    assert_eq!(store.execute(op(b"e", Verb::Get), Millis(1_050)), Reply::Absent);
}

#[test]
fn where_nothing_is_evicted_a_full_store_refuses_and_keeps_all() {
    let settings = Settings { value_bytes_max: 1 << 14, ..SETTINGS };
    let lens: &[usize] = if cfg!(miri) { &[1 << 14] } else { &[0, 100, 1 << 14] };
    for &len in lens {
        let mut store = Store::with_eviction(&settings, Eviction::None);
        let value = vec![1; len];
        let mut held = 0_u32;
        while store.execute(op(&held.to_le_bytes(), put(&value)), NOW) == Reply::Created {
            held += 1;
        }
        assert_eq!(store.execute(op(&held.to_le_bytes(), put(&value)), NOW), Reply::Full);
        assert!(store.stats().used_bytes * 10 > store.stats().budget_bytes * 9);
        let larger = vec![2; 1 << 14];
        for id in 0..held {
            store.execute(op(&id.to_le_bytes(), put(&larger)), NOW);
            let reply = store.execute(op(&id.to_le_bytes(), Verb::Get), NOW);
            assert!([Reply::Value(&value[..]), Reply::Value(&larger[..])].contains(&reply));
        }
        assert_eq!((store.stats().entries, store.stats().evictions), (u64::from(held), 0));
        store.execute(op(&[0; 4], Verb::Delete), NOW);
        assert_eq!(store.execute(op(&[0; 4], put(b"")), NOW), Reply::Created);
    }
}

#[test]
fn a_walk_meets_the_coldest_first() {
    let mut store = Store::new(&SETTINGS);
    for key in [b"a", b"b", b"c", b"d"] {
        store.execute(op(key, put(key)), NOW);
    }
    store.execute(op(b"e", put_for(b"e", 5)), NOW);
    store.execute(op(b"b", Verb::Get), NOW);
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
        let mut store = Store::with_eviction(&SETTINGS, eviction);
        let keys = if cfg!(miri) { 60 } else { 3_000_u32 };
        for id in 0..keys {
            store.execute(op(&id.to_le_bytes(), put(&[1; 40])), NOW);
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
                    2 | 3 => drop(store.execute(op(&key, Verb::Get), NOW)),
                    4 => drop(store.execute(op(&key, put(&[2; 80])), NOW)),
                    _ => {
                        gone.insert(id);
                        store.execute(op(&key, Verb::Delete), NOW);
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
        let mut store = Store::with_eviction(&SETTINGS, eviction);
        let keys = 30_000_u32;
        store.start_restore();
        for id in 0..keys {
            let reply = store.execute(op(&id.to_le_bytes(), put(&[1; 200])), NOW);
            assert_eq!(reply, Reply::Created, "{name}");
        }
        assert_eq!(store.stats().evictions, u64::from(keys) - store.stats().entries);
        store.finish_restore();
        let stats = store.stats();
        assert_eq!((stats.created, stats.evictions), (0, 0));
        let first = keys - u32::try_from(stats.entries).unwrap();
        assert!(0 < first && first < keys, "{name}");
        for id in 0..keys {
            let reply = store.execute(op(&id.to_le_bytes(), Verb::Peek), NOW);
            assert_eq!(reply != Reply::Absent, id >= first, "{name}: {id}");
        }
        // The rule is in force again.
        let replies: Vec<_> = (keys..2 * keys)
            .map(|id| store.execute(op(&id.to_le_bytes(), put(&[1; 200])), NOW) == Reply::Full)
            .collect();
        let is_refusing = replies.contains(&true);
        assert_eq!(is_refusing, eviction == Eviction::None, "{name}");
        assert_eq!(store.stats().evictions == 0, is_refusing, "{name}");
    }
}

#[test]
fn sums_over_shards() {
    let mut store = Store::new(&SETTINGS);
    store.execute(op(b"k", put(b"v")), NOW);
    let mut total = store.stats();
    total += store.stats();
    assert_eq!((total.entries, total.created, total.budget_bytes), (2, 2, 2 << 20));
}

#[test]
fn another_seed_is_another_hash() {
    let (one, other) = (KeyHasher::with_seed(1), KeyHasher::with_seed(2));
    assert_eq!(one.hash(b"k"), one.clone().hash(b"k"));
    assert_ne!(one.hash(b"k"), other.hash(b"k"));
    assert_ne!(KeyHasher::random().hash(b"k"), KeyHasher::random().hash(b"k"));
}
