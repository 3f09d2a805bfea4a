//! Decides whether what clients saw of one key can be explained by a single owner that does one
//! thing after another.
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

/// How long an entry lives, and how much longer it may be read; nothing: for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Life {
    pub(crate) ttl_ms: Option<u64>,
    pub(crate) stale_ms: u64,
}

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Content {
    /// Of this number; there is one of each.
    Value(usize),
    /// What can be added to.
    Number(i64),
}

/// What was asked of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Call {
    /// Stores this, which a body of `/get` of this length tells.
    Put {
        content: Content,
        length: usize,
        life: Life,
        tags: u8,
    },
    Read {
        lease_ms: Option<u64>,
    },
    Delete,
    Add {
        by: i64,
    },
    Touch {
        ttl_ms: Option<u64>,
    },
    /// Ends what carries one of these tags.
    Invalidate {
        tags: u8,
    },
}

/// What had to hold for it to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum If {
    Always,
    Present,
    Absent,
    Is(usize),
    IsNot(usize),
}

/// Who is to write the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Right {
    Granted,
    Wait,
}

/// What a reader was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum What {
    Value(usize),
    Number(i64),
    /// Something that is told in a body of this length.
    Length(usize),
    /// Something.
    Any,
    /// That it is what the reader knows.
    Unchanged,
}

/// What the answer said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Said {
    /// At most that it is done.
    Nothing,
    Created,
    Replaced,
    /// What was there is deleted or touched.
    Changed,
    Found {
        what: What,
        is_stale: Option<bool>,
        lease: Option<Right>,
    },
    Absent(Option<Right>),
    Refused,
    Number(i64),
    NotANumber,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) call: Call,
    pub(crate) condition: If,
    pub(crate) said: Said,
    pub(crate) connection: usize,
    /// The steps between which it ran.
    pub(crate) began: u64,
    pub(crate) ended: u64,
    /// The owner's time at these steps.
    pub(crate) earliest_ms: u64,
    pub(crate) latest_ms: u64,
}

impl Operation {
    /// Only one whose answer never came may have had no effect.
    fn is_certain(&self) -> bool {
        self.ended != NEVER
    }

    /// Whether what `self` began, and takes so long, may not be over when `other` runs.
    fn may_last(&self, span_ms: u64, other: &Self) -> bool {
        other.earliest_ms < self.latest_ms.saturating_add(span_ms)
    }

    /// Whether it may be over.
    fn may_end(&self, span_ms: u64, other: &Self) -> bool {
        other.latest_ms >= self.earliest_ms.saturating_add(span_ms)
    }

    /// Whether the answer says that nothing was changed.
    fn is_idle(&self) -> bool {
        match self.said {
            Said::Found { lease, .. } | Said::Absent(lease) => lease != Some(Right::Granted),
            Said::Refused | Said::NotANumber => true,
            _ => false,
        }
    }

    /// Whether it puts whatever is there, and tells nothing about it.
    fn is_blind(&self) -> bool {
        matches!(self.call, Call::Put { .. })
            && (self.condition, self.said) == (If::Always, Said::Nothing)
    }

    fn is_plain_read(&self) -> bool {
        self.call == Call::Read { lease_ms: None } && self.condition == If::Always
    }
}

/// The entry of the key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Held {
    content: Content,
    /// Of a body that tells a value.
    length: usize,
    tags: u8,
    life: Life,
    /// The operation with which that began.
    since: usize,
    is_stale: bool,
}

impl Held {
    fn is(&self, value: usize) -> bool {
        self.content == Content::Value(value)
    }
}

/// All that the owner knows of the key.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Register {
    held: Option<Held>,
    /// The operation that the lease was granted to, and for how long.
    lease: Option<(usize, u64)>,
}

const OPERATIONS_MAX: usize = 512;

/// Operations that have their place already, and what they led to.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    placed: [u64; OPERATIONS_MAX / 64],
    /// Every operation before this one is placed.
    first: usize,
    register: Register,
}

impl State {
    fn has(&self, at: usize) -> bool {
        self.placed[at / 64] & 1 << (at % 64) != 0
    }

    fn with(mut self, at: usize, register: Register) -> Self {
        self.placed[at / 64] |= 1 << (at % 64);
        while self.first < OPERATIONS_MAX && self.has(self.first) {
            self.first += 1;
        }
        Self { register, ..self }
    }
}

