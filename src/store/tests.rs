//! Edges of the store that random operations seldom meet.

use super::{
    Bounds, Condition, Details, Eviction, Extras, Item, Key, KeyHasher, Op, Read, Reply, Store,
    Verb, Versions, Write,
};
use crate::clock::Millis;
use std::num::NonZeroU64;

mod conditions;
mod extras;
mod pins;
mod versions;
mod walks;

const BOUNDS: Bounds =
    Bounds { memory_bytes_max: 1 << 20, key_bytes_max: 256, value_bytes_max: 256, entries_max: 0 };

fn op<'a>(key: &'a [u8], verb: Verb<&'a [u8]>) -> Op<&'a [u8]> {
    Op { key: Key { bytes: key, hash: KeyHasher::with_seed(1).hash(key) }, verb }
}

fn put(value: &[u8]) -> Verb<&[u8]> {
    Verb::put(value, None)
}

fn put_for(value: &[u8], ttl_ms: u64) -> Verb<&[u8]> {
    Verb::put(value, NonZeroU64::new(ttl_ms))
}

const NOW: Millis = Millis(1_000);

fn read_for(lease_ms: u64) -> Verb<&'static [u8]> {
    Verb::Read(Read { lease_ms: NonZeroU64::new(lease_ms), ..Read::VALUE })
}

/// Key, tags, and until when it may be read stale.
type Met = (Vec<u8>, Option<Vec<u8>>, Option<Millis>);

/// The whole of a walk.
fn items(store: &mut Store, now: Millis) -> Vec<Met> {
    let mut met = Vec::new();
    store.start_walk();
    while let Some(Item { key, tags, stale_until, .. }) = store.walk_on(now, &mut { u32::MAX }) {
        met.push((key.to_vec(), tags.map(<[u8]>::to_vec), stale_until));
    }
    met
}

#[test]
fn an_empty_value_is_a_value() {
    let mut store = Store::new(&BOUNDS);
    assert_eq!(store.execute(&op(b"k", put(b"")), NOW), Reply::Created);
    assert_eq!(store.execute(&op(b"k", Verb::get()), NOW), Reply::Value(&b""[..]));
    assert_eq!(store.execute(&op(b"k", Verb::delete()), NOW), Reply::Deleted);
    assert_eq!(store.execute(&op(b"k", Verb::delete()), NOW), Reply::Absent);
}

#[test]
fn the_largest_key_and_value_fit_and_one_byte_more_does_not() {
    let mut store = Store::new(&BOUNDS);
    let (key, value) = ([7; 256], [9; 256]);
    assert_eq!(store.execute(&op(&key, put(&value)), NOW), Reply::Created);
    assert_eq!(store.execute(&op(&key, Verb::get()), NOW), Reply::Value(&value[..]));
    assert_eq!(store.execute(&op(&key, put(&[9; 257])), NOW), Reply::TooLarge);
    assert_eq!(store.execute(&op(&[7; 257], put(&value)), NOW), Reply::TooLarge);
    assert_eq!(store.execute(&op(&key, Verb::get()), NOW), Reply::Value(&value[..]));
    assert_eq!(store.stats().rejected, 2);
}

#[test]
fn an_overwrite_may_grow_and_shrink() {
    let mut store = Store::new(&BOUNDS);
    let value: Vec<u8> = (0..=255).collect();
    assert_eq!(store.execute(&op(b"k", put(b"")), NOW), Reply::Created);
    for len in [1, 2, 255, 3, 256, 0, 100, 101] {
        assert_eq!(store.execute(&op(b"k", put(&value[..len])), NOW), Reply::Replaced);
        assert_eq!(store.execute(&op(b"k", Verb::get()), NOW), Reply::Value(&value[..len]));
    }
    assert_eq!(store.stats().entries, 1);
}

