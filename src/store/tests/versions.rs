//! Versions: who gives an entry one, what it costs, and what changes it.

use super::{BOUNDS, NOW, READ, add, items, op, put, read_for, touch, unless, version, write};
use crate::store::{Bounds, Condition, Details, Eviction, Read, Reply, Store, Verb};

#[test]
fn every_write_changes_the_version_and_nothing_else_does() {
    let bounds = Bounds { value_bytes_max: 1 << 17, ..BOUNDS };
    let mut store = Store::new(&bounds);
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
        store.execute(&op(b"k", verb), NOW);
        let now = version(&mut store, b"k");
        assert!(!seen.contains(&now), "{verb:?}");
        for verb in [Verb::get(), touch(9), Verb::peek()] {
            store.execute(&op(b"k", verb), NOW);
            assert_eq!(version(&mut store, b"k"), now);
        }
        seen.push(now);
    }
}

/// Only who asks for the version, or compares it, has the entry given one.
#[test]
fn a_read_of_the_value_alone_never_writes() {
    let plain =
        [Verb::get(), Verb::peek(), read_for(50), Verb::Read(Read { pin_above: 0, ..Read::VALUE })];
    let asking = [
        READ,
        Verb::Read(Read { condition: Condition::PRESENT, ..Read::VALUE }),
        Verb::Read(Read { condition: unless(&[0; 8]), is_use: false, ..Read::VALUE }),
    ];
    for (verbs, version_bytes) in [(&plain[..], 0), (&asking[..], 10)] {
        for &verb in verbs {
            let mut store = Store::new(&BOUNDS);
            store.execute(&op(b"k", put(b"v")), NOW);
            let before = (store.stats().payload_bytes + version_bytes, store.writes);
            let reply = store.execute(&op(b"k", verb), NOW);
            if verb == READ {
                assert!(matches!(reply, Reply::Entry { value: b"v", .. }), "{reply:?}");
            } else {
                assert_eq!(reply, Reply::Value(&b"v"[..]), "{verb:?}");
            }
            let after = (store.stats().payload_bytes, store.writes - version_bytes / 10);
            assert_eq!(after, before, "{verb:?}");
        }
    }
}

#[test]
fn a_put_of_the_same_value_changes_the_version_that_was_shown() {
    let bounds = Bounds { value_bytes_max: 1 << 17, ..BOUNDS };
    // Sizes around those of the largest slot, and around that of a chunk.
    let lens = [0, 1, 5, 2_000, 2_010, 2_016, 2_020, 2_031, 2_040, 4_096, 4_100, 9_000, 100_000];
    for len in lens.into_iter().step_by(if cfg!(miri) { 4 } else { 1 }) {
        let mut store = Store::new(&bounds);
        let value = vec![1; len];
        store.execute(&op(b"k", put(&value)), NOW);
        store.execute(&op(b"l", put(&value)), NOW);
        let first = version(&mut store, b"k");
        assert_eq!(version(&mut store, b"k"), first);
        assert_eq!(store.execute(&op(b"k", Verb::get()), NOW), Reply::Value(&value[..]));
        store.execute(&op(b"k", put(&value)), NOW);
        assert_ne!(version(&mut store, b"k"), first, "{len}");
        assert_ne!(version(&mut store, b"k"), version(&mut store, b"l"));
        store.check();
    }
}

#[test]
fn another_process_begins_with_other_versions() {
    let first = || {
        let mut store = Store::new(&BOUNDS);
        store.execute(&op(b"k", put(b"v")), NOW);
        version(&mut store, b"k")
    };
    assert!(first().abs_diff(first()) > 1 << 20);
}

/// To be shown a version is no use: the entry keeps its place, whatever it takes to hold it.
#[test]
fn a_version_does_not_warm_an_entry() {
    let (rules, keys) = if cfg!(miri) { (2, 20) } else { (Eviction::NAMES.len(), 500_u32) };
    for (name, eviction) in Eviction::NAMES.into_iter().take(rules) {
        let mut store = Store::with_eviction(&BOUNDS, eviction);
        for id in 0..keys {
            store.execute(&op(&id.to_le_bytes(), put(&[1; 40])), NOW);
        }
        let before = items(&mut store, NOW);
        for id in 0..keys {
            let peek = Verb::Read(Read { is_use: false, ..Read::ENTRY });
            store.execute(&op(&id.to_le_bytes(), peek), NOW);
        }
        assert_eq!(store.stats().payload_bytes, u64::from(keys) * (16 + 4 + 40 + 10));
        assert_eq!(items(&mut store, NOW), before, "{name}");
        store.check();
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes many requests")]
fn versions_find_room_in_a_full_store() {
    for (name, eviction) in Eviction::NAMES {
        let mut store = Store::with_eviction(&BOUNDS, eviction);
        let mut keys = 0_u32;
        while store.stats().evictions == 0
            && store.execute(&op(&keys.to_le_bytes(), put(&[1; 40])), NOW) == Reply::Created
        {
            keys += 1;
        }
        let (mut shown, mut unchanged) = (0, 0);
        for id in (0..keys).rev() {
            let key = id.to_le_bytes();
            let mut version = || match store.execute(&op(&key, READ), NOW) {
                Reply::Entry { value, details: Details { version, .. } } => {
                    assert_eq!(value, [1; 40]);
                    Some(version)
                }
                other => {
                    assert_eq!(other, Reply::Absent);
                    None
                }
            };
            let Some(first) = version() else { continue };
            assert_eq!(version(), Some(first));
            store.execute(&op(&key, put(&[1; 40])), NOW);
            let second = match store.execute(&op(&key, READ), NOW) {
                Reply::Entry { details: Details { version, .. }, .. } => version,
                other => panic!("{other:?}"),
            };
            shown += 1;
            // Only a hash of the value stays the same.
            assert!(first != second || first >> 63 == 1);
            unchanged += u32::from(first == second);
        }
        let may_lack = eviction == Eviction::None;
        assert_eq!(unchanged > 0, may_lack, "{name}: {unchanged} of {shown}");
        assert!(shown > keys / 2, "{name}: {shown} of {keys}");
        assert_eq!(may_lack, store.stats().evictions == 0);
        assert_eq!(store.stats().forced, 0);
        store.check();
    }
}
