//! Values that readers have pinned: what they outlive, and what they cost.

use super::{NOW, SETTINGS, op, put, put_for};
use crate::clock::Millis;
use crate::store::{Condition, Extras, Loan, Reply, Settings, Store, Verb};
use std::num::NonZeroU64;

const LARGE_SETTINGS: Settings = Settings { value_bytes_max: 1 << 17, ..SETTINGS };

fn lend(store: &mut Store, key: &[u8]) -> Loan {
    match store.execute(op(key, Verb::Lend { above: 1 << 10 }), NOW) {
        Reply::Lent { loan, .. } => loan,
        other => panic!("{other:?}"),
    }
}

fn piece(store: &mut Store, loan: Loan, from: usize) -> Option<Vec<u8>> {
    match store.execute(op(b"", Verb::Piece { loan, from, bytes: 9_000 }), NOW) {
        Reply::Piece { loan: same, bytes } if same == loan => Some(bytes.to_vec()),
        Reply::Gone => None,
        other => panic!("{other:?}"),
    }
}

/// All of a value on loan.
fn read_loan(store: &mut Store, loan: Loan) -> Vec<u8> {
    let mut value = Vec::new();
    loop {
        let piece = piece(store, loan, value.len()).expect("still on loan");
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
#[cfg_attr(miri, ignore = "moves megabytes; the model lends small values there")]
fn a_loan_outlives_whatever_becomes_of_its_key() {
    let value = bytes_of(40_000, 0);
    let later = Millis(NOW.0 + 60_000);
    for ending in 0..5 {
        let mut store = Store::new(&LARGE_SETTINGS);
        store.execute(op(b"other", put(&bytes_of(30_000, 9))), NOW);
        store.execute(op(b"k", put_for(&value, 50_000)), NOW);
        let used = store.stats().used_bytes;
        let (first, second) = (lend(&mut store, b"k"), lend(&mut store, b"k"));
        assert_eq!((first, store.stats().lent), (second, 1));
        match ending {
            0 => drop(store.execute(op(b"k", put(&bytes_of(40_000, 5))), NOW)),
            1 => drop(store.execute(op(b"k", put(b"small")), NOW)),
            2 => drop(store.execute(op(b"k", Verb::Delete), NOW)),
            3 => drop(store.execute(op(b"k", Verb::Get), later)),
            _ => while store.expire(later, 99) || store.stats().expirations == 0 {},
        }
        assert!(store.stats().orphaned_bytes >= 40_000 && store.stats().used_bytes >= used);
        store.check();
        // Chunks of an entry that leaves make others move.
        store.execute(op(b"other", Verb::Delete), NOW);
        store.check();
        assert_eq!(read_loan(&mut store, first), value, "{ending}");
        store.give_back(first);
        assert_eq!(read_loan(&mut store, second), value, "{ending}");
        store.give_back(second);
        store.check();
        assert_eq!(piece(&mut store, first, 0), None);
        store.give_back(first);
        store.execute(op(b"k", Verb::Delete), NOW);
        let stats = store.stats();
        assert_eq!((stats.lent, stats.orphaned_bytes, stats.revoked), (0, 0, 0));
        assert_eq!(stats.budget_bytes - stats.used_bytes, empty_bytes(), "pages are lost");
    }
}

/// Bytes that are free in an empty store of `LARGE_SETTINGS`.
fn empty_bytes() -> u64 {
    let stats = Store::new(&LARGE_SETTINGS).stats();
    stats.budget_bytes - stats.used_bytes
}

/// No reader finds it by its key, so there is nothing to sweep.
#[test]
#[cfg_attr(miri, ignore = "moves megabytes; the model lends small values there")]
fn a_sweep_leaves_what_is_only_on_loan() {
    let mut store = Store::new(&LARGE_SETTINGS);
    for id in 0..500_u32 {
        store.execute(op(&id.to_le_bytes(), put(b"small")), NOW);
    }
    let (tag, value) = ([7; 8], bytes_of(40_000, 3));
    let extras = Extras { tags: Some(&tag[..]), ..Extras::NONE };
    let condition = Condition::NONE;
    let verb = Verb::Write { value: &value[..], extras, ttl_ms: None, condition };
    store.execute(op(b"k", verb), NOW);
    let loan = lend(&mut store, b"k");
    store.execute(op(b"k", Verb::Delete), NOW);
    assert!(store.invalidate(u64::from_le_bytes(tag)));
    let mut sweeps = 0;
    while store.sweep(1) {
        store.check();
        sweeps += 1;
    }
    assert!(sweeps > 10 && store.stats().invalidated == 0);
    assert_eq!(read_loan(&mut store, loan), value);
    store.give_back(loan);
    store.check();
}

#[test]
#[cfg_attr(miri, ignore = "moves megabytes; the model lends small values there")]
fn a_loan_of_a_live_entry_costs_nothing_and_follows_it() {
    let mut store = Store::new(&LARGE_SETTINGS);
    let keys = if cfg!(miri) { 12 } else { 40_usize };
    let value = |id: usize| bytes_of(9_000 + 100 * id, id);
    for id in 0..keys {
        store.execute(op(&id.to_le_bytes(), put(&value(id))), NOW);
    }
    let used = store.stats().used_bytes;
    let loans: Vec<Loan> = (0..keys).map(|id| lend(&mut store, &id.to_le_bytes())).collect();
    assert_eq!((store.stats().used_bytes, store.stats().lent), (used, keys as u64));
    // Every other one leaves and is given back: slots and chunks of the rest move.
    for (id, &loan) in loans.iter().enumerate().step_by(2) {
        store.execute(op(&id.to_le_bytes(), Verb::Delete), NOW);
        store.give_back(loan);
        store.check();
    }
    assert!(store.stats().relocations > 0);
    for (id, &loan) in loans.iter().enumerate().skip(1).step_by(2) {
        assert_eq!(read_loan(&mut store, loan), value(id));
        assert_eq!(
            store.execute(op(&id.to_le_bytes(), Verb::Get), NOW),
            Reply::Value(&value(id)[..])
        );
        store.give_back(loan);
    }
    store.check();
    assert_eq!((store.stats().lent, store.stats().entries), (0, keys as u64 / 2));
}

#[test]
#[cfg_attr(miri, ignore = "moves megabytes; the model lends small values there")]
fn beyond_an_eighth_of_the_budget_the_oldest_orphan_is_revoked() {
    let mut store = Store::new(&LARGE_SETTINGS);
    let mut loans = Vec::new();
    for turn in 0..20 {
        store.execute(op(b"k", put(&bytes_of(30_000, turn))), NOW);
        loans.push(lend(&mut store, b"k"));
        assert!(store.stats().orphaned_bytes <= store.stats().budget_bytes / 8);
    }
    store.check();
    let gone = loans.iter().take_while(|&&loan| piece(&mut store, loan, 0).is_none()).count();
    assert!((10..19).contains(&gone), "{gone}");
    assert_eq!(store.stats().revoked, gone as u64);
    for (turn, &loan) in loans.iter().enumerate().skip(gone) {
        assert_eq!(read_loan(&mut store, loan), bytes_of(30_000, turn));
    }
    // One that is larger than all orphans may be is gone with its key.
    store.execute(op(b"l", put(&bytes_of(1 << 17, 0))), NOW);
    let large = lend(&mut store, b"l");
    store.execute(op(b"l", Verb::Delete), NOW);
    assert_eq!(piece(&mut store, large, 0), None);
    assert!(loans[..19].iter().all(|&loan| piece(&mut store, loan, 0).is_none()));
    store.flush();
    assert!(loans.iter().all(|&loan| piece(&mut store, loan, 0).is_none()));
    assert_eq!((store.stats().lent, store.stats().revoked), (0, 21));
    store.execute(op(b"k", put(&bytes_of(30_000, 0))), NOW);
    let fresh = lend(&mut store, b"k");
    for loan in loans {
        store.give_back(loan);
    }
    assert_eq!(read_loan(&mut store, fresh), bytes_of(30_000, 0));
    store.check();
}

#[test]
#[cfg_attr(miri, ignore = "moves megabytes; the model lends small values there")]
fn puts_find_room_among_entries_on_loan() {
    let mut store = Store::new(&LARGE_SETTINGS);
    let puts = if cfg!(miri) { 30 } else { 300_usize };
    for id in 0..puts {
        let value = bytes_of(20_000 + id % 7 * 3_000, id);
        assert_eq!(store.execute(op(&id.to_le_bytes(), put(&value)), NOW), Reply::Created);
        let loan = lend(&mut store, &id.to_le_bytes());
        assert_eq!(read_loan(&mut store, loan), value);
        assert!(store.stats().used_bytes <= store.stats().budget_bytes);
    }
    store.check();
    assert!(cfg!(miri) || store.stats().revoked > 0 && store.stats().evictions > 0);
}

#[test]
#[cfg_attr(miri, ignore = "moves megabytes; the model lends small values there")]
fn a_read_lends_a_large_value_and_tells_the_rest() {
    let mut store = Store::new(&LARGE_SETTINGS);
    let value = bytes_of(30_000, 0);
    let extras = Extras { content_type: Some(&b"image/png"[..]), ..Extras::NONE };
    let (ttl_ms, condition) = (NonZeroU64::new(5), Condition::NONE);
    store.execute(op(b"k", Verb::Write { value: &value, extras, ttl_ms, condition }), NOW);
    let read = |above| Verb::Read { condition, lease_ms: None, is_use: true, above };
    let Reply::Entry { value: held, version, .. } = store.execute(op(b"k", read(30_000)), NOW)
    else {
        panic!("it was lent")
    };
    assert_eq!(held, value);
    assert_eq!(store.stats().lent, 0);
    let reply = store.execute(op(b"k", read(29_999)), NOW);
    let loan = reply.loan().expect("it is lent");
    let (bytes, content_type) = (value.len(), extras.content_type);
    let told = Reply::LentEntry { loan, bytes, content_type, version, ttl_ms, stale: None };
    assert_eq!(reply, told);
    store.execute(op(b"k", Verb::Delete), NOW);
    let piece = Verb::Piece { loan, from: 20_000, bytes: 20_000 };
    assert_eq!(store.execute(op(b"k", piece), NOW), Reply::Piece { loan, bytes: &value[20_000..] });
    store.give_back(loan);
    assert_eq!((store.stats().lent, store.stats().orphaned_bytes), (0, 0));
}

#[test]
fn small_values_are_not_lent() {
    let mut store = Store::new(&LARGE_SETTINGS);
    for (bytes, above) in [(100, 0), (20_000, 20_000)] {
        let value = bytes_of(bytes, 0);
        store.execute(op(b"k", put(&value)), NOW);
        assert_eq!(store.execute(op(b"k", Verb::Lend { above }), NOW), Reply::Value(&value[..]));
    }
    assert_eq!(store.execute(op(b"x", Verb::Lend { above: 0 }), NOW), Reply::Absent);
    assert_eq!((store.stats().lent, store.stats().hits, store.stats().misses), (0, 2, 1));
}