#[test]
fn a_ttl_ends_at_its_millisecond() {
    let mut store = Store::new(&BOUNDS);
    store.execute(&op(b"k", put_for(b"v", 250)), NOW);
    assert_eq!(store.execute(&op(b"k", Verb::get()), Millis(1_249)), Reply::Value(&b"v"[..]));
    assert_eq!(store.execute(&op(b"k", Verb::get()), Millis(1_250)), Reply::Absent);
    let stats = store.stats();
    assert_eq!((stats.entries, stats.expirations, stats.expired, stats.misses), (0, 1, 1, 1));
}

#[test]
fn an_expired_entry_is_neither_replaced_nor_deleted() {
    let mut store = Store::new(&BOUNDS);
    store.execute(&op(b"k", put_for(b"v", 1)), NOW);
    assert_eq!(store.execute(&op(b"k", put_for(b"w", 1)), Millis(1_001)), Reply::Created);
    assert_eq!(store.execute(&op(b"k", Verb::delete()), Millis(1_002)), Reply::Absent);
    assert_eq!(store.stats().expirations, 2);
}

#[test]
fn a_put_without_a_ttl_takes_the_old_one_away() {
    let mut store = Store::new(&BOUNDS);
    store.execute(&op(b"k", put_for(b"v", 1)), NOW);
    store.execute(&op(b"k", put(b"w")), NOW);
    let in_ten_years = Millis(10 * 365 * 86_400_000);
    assert_eq!(store.execute(&op(b"k", Verb::get()), in_ten_years), Reply::Value(&b"w"[..]));
    store.execute(&op(b"k", put_for(b"v", u64::MAX)), NOW);
    assert_eq!(store.execute(&op(b"k", Verb::get()), in_ten_years), Reply::Value(&b"v"[..]));
}

#[test]
fn keys_of_one_hash_stay_apart() {
    let mut store = Store::new(&BOUNDS);
    let keys = if cfg!(miri) { 60 } else { 2_000_u32 };
    let bytes: Vec<[u8; 4]> = (0..keys).map(u32::to_le_bytes).collect();
    let keys: Vec<Key<&[u8]>> =
        bytes.iter().map(|bytes| Key { bytes: &bytes[..], hash: 42 }).collect();
    for &key in &keys {
        let op = Op { key, verb: put(key.bytes) };
        assert_eq!(store.execute(&op, NOW), Reply::Created);
    }
    for &key in keys.iter().step_by(3) {
        assert_eq!(store.execute(&Op { key, verb: Verb::delete() }, NOW), Reply::Deleted);
    }
    for (id, &key) in keys.iter().enumerate() {
        let held = if id % 3 == 0 { Reply::Absent } else { Reply::Value(key.bytes) };
        assert_eq!(store.execute(&Op { key, verb: Verb::get() }, NOW), held);
    }
}

#[test]
fn the_coldest_goes_first_and_a_peek_does_not_warm() {
    let mut store = Store::new(&Bounds { entries_max: 3, ..BOUNDS });
    for key in [b"a", b"b", b"c"] {
        store.execute(&op(key, put(b"")), NOW);
    }
    store.execute(&op(b"a", Verb::get()), NOW);
    store.execute(&op(b"b", Verb::peek()), NOW);
    store.execute(&op(b"d", put(b"")), NOW);
    assert_eq!(store.execute(&op(b"b", Verb::peek()), NOW), Reply::Absent);
    store.execute(&op(b"c", put(b"larger")), NOW);
    store.execute(&op(b"e", put(b"")), NOW);
    assert_eq!(store.execute(&op(b"a", Verb::peek()), NOW), Reply::Absent);
    assert_eq!(store.stats().evictions, 2);
}

