//! Histories that can be explained beside such as cannot.

use super::{Call, Content, If, Life, NEVER, Operation, Right, Said, What, is_linearizable};

fn at(began: u64, ended: u64, (call, said): (Call, Said)) -> Operation {
    let (earliest_ms, latest_ms) = (began * 10, ended.saturating_mul(10));
    let (condition, connection) = (If::Always, usize::MAX);
    Operation { call, condition, said, connection, began, ended, earliest_ms, latest_ms }
}

fn when(condition: If, operation: Operation) -> Operation {
    Operation { condition, ..operation }
}

fn put_with(value: usize, life: Life, tags: u8) -> (Call, Said) {
    let content = Content::Value(value);
    (Call::Put { content, length: 100 + value, life, tags }, Said::Nothing)
}

fn put(value: usize) -> (Call, Said) {
    put_with(value, Life::default(), 0)
}

fn saying(said: Said, (call, _): (Call, Said)) -> (Call, Said) {
    (call, said)
}

fn find(what: What) -> (Call, Said) {
    let said = Said::Found { what, is_stale: Some(false), lease: None };
    (Call::Read { lease_ms: None }, said)
}

fn get(value: usize) -> (Call, Said) {
    find(What::Value(value))
}

const MISS: (Call, Said) = (Call::Read { lease_ms: None }, Said::Absent(None));
const DELETE: (Call, Said) = (Call::Delete, Said::Changed);
const INVALIDATE: (Call, Said) = (Call::Invalidate { tags: 1 }, Said::Nothing);

fn lease(right: Right) -> (Call, Said) {
    (Call::Read { lease_ms: Some(50) }, Said::Absent(Some(right)))
}

fn stale(value: usize, lease: Option<Right>) -> (Call, Said) {
    let said = Said::Found { what: What::Value(value), is_stale: Some(true), lease };
    (Call::Read { lease_ms: lease.map(|_| 50) }, said)
}

/// Each on a connection of its own.
fn explained(mut operations: Vec<Operation>) -> bool {
    for (connection, operation) in operations.iter_mut().enumerate() {
        if operation.connection == usize::MAX {
            operation.connection = connection;
        }
    }
    is_linearizable(operations)
}

#[test]
fn reads_see_the_last_put() {
    assert!(explained(vec![
        at(1, 2, MISS),
        at(3, 4, put(1)),
        at(5, 6, get(1)),
        at(7, 8, find(What::Length(101))),
    ]));
    assert!(!explained(vec![at(1, 2, put(1)), at(3, 4, MISS)]));
    assert!(!explained(vec![at(1, 2, put(1)), at(3, 4, find(What::Length(102)))]));
    assert!(!explained(vec![at(1, 2, get(1)), at(3, 4, put(1))]));
    assert!(!explained(vec![at(1, 2, put(1)), at(3, 4, put(2)), at(5, 6, get(1))]));
}

#[test]
fn what_overlaps_may_run_in_any_order_but_in_one() {
    let puts = [at(1, 9, put(1)), at(1, 9, put(2))];
    for (first, second) in [(1, 2), (2, 1)] {
        let reads = [at(10, 11, get(second))];
        assert!(explained([&puts[..], &reads].concat()));
        let reads = [at(2, 3, get(first)), at(4, 5, get(second))];
        assert!(explained([&puts[..], &reads].concat()));
        let back = [at(6, 7, get(first))];
        assert!(!explained([&puts[..], &reads, &back].concat()));
    }
}

#[test]
fn an_unanswered_put_may_run_late_or_never_but_once() {
    let unanswered = at(1, NEVER, put(1));
    assert!(explained(vec![unanswered, at(8, 9, MISS)]));
    assert!(explained(vec![unanswered, at(5, 6, MISS), at(8, 9, get(1))]));
    assert!(!explained(vec![unanswered, at(2, 3, get(1)), at(4, 5, MISS)]));
}

#[test]
fn one_connection_keeps_its_order() {
    let mut operations = vec![at(1, 9, put(1)), at(1, 9, put(2)), at(10, 11, get(1))];
    assert!(explained(operations.clone()));
    operations[0].connection = 7;
    operations[1].connection = 7;
    assert!(!explained(operations));
}

#[test]
fn entries_live_as_long_as_they_should() {
    let put = at(1, 2, put_with(1, Life { ttl_ms: Some(50), stale_ms: 0 }, 0));
    assert!(explained(vec![put, at(5, 6, get(1))]));
    assert!(!explained(vec![put, at(4, 5, MISS)]));
    assert!(explained(vec![put, at(6, 7, MISS)]));
    assert!(!explained(vec![put, at(7, 8, get(1))]));
    assert!(!explained(vec![put, at(6, 7, MISS), at(8, 9, get(1))]));
}

