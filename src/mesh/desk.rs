//! Late replies find the way back to their callers, here or on other shards.

use super::{
    cargo::{Arrival, Cargo},
    late::{Groups, Return},
    peer::Peer,
};
use crate::owner::{Callers, Late};

/// Takes what comes late to the callers of this shard and of others.
pub(super) struct Desk<'a, C: Cargo, F> {
    pub(super) me: usize,
    pub(super) peers: &'a mut [Peer<C>],
    pub(super) groups: &'a mut Groups,
    pub(super) arrived: F,
}

impl<C: Cargo, F: FnMut(Arrival<'_, C>) -> bool> Callers<Return<C::Ticket>> for Desk<'_, C, F> {
    fn may_run(&mut self, caller: &Return<C::Ticket>) -> bool {
        self.groups.may_run(caller.group)
    }

    fn tell(&mut self, caller: Return<C::Ticket>, key: &[u8], late: Late<'_>) -> bool {
        let Return { shard, ticket, group } = caller;
        if shard == self.me {
            return (self.arrived)(match late {
                Late::Reply { reply, text } => Arrival::Reply { ticket, key, reply, text },
                Late::LeftOut => Arrival::LeftOut { ticket },
                Late::Failed => Arrival::Failed { ticket },
            });
        }
        let bytes = self.peers[shard].late.push(ticket, key, late);
        self.groups.count(group, bytes);
        true
    }
}
