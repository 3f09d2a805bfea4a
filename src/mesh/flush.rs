//! Messages leave, and what was in one that could not be sent is resolved.

use super::{
    broadcast::Broadcasts,
    cargo::{Arrival, Cargo},
    message::Message,
    peer::Peer,
    routes::{Home, Mesh},
};
use crate::store::Store;

impl<C: Cargo> Mesh<C> {
    /// Sends what has gathered since the last flush. `send` hands a message back when the peer is
    /// gone; the calls in it are then lost, and so is everything else that was meant for it.
    pub fn flush(
        &mut self,
        home: &mut Home<C>,
        mut send: impl FnMut(usize, Message<C>) -> Result<(), Message<C>>,
        mut arrived: impl FnMut(Arrival<'_, C>) -> bool,
    ) {
        for (shard, peer) in self.peers.iter_mut().enumerate() {
            let mut unsent = Vec::new();
            for answer in peer.answers.drain(..) {
                unsent.extend(send(shard, answer).err());
            }
            while let Some(message) = peer.next() {
                let (calls, lates) = match message {
                    Message::Calls(_) => (1, 0),
                    Message::Late(_) => (0, 1),
                    _ => (0, 0),
                };
                match send(shard, message) {
                    Ok(()) => {
                        peer.messages_in_flight += calls;
                        peer.lates_in_flight += lates;
                        self.hops.messages += calls as u64;
                    }
                    Err(message) => unsent.push(message),
                }
            }
            if unsent.is_empty() {
                continue;
            }
            for message in unsent {
                let broadcasts = &mut self.broadcasts;
                lose(message, peer, broadcasts, home.store_mut(), &mut arrived);
            }
            for ticket in peer.lose_parked() {
                arrived(Arrival::Lost { ticket });
            }
        }
    }
}

/// Resolves what was in a message that could not be sent.
fn lose<C: Cargo>(
    message: Message<C>,
    peer: &mut Peer<C>,
    broadcasts: &mut Broadcasts<C>,
    store: &mut Store,
    arrived: &mut impl FnMut(Arrival<'_, C>) -> bool,
) {
    match message {
        Message::Calls(mut batch) => {
            peer.outbox.returned.append(&mut batch.returned);
            for (ticket, pin) in batch.lost() {
                peer.outbox.returned.extend(pin);
                arrived(Arrival::Lost { ticket });
            }
            peer.settle(batch);
        }
        Message::Ask { broadcast, .. } => {
            if let Some(arrival) = broadcasts.lose(broadcast) {
                arrived(arrival);
            }
        }
        // A reply that cannot be delivered has nobody left to miss it.
        Message::Replies(batch) => batch.pins().for_each(|pin| store.unpin(pin)),
        Message::Late(late) => late.pins().for_each(|pin| store.unpin(pin)),
        Message::LateTaken(_) | Message::Told { .. } | Message::Letter(_) => {}
    }
}
