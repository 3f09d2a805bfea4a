//! Least recently used: one queue; a use moves an entry to its front, the back is evicted.

use super::list::List;
use super::rule::Rule;
use crate::store::arena::{Arena, Ref};
use std::slice;

#[derive(Default)]
pub(super) struct Lru {
    queue: List,
}

impl Rule for Lru {
    fn insert(&mut self, arena: &mut Arena, at: Ref) {
        self.queue.push_front(arena, at);
    }

    #[inline]
    fn hit(&mut self, arena: &mut Arena, at: Ref) {
        self.queue.renew(arena, at);
    }

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
