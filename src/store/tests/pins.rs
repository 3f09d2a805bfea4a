//! Pinned values: they outlast their keys, within a bound.

use super::{BOUNDS, NOW, op, put, put_for};
use crate::clock::Millis;
use crate::store::{Bounds, Condition, Details, Extras, Pin, Read, Reply, Store, Verb, Write};
use std::num::NonZeroU64;

const LARGE_BOUNDS: Bounds = Bounds { value_bytes_max: 1 << 17, ..BOUNDS };

fn pin(store: &mut Store, key: &[u8]) -> Pin {
    match store.execute(&op(key, Verb::Read(Read { pin_above: 1 << 10, ..Read::VALUE })), NOW) {
        Reply::Pinned { pin, details: None, .. } => pin,
        other => panic!("{other:?}"),
    }
}

fn piece(store: &mut Store, pin: Pin, from: usize) -> Option<Vec<u8>> {
    match store.execute(&op(b"", Verb::Piece { pin, from, bytes: 9_000 }), NOW) {
        Reply::Piece { pin: same, bytes } if same == pin => Some(bytes.to_vec()),
        Reply::Gone => None,
        other => panic!("{other:?}"),
    }
}

/// All of a pinned value.
fn read_pinned(store: &mut Store, pin: Pin) -> Vec<u8> {
    let mut value = Vec::new();
    loop {
        let piece = piece(store, pin, value.len()).expect("still pinned");
        if piece.is_empty() {
            return value;
        }
        value.extend(piece);
    }
}

fn bytes_of(len: usize, seed: usize) -> Vec<u8> {
    (0..=250).cycle().skip(seed % 251).take(len).collect()
}

#[test]
#[cfg_attr(miri, ignore = "moves megabytes; the model pins small values there")]
fn a_pinned_value_outlives_whatever_becomes_of_its_key() {
    let value = bytes_of(40_000, 0);
    let later = Millis(NOW.0 + 60_000);
    for ending in 0..5 {
        let mut store = Store::new(&LARGE_BOUNDS);
        store.execute(&op(b"other", put(&bytes_of(30_000, 9))), NOW);
        store.execute(&op(b"k", put_for(&value, 50_000)), NOW);
        let used = store.stats().used_bytes;
        let (first, second) = (pin(&mut store, b"k"), pin(&mut store, b"k"));
        assert_eq!((first, store.stats().lent), (second, 1));
        match ending {
            0 => drop(store.execute(&op(b"k", put(&bytes_of(40_000, 5))), NOW)),
            1 => drop(store.execute(&op(b"k", put(b"small")), NOW)),
            2 => drop(store.execute(&op(b"k", Verb::delete()), NOW)),
            3 => drop(store.execute(&op(b"k", Verb::get()), later)),
            _ => while store.expire(later, 99) || store.stats().expirations == 0 {},
        }
        assert!(store.stats().orphaned_bytes >= 40_000 && store.stats().used_bytes >= used);
        store.check();
        // Chunks of an entry that leaves make others move.
        store.execute(&op(b"other", Verb::delete()), NOW);
        store.check();
        assert_eq!(read_pinned(&mut store, first), value, "{ending}");
        store.unpin(first);
        assert_eq!(read_pinned(&mut store, second), value, "{ending}");
        store.unpin(second);
        store.check();
        assert_eq!(piece(&mut store, first, 0), None);
        store.unpin(first);
        store.execute(&op(b"k", Verb::delete()), NOW);
        let stats = store.stats();
        assert_eq!((stats.lent, stats.orphaned_bytes, stats.revoked), (0, 0, 0));
        assert_eq!(stats.budget_bytes - stats.used_bytes, empty_bytes(), "pages are lost");
    }
}

/// Bytes that are free in an empty store of `LARGE_BOUNDS`.
fn empty_bytes() -> u64 {
    let stats = Store::new(&LARGE_BOUNDS).stats();
    stats.budget_bytes - stats.used_bytes
}

