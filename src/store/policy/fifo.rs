//! First in, first out: one queue that no use changes.

use super::list::List;
use super::rule::Rule;
use crate::store::arena::{Arena, Ref};
use std::slice;

#[derive(Default)]
pub(super) struct Fifo {
    queue: List,
}

impl Rule for Fifo {
    fn insert(&mut self, arena: &mut Arena, at: Ref) {
        self.queue.push_front(arena, at);
    }

    fn hit(&mut self, _arena: &mut Arena, _at: Ref) {}

    fn remove(&mut self, arena: &mut Arena, at: Ref) {
        self.queue.remove(arena, at);
    }

    fn moved(&mut self, arena: &mut Arena, from: Ref, to: Ref) {
        self.queue.moved(arena, from, to);
    }

    fn victim(&mut self, _arena: &mut Arena) -> Option<Ref> {
        self.queue.back()
    }

    fn queues(&mut self) -> &mut [List] {
        slice::from_mut(&mut self.queue)
    }
}