#[test]
fn an_overwrite_that_must_evict_leaves_its_own_key() {
    let bounds = Bounds { value_bytes_max: 1 << 17, ..BOUNDS };
    let mut store = Store::new(&bounds);
    let (small, large) = ([1; 1000], vec![2; 1 << 17]);
    let keys = if cfg!(miri) { 50 } else { 2_000_u32 };
    for id in 0..keys {
        store.execute(&op(&id.to_le_bytes(), put(&small)), NOW);
    }
    // The coldest key of all that are left is rewritten, larger.
    let coldest = (0..keys)
        .find(|id| store.execute(&op(&id.to_le_bytes(), Verb::peek()), NOW) != Reply::Absent)
        .expect("some are left")
        .to_le_bytes();
    assert_eq!(store.execute(&op(&coldest, put(&large)), NOW), Reply::Replaced);
    assert_eq!(store.execute(&op(&coldest, Verb::get()), NOW), Reply::Value(&large[..]));
    assert!(store.stats().used_bytes <= store.stats().budget_bytes);
}

#[test]
fn what_no_budget_can_hold_is_refused_and_changes_nothing() {
    let mut store = Store::new(&Bounds { value_bytes_max: usize::MAX, ..BOUNDS });
    store.execute(&op(b"k", put(b"old")), NOW);
    let before = store.stats();
    assert_eq!(store.execute(&op(b"k", put(&vec![0; 1 << 20])), NOW), Reply::TooLarge);
    assert_eq!(store.execute(&op(b"k", Verb::get()), NOW), Reply::Value(&b"old"[..]));
    assert_eq!((store.stats().entries, store.stats().evictions), (before.entries, 0));
}

#[test]
fn room_is_made_for_a_large_value_before_it_comes() {
    let bounds = Bounds { value_bytes_max: 1 << 17, ..BOUNDS };
    let mut store = Store::new(&bounds);
    let keys = if cfg!(miri) { 50 } else { 20_000_u32 };
    for id in 0..keys {
        store.execute(&op(&id.to_le_bytes(), put(b"small")), NOW);
    }
    let value = vec![2; 1 << 17];
    while !store.make_room_ahead(value.len(), NOW, 64) {}
    let before = store.stats();
    assert_eq!(store.execute(&op(b"k", put(&value)), NOW), Reply::Created);
    assert_eq!((store.stats().evictions, store.stats().forced), (before.evictions, 0));
    assert_eq!(store.execute(&op(b"k", Verb::get()), NOW), Reply::Value(&value[..]));
}

