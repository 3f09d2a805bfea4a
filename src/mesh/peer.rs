//! What one shard has under way to one other: what waits to leave, and the room that is taken.

use super::{
    batch::Batch,
    bounds::{LATES_MAX, MESSAGES_MAX},
    cargo::Cargo,
    late::LateReplies,
    message::Message,
};
use ahash::RandomState;
use std::collections::{HashMap, VecDeque};

/// Buffers of answered batches kept for the next ones.
const SPARES_MAX: usize = 4;
/// The largest buffer of late replies that is kept.
const SPARE_BYTES_MAX: usize = 256 << 10;

#[derive(Debug)]
pub(super) struct Peer<C: Cargo> {
    /// Calls that were made before a query, and the query.
    queries: VecDeque<Message<C>>,
    pub(super) outbox: Box<Batch<C::Ticket>>,
    pub(super) answers: Vec<Message<C>>,
    /// Calls and their bytes that wait to leave, are in flight or wait at their owner.
    pub(super) calls: usize,
    pub(super) bytes: usize,
    pub(super) messages_in_flight: usize,
    #[expect(
        clippy::vec_box,
        reason = "a batch travels boxed, and goes out again as it came home"
    )]
    spares: Vec<Box<Batch<C::Ticket>>>,
    /// Calls that wait at their owner, and their bytes. A seed finds them in the same order again.
    parked: HashMap<C::Ticket, usize, RandomState>,
    /// Late replies to the peer's calls.
    pub(super) late: Box<LateReplies<C::Ticket>>,
    pub(super) lates_in_flight: usize,
    late_spare: Option<Box<LateReplies<C::Ticket>>>,
}

impl<C: Cargo> Peer<C> {
    pub(super) fn new() -> Self {
        Self {
            queries: VecDeque::new(),
            outbox: Box::default(),
            answers: Vec::new(),
            calls: 0,
            bytes: 0,
            messages_in_flight: 0,
            spares: Vec::new(),
            parked: HashMap::with_hasher(RandomState::with_seeds(1, 2, 3, 4)),
            late: Box::default(),
            lates_in_flight: 0,
            late_spare: None,
        }
    }

    /// The calls made so far, as one message.
    fn seal(&mut self) -> Message<C> {
        let next = self.spares.pop().unwrap_or_default();
        Message::Calls(std::mem::replace(&mut self.outbox, next))
    }

    pub(super) fn ask(&mut self, broadcast: u64, query: C::Query) {
        if !self.outbox.is_empty() {
            let calls = self.seal();
            self.queries.push_back(calls);
        }
        self.queries.push_back(Message::Ask { broadcast, query });
    }

    /// What is to leave next, if it may leave now. The replies to earlier calls have left.
    pub(super) fn next(&mut self) -> Option<Message<C>> {
        if !self.late.is_empty() && self.lates_in_flight < LATES_MAX {
            let next = self.late_spare.take().unwrap_or_default();
            return Some(Message::Late(std::mem::replace(&mut self.late, next)));
        }
        let is_held = self.messages_in_flight == MESSAGES_MAX;
        match self.queries.front() {
            Some(Message::Calls(_)) if is_held => None,
            Some(_) => self.queries.pop_front(),
            None if is_held || self.outbox.is_empty() => None,
            None => Some(self.seal()),
        }
    }

    /// A batch is home: its room is free again.
    pub(super) fn settle(&mut self, mut batch: Box<Batch<C::Ticket>>) {
        let (calls, bytes) = batch.weight();
        self.calls -= calls;
        self.bytes -= bytes;
        if self.spares.len() < SPARES_MAX && batch.is_worth_keeping() {
            batch.clear();
            self.spares.push(batch);
        }
    }

    /// A call of a batch that is home waits at its owner and keeps its room.
    pub(super) fn park(&mut self, ticket: C::Ticket, bytes: usize) {
        self.calls += 1;
        self.bytes += bytes;
        self.parked.insert(ticket, bytes);
    }

    /// A call waits no more. False where it was lost before.
    pub(super) fn unpark(&mut self, ticket: C::Ticket) -> bool {
        let Some(bytes) = self.parked.remove(&ticket) else { return false };
        self.calls -= 1;
        self.bytes -= bytes;
        true
    }

    /// The calls that wait at their owner, which is gone.
    pub(super) fn lose_parked(&mut self) -> impl Iterator<Item = C::Ticket> {
        self.calls -= self.parked.len();
        self.bytes -= self.parked.values().sum::<usize>();
        self.parked.drain().map(|(ticket, _)| ticket)
    }

    /// A message of late replies was taken: there is room for another.
    pub(super) fn late_taken(&mut self, late: Box<LateReplies<C::Ticket>>) {
        self.lates_in_flight -= 1;
        if late.capacity() <= SPARE_BYTES_MAX {
            self.late_spare = Some(late);
        }
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.calls == 0
            && self.outbox.is_empty()
            && self.answers.is_empty()
            && self.late.is_empty()
            && self.lates_in_flight == 0
    }
}
