//! The connections of a shard by slot, and what they hold.

use super::spoken::{Owing, Reader, Role};
use crate::{
    clock::Millis,
    metrics,
    wire::{self, Output},
};

/// A connection of this shard. The serial number is never used again, so what arrives late for a
/// closed connection finds nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    slot: u32,
    serial: u64,
}

impl ConnectionId {
    /// A small number, unique among the connections that are open.
    #[must_use]
    pub fn slot(self) -> usize {
        self.slot as usize
    }
}

/// The way back from a call to the answer that is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    pub(super) connection: ConnectionId,
    pub(super) sequence: u64,
    /// The place of the call in its batch.
    pub(super) item: u32,
}

/// A connection and the protocol that it speaks.
pub(super) struct Connection {
    pub(super) role: Role,
    pub(super) wire: wire::Connection<Owing>,
    pub(super) reader: Reader,
    /// The store is to make room ahead for a body that has more bytes than this.
    pub(super) announce_above: usize,
}

impl Connection {
    fn new(role: Role, now: Millis) -> Self {
        Self {
            role,
            wire: wire::Connection::new(now),
            reader: Reader::new(role),
            announce_above: usize::MAX,
        }
    }

    /// No further request is taken.
    pub(super) fn close_when_done(&mut self) {
        self.wire.close_when_done();
        self.reader.reset();
    }

    /// The client closed its side.
    pub(super) fn end_input(&mut self) {
        self.wire.end_input();
        if !self.wire.is_open() {
            self.reader.reset();
        }
    }

    /// The most bytes that the body on its way can have, once they are known to be more than
    /// `announce_above`; told once for each body.
    pub(super) fn announce_body(&mut self) -> Option<usize> {
        let wire::Awaited::Body(body) = self.wire.awaited() else { return None };
        if body.bytes <= self.announce_above {
            return None;
        }
        self.announce_above = usize::MAX;
        Some(body.bytes_max)
    }

    /// Bytes of memory held for what has arrived.
    fn input_bytes(&self) -> usize {
        self.wire.kept_bytes() + self.reader.buffer_bytes()
    }

    /// The same where it is a request whose body has not all arrived.
    pub(super) fn unfinished_bytes(&self) -> usize {
        if self.wire.is_in_body() { self.input_bytes() } else { 0 }
    }

    pub(super) fn buffer_bytes(&self) -> usize {
        self.input_bytes() + self.wire.answers.buffer_bytes()
    }
}

struct Slot {
    serial: u64,
    /// Already among those to be looked at again.
    listed: bool,
    /// As it was counted last.
    buffered_bytes: u64,
    connection: Option<Connection>,
}

/// The connections by slot; those that are to be looked at again are listed.
#[derive(Default)]
pub(super) struct Connections {
    slots: Vec<Slot>,
    free: Vec<u32>,
    pub(super) listed: Vec<ConnectionId>,
    serials: u64,
    /// Output buffers of connections that had nothing left to send.
    buffers: Vec<Output>,
}

/// Output buffers kept for reuse, and the largest that is kept.
const BUFFERS_MAX: usize = 256;
pub(super) const BUFFER_BYTES_MAX: usize = 64 << 10;

/// What any connection may hold of a body that is on its way.
pub(super) const BODY_BYTES_FREE: usize = 8 << 10;

impl Connections {
    pub(super) fn insert(&mut self, role: Role, now: Millis) -> ConnectionId {
        self.serials += 1;
        let entry = Slot {
            serial: self.serials,
            listed: false,
            buffered_bytes: 0,
            connection: Some(Connection::new(role, now)),
        };
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = entry;
            slot
        } else {
            self.slots.push(entry);
            u32::try_from(self.slots.len() - 1).expect("connections_max is far below 2^32")
        };
        ConnectionId { slot, serial: self.serials }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(id.slot())?;
        if slot.serial == id.serial { slot.connection.as_mut() } else { None }
    }

    /// Counts what a connection holds of answers and of a body on its way, either if it is more
    /// than what any may.
    pub(super) fn recount(&mut self, id: ConnectionId, counters: &mut metrics::Connections) {
        let Some(connection) = self.get_mut(id) else { return };
        let above = |max: usize, bytes: usize| if bytes > max { bytes as u64 } else { 0 };
        let bytes = above(BUFFER_BYTES_MAX, connection.wire.answers.bytes())
            + above(BODY_BYTES_FREE, connection.unfinished_bytes());
        let counted = std::mem::replace(&mut self.slots[id.slot()].buffered_bytes, bytes);
        counters.buffered_bytes = counters.buffered_bytes - counted + bytes;
    }

    /// What a connection held when it was counted last.
    pub(super) fn counted_bytes(&self, id: ConnectionId) -> u64 {
        self.slots[id.slot()].buffered_bytes
    }

    /// Returns which listener the connection had come by.
    pub(super) fn remove(
        &mut self,
        id: ConnectionId,
        counters: &mut metrics::Connections,
    ) -> Option<Role> {
        let buffer = std::mem::take(self.get_mut(id)?.wire.answers.output());
        self.reuse(buffer);
        let slot = &mut self.slots[id.slot()];
        counters.buffered_bytes -= slot.buffered_bytes;
        self.free.push(id.slot);
        slot.connection.take().map(|connection| connection.role)
    }

    /// Sees to it that answers are written to a buffer that was in use before.
    #[inline]
    pub(super) fn lend_buffer(&mut self, id: ConnectionId) {
        if let Some(buffer) = self.buffers.pop() {
            match self.get_mut(id).map(|connection| connection.wire.answers.output()) {
                Some(output) if output.bytes.capacity() == 0 => *output = buffer,
                _ => self.buffers.push(buffer),
            }
        }
    }

    pub(super) fn reuse(&mut self, mut buffer: Output) {
        let bytes = buffer.bytes.capacity();
        if self.buffers.len() < BUFFERS_MAX && (1..=BUFFER_BYTES_MAX).contains(&bytes) {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }

    /// Sees to it that a connection is looked at again, once.
    pub(super) fn list(&mut self, id: ConnectionId) {
        if self.get_mut(id).is_some() {
            let slot = &mut self.slots[id.slot()];
            if !std::mem::replace(&mut slot.listed, true) {
                self.listed.push(id);
            }
        }
    }

    pub(super) fn list_all(&mut self) {
        for slot in 0..self.slots.len() {
            if let Some((id, _)) = self.at(slot) {
                self.list(id);
            }
        }
    }

    /// Moves those that are listed to `listed`.
    pub(super) fn take_listed(&mut self, listed: &mut Vec<ConnectionId>) {
        listed.append(&mut self.listed);
        for id in listed {
            self.slots[id.slot()].listed = false;
        }
    }

    /// Slots that are or were in use.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The connection in a slot.
    pub(super) fn at(&mut self, slot: usize) -> Option<(ConnectionId, &mut Connection)> {
        let entry = &mut self.slots[slot];
        let slot = u32::try_from(slot).expect("slots are numbered in u32");
        let id = ConnectionId { slot, serial: entry.serial };
        entry.connection.as_mut().map(|connection| (id, connection))
    }

    /// No connection is open, but for idle ones to the admin listener.
    pub(super) fn are_quiet(&self) -> bool {
        self.slots
            .iter()
            .filter_map(|slot| slot.connection.as_ref())
            .all(|connection| connection.role != Role::Data && connection.wire.is_idle())
    }

    /// Bytes of memory in buffers that no connection has.
    pub(super) fn pooled_bytes(&self) -> usize {
        self.buffers.iter().map(Output::buffer_bytes).sum()
    }
}
