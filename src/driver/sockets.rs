//! The sockets of one core's connections: read, written, and what each of them waits for.

use crate::{
    clock::Clock,
    shard::{ConnectionId, Role, Shard},
    wire::Intent,
};
use rustix::event::epoll;
use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    os::fd::OwnedFd,
};

/// Connections, and bytes of theirs, that are read before the first of them is sent its answers.
pub(super) const READ_AHEAD_MAX: usize = 16;
const READ_AHEAD_BYTES_MAX: usize = 16 << 10;
/// Sends to one socket in a row, so that a fast reader of long answers leaves others theirs.
const SENDS_MAX: usize = 8;
/// Turns for which little that is ready waits for an answer from another shard, to leave with it:
/// to send it alone costs us and the client more than so many turns, and mostly the answer is
/// there.
const HOLDS_MAX: u8 = 3;

struct Socket {
    id: ConnectionId,
    stream: TcpStream,
    interest: epoll::EventFlags,
    /// There was more to read or room to write than was used: no event reports that again.
    has_more: bool,
    /// Turns in a row for which what was ready was held.
    holds: u8,
}

/// What a socket waits for. Edges are enough, as it is known when there was more to do, and spare
/// the kernel a second look at each socket that was ready.
fn interest(read: bool, write: bool) -> epoll::EventFlags {
    let mut interest = epoll::EventFlags::ET;
    interest.set(epoll::EventFlags::IN | epoll::EventFlags::RDHUP, read);
    interest.set(epoll::EventFlags::OUT, write);
    interest
}

/// All of them. What their bytes mean is the shard's.
pub(super) struct Sockets {
    epoll: OwnedFd,
    clock: Clock,
    /// By the connection's slot.
    slots: Vec<Option<Socket>>,
    scratch: Box<[u8]>,
    /// Since answers were sent last.
    read_bytes: usize,
    listed: Vec<ConnectionId>,
    /// Connections that are looked at again in the next turn, as answers of other shards are due.
    held: Vec<ConnectionId>,
    pub(super) admin_open: usize,
    pub(super) refused_open: usize,
    /// Clients' connections that are gone and that the shard that places them still counts.
    pub(super) closed_unreported: usize,
}

impl Sockets {
    /// None yet; `read_bytes_max` is what one read takes at most.
    pub(super) fn new(epoll: OwnedFd, clock: Clock, read_bytes_max: usize) -> Self {
        Self {
            epoll,
            clock,
            slots: Vec::new(),
            scratch: vec![0; read_bytes_max].into_boxed_slice(),
            read_bytes: 0,
            listed: Vec::new(),
            held: Vec::new(),
            admin_open: 0,
            refused_open: 0,
            closed_unreported: 0,
        }
    }

    pub(super) fn epoll(&self) -> &OwnedFd {
        &self.epoll
    }

    /// Slots that are or were in use.
    pub(super) fn slot_count(&self) -> usize {
        self.slots.len()
    }

    /// Whether bytes may be left in the socket that the shard would take.
    pub(super) fn has_unread(&self, shard: &mut Shard, slot: usize) -> bool {
        matches!(self.slots.get(slot), Some(Some(socket))
            if socket.interest.contains(epoll::EventFlags::IN) && shard.has_unread(socket.id))
    }