/// Collects what the register may be after operation `at`, by what time it may have been then.
fn step(operations: &[Operation], register: Register, at: usize, next: &mut Vec<Register>) {
    next.clear();
    let operation = &operations[at];
    let mut views = [None; 3];
    match register.held {
        None => views[0] = Some(None),
        Some(held) => {
            let since = &operations[held.since];
            let Life { ttl_ms, stale_ms } = held.life;
            if !held.is_stale && ttl_ms.is_none_or(|ttl_ms| since.may_last(ttl_ms, operation)) {
                views[0] = Some(Some(held));
            }
            if let Some(ttl_ms) = ttl_ms {
                let (is_over, end_ms) = (since.may_end(ttl_ms, operation), ttl_ms + stale_ms);
                if stale_ms > 0 && is_over && since.may_last(end_ms, operation) {
                    views[1] = Some(Some(Held { is_stale: true, ..held }));
                }
                if since.may_end(end_ms, operation) {
                    views[2] = Some(None);
                }
            }
        }
    }
    let leases = match register.lease {
        None => [Some(None), None],
        Some((since, span_ms)) => {
            let since = &operations[since];
            [
                since.may_last(span_ms, operation).then_some(register.lease),
                since.may_end(span_ms, operation).then_some(None),
            ]
        }
    };
    for held in views.into_iter().flatten() {
        for lease in leases.into_iter().flatten() {
            let (said, after) = execute(operation, at, Register { held, lease });
            if fits(operation.said, said, held) && !next.contains(&after) {
                next.push(after);
            }
        }
    }
}

/// What the owner does, where nothing that the register names is over.
fn execute(operation: &Operation, at: usize, before: Register) -> (Said, Register) {
    let Register { held, lease } = before;
    let is_refused = match operation.condition {
        If::Always => false,
        If::Present => held.is_none(),
        If::Absent => held.is_some(),
        If::Is(value) => !held.is_some_and(|held| held.is(value)),
        If::IsNot(value) => held.is_some_and(|held| held.is(value)),
    };
    let written = |held: Held| Register { held: Some(held), lease: None };
    match (operation.call, held) {
        (Call::Read { lease_ms }, held) => {
            let known = matches!(operation.condition, If::Absent | If::IsNot(_));
            if is_refused && held.is_some() && !known {
                return (Said::Refused, before);
            }
            let is_stale = held.is_some_and(|held| held.is_stale);
            let asked = lease_ms.filter(|_| held.is_none() || is_stale);
            let right = asked.map(|_| lease.map_or(Right::Granted, |_| Right::Wait));
            let after = Register { held, lease: lease.or(asked.map(|span| (at, span))) };
            let Some(held) = held else { return (Said::Absent(right), after) };
            let what = match held.content {
                _ if is_refused => What::Unchanged,
                Content::Value(value) => What::Value(value),
                Content::Number(number) => What::Number(number),
            };
            (Said::Found { what, is_stale: Some(is_stale), lease: right }, after)
        }
        (Call::Delete | Call::Touch { .. }, None) => (Said::Absent(None), before),
        (Call::Invalidate { tags }, held) => {
            let held = held.filter(|held| held.tags & tags == 0);
            (Said::Nothing, Register { held, lease })
        }
        _ if is_refused => (Said::Refused, before),
        (Call::Put { content, length, life, tags }, _) => {
            let said = if held.is_some() { Said::Replaced } else { Said::Created };
            (said, written(Held { content, length, tags, life, since: at, is_stale: false }))
        }
        (Call::Delete, Some(_)) => (Said::Changed, Register { held: None, lease }),
        (Call::Touch { ttl_ms }, Some(held)) => {
            let stale_ms = if ttl_ms.is_some() { held.life.stale_ms } else { 0 };
            let life = Life { ttl_ms, stale_ms };
            (Said::Changed, written(Held { life, since: at, is_stale: false, ..held }))
        }
        (Call::Add { by }, held) => match held.filter(|held| !held.is_stale) {
            Some(Held { content: Content::Value(_), .. }) => (Said::NotANumber, before),
            Some(held @ Held { content: Content::Number(number), .. }) => {
                let content = Content::Number(number + by);
                (Said::Number(number + by), written(Held { content, ..held }))
            }
            None => {
                let (content, life) = (Content::Number(by), Life::default());
                let fresh = Held { content, length: 0, tags: 0, life, since: at, is_stale: false };
                (Said::Number(by), written(fresh))
            }
        },
    }
}

/// Whether an answer that says `seen` may stand for one that would say `whole`.
fn fits(seen: Said, whole: Said, held: Option<Held>) -> bool {
    match (seen, whole) {
        (Said::Nothing, _) => true,
        (
            Said::Found { what, is_stale, lease },
            Said::Found { what: held_what, is_stale: held_stale, lease: held_lease },
        ) => {
            let is_number = matches!(held_what, What::Number(_));
            let is_what = match what {
                What::Any => held_what != What::Unchanged,
                What::Length(length) => is_number || held.is_some_and(|it| it.length == length),
                what => what == held_what,
            };
            is_what && (is_stale.is_none() || is_stale == held_stale) && lease == held_lease
        }
        (seen, whole) => seen == whole,
    }
}

