//! Calls to one owner that travel together, and come back with their replies.

use super::{
    late::{Groups, Return},
    packed::{Called, Packed, Replied, Slot},
};
use crate::{
    clock::Millis,
    owner::{Call, Done, Owner},
    store::{Pin, Reply},
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

/// Calls to one owner, and after their return its replies, in the same order.
#[derive(Debug)]
pub struct Batch<T> {
    calls: Vec<Packed<T>>,
    called: Called,
    /// In the order of their calls.
    groups: Vec<Group>,
    slots: Vec<Slot>,
    replied: Replied,
    /// The largest value that the owner should make room for; 0: none.
    pub(super) expected_bytes: usize,
    pub(super) returned: Vec<Pin>,
}

/// A call's ticket, its key, and the reply or what stands for one.
pub(super) type Outcome<'a, T> = (T, &'a [u8], Result<Reply<&'a [u8]>, Slot>);

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self {
            calls: Vec::new(),
            called: Called::default(),
            groups: Vec::new(),
            slots: Vec::new(),
            replied: Replied::default(),
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
        let packed = self.called.pack(ticket, call);
        self.calls.push(packed);
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
            let (start, before) = (calls.start, self.replied.len());
            self.execute_some(calls, (from, groups.next()), bytes_max, owner, now);
            let later = self.slots[start..].iter().filter(|slot| matches!(slot, Slot::Later));
            let waiting = later.count();
            if waiting > 0 {
                groups.begin(waiting, self.replied.len() - before, bytes_max);
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
        let Self { called, replied, .. } = self;
        let end_max = replied.len().saturating_add(bytes_max);
        for packed in &self.calls[calls] {
            if replied.len() > end_max {
                self.slots.push(Slot::LeftOut);
                continue;
            }
            let caller = || Return { shard, ticket: packed.ticket, group };
            let (op, wants_text) = called.unpack(packed);
            let call = Call { op: &op, wants_text };
            let done = owner.run(call, now, caller, |reply| replied.pack(reply));
            self.slots.push(match done {
                Done::Now(slot) => slot,
                Done::Later => Slot::Later,
                Done::Refused => Slot::Refused,
            });
        }
    }

    /// Calls, and bytes of theirs.
    pub(super) fn weight(&self) -> (usize, usize) {
        (self.calls.len(), self.called.len())
    }

    /// What came of each call.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = Outcome<'_, T>> {
        self.calls.iter().zip(&self.slots).map(|(packed, &slot)| {
            let key = self.called.key(packed);
            (packed.ticket, key, self.replied.unpack(slot).ok_or(slot))
        })
    }

    /// The calls that wait at their owner, and their bytes.
    pub(super) fn later(&self) -> impl Iterator<Item = (T, usize)> {
        let calls = self.calls.iter().zip(&self.slots);
        let later = calls.filter(|(_, slot)| matches!(slot, Slot::Later));
        later.map(|(packed, _)| (packed.ticket, self.called.unpack(packed).0.bytes()))
    }

    /// The calls of a batch that did not leave, and the pins that its pieces name.
    pub(super) fn lost(&self) -> impl Iterator<Item = (T, Option<Pin>)> {
        self.calls.iter().map(|packed| (packed.ticket, self.called.pin(packed)))
    }

    /// The pins that the replies name.
    pub(super) fn pins(&self) -> impl Iterator<Item = Pin> {
        self.replied.pins()
    }

    pub(super) fn clear(&mut self) {
        self.calls.clear();
        self.called.clear();
        self.groups.clear();
        self.slots.clear();
        self.replied.clear();
        self.expected_bytes = 0;
        self.returned.clear();
    }

    pub(super) fn is_worth_keeping(&self) -> bool {
        self.called.capacity() + self.replied.capacity() <= SPARE_BYTES_MAX
    }
}
