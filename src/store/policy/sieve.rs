//! SIEVE: a queue in order of arrival and a hand that goes from its back to its front, passing over
//! what was used since it came by last.
//!
//! Zhang and others, "SIEVE is simpler than LRU", NSDI 2024. The policy bit is "visited".

use super::list::List;
use super::rule::{Rule, STEPS_MAX};
use crate::store::arena::{Arena, NIL, Ref};
use crate::store::entry;
use std::slice;

const VISITED: u8 = 1;

#[derive(Default)]
pub(super) struct Sieve {
    queue: List,
    /// Where the search goes on; `NIL` for the back.
    hand: Ref,
}

impl Rule for Sieve {
    fn insert(&mut self, arena: &mut Arena, at: Ref) {
        self.queue.push_front(arena, at);
    }

    #[inline]
    fn hit(&mut self, arena: &mut Arena, at: Ref) {
        if entry::meta(arena, at).policy() != VISITED {
            entry::set_policy(arena, at, VISITED);
        }
    }

    fn remove(&mut self, arena: &mut Arena, at: Ref) {
        if self.hand == at {
            self.hand = entry::links(arena, at).0;
        }
        self.queue.remove(arena, at);
    }

    fn moved(&mut self, arena: &mut Arena, from: Ref, to: Ref) {
        if self.hand == from {
            self.hand = to;
        }
        self.queue.moved(arena, from, to);
    }

    fn victim(&mut self, arena: &mut Arena) -> Option<Ref> {
        for _ in 0..STEPS_MAX {
            if self.hand == NIL {
                self.hand = self.queue.back()?;
            }
            if entry::meta(arena, self.hand).policy() != VISITED {
                return Some(self.hand);
            }
            entry::set_policy(arena, self.hand, 0);
            self.hand = entry::links(arena, self.hand).0;
        }
        // In the midst of entries that were all used, the newest is the one that is least so.
        let newest = self.queue.front().filter(|&at| entry::meta(arena, at).policy() != VISITED);
        newest.or(if self.hand == NIL { self.queue.back() } else { Some(self.hand) })
    }

    fn queues(&mut self) -> &mut [List] {
        slice::from_mut(&mut self.queue)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}