/// Whether some order of the operations on one key explains all that was seen.
pub(crate) fn is_linearizable(mut operations: Vec<Operation>) -> bool {
    // Where every change is a put that tells nothing, a put that nobody saw has no say.
    let is_simple = operations.iter().all(|it| it.is_blind() || it.is_plain_read());
    let sightings = Sightings::of(&operations);
    operations.retain(|it| it.is_certain() || sightings.matters(it, is_simple));
    operations.sort_by_key(|operation| operation.began);
    assert!(operations.len() <= OPERATIONS_MAX, "{} operations on one key", operations.len());
    let readers = readers(&operations);
    let placed = [0; OPERATIONS_MAX / 64];
    let start = State { placed, first: 0, register: Register::default() };
    let mut known = HashSet::new();
    let mut open = vec![start];
    let (mut candidates, mut next) = (Vec::new(), Vec::new());
    'states: while let Some(mut state) = open.pop() {
        loop {
            if !find_candidates(&operations, &state, &mut candidates) {
                return true;
            }
            // What changes nothing and fits now would fit no better later.
            let fits = candidates.iter().find(|&&at| {
                operations[at].is_idle() && {
                    step(&operations, state.register, at, &mut next);
                    next.contains(&state.register)
                }
            });
            let Some(&at) = fits else { break };
            state = state.with(at, state.register);
            if !known.insert(state) {
                continue 'states;
            }
        }
        // A put that nobody saw can stand before the one that is next, whichever that is.
        let is_unseen = |&at: &usize| operations[at].is_blind() && !sightings.has(&operations[at]);
        if is_simple && let Some(unseen) = candidates.iter().copied().find(is_unseen) {
            candidates.retain(|&at| at == unseen || !operations[at].is_blind());
        }
        // Answers mostly come in the order in which things were done: that order is tried first.
        candidates.sort_by_key(|&at| Reverse(operations[at].ended));
        // Values are unique: what is overwritten will not be read again.
        let content = |register: Register| register.held.map(|held| held.content);
        let unread = match content(state.register) {
            Some(Content::Value(value)) => {
                readers.get(&value).is_some_and(|them| them.iter().any(|&at| !state.has(at)))
            }
            _ => false,
        };
        for &at in &candidates {
            step(&operations, state.register, at, &mut next);
            for &register in &next {
                if unread && content(register) != content(state.register) {
                    continue;
                }
                let next = state.with(at, register);
                if known.insert(next) {
                    open.push(next);
                }
            }
        }
    }
    false
}

/// For each value, the reads that can only have seen this one.
fn readers(operations: &[Operation]) -> HashMap<usize, Vec<usize>> {
    let mut of_length: HashMap<usize, Vec<usize>> = HashMap::new();
    for operation in operations {
        if let Call::Put { content: Content::Value(value), length, .. } = operation.call {
            of_length.entry(length).or_default().push(value);
        }
    }
    let counts =
        |call| matches!(call, Call::Add { .. } | Call::Put { content: Content::Number(_), .. });
    let is_counted = operations.iter().any(|it| counts(it.call));
    let mut readers: HashMap<usize, Vec<usize>> = HashMap::new();
    for (at, operation) in operations.iter().enumerate() {
        let value = match operation.said {
            Said::Found { what: What::Value(value), .. } => Some(value),
            Said::Found { what: What::Length(length), .. } if !is_counted => {
                match of_length.get(&length).map(Vec::as_slice) {
                    Some(&[value]) => Some(value),
                    _ => None,
                }
            }
            _ => None,
        };
        if let Some(value) = value {
            readers.entry(value).or_default().push(at);
        }
    }
    readers
}

/// What was seen of a key.
struct Sightings {
    whats: HashSet<What>,
    /// That something is over.
    ends: bool,
    waits: bool,
}

impl Sightings {
    fn of(operations: &[Operation]) -> Self {
        let mut sightings = Self { whats: HashSet::new(), ends: false, waits: false };
        for operation in operations {
            match operation.said {
                Said::Found { what, is_stale, lease } => {
                    sightings.whats.insert(what);
                    sightings.ends |= is_stale != Some(false);
                    sightings.waits |= lease == Some(Right::Wait);
                }
                Said::Absent(lease) => {
                    sightings.ends = true;
                    sightings.waits |= lease == Some(Right::Wait);
                }
                _ => {}
            }
        }
        sightings
    }

    /// Whether some read may have seen this put, or that its time was over.
    fn has(&self, operation: &Operation) -> bool {
        let Call::Put { content: Content::Value(value), length, life, .. } = operation.call else {
            return true;
        };
        self.whats.contains(&What::Value(value))
            || self.whats.contains(&What::Length(length))
            || life.ttl_ms.is_some() && self.ends
    }

    /// Whether an operation that may have had no effect may have had one that was seen.
    fn matters(&self, operation: &Operation, is_simple: bool) -> bool {
        match operation.call {
            Call::Read { lease_ms } => lease_ms.is_some() && self.waits,
            _ if is_simple => self.has(operation),
            _ => true,
        }
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
mod tests;
