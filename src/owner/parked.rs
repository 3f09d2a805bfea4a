//! Commands that wait at their owner, a list for each key, within one bound.

use super::{callers::Call, span::Span};
use crate::{
    config::Limits,
    store::{Op, Pin, Reply},
    text::Measure,
};
use std::collections::HashMap;

/// What a command takes beside its key and value.
const WAITING_BYTES: usize = 256;

/// A command that waits, and its caller.
#[derive(Debug)]
pub(super) struct Waiting<A> {
    pub(super) caller: A,
    op: Op<Span>,
    bytes: Box<[u8]>,
    pub(super) wants_text: bool,
    /// It waits for what the upstream has; else it stands in line behind one that does.
    pub(super) is_for_upstream: bool,
}

/// A value that is measured for a command that ran.
#[derive(Debug)]
pub(super) struct Measuring<A> {
    pub(super) waiting: Waiting<A>,
    pub(super) pin: Pin,
    pub(super) measure: Measure,
}

impl<A> Measuring<A> {
    pub(super) fn new(waiting: Waiting<A>, pin: Pin) -> Self {
        Self { waiting, pin, measure: Measure::default() }
    }
}

/// An entry that may not stay.
#[derive(Debug)]
pub(super) struct Fill {
    pub(super) key: Box<[u8]>,
    pub(super) hash: u64,
}

/// Forgets that an entry may not stay where a command has put another in its place.
pub(super) fn forget_changed(fills: &mut Vec<Fill>, key: &[u8], reply: &Reply<&[u8]>) {
    let is_changed =
        matches!(reply, Reply::Created | Reply::Replaced | Reply::Number(_) | Reply::Deleted);
    if is_changed && !fills.is_empty() {
        fills.retain(|fill| *fill.key != *key);
    }
}

#[derive(Debug)]
pub(super) struct Parked<A> {
    lists: HashMap<Box<[u8]>, Vec<Waiting<A>>>,
    /// Of all that wait, for a measure as well.
    commands: usize,
    bytes: usize,
    commands_max: usize,
    bytes_max: usize,
}

impl<A> Parked<A> {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            lists: HashMap::new(),
            commands: 0,
            bytes: 0,
            commands_max: limits.waiting_commands_max,
            bytes_max: limits.waiting_bytes_max,
        }
    }

    pub(super) fn commands(&self) -> usize {
        self.commands
    }

    pub(super) fn has(&self, key: &[u8]) -> bool {
        self.lists.contains_key(key)
    }

    /// Counts a command and copies it. `None`: too much waits already.
    pub(super) fn admit(
        &mut self,
        call: Call<'_>,
        caller: A,
        is_for_upstream: bool,
    ) -> Option<Waiting<A>> {
        let bytes = call.op.bytes() + WAITING_BYTES;
        if self.commands >= self.commands_max || self.bytes + bytes > self.bytes_max {
            return None;
        }
        let mut held = Vec::with_capacity(call.op.bytes());
        let op = call.op.map(|part| Span::push(&mut held, part));
        self.commands += 1;
        self.bytes += bytes;
        let (bytes, wants_text) = (held.into_boxed_slice(), call.wants_text);
        Some(Waiting { caller, op, bytes, wants_text, is_for_upstream })
    }

    /// A command waits no more.
    pub(super) fn release(&mut self, waiting: &Waiting<A>) {
        self.commands -= 1;
        self.bytes -= waiting.bytes.len() + WAITING_BYTES;
    }

    /// Puts a command at the end of the list of its key. False: too much waits already.
    pub(super) fn push(&mut self, call: Call<'_>, caller: A, is_for_upstream: bool) -> bool {
        let Some(waiting) = self.admit(call, caller, is_for_upstream) else { return false };
        let key = waiting.key();
        match self.lists.get_mut(key) {
            Some(list) => list.push(waiting),
            None => {
                self.lists.insert(key.into(), vec![waiting]);
            }
        }
        true
    }

    /// The list of a key, first come first; it has at least one command.
    pub(super) fn take(&mut self, key: &[u8]) -> Option<Vec<Waiting<A>>> {
        self.lists.remove(key)
    }
}

impl<A> Waiting<A> {
    pub(super) fn key(&self) -> &[u8] {
        self.op.key.bytes.of(&self.bytes)
    }

    pub(super) fn op(&self) -> Op<&[u8]> {
        self.op.map(|span| span.of(&self.bytes))
    }
}