/// No reader finds it by its key, so there is nothing to sweep.
#[test]
#[cfg_attr(miri, ignore = "moves megabytes; the model pins small values there")]
fn a_sweep_leaves_what_is_only_pinned() {
    let mut store = Store::new(&LARGE_BOUNDS);
    for id in 0..500_u32 {
        store.execute(&op(&id.to_le_bytes(), put(b"small")), NOW);
    }
    let (tag, value) = ([7; 8], bytes_of(40_000, 3));
    let extras = Extras { tags: Some(&tag[..]), ..Extras::NONE };
    let condition = Condition::NONE;
    let verb = Verb::Write(Write { value: &value[..], extras, ttl_ms: None, condition });
    store.execute(&op(b"k", verb), NOW);
    let pin = pin(&mut store, b"k");
    store.execute(&op(b"k", Verb::delete()), NOW);
    assert!(store.invalidate(u64::from_le_bytes(tag)));
    let mut sweeps = 0;
    while store.sweep(1) {
        store.check();
        sweeps += 1;
    }
    assert!(sweeps > 10 && store.stats().invalidated == 0);
    assert_eq!(read_pinned(&mut store, pin), value);
    store.unpin(pin);
    store.check();
}

#[test]
#[cfg_attr(miri, ignore = "moves megabytes; the model pins small values there")]
fn pinning_a_live_entry_costs_nothing_and_follows_it() {
    let mut store = Store::new(&LARGE_BOUNDS);
    let keys = if cfg!(miri) { 12 } else { 40_usize };
    let value = |id: usize| bytes_of(9_000 + 100 * id, id);
    for id in 0..keys {
        store.execute(&op(&id.to_le_bytes(), put(&value(id))), NOW);
    }
    let used = store.stats().used_bytes;
    let pins: Vec<Pin> = (0..keys).map(|id| pin(&mut store, &id.to_le_bytes())).collect();
    assert_eq!((store.stats().used_bytes, store.stats().lent), (used, keys as u64));
    // Every other one leaves and is given back: slots and chunks of the rest move.
    for (id, &pin) in pins.iter().enumerate().step_by(2) {
        store.execute(&op(&id.to_le_bytes(), Verb::delete()), NOW);
        store.unpin(pin);
        store.check();
    }
    assert!(store.stats().relocations > 0);
    for (id, &pin) in pins.iter().enumerate().skip(1).step_by(2) {
        assert_eq!(read_pinned(&mut store, pin), value(id));
        assert_eq!(
            store.execute(&op(&id.to_le_bytes(), Verb::get()), NOW),
            Reply::Value(&value(id)[..])
        );
        store.unpin(pin);
    }
    store.check();
    assert_eq!((store.stats().lent, store.stats().entries), (0, keys as u64 / 2));
}

#[test]
#[cfg_attr(miri, ignore = "moves megabytes; the model pins small values there")]
fn beyond_an_eighth_of_the_budget_the_oldest_orphan_is_revoked() {
    let mut store = Store::new(&LARGE_BOUNDS);
    let mut pins = Vec::new();
    for turn in 0..20 {
        store.execute(&op(b"k", put(&bytes_of(30_000, turn))), NOW);
        pins.push(pin(&mut store, b"k"));
        assert!(store.stats().orphaned_bytes <= store.stats().budget_bytes / 8);
    }
    store.check();
    let gone = pins.iter().take_while(|&&pin| piece(&mut store, pin, 0).is_none()).count();
    assert!((10..19).contains(&gone), "{gone}");
    assert_eq!(store.stats().revoked, gone as u64);
    for (turn, &pin) in pins.iter().enumerate().skip(gone) {
        assert_eq!(read_pinned(&mut store, pin), bytes_of(30_000, turn));
    }
    // One that is larger than all orphans may be is gone with its key.
    store.execute(&op(b"l", put(&bytes_of(1 << 17, 0))), NOW);
    let large = pin(&mut store, b"l");
    store.execute(&op(b"l", Verb::delete()), NOW);
    assert_eq!(piece(&mut store, large, 0), None);
    assert!(pins[..19].iter().all(|&pin| piece(&mut store, pin, 0).is_none()));
    store.flush();
    assert!(pins.iter().all(|&pin| piece(&mut store, pin, 0).is_none()));
    assert_eq!((store.stats().lent, store.stats().revoked), (0, 21));
    store.execute(&op(b"k", put(&bytes_of(30_000, 0))), NOW);
    let fresh = pin(&mut store, b"k");
    for pin in pins {
        store.unpin(pin);
    }
    assert_eq!(read_pinned(&mut store, fresh), bytes_of(30_000, 0));
    store.check();
}