    /// Has the shard answer what has arrived. Returns whether so much was read that answers are to
    /// be sent before more is.
    pub(super) fn read(
        &mut self,
        shard: &mut Shard,
        slot: usize,
        flags: epoll::EventFlags,
    ) -> bool {
        use epoll::EventFlags as Flags;
        let Some(Some(socket)) = self.slots.get_mut(slot) else { return false };
        let id = socket.id;
        if flags.intersects(Flags::IN | Flags::HUP | Flags::ERR) {
            // The end of what is sent has no event of its own when it was seen with the last bytes.
            socket.has_more |= flags.contains(Flags::RDHUP);
            match socket.stream.read(&mut self.scratch) {
                Ok(0) if flags.intersects(Flags::HUP | Flags::ERR) => {
                    self.close(shard, id);
                    return false;
                }
                Ok(0) => shard.end_input(id),
                Ok(bytes) => {
                    let more = bytes == self.scratch.len();
                    socket.has_more |= more;
                    self.read_bytes += bytes;
                    shard.receive(id, &self.scratch[..bytes], more);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    shard.exhausted(id);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => socket.has_more = true,
                Err(_) => {
                    self.close(shard, id);
                    return false;
                }
            }
        }
        shard.list(id);
        shard.listed() >= READ_AHEAD_MAX || self.read_bytes >= READ_AHEAD_BYTES_MAX
    }

    /// Has the shard list the connections that were held in the turn before.
    pub(super) fn list_held(&mut self, shard: &mut Shard) {
        for id in self.held.drain(..) {
            shard.list(id);
        }
    }

    pub(super) fn has_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Attends to the connections that the shard has listed.
    pub(super) fn attend_listed(&mut self, shard: &mut Shard) {
        let mut listed = std::mem::take(&mut self.listed);
        shard.take_listed(&mut listed);
        for id in listed.drain(..) {
            self.attend(shard, id);
        }
        self.listed = listed;
        self.read_bytes = 0;
    }

    /// Sends what can be sent and sets the socket to wait for what comes next.
    pub(super) fn attend(&mut self, shard: &mut Shard, id: ConnectionId) {
        let Some(Some(socket)) = self.slots.get_mut(id.slot()) else { return };
        if socket.id != id {
            return;
        }
        if socket.holds < HOLDS_MAX && shard.awaits_more(id) {
            socket.holds += 1;
            self.held.push(id);
            return;
        }
        socket.holds = 0;
        for sends in 0.. {
            let unsent = shard.unsent(id);
            if unsent.is_empty() {
                break;
            }
            if sends == SENDS_MAX {
                // Should the socket be full already, the deadline runs from here.
                shard.sent(id, 0);
                socket.has_more = true;
                break;
            }
            let all = unsent.len();
            match socket.stream.write(unsent) {
                Ok(bytes) => {
                    // The next socket of this turn is read at the same time.
                    shard.tick(self.clock.micros());
                    shard.sent(id, bytes);
                    if bytes < all {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_transient(&error) => {
                    shard.sent(id, 0);
                    break;
                }
                Err(_) => return self.close(shard, id),
            }
        }
        let mut intent = shard.intent(id);
        if intent == Intent::CloseWrite {
            if socket.stream.shutdown(Shutdown::Write).is_err() {
                return self.close(shard, id);
            }
            shard.linger(id);
            intent = shard.intent(id);
        }
        match intent {
            Intent::Wait { read, write } => {
                let interest = interest(read, write);
                let has_more = std::mem::take(&mut socket.has_more);
                if interest != socket.interest || has_more {
                    socket.interest = interest;
                    let data = epoll::EventData::new_u64(id.slot() as u64);
                    epoll::modify(&self.epoll, &socket.stream, data, interest)
                        .expect("the socket is in the set");
                }
            }
            Intent::CloseWrite | Intent::Close => self.close(shard, id),
        }
    }

    fn close(&mut self, shard: &mut Shard, id: ConnectionId) {
        if self.slots[id.slot()].take_if(|socket| socket.id == id).is_none() {
            return;
        }
        match shard.forget(id) {
            Some(Role::Data) => self.closed_unreported += 1,
            Some(Role::Admin) => self.admin_open -= 1,
            Some(Role::Refused) => self.refused_open -= 1,
            None => {}
        }
    }

    /// Watches a new connection. Where even that fails, it is closed: `None`.
    pub(super) fn open(
        &mut self,
        shard: &mut Shard,
        role: Role,
        stream: TcpStream,
    ) -> Option<ConnectionId> {
        let id = shard.open(role);
        let interest = interest(true, false);
        let data = epoll::EventData::new_u64(id.slot() as u64);
        let is_watched = epoll::add(&self.epoll, &stream, data, interest).is_ok();
        if self.slots.len() <= id.slot() {
            self.slots.resize_with(id.slot() + 1, || None);
        }
        self.slots[id.slot()] = Some(Socket { id, stream, interest, has_more: false, holds: 0 });
        match role {
            Role::Data => {}
            Role::Admin => self.admin_open += 1,
            Role::Refused => self.refused_open += 1,
        }
        if !is_watched {
            self.close(shard, id);
            return None;
        }
        Some(id)
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
