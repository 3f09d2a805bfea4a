//! No eviction: one queue in order of arrival, from which nothing is ever chosen.

use super::list::List;
use super::rule::Rule;
use crate::store::arena::{Arena, Ref};
use std::slice;

#[derive(Default)]
pub(super) struct None {
    queue: List,
}

impl Rule for None {
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
        Option::None
    }

    fn queues(&mut self) -> &mut [List] {
        slice::from_mut(&mut self.queue)
    }
}
