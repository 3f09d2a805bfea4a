//! Where a new connection goes: to this shard, to another, or away.

use super::{
    message::{DriverMessage, RESERVED_MESSAGES},
    placement::Placement,
};
use crate::link::Links;
use std::{collections::VecDeque, net::TcpStream};

/// The first shard places all connections.
pub(super) const PLACER: usize = 0;

/// What became of a connection.
pub(super) enum Placed {
    /// To be served by this shard.
    Here(TcpStream),
    /// All connections that may be are taken.
    Refused(TcpStream),
    /// It has left; or it was closed, where the channel is full or the other shard is gone: the
    /// client may try again.
    Away,
    /// The channel to the shard that places connections is full.
    Waits,
}

/// One shard's part in it.
pub(super) struct Handover {
    me: usize,
    /// Where this shard places all connections.
    placement: Option<Placement>,
    /// Accepted, but the channel to the shard that places connections is full.
    unplaced: VecDeque<TcpStream>,
}

impl Handover {
    pub(super) fn new(me: usize, shards: usize, connections_max: usize) -> Self {
        let placement = (me == PLACER).then(|| Placement::new(shards, connections_max));
        Self { me, placement, unplaced: VecDeque::new() }
    }

    pub(super) fn set_connections_max(&mut self, connections_max: usize) {
        if let Some(placement) = &mut self.placement {
            placement.set_connections_max(connections_max);
        }
    }

    /// Gives a connection that `source` accepted to the shard that has the fewest.
    pub(super) fn place(
        &mut self,
        links: &mut Links<DriverMessage>,
        source: usize,
        stream: TcpStream,
    ) -> Placed {
        let Some(placement) = &mut self.placement else {
            return match pass(links, PLACER, stream, DriverMessage::Accepted) {
                Ok(()) => Placed::Away,
                Err(stream) => {
                    self.unplaced.push_back(stream);
                    Placed::Waits
                }
            };
        };
        match placement.place(source) {
            None => Placed::Refused(stream),
            Some(target) if target == self.me => Placed::Here(stream),
            Some(target) => {
                if pass(links, target, stream, DriverMessage::Adopted).is_err() {
                    placement.closed(target, 1);
                }
                Placed::Away
            }
        }
    }

    /// How many connections wait to be placed.
    pub(super) fn waiting(&self) -> usize {
        self.unplaced.len()
    }

    pub(super) fn next_waiting(&mut self) -> Option<TcpStream> {
        self.unplaced.pop_front()
    }

    pub(super) fn take_waiting(&mut self) -> VecDeque<TcpStream> {
        std::mem::take(&mut self.unplaced)
    }

    /// Connections of `shard` were closed.
    pub(super) fn note_closed(&mut self, shard: usize, connections: usize) {
        if let Some(placement) = &mut self.placement {
            placement.closed(shard, connections);
        }
    }

    /// Reports connections of this shard that were closed. Returns how many are left to report.
    pub(super) fn report_closed(
        &mut self,
        links: &mut Links<DriverMessage>,
        connections: usize,
    ) -> usize {
        if let Some(placement) = &mut self.placement {
            placement.closed(self.me, connections);
            return 0;
        }
        let is_sent = links.room(PLACER) > RESERVED_MESSAGES
            && links.send(PLACER, DriverMessage::Closed(connections)).is_ok();
        if is_sent { 0 } else { connections }
    }
}

/// Sends a socket to another shard, unless the room is kept for the mesh.
fn pass(
    links: &mut Links<DriverMessage>,
    shard: usize,
    stream: TcpStream,
    message: fn(TcpStream) -> DriverMessage,
) -> Result<(), TcpStream> {
    if links.room(shard) <= RESERVED_MESSAGES {
        return Err(stream);
    }
    match links.send(shard, message(stream)) {
        Err(DriverMessage::Accepted(stream) | DriverMessage::Adopted(stream)) => Err(stream),
        _ => Ok(()),
    }
}
