//! Decides whether what clients saw of one key can be explained by a register with a single owner.
//!
//! The search of Wing and Gong (1993) with a memory of the states it has been in (Lowe, 2017):
//! operations are put in an order that keeps every operation that ended before another began in
//! front of it, and the requests of one connection as they were sent.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

/// When an operation never ended.
pub(crate) const NEVER: u64 = u64::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// Stores value number `value`, for so many milliseconds. `length` is that of the body that
    /// tells it.
    Put { value: usize, length: usize, ttl_ms: Option<u64> },
    /// Found this value, or none.
    Get(Option<usize>),
    /// Found a value that is told in a body of this length, or none.
    Head(Option<usize>),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) action: Action,
    pub(crate) connection: usize,
    /// The steps between which it ran.
    pub(crate) began: u64,
    pub(crate) ended: u64,
    /// The owner's time at these steps.
    pub(crate) earliest_ms: u64,
    pub(crate) latest_ms: u64,
}

impl Operation {
    /// Only a put whose answer never came may have had no effect.
    fn is_certain(&self) -> bool {
        self.ended != NEVER
    }

    /// Whether an entry that `self` put may still live when `read` runs.
    fn may_outlive(&self, ttl_ms: Option<u64>, read: &Self) -> bool {
        ttl_ms.is_none_or(|ttl| read.earliest_ms < self.latest_ms.saturating_add(ttl))
    }

    /// Whether an entry that `self` put may be over when `read` runs.
    fn may_expire(&self, ttl_ms: Option<u64>, read: &Self) -> bool {
        ttl_ms.is_some_and(|ttl| read.latest_ms >= self.earliest_ms.saturating_add(ttl))
    }
}

const OPERATIONS_MAX: usize = 512;

/// Operations that have their place already, and the put that the register holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    placed: [u64; OPERATIONS_MAX / 64],
    /// Every operation before this one is placed.
    first: usize,
    holds: Option<usize>,
}

impl State {
    fn has(&self, at: usize) -> bool {
        self.placed[at / 64] & 1 << (at % 64) != 0
    }

    fn with(mut self, at: usize, holds: Option<usize>) -> Self {
        self.placed[at / 64] |= 1 << (at % 64);
        while self.first < OPERATIONS_MAX && self.has(self.first) {
            self.first += 1;
        }
        Self { holds, ..self }
    }
}

/// What the register may hold after a step.
enum Step {
    Impossible,
    /// A read that leaves the register as it is.
    Same,
    To(Option<usize>),
}

fn step(operations: &[Operation], holds: Option<usize>, at: usize) -> Step {
    let operation = &operations[at];
    let found = match operation.action {
        Action::Put { .. } => return Step::To(Some(at)),
        Action::Get(found) | Action::Head(found) => found,
    };
    let held = holds.map(|put| match operations[put].action {
        Action::Put { value, length, ttl_ms } => (&operations[put], value, length, ttl_ms),
        Action::Get(_) | Action::Head(_) => unreachable!("only puts are held"),
    });
    match (found, held) {
        (None, None) => Step::Same,
        (None, Some((put, .., ttl_ms))) if put.may_expire(ttl_ms, operation) => Step::To(None),
        (Some(found), Some((put, value, length, ttl_ms))) if put.may_outlive(ttl_ms, operation) => {
            let told = if matches!(operation.action, Action::Get(_)) { value } else { length };
            if told == found { Step::Same } else { Step::Impossible }
        }
        _ => Step::Impossible,
    }
}

/// Whether some order of the operations on one key explains all that was seen.
pub(crate) fn is_linearizable(mut operations: Vec<Operation>) -> bool {
    let sightings = Sightings::of(&operations);
    operations.retain(|operation| operation.is_certain() || sightings.has(operation));
    operations.sort_by_key(|operation| operation.began);
    assert!(operations.len() <= OPERATIONS_MAX, "{} operations on one key", operations.len());
    let readers = readers(&operations);
    let start = State { placed: [0; OPERATIONS_MAX / 64], first: 0, holds: None };
    let mut known = HashSet::new();
    let mut open = vec![start];
    let mut candidates = Vec::new();
    'states: while let Some(mut state) = open.pop() {
        loop {
            if !find_candidates(&operations, &state, &mut candidates) {
                return true;
            }
            // A read that fits now would fit no better later.
            let fits = |&&at: &&usize| matches!(step(&operations, state.holds, at), Step::Same);
            let Some(&at) = candidates.iter().find(fits) else { break };
            state = state.with(at, state.holds);
            if !known.insert(state) {
                continue 'states;
            }
        }
        // A put that nobody saw can stand before the one that is next, whichever that is.
        let unseen = candidates.iter().position(|&at| {
            matches!(operations[at].action, Action::Put { .. }) && !sightings.has(&operations[at])
        });
        if let Some(unseen) = unseen {
            let unseen = candidates[unseen];
            candidates
                .retain(|&at| at == unseen || !matches!(operations[at].action, Action::Put { .. }));
        }
        // Values are unique: what is overwritten will not be read again.
        let is_read_out = |put: usize| readers[put].iter().all(|&at| state.has(at));
        if !state.holds.is_none_or(is_read_out) {
            continue;
        }
        // Answers mostly come in the order in which things were done: that order is tried first.
        candidates.sort_by_key(|&at| Reverse(operations[at].ended));
        for &at in &candidates {
            if let Step::To(holds) = step(&operations, state.holds, at) {
                let next = state.with(at, holds);
                if known.insert(next) {
                    open.push(next);
                }
            }
        }
    }
    false
}

