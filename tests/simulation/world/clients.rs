//! What passes between clients and their shards.

use super::World;
use crate::{
    client::{Client, Interest, OwnSide, ServerSide, Sighting},
    script::{Script, Visit},
};
use kvcache::{shard::Role, wire::Intent};

impl World {
    pub(super) fn open(&mut self, at: usize, script: Script) -> usize {
        self.turn(at);
        let core = &mut self.cores[at];
        let is_refused = script.visit == Visit::Refused;
        let id = match script.visit {
            Visit::Data => core.shard.open(Role::Data),
            Visit::Admin => core.shard.open(Role::Admin),
            Visit::Refused => core.shard.open(Role::Refused),
        };
        let number = self.clients.len();
        if id.slot() < core.sockets.len() {
            assert!(self.clients[core.sockets[id.slot()]].is_closed(), "a slot is given twice");
            core.sockets[id.slot()] = number;
            self.coverage.reach("slot used again");
        } else {
            core.sockets.push(number);
        }
        let now = self.facts.moment(core);
        if self.is_traced {
            let text = String::from_utf8_lossy(&script.bytes);
            eprintln!("client {number} is {id:?} of core {at}, {:?}: {text:?}", script.ending);
        }
        self.clients.push(Client::new(script, at, id, &now));
        if is_refused {
            self.coverage.reach("refused connection");
            self.attend(number);
        }
        number
    }

    /// The socket is read, mostly because it is readable or broken.
    pub(super) fn read(&mut self, at: usize) {
        self.turn(self.clients[at].core);
        let client = &mut self.clients[at];
        let core = &mut self.cores[client.core];
        if !client.is_readable() {
            core.shard.exhausted(client.id);
            return self.attend(at);
        }
        let waiting = client.in_transit();
        let is_broken = client.own_side == OwnSide::Reset;
        if waiting == 0 || is_broken && self.random.bool() {
            if is_broken {
                return self.close(at);
            }
            client.own_side = OwnSide::FinRead;
            if !client.interest.read {
                self.coverage.reach("fin read without room");
            }
            if client.server_side == ServerSide::Lingering {
                return self.close(at);
            }
            core.shard.end_input(client.id);
        } else {
            let room = self.profile.config.limits.read_bytes_max;
            let bytes = self.random.usize(1..=waiting.min(room));
            let start = client.received;
            client.receive(bytes, &self.facts.moment(core));
            let read = &client.script.bytes[start..start + bytes];
            core.shard.receive(client.id, read, bytes == room);
        }
        self.attend(at);
    }

    /// How much of the output the socket takes; less than all of it means that it is full.
    fn accepted(&mut self, client: usize, unsent: usize) -> usize {
        let max = self.profile.send_bytes_max.min(unsent);
        if self.clients[client].stalled || !self.calm && self.random.u8(..8) == 0 {
            self.coverage.reach("would block");
            0
        } else if self.random.bool() {
            max
        } else {
            self.random.usize(1..=max)
        }
    }

    /// Sends what can be sent and does what the shard wants done with the socket.
    pub(super) fn attend(&mut self, at: usize) {
        let (number, id) = (self.clients[at].core, self.clients[at].id);
        loop {
            let all = self.cores[number].shard.unsent(id).len();
            if all == 0 {
                break;
            }
            if self.clients[at].own_side == OwnSide::Reset {
                return self.close(at);
            }
            let bytes = self.accepted(at, all);
            let core = &mut self.cores[number];
            let sent = core.shard.unsent(id)[..bytes].to_vec();
            core.shard.sent(id, bytes);
            if bytes == 0 {
                break;
            }
            let now = self.facts.moment(core);
            let client = &mut self.clients[at];
            client.deliver(&sent, &now, &mut self.coverage);
            let sightings = std::mem::take(&mut client.sightings);
            self.note(sightings);
            if bytes < all {
                self.coverage.reach("partial write");
                break;
            }
        }
        self.follow(at);
    }

    /// Each version has one value, and each value one version.
    fn note(&mut self, sightings: Vec<Sighting>) {
        for sighting in sightings {
            let Sighting { tag, key, value } = &sighting;
            let known = *self.facts.tags.entry(tag.clone()).or_insert(*value);
            assert_eq!(known, *value, "version {tag} is of two values");
            let is_other = |other: &Sighting| other.value == *value && other.tag != *tag;
            let is_changed = self.facts.seen[*key].as_ref().is_some_and(is_other);
            assert!(!is_changed, "a value has two versions: {sighting:?}");
            let key = *key;
            self.facts.seen[key] = Some(sighting);
        }
    }

    fn follow(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let core = &mut self.cores[client.core];
        let mut intent = core.shard.intent(client.id);
        if intent == Intent::CloseWrite {
            if client.own_side == OwnSide::Reset {
                return self.close(at);
            }
            client.half_close(&self.facts.moment(core), &mut self.coverage);
            core.shard.linger(client.id);
            intent = core.shard.intent(client.id);
        }
        match intent {
            Intent::Wait { read, write } => {
                let unsent = core.shard.unsent(client.id);
                assert_eq!(write, !unsent.is_empty(), "would be woken for nothing, or never");
                let is_over = client.own_side == OwnSide::FinRead;
                assert!(!read || !is_over, "would be woken for ever");
                let is_open = client.server_side == ServerSide::Open;
                if read && !client.interest.read && is_open {
                    self.coverage.reach("backpressure");
                }
                client.interest = Interest { read, write };
            }
            Intent::CloseWrite | Intent::Close => self.close(at),
        }
    }

    fn close(&mut self, at: usize) {
        let client = &mut self.clients[at];
        if self.is_traced {
            eprintln!("client {at} is closed");
        }
        client.close(&self.limits, self.facts.lossy, &mut self.coverage);
        self.cores[client.core].shard.forget(client.id);
    }
}
