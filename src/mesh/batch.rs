//! Calls to one owner that travel together, and come back with their replies.

use super::late::{Groups, Return};
use crate::{
    clock::Millis,
    owner::{Call, Done, Owner, Span},
    store::{Op, Pin, Reply, Verb},
};
use std::ops::Range;

/// The largest buffers that are kept for the next batch.
const SPARE_BYTES_MAX: usize = 256 << 10;

/// The calls of one group among those to one owner.
#[derive(Debug)]
struct Group {
    calls: Range<usize>,
    /// Of values in their replies.
    bytes_max: usize,
}

/// What stands for a call when its batch comes home.
#[derive(Debug)]
pub(super) enum Slot {
    Reply(Reply<Span>),
    LeftOut,
    /// The reply is still to come, as one of [`super::late::LateReplies`].
    Later,
    Refused,
}

/// Calls to one owner, and after their return its replies, in the same order.
#[derive(Debug)]
pub struct Batch<T> {
    calls: Vec<Packed<T>>,
    called_bytes: Vec<u8>,
    /// In the order of their calls.
    groups: Vec<Group>,
    slots: Vec<Slot>,
    replied_bytes: Vec<u8>,
    /// The largest value that the owner should make room for; 0: none.
    pub(super) expected_bytes: usize,
    pub(super) returned: Vec<Pin>,
}

#[derive(Debug)]
struct Packed<T> {
    ticket: T,
    op: Op<Span>,
    wants_text: bool,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self {
            calls: Vec::new(),
            called_bytes: Vec::new(),
            groups: Vec::new(),
            slots: Vec::new(),
            replied_bytes: Vec::new(),
            expected_bytes: 0,
            returned: Vec::new(),
        }
    }
}

impl<T: Copy> Batch<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.expected_bytes == 0 && self.returned.is_empty()
    }

    #[inline]
    pub(super) fn push(&mut self, ticket: T, call: Call<'_>) {
        let op = call.op.map(|bytes| Span::push(&mut self.called_bytes, bytes));
        self.calls.push(Packed { ticket, op, wants_text: call.wants_text });
    }

    /// The last `calls` are one group.
    pub(super) fn group(&mut self, calls: usize, bytes_max: usize) {
        let end = self.calls.len();
        self.groups.push(Group { calls: end - calls..end, bytes_max });
    }

    pub(super) fn execute(
        &mut self,
        from: usize,
        owner: &mut Owner<Return<T>>,
        groups: &mut Groups,
        now: Millis,
    ) {
        self.slots.reserve(self.calls.len());
        let mut done = 0;
        for Group { calls, bytes_max } in std::mem::take(&mut self.groups) {
            self.execute_some(done..calls.start, (from, 0), usize::MAX, owner, now);
            done = calls.end;
            let (start, before) = (calls.start, self.replied_bytes.len());
            self.execute_some(calls, (from, groups.next()), bytes_max, owner, now);
            let later = self.slots[start..].iter().filter(|slot| matches!(slot, Slot::Later));
            let waiting = later.count();
            if waiting > 0 {
                groups.begin(waiting, self.replied_bytes.len() - before, bytes_max);
            }
        }
        self.execute_some(done..self.calls.len(), (from, 0), usize::MAX, owner, now);
        for pin in self.returned.drain(..) {
            owner.store_mut().unpin(pin);
        }
    }

    fn execute_some(
        &mut self,
        calls: Range<usize>,
        (shard, group): (usize, u64),
        bytes_max: usize,
        owner: &mut Owner<Return<T>>,
        now: Millis,
    ) {
        let Self { called_bytes, replied_bytes, .. } = self;
        let end_max = replied_bytes.len().saturating_add(bytes_max);
        for packed in &self.calls[calls] {
            if replied_bytes.len() > end_max {
                self.slots.push(Slot::LeftOut);
                continue;
            }
            let op = packed.op.map(|span| span.of(called_bytes));
            let call = Call { op, wants_text: packed.wants_text };
            let caller = || Return { shard, ticket: packed.ticket, group };
            let done = owner.run(&call, now, caller, |reply| {
                Slot::Reply(reply.map(|part| Span::push(replied_bytes, part)))
            });
            self.slots.push(match done {
                Done::Now(slot) => slot,
                Done::Later => Slot::Later,
                Done::Refused => Slot::Refused,
            });
        }
    }

    /// Calls, and bytes of theirs.
    pub(super) fn weight(&self) -> (usize, usize) {
        (self.calls.len(), self.called_bytes.len())
    }

    /// Each call with its ticket, its key, its bytes, and what came of it.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = (T, &[u8], usize, &Slot)> {
        self.calls.iter().zip(&self.slots).map(|(packed, slot)| {
            let op = packed.op.map(|span| span.of(&self.called_bytes));
            (packed.ticket, op.key.bytes, op.bytes(), slot)
        })
    }

    pub(super) fn reply(&self, reply: &Reply<Span>) -> Reply<&[u8]> {
        reply.map(|span| span.of(&self.replied_bytes))
    }

    /// The calls of a batch that did not leave, and the pins that its pieces name.
    pub(super) fn lost(&self) -> impl Iterator<Item = (T, Option<Pin>)> {
        self.calls.iter().map(|packed| {
            let pin = match packed.op.verb {
                Verb::Piece { pin, .. } => Some(pin),
                _ => None,
            };
            (packed.ticket, pin)
        })
    }

    /// The pins that the replies name.
    pub(super) fn pins(&self) -> impl Iterator<Item = Pin> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Reply(reply) => reply.pin(),
            _ => None,
        })
    }

    pub(super) fn clear(&mut self) {
        self.calls.clear();
        self.called_bytes.clear();
        self.groups.clear();
        self.slots.clear();
        self.replied_bytes.clear();
        self.expected_bytes = 0;
        self.returned.clear();
    }

    pub(super) fn is_worth_keeping(&self) -> bool {
        self.called_bytes.capacity() + self.replied_bytes.capacity() <= SPARE_BYTES_MAX
    }
}
