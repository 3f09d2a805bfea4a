//! A queue of entries, with links that lie in them.

use crate::store::arena::{Arena, NIL, Ref};
use crate::store::entry;
#[cfg(any(test, debug_assertions))]
use crate::store::linked::walk;
#[cfg(any(test, debug_assertions))]
use std::collections::HashSet;

/// A queue of entries, doubly linked through them. The front is where entries come in.
#[derive(Default)]
pub(super) struct List {
    front: Ref,
    pub(super) back: Ref,
    len: u32,
    /// The entry at which a walk goes on; it stays ahead of what leaves.
    pub(super) cursor: Ref,
}

impl List {
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    pub(super) fn front(&self) -> Option<Ref> {
        (self.front != NIL).then_some(self.front)
    }

    pub(super) fn back(&self) -> Option<Ref> {
        (self.back != NIL).then_some(self.back)
    }

    #[inline]
    pub(super) fn push_front(&mut self, arena: &mut Arena, at: Ref) {
        entry::set_links(arena, at, (NIL, self.front));
        match self.front {
            NIL => self.back = at,
            front => entry::set_prev(arena, front, at),
        }
        self.front = at;
        self.len += 1;
    }

    #[inline]
    pub(super) fn renew(&mut self, arena: &mut Arena, at: Ref) {
        if self.front != at {
            self.remove(arena, at);
            self.push_front(arena, at);
        }
    }

    #[inline]
    pub(super) fn remove(&mut self, arena: &mut Arena, at: Ref) {
        let (prev, next) = entry::links(arena, at);
        self.link(arena, prev, next);
        self.len -= 1;
        if self.cursor == at {
            self.cursor = prev;
        }
    }

    pub(super) fn moved(&mut self, arena: &mut Arena, from: Ref, to: Ref) {
        if self.cursor == from {
            self.cursor = to;
        }
        let (prev, next) = entry::links(arena, to);
        self.link(arena, prev, to);
        self.link(arena, to, next);
    }

    /// Makes `next` follow `prev`, either of which may be the end.
    #[inline]
    pub(super) fn link(&mut self, arena: &mut Arena, prev: Ref, next: Ref) {
        match prev {
            NIL => self.front = next,
            _ => entry::set_next(arena, prev, next),
        }
        match next {
            NIL => self.back = prev,
            _ => entry::set_prev(arena, next, prev),
        }
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn check(&self, arena: &Arena, entries: &HashSet<Ref>) -> usize {
        let (count, last) = walk(entries, self.front, NIL, |at| entry::links(arena, at));
        assert_eq!((last, count), (self.back, self.len()));
        count
    }
}