#[test]
#[cfg_attr(miri, ignore = "moves megabytes; the model pins small values there")]
fn puts_find_room_among_pinned_entries() {
    let mut store = Store::new(&LARGE_BOUNDS);
    let puts = if cfg!(miri) { 30 } else { 300_usize };
    for id in 0..puts {
        let value = bytes_of(20_000 + id % 7 * 3_000, id);
        assert_eq!(store.execute(&op(&id.to_le_bytes(), put(&value)), NOW), Reply::Created);
        let pin = pin(&mut store, &id.to_le_bytes());
        assert_eq!(read_pinned(&mut store, pin), value);
        assert!(store.stats().used_bytes <= store.stats().budget_bytes);
    }
    store.check();
    assert!(cfg!(miri) || store.stats().revoked > 0 && store.stats().evictions > 0);
}

#[test]
#[cfg_attr(miri, ignore = "moves megabytes; the model pins small values there")]
fn a_read_with_details_pins_a_large_value() {
    let mut store = Store::new(&LARGE_BOUNDS);
    let value = bytes_of(30_000, 0);
    let extras = Extras { content_type: Some(&b"image/png"[..]), ..Extras::NONE };
    let (ttl_ms, condition) = (NonZeroU64::new(5), Condition::NONE);
    store.execute(&op(b"k", Verb::Write(Write { value: &value, extras, ttl_ms, condition })), NOW);
    let read = |above| Verb::Read(Read { condition, pin_above: above, ..Read::ENTRY });
    let Reply::Entry { value: held, details: Details { version, .. } } =
        store.execute(&op(b"k", read(30_000)), NOW)
    else {
        panic!("it was pinned")
    };
    assert_eq!(held, value);
    assert_eq!(store.stats().lent, 0);
    let reply = store.execute(&op(b"k", read(29_999)), NOW);
    let pin = reply.pin().expect("it is pinned");
    let (bytes, content_type) = (value.len(), extras.content_type);
    let details = Some(Details { content_type, version, ttl_ms, stale: None });
    assert_eq!(reply, Reply::Pinned { pin, bytes, details });
    store.execute(&op(b"k", Verb::delete()), NOW);
    let piece = Verb::Piece { pin, from: 20_000, bytes: 20_000 };
    assert_eq!(store.execute(&op(b"k", piece), NOW), Reply::Piece { pin, bytes: &value[20_000..] });
    store.unpin(pin);
    assert_eq!((store.stats().lent, store.stats().orphaned_bytes), (0, 0));
}

#[test]
fn small_values_are_not_pinned() {
    let mut store = Store::new(&LARGE_BOUNDS);
    let read = |above| Verb::Read(Read { pin_above: above, ..Read::VALUE });
    for (bytes, above) in [(100, 0), (20_000, 20_000)] {
        let value = bytes_of(bytes, 0);
        store.execute(&op(b"k", put(&value)), NOW);
        assert_eq!(store.execute(&op(b"k", read(above)), NOW), Reply::Value(&value[..]));
    }
    assert_eq!(store.execute(&op(b"x", read(0)), NOW), Reply::Absent);
    assert_eq!((store.stats().lent, store.stats().hits, store.stats().misses), (0, 2, 1));
}