#[test]
fn expired_entries_give_their_memory_back_in_slices() {
    let mut store = Store::new(&BOUNDS);
    let keys = if cfg!(miri) { 100 } else { 3_000_u64 };
    // Some outlive the others by far: every level of the wheel is used.
    let ttl = |id: u64| if id.is_multiple_of(2) { 1 + id } else { 1 << (id % 38) };
    for id in 0..keys {
        store.execute(&op(&id.to_le_bytes(), put_for(b"", ttl(id))), NOW);
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
    let mut store = Store::new(&BOUNDS);
    store.prefault();
    store.execute(&op(b"a", put_for(b"old", 500)), NOW);
    store.execute(&op(b"b", put(b"old")), NOW);
    store.flush();
    assert_eq!(store.execute(&op(b"b", Verb::get()), NOW), Reply::Absent);
    assert_eq!((store.stats().entries, store.stats().flushed), (0, 2));
    store.execute(&op(b"b", put(b"new")), NOW);
    assert!(!store.expire(Millis(5_000), 9));
    assert_eq!(store.execute(&op(b"b", Verb::get()), NOW), Reply::Value(&b"new"[..]));
}

const READ: Verb<&[u8]> = Verb::Read(Read { ..Read::ENTRY });

fn write<'a>(value: &'a [u8], condition: Condition<&'a [u8]>) -> Verb<&'a [u8]> {
    Verb::Write(Write { value, extras: Extras::NONE, ttl_ms: None, condition })
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

fn version(store: &mut Store, key: &[u8]) -> u64 {
    match store.execute(&op(key, READ), NOW) {
        Reply::Entry { details: Details { version, .. }, .. } => version,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_touch_sets_moves_and_takes_away_the_end() {
    let bounds = Bounds { value_bytes_max: 1 << 17, ..BOUNDS };
    for value in [vec![], vec![1; 100], vec![2; 1 << 17]] {
        let mut store = Store::new(&bounds);
        assert_eq!(store.execute(&op(b"k", touch(5)), NOW), Reply::Absent);
        store.execute(&op(b"k", put(&value)), NOW);
        for (verb, left) in
            [(touch(50), 40), (touch(0), 0), (touch(0), 0), (touch(70), 60), (touch(30), 20)]
        {
            assert_eq!(store.execute(&op(b"k", verb), NOW), Reply::Touched);
            let reply = store.execute(&op(b"k", READ), Millis(NOW.0 + 10));
            let Reply::Entry { value: held, details: Details { ttl_ms, .. } } = reply else {
                panic!("{reply:?}")
            };
            assert_eq!((held, ttl_ms), (&value[..], NonZeroU64::new(left)));
        }
        assert_eq!(store.execute(&op(b"k", READ), Millis(NOW.0 + 30)), Reply::Absent);
    }
}

#[test]
fn an_addition_reads_what_it_would_print() {
    let mut store = Store::new(&BOUNDS);
    assert_eq!(store.execute(&op(b"n", add(-5)), NOW), Reply::Number(-5));
    assert_eq!(store.execute(&op(b"n", add(105)), NOW), Reply::Number(100));
    assert_eq!(store.execute(&op(b"n", Verb::get()), NOW), Reply::Value(&b"100"[..]));
    assert_eq!(store.execute(&op(b"n", add(i64::MAX)), NOW), Reply::Overflow);
    for text in ["", "+1", "01", "-0", " 1", "1 ", "1.0", "9223372036854775808", "x"] {
        store.execute(&op(b"t", put(text.as_bytes())), NOW);
        assert_eq!(store.execute(&op(b"t", add(1)), NOW), Reply::NotANumber, "{text:?}");
        assert_eq!(store.execute(&op(b"t", Verb::get()), NOW), Reply::Value(text.as_bytes()));
    }
    store.execute(&op(b"e", put_for(b"1", 50)), NOW);
    store.execute(&op(b"e", add(1)), NOW);
    assert_eq!(store.execute(&op(b"e", Verb::get()), Millis(1_050)), Reply::Absent);
}

#[test]
fn where_nothing_is_evicted_a_full_store_refuses_and_keeps_all() {
    let bounds = Bounds { value_bytes_max: 1 << 14, ..BOUNDS };
    let lens: &[usize] = if cfg!(miri) { &[1 << 14] } else { &[0, 100, 1 << 14] };
    for &len in lens {
        let mut store = Store::with_eviction(&bounds, Eviction::None);
        let value = vec![1; len];
        let mut held = 0_u32;
        while store.execute(&op(&held.to_le_bytes(), put(&value)), NOW) == Reply::Created {
            held += 1;
        }
        assert_eq!(store.execute(&op(&held.to_le_bytes(), put(&value)), NOW), Reply::Full);
        assert!(store.stats().used_bytes * 10 > store.stats().budget_bytes * 9);
        let larger = vec![2; 1 << 14];
        for id in 0..held {
            store.execute(&op(&id.to_le_bytes(), put(&larger)), NOW);
            let reply = store.execute(&op(&id.to_le_bytes(), Verb::get()), NOW);
            assert!([Reply::Value(&value[..]), Reply::Value(&larger[..])].contains(&reply));
        }
        assert_eq!((store.stats().entries, store.stats().evictions), (u64::from(held), 0));
        store.execute(&op(&[0; 4], Verb::delete()), NOW);
        assert_eq!(store.execute(&op(&[0; 4], put(b"")), NOW), Reply::Created);
    }
}

#[test]
fn sums_over_shards() {
    let mut store = Store::new(&BOUNDS);
    store.execute(&op(b"k", put(b"v")), NOW);
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
