//! Which entry goes when room is needed.

mod lru;

use super::arena::{Arena, NIL, Ref};
#[cfg(debug_assertions)]
use super::check::walk;
use super::entry;
use lru::Lru;
#[cfg(debug_assertions)]
use std::collections::HashSet;

/// The rule of one store, with its queues. Their links are the first words of each entry.
pub(super) enum Policy {
    Lru(Lru),
}

impl Policy {
    pub(super) fn new() -> Self {
        Self::Lru(Lru::default())
    }

    /// A new entry.
    pub(super) fn insert(&mut self, arena: &mut Arena, at: Ref) {
        match self {
            Self::Lru(lru) => lru.insert(arena, at),
        }
    }

    /// A use of an entry: a read or an overwrite in place.
    #[inline]
    pub(super) fn hit(&mut self, arena: &mut Arena, at: Ref) {
        match self {
            Self::Lru(lru) => lru.hit(arena, at),
        }
    }

    /// The entry leaves, for whatever reason.
    pub(super) fn remove(&mut self, arena: &mut Arena, at: Ref) {
        match self {
            Self::Lru(lru) => lru.remove(arena, at),
        }
    }

    /// The entry that lay at `from` now lies at `to`.
    pub(super) fn moved(&mut self, arena: &mut Arena, to: Ref) {
        match self {
            Self::Lru(lru) => lru.moved(arena, to),
        }
    }

    /// The entry to evict next; it stays linked. `None` when nothing may be evicted.
    pub(super) fn victim(&mut self, _arena: &mut Arena) -> Option<Ref> {
        match self {
            Self::Lru(lru) => lru.victim(),
        }
    }

    #[cfg(debug_assertions)]
    pub(super) fn check(&self, arena: &Arena, entries: &HashSet<Ref>) -> usize {
        match self {
            Self::Lru(lru) => lru.check(arena, entries),
        }
    }
}

/// A queue of entries, doubly linked through them. The front is where entries come in.
#[derive(Default)]
struct List {
    front: Ref,
    back: Ref,
}

impl List {
    #[inline]
    fn push_front(&mut self, arena: &mut Arena, at: Ref) {
        entry::set_links(arena, at, (NIL, self.front));
        match self.front {
            NIL => self.back = at,
            front => entry::set_prev(arena, front, at),
        }
        self.front = at;
    }

    #[inline]
    fn remove(&mut self, arena: &mut Arena, at: Ref) {
        let (prev, next) = entry::links(arena, at);
        match prev {
            NIL => self.front = next,
            _ => entry::set_next(arena, prev, next),
        }
        match next {
            NIL => self.back = prev,
            _ => entry::set_prev(arena, next, prev),
        }
    }

    fn moved(&mut self, arena: &mut Arena, to: Ref) {
        let (prev, next) = entry::links(arena, to);
        match prev {
            NIL => self.front = to,
            _ => entry::set_next(arena, prev, to),
        }
        match next {
            NIL => self.back = to,
            _ => entry::set_prev(arena, next, to),
        }
    }

    #[cfg(debug_assertions)]
    fn check(&self, arena: &Arena, entries: &HashSet<Ref>) -> usize {
        let (count, last) = walk(entries, self.front, NIL, |at| entry::links(arena, at));
        assert_eq!(last, self.back);
        count
    }
}