/// For each put, the reads that can only have seen this one.
fn readers(operations: &[Operation]) -> Vec<Vec<usize>> {
    let mut lengths: HashMap<usize, usize> = HashMap::new();
    for operation in operations {
        if let Action::Put { length, .. } = operation.action {
            *lengths.entry(length).or_default() += 1;
        }
    }
    let of = |put: &Operation| {
        let Action::Put { value, length, .. } = put.action else { return Vec::new() };
        let is_reader = |&at: &usize| match operations[at].action {
            Action::Get(found) => found == Some(value),
            Action::Head(found) => found == Some(length) && lengths[&length] == 1,
            Action::Put { .. } => false,
        };
        (0..operations.len()).filter(is_reader).collect()
    };
    operations.iter().map(of).collect()
}

/// What was read of a key.
struct Sightings(HashSet<Action>);

impl Sightings {
    fn of(operations: &[Operation]) -> Self {
        Self(operations.iter().map(|operation| operation.action).collect())
    }

    /// Whether some read may have seen this put, or that its time was over.
    fn has(&self, operation: &Operation) -> bool {
        let Action::Put { value, length, ttl_ms } = operation.action else { return true };
        let Self(actions) = self;
        let is_absence_seen =
            actions.contains(&Action::Get(None)) || actions.contains(&Action::Head(None));
        actions.contains(&Action::Get(Some(value)))
            || actions.contains(&Action::Head(Some(length)))
            || ttl_ms.is_some() && is_absence_seen
    }
}

/// Collects what may run next. Returns whether anything has to.
fn find_candidates(operations: &[Operation], state: &State, candidates: &mut Vec<usize>) -> bool {
    candidates.clear();
    let mut first_end = NEVER;
    for (at, operation) in operations.iter().enumerate().skip(state.first) {
        if operation.began > first_end {
            break;
        }
        if state.has(at) {
            continue;
        }
        first_end = first_end.min(operation.ended);
        let is_in_turn = !candidates.iter().any(|&earlier: &usize| {
            let earlier = &operations[earlier];
            earlier.connection == operation.connection && earlier.is_certain()
        });
        if is_in_turn {
            candidates.push(at);
        }
    }
    first_end != NEVER
}

#[cfg(test)]
mod tests {
    use super::{Action, NEVER, Operation, is_linearizable};

    fn at(began: u64, ended: u64, action: Action) -> Operation {
        let (earliest_ms, latest_ms) = (began * 10, ended.saturating_mul(10));
        Operation { action, connection: usize::MAX, began, ended, earliest_ms, latest_ms }
    }

    fn put(value: usize) -> Action {
        Action::Put { value, length: 100 + value, ttl_ms: None }
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
            at(1, 2, Action::Get(None)),
            at(3, 4, put(1)),
            at(5, 6, Action::Get(Some(1))),
            at(7, 8, Action::Head(Some(101))),
        ]));
        assert!(!explained(vec![at(1, 2, put(1)), at(3, 4, Action::Get(None))]));
        assert!(!explained(vec![at(1, 2, put(1)), at(3, 4, Action::Head(Some(102)))]));
        assert!(!explained(vec![at(1, 2, Action::Get(Some(1))), at(3, 4, put(1))]));
        assert!(!explained(vec![
            at(1, 2, put(1)),
            at(3, 4, put(2)),
            at(5, 6, Action::Get(Some(1))),
        ]));
    }

    #[test]
    fn what_overlaps_may_run_in_any_order_but_in_one() {
        let puts = [at(1, 9, put(1)), at(1, 9, put(2))];
        for (first, second) in [(1, 2), (2, 1)] {
            let reads = [at(10, 11, Action::Get(Some(second)))];
            assert!(explained([&puts[..], &reads].concat()));
            let reads = [at(2, 3, Action::Get(Some(first))), at(4, 5, Action::Get(Some(second)))];
            assert!(explained([&puts[..], &reads].concat()));
            let back = [at(6, 7, Action::Get(Some(first)))];
            assert!(!explained([&puts[..], &reads, &back].concat()));
        }
    }

    #[test]
    fn an_unanswered_put_may_run_late_or_never_but_once() {
        let unanswered = at(1, NEVER, put(1));
        assert!(explained(vec![unanswered, at(8, 9, Action::Get(None))]));
        assert!(explained(vec![
            unanswered,
            at(5, 6, Action::Get(None)),
            at(8, 9, Action::Get(Some(1))),
        ]));
        assert!(!explained(vec![
            unanswered,
            at(2, 3, Action::Get(Some(1))),
            at(4, 5, Action::Get(None)),
        ]));
    }

    #[test]
    fn one_connection_keeps_its_order() {
        let mut operations =
            vec![at(1, 9, put(1)), at(1, 9, put(2)), at(10, 11, Action::Get(Some(1)))];
        assert!(explained(operations.clone()));
        operations[0].connection = 7;
        operations[1].connection = 7;
        assert!(!explained(operations));
    }

    #[test]
    fn entries_live_as_long_as_they_should() {
        let put = at(1, 2, Action::Put { value: 1, length: 0, ttl_ms: Some(50) });
        assert!(explained(vec![put, at(5, 6, Action::Get(Some(1)))]));
        assert!(!explained(vec![put, at(4, 5, Action::Get(None))]));
        assert!(explained(vec![put, at(6, 7, Action::Get(None))]));
        assert!(!explained(vec![put, at(7, 8, Action::Get(Some(1)))]));
        let reads = [at(6, 7, Action::Get(None)), at(8, 9, Action::Get(Some(1)))];
        assert!(!explained([&[put], &reads[..]].concat()));
    }
}
