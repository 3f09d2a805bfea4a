//! Answers that were away: written in their place when what they waited for is there, and gone on
//! with piece by piece where they are long.

use super::{
    Ticket,
    connections::{ConnectionId, Connections},
    letter::Arrival,
    service::{Facts, Service},
    spoken::{Owing, Pending, Role, Spoken, Waits},
};
use crate::{
    http::Http,
    metrics::{Counters, Outcome},
    protocol::{Item, Problem},
    store::{Key, Op, Reply},
    wire::Written,
};

/// Where what arrives goes.
pub(super) struct Desk<'a> {
    pub(super) facts: &'a Facts,
    pub(super) counters: &'a mut Counters,
    pub(super) connections: &'a mut Connections,
}

impl Desk<'_> {
    /// Takes what another shard has sent for a connection, which is to be looked at again. Returns
    /// whether the pin that came with it is kept.
    pub(super) fn arrive(&mut self, arrival: &Arrival<'_>) -> bool {
        let is_kept = self.settle(arrival);
        self.connections.list(arrival.ticket().connection);
        is_kept
    }

    /// Writes the answer that was away, or the next piece of one. Returns whether the pin that came
    /// with it is kept.
    fn settle(&mut self, arrival: &Arrival<'_>) -> bool {
        let ticket = arrival.ticket();
        let id = ticket.connection;
        let Some(connection) = self.connections.get_mut(id) else { return false };
        let item = match *arrival {
            Arrival::Reply { key, reply, .. } => Item::Reply { key, reply },
            Arrival::LeftOut { .. } => Item::LeftOut,
            Arrival::Refused { .. } => Item::Refused,
            _ => Item::Lost,
        };
        let is_complete = match connection.wire.answers.owing(ticket.sequence) {
            Owing::Http(pending) => pending.take(ticket.item, item),
        };
        if !is_complete {
            return false;
        }
        self.connections.lend_buffer(id);
        let Some(connection) = self.connections.get_mut(id) else { return false };
        let mut is_broken = false;
        let (facts, counters) = (self.facts, &mut *self.counters);
        let is_long = connection.wire.answers.settle(ticket.sequence, |owing, out| match owing {
            Owing::Http(pending) => {
                let written = complete::<Http>(pending, out, facts, counters, arrival);
                is_broken = written.rest.as_ref().is_some_and(is_broken_off);
                written
            }
        });
        if is_broken {
            connection.wire.kill();
        }
        self.connections.recount(id, &mut self.counters.connections);
        is_long
    }
}

fn is_broken_off(owing: &Owing) -> bool {
    match owing {
        Owing::Http(pending) => matches!(pending.waits, Waits::Broken),
    }
}

/// Returns what is left where this is not all.
fn complete<P: Spoken>(
    pending: Pending<P>,
    out: &mut Vec<u8>,
    facts: &Facts,
    counters: &mut Counters,
    arrival: &Arrival<'_>,
) -> Written<Owing> {
    let about = facts.about::<P>(counters, Role::Data);
    let Pending { form, operation, waits } = pending;
    let mut rest = None;
    let outcome = match (arrival, waits) {
        (Arrival::Reply { reply: Reply::Piece { bytes, .. }, .. }, Waits::Piece { key, rest }) => {
            let room = facts.config.limits.piece_bytes_max;
            let rest = P::piece(out, rest, bytes, room).map(|rest| {
                P::owing(Pending { form, operation, waits: Waits::Piece { key, rest } })
            });
            return Written { outcome: Outcome::Ok, rest };
        }
        (_, Waits::Piece { .. }) => {
            let broken = P::owing(Pending { form, operation, waits: Waits::Broken });
            return Written { outcome: Outcome::Failed, rest: Some(broken) };
        }
        (Arrival::Reply { key, reply, text, .. }, Waits::Reply) => {
            let mut left = None;
            let outcome = P::reply(out, &form, &about, key, reply, *text, &mut left);
            rest = left.map(|rest| {
                let waits = Waits::Piece { key: (*key).into(), rest };
                P::owing(Pending { form, operation, waits })
            });
            outcome
        }
        (_, Waits::Gather(gather)) => P::finish(out, &form, &about, *gather),
        (Arrival::Results { results, .. }, Waits::Results) => {
            P::results(out, &form, &about, results)
        }
        (Arrival::Refused { .. }, _) => {
            P::refuse(out, Some(&form), &about, &Problem::HopFull.into())
        }
        _ => P::refuse(out, Some(&form), &about, &Problem::ShardGone.into()),
    };
    counters.answers.count(P::NAME, operation, outcome);
    Written { outcome, rest }
}

impl Service {
    /// Goes on with a long answer once what came before is sent.
    #[inline]
    pub(super) fn continue_answer(
        &mut self,
        facts: &Facts,
        connections: &mut Connections,
        id: ConnectionId,
    ) {
        let Some(connection) = connections.get_mut(id) else { return };
        if !connection.wire.answers.wants_piece() || connection.wire.is_dead() {
            return;
        }
        match connection.wire.answers.front_begun() {
            Some(Owing::Http(pending)) if matches!(pending.waits, Waits::Stream(_)) => {
                self.continue_stream::<Http>(facts, connections, id);
            }
            Some(Owing::Http(_)) => self.fetch_piece::<Http>(facts, connections, id),
            None => {}
        }
    }

    /// Asks for the next piece of a value.
    fn fetch_piece<P: Spoken>(
        &mut self,
        facts: &Facts,
        connections: &mut Connections,
        id: ConnectionId,
    ) {
        connections.lend_buffer(id);
        let Some(connection) = connections.get_mut(id) else { return };
        let (sequence, owing) = connection.wire.answers.ask_on();
        let Waits::Piece { key, rest } = &P::pending(owing).waits else {
            unreachable!("a connection with a broken answer is dead")
        };
        let (key, verb) = (key.clone(), rest.verb(facts.config.limits.piece_bytes_max));
        let op = Op { key: Key { bytes: &*key, hash: 0 }, verb };
        let ticket = Ticket { connection: id, sequence, item: 0 };
        let mut desk = Desk { facts, counters: &mut self.counters, connections };
        let mut unused = None;
        self.mesh.call(&mut self.home, (&op).into(), facts.now, ticket, |reply| {
            let arrival = Arrival::Reply { ticket, key: &[], reply: *reply, text: None };
            let is_kept = desk.settle(&arrival);
            unused = reply.pin().filter(|_| !is_kept);
        });
        if let Some(pin) = unused {
            self.home.store_mut().unpin(pin);
        }
    }

    /// Gives back what the long answers of a connection that is gone had pinned.
    pub(super) fn give_back_pins(&mut self, connections: &mut Connections, id: ConnectionId) {
        let Some(connection) = connections.get_mut(id) else { return };
        for Owing::Http(pending) in connection.wire.answers.unfinished() {
            if let Waits::Piece { key, rest } = &pending.waits {
                let owner = self.mesh.owner(key);
                self.mesh.give_back(&mut self.home, owner, rest.pin);
            }
        }
    }
}
