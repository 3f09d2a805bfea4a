//! What a shard does with letters of others, and writes itself: its share of a snapshot, and events
//! for subscribers.

use super::{
    letter::Letter,
    saving::{Order, Part, Saving},
    service::Service,
};
use crate::{clock::Millis, events::Note};

impl Service {
    /// Does what a letter from another shard says.
    pub(super) fn read_letter(&mut self, from: usize, letter: Letter) {
        match letter {
            Letter::Order(order) => self.follow(from, order),
            Letter::Part(part) => self.take_part(from, *part),
            Letter::Subscribe(is_on) => self.serve_subscriber(from, is_on),
            Letter::Notes(notes) => self.take_notes(from, notes),
        }
    }

    /// Does what another shard that subscribes asks for.
    pub(super) fn serve_subscriber(&mut self, shard: usize, is_on: bool) {
        let store = self.home.store_mut();
        store.subscribe(is_on);
        if is_on {
            self.mesh.send(shard, Letter::Notes(store.take_notes()));
        }
    }

    /// Takes in what another shard has noted.
    pub(super) fn take_notes(&mut self, shard: usize, notes: Vec<Note>) {
        self.subscribers.sources[shard].owes_notes = false;
        self.subscribers.notes.push((shard, notes));
    }

    /// Sends what the shard that writes has ordered.
    pub(super) fn send_orders(&mut self) {
        while let Some((shard, order)) = self.save.orders.pop_front() {
            if shard == self.mesh.me() {
                self.follow(shard, order);
            } else {
                self.mesh.send(shard, Letter::Order(order));
            }
        }
    }

    /// Follows an order of the shard that writes.
    pub(super) fn follow(&mut self, writer: usize, order: Order) {
        let store = self.home.store_mut();
        match (order, &mut self.saving) {
            (Order::Begin { snapshot, offset }, _) => {
                self.saving = Some(Saving::begin(writer, snapshot, offset, store));
            }
            (Order::Next, Some(saving)) => saving.wanted += 1,
            (Order::Next, None) => {}
            (Order::Stop, _) => {
                store.stop_walk();
                self.saving = None;
            }
        }
    }

    /// Goes on with this shard's share of a snapshot, for about `steps` steps. Returns whether more
    /// of it is wanted.
    pub(super) fn save_share(&mut self, now: Millis, steps: u32) -> bool {
        let Some(saving) = &mut self.saving else { return false };
        let part = saving.work(self.home.store_mut(), now, steps);
        let (writer, is_wanted) = (saving.writer, saving.wanted > 0);
        let Some(part) = part else { return is_wanted };
        let is_last = part.is_last;
        if is_last {
            self.saving = None;
        }
        if writer == self.mesh.me() {
            self.take_part(writer, part);
        } else {
            self.mesh.send(writer, Letter::Part(Box::new(part)));
        }
        is_wanted && !is_last
    }

    /// Takes in a part that was ordered here, of shard `from`.
    pub(super) fn take_part(&mut self, from: usize, part: Part) {
        self.save.take_part(from, part);
        self.send_orders();
    }
}
