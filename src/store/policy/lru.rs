//! Least recently used: one queue; a use moves an entry to its front, the back is evicted.

use super::{Arena, List, Ref};

#[derive(Default)]
pub(in crate::store) struct Lru {
    queue: List,
}

impl Lru {
    pub(super) fn insert(&mut self, arena: &mut Arena, at: Ref) {
        self.queue.push_front(arena, at);
    }

    #[inline]
    pub(super) fn hit(&mut self, arena: &mut Arena, at: Ref) {
        if self.queue.front != at {
            self.queue.remove(arena, at);
            self.queue.push_front(arena, at);
        }
    }

    pub(super) fn remove(&mut self, arena: &mut Arena, at: Ref) {
        self.queue.remove(arena, at);
    }

    pub(super) fn moved(&mut self, arena: &mut Arena, to: Ref) {
        self.queue.moved(arena, to);
    }

    pub(super) fn victim(&self) -> Option<Ref> {
        (self.queue.back != super::NIL).then_some(self.queue.back)
    }

    #[cfg(debug_assertions)]
    pub(super) fn check(&self, arena: &Arena, entries: &super::HashSet<Ref>) -> usize {
        self.queue.check(arena, entries)
    }
}