#[test]
fn what_is_stale_is_told_so_and_ends_as_well() {
    let put = at(1, 2, put_with(1, Life { ttl_ms: Some(50), stale_ms: 40 }, 0));
    assert!(explained(vec![put, at(5, 6, get(1)), at(7, 8, stale(1, None)), at(11, 12, MISS)]));
    assert!(!explained(vec![put, at(4, 5, stale(1, None))]));
    assert!(!explained(vec![put, at(6, 7, stale(1, None)), at(6, 8, MISS)]));
    assert!(!explained(vec![put, at(8, 9, get(1))]));
    assert!(!explained(vec![put, at(11, 12, stale(1, None))]));
    assert!(!explained(vec![put, at(6, 7, stale(1, None)), at(8, 9, get(1))]));
    let granted = at(7, 8, stale(1, Some(Right::Granted)));
    assert!(explained(vec![put, granted, at(9, 9, stale(1, Some(Right::Wait)))]));
    assert!(!explained(vec![put, granted, at(9, 9, stale(1, Some(Right::Granted)))]));
    let touch = at(7, 8, (Call::Touch { ttl_ms: Some(50) }, Said::Changed));
    assert!(explained(vec![put, touch, at(9, 9, get(1)), at(14, 15, stale(1, None))]));
    assert!(!explained(vec![put, touch, at(9, 9, stale(1, None))]));
}

#[test]
fn a_lease_is_granted_once_until_it_ends_or_a_put_does_it() {
    let (granted, wait) = (lease(Right::Granted), lease(Right::Wait));
    let first = at(1, 2, granted);
    assert!(explained(vec![first, at(1, 2, wait), at(3, 4, wait), at(6, 7, granted)]));
    assert!(!explained(vec![first, at(4, 5, granted)]));
    assert!(!explained(vec![first, at(7, 8, wait)]));
    assert!(!explained(vec![at(1, 2, wait)]));
    let gone = [at(3, 3, put(1)), at(4, 4, DELETE)];
    assert!(explained([&[first], &gone[..], &[at(5, 5, granted)]].concat()));
    assert!(!explained([&[first], &gone[..], &[at(5, 5, wait)]].concat()));
    assert!(explained(vec![at(1, NEVER, (granted.0, Said::Nothing)), at(3, 4, wait)]));
}

#[test]
fn an_invalidated_tag_ends_what_was_put_before() {
    let tagged = at(1, 2, put_with(1, Life::default(), 3));
    let over = at(4, 8, INVALIDATE);
    assert!(explained(vec![tagged, over, at(5, 6, get(1)), at(7, 8, MISS)]));
    assert!(explained(vec![tagged, over, at(9, 9, MISS)]));
    assert!(!explained(vec![tagged, over, at(9, 9, get(1))]));
    assert!(!explained(vec![tagged, over, at(5, 6, MISS), at(7, 8, get(1))]));
    assert!(explained(vec![tagged, at(4, NEVER, INVALIDATE), at(9, 9, MISS)]));
    assert!(explained(vec![tagged, at(4, NEVER, INVALIDATE), at(9, 9, get(1))]));
    let other = at(1, 2, put_with(1, Life::default(), 2));
    assert!(explained(vec![other, over, at(9, 9, get(1))]));
    assert!(!explained(vec![other, over, at(9, 9, MISS)]));
}

#[test]
fn conditions_are_kept_and_absence_is_told_first() {
    let one = at(1, 2, put(1));
    let created = saying(Said::Created, put(2));
    let replaced = saying(Said::Replaced, put(2));
    let refused = saying(Said::Refused, put(2));
    for (condition, done, is_explained) in [
        (If::Absent, refused, true),
        (If::Absent, replaced, false),
        (If::Present, replaced, true),
        (If::Is(1), replaced, true),
        (If::Is(1), refused, false),
        (If::Is(7), refused, true),
        (If::IsNot(1), refused, true),
        (If::IsNot(7), replaced, true),
        (If::Always, created, false),
    ] {
        let history = vec![one, when(condition, at(3, 4, done))];
        assert_eq!(explained(history), is_explained, "{condition:?} {done:?}");
    }
    assert!(explained(vec![when(If::Absent, at(1, 2, created))]));
    assert!(!explained(vec![when(If::Present, at(1, 2, created))]));
    assert!(explained(vec![when(If::Is(7), at(1, 2, MISS))]));
    let unchanged = at(3, 4, find(What::Unchanged));
    assert!(explained(vec![one, when(If::IsNot(1), unchanged)]));
    assert!(!explained(vec![one, when(If::IsNot(7), unchanged)]));
    assert!(!explained(vec![one, when(If::IsNot(1), at(3, 4, get(1)))]));
}

#[test]
fn sums_add_up() {
    let add = |by, sum| (Call::Add { by }, Said::Number(sum));
    let sums = [at(1, 9, add(1, 11)), at(1, 9, add(10, 10)), at(10, 11, find(What::Number(11)))];
    assert!(explained(sums.to_vec()));
    assert!(!explained(vec![at(1, 2, add(1, 1)), at(3, 4, add(1, 1))]));
    assert!(!explained(vec![at(1, 2, put(1)), at(3, 4, add(1, 1))]));
    assert!(explained(vec![at(1, 2, put(1)), at(3, 4, (Call::Add { by: 1 }, Said::NotANumber))]));
    let life = Life { ttl_ms: Some(50), stale_ms: 0 };
    let four = Call::Put { content: Content::Number(4), length: 0, life, tags: 1 };
    let five = [at(1, 2, (four, Said::Created)), at(3, 4, add(1, 5))];
    let read = find(What::Number(5));
    assert!(explained([&five[..], &[at(5, 6, read), at(7, 8, MISS)]].concat()));
    assert!(!explained([&five[..], &[at(5, 5, MISS)]].concat()));
    assert!(!explained([&five[..], &[at(8, 9, read)]].concat()));
    assert!(!explained([&five[..], &[at(4, 4, INVALIDATE), at(5, 6, read)]].concat()));
}
