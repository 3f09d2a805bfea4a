//! Conditions: which of them each verb is held to, and what it replies where one does not hold.

use super::{BOUNDS, NOW, op, put, unless, version, write};
use crate::store::{Condition, Read, Reply, Store, Verb, Versions};

/// The key has one of the versions, which are held as they travel.
fn matches(versions: &[u8]) -> Condition<&[u8]> {
    Condition { matches: Some(Versions::Listed(versions)), none_match: None }
}

#[test]
fn a_write_keeps_to_its_condition() {
    let mut store = Store::new(&BOUNDS);
    for condition in [Condition::PRESENT, matches(&[0; 8]), matches(&[])] {
        assert_eq!(store.execute(&op(b"k", write(b"v", condition)), NOW), Reply::Refused);
    }
    assert_eq!(store.execute(&op(b"k", write(b"1", Condition::ABSENT)), NOW), Reply::Created);
    assert_eq!(store.execute(&op(b"k", write(b"2", Condition::ABSENT)), NOW), Reply::Refused);
    let first = version(&mut store, b"k");
    let listed = [[0; 8], first.to_le_bytes()].concat();
    let again = write(b"2", matches(&listed));
    assert_eq!(store.execute(&op(b"k", again), NOW), Reply::Replaced);
    assert_eq!(store.execute(&op(b"k", again), NOW), Reply::Refused);
    assert_eq!(store.execute(&op(b"k", write(b"3", Condition::PRESENT)), NOW), Reply::Replaced);
    assert_eq!(store.execute(&op(b"k", Verb::get()), NOW), Reply::Value(&b"3"[..]));
}

#[test]
fn every_verb_keeps_to_its_condition() {
    let mut store = Store::new(&BOUNDS);
    store.execute(&op(b"k", put(b"1")), NOW);
    let old = version(&mut store, b"k").to_le_bytes();
    store.execute(&op(b"k", put(b"2")), NOW);
    let new = version(&mut store, b"k").to_le_bytes();
    let read = |condition| Verb::Read(Read { condition, ..Read::ENTRY });
    for condition in [matches(&old), unless(&new), Condition::ABSENT] {
        for verb in [
            write(b"3", condition),
            Verb::Delete { condition },
            Verb::Touch { ttl_ms: None, condition },
            Verb::Add { by: 1, condition },
        ] {
            assert_eq!(store.execute(&op(b"k", verb), NOW), Reply::Refused, "{verb:?}");
        }
    }
    assert_eq!(store.execute(&op(b"k", read(matches(&old))), NOW), Reply::Refused);
    for condition in [unless(&new), Condition::ABSENT] {
        let reply = store.execute(&op(b"k", read(condition)), NOW);
        assert!(matches!(reply, Reply::Unchanged { .. }), "{reply:?}");
    }
    // Both must hold, and the first that does not is the answer.
    let both = Condition { none_match: Some(Versions::Any), ..matches(&old) };
    assert_eq!(store.execute(&op(b"k", read(both)), NOW), Reply::Refused);
    for condition in [matches(&new), unless(&old), Condition::PRESENT] {
        let reply = store.execute(&op(b"k", read(condition)), NOW);
        assert!(matches!(reply, Reply::Entry { value: b"2", .. }), "{reply:?}");
        let touch = Verb::Touch { ttl_ms: None, condition };
        assert_eq!(store.execute(&op(b"k", touch), NOW), Reply::Touched);
    }
    let add = Verb::Add { by: 1, condition: matches(&new) };
    assert_eq!(store.execute(&op(b"k", add), NOW), Reply::Number(3));
    let remove = Verb::Delete { condition: Condition::PRESENT };
    assert_eq!(store.execute(&op(b"k", remove), NOW), Reply::Deleted);
    // Where nothing is there, only what would put something asks for the condition.
    for condition in [Condition::PRESENT, Condition::ABSENT, matches(&new)] {
        for verb in
            [read(condition), Verb::Delete { condition }, Verb::Touch { ttl_ms: None, condition }]
        {
            assert_eq!(store.execute(&op(b"k", verb), NOW), Reply::Absent, "{verb:?}");
        }
    }
    for condition in [Condition::PRESENT, matches(&new)] {
        for verb in [write(b"3", condition), Verb::Add { by: 1, condition }] {
            assert_eq!(store.execute(&op(b"k", verb), NOW), Reply::Refused, "{verb:?}");
        }
    }
}
