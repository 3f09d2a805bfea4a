//! The rule of one store with its queues, and what is known of the use of its entries.

use super::eviction::Eviction;
use super::idle::Sample;
use super::list::List;
use super::rule::Rule;
use super::{fifo, lfu, lru, none, s3fifo, sieve, wtinylfu};
use crate::clock::Millis;
use crate::store::arena::{Arena, NIL, Ref};
use crate::store::entry;
#[cfg(any(test, debug_assertions))]
use std::collections::HashSet;

/// The rule of one store, and what is known of the use of its entries.
pub(in crate::store) struct Policy {
    rules: Rules,
    entries: usize,
    sample: Sample,
    now: Millis,
    /// Entries come in the order of their last use, and the first of them go when room is needed,
    /// whatever the rule.
    is_restoring: bool,
}

/// A rule with its queues and tables.
enum Rules {
    Lru(lru::Lru),
    Fifo(fifo::Fifo),
    Lfu(lfu::Lfu),
    Sieve(sieve::Sieve),
    S3Fifo(s3fifo::S3Fifo),
    WTinyLfu(wtinylfu::WTinyLfu),
    None(none::None),
}

macro_rules! with_rule {
    ($policy:expr, $rule:ident => $do:expr) => {
        match &mut $policy.rules {
            Rules::Lru($rule) => $do,
            Rules::Fifo($rule) => $do,
            Rules::Lfu($rule) => $do,
            Rules::Sieve($rule) => $do,
            Rules::S3Fifo($rule) => $do,
            Rules::WTinyLfu($rule) => $do,
            Rules::None($rule) => $do,
        }
    };
}

impl Policy {
    pub(in crate::store) fn new(eviction: Eviction, budget: usize) -> Self {
        let rules = match eviction {
            Eviction::Lru => Rules::Lru(lru::Lru::default()),
            Eviction::Fifo => Rules::Fifo(fifo::Fifo::default()),
            Eviction::Lfu => Rules::Lfu(lfu::Lfu::default()),
            Eviction::Sieve => Rules::Sieve(sieve::Sieve::default()),
            Eviction::S3Fifo => Rules::S3Fifo(s3fifo::S3Fifo::new(budget)),
            Eviction::WTinyLfu => Rules::WTinyLfu(wtinylfu::WTinyLfu::new(budget)),
            Eviction::None => Rules::None(none::None::default()),
        };
        Self { rules, entries: 0, sample: Sample::new(), now: Millis(0), is_restoring: false }
    }

    /// Forgets all entries.
    pub(in crate::store) fn clear(&mut self) {
        with_rule!(self, rule => rule.clear());
        self.entries = 0;
        self.sample = Sample::new();
    }

    pub(in crate::store) fn is_restoring(&self) -> bool {
        self.is_restoring
    }

    pub(in crate::store) fn set_restoring(&mut self, is_restoring: bool) {
        self.is_restoring = is_restoring;
    }

    /// All uses from here on are at `now`.
    #[inline]
    pub(in crate::store) fn set_now(&mut self, now: Millis) {
        self.now = now;
    }

    /// Bytes that `new` allocates.
    pub(in crate::store) fn table_bytes(eviction: Eviction, budget: usize) -> usize {
        match eviction {
            Eviction::S3Fifo => s3fifo::S3Fifo::table_bytes(budget),
            Eviction::WTinyLfu => wtinylfu::WTinyLfu::table_bytes(budget),
            Eviction::Lru | Eviction::Fifo | Eviction::Lfu | Eviction::Sieve | Eviction::None => 0,
        }
    }

    pub(in crate::store) fn insert(&mut self, arena: &mut Arena, at: Ref) {
        self.sample.insert(at, self.entries, self.now);
        self.entries += 1;
        if self.is_restoring {
            with_rule!(self, rule => rule.restore(arena, at));
        } else {
            with_rule!(self, rule => rule.insert(arena, at));
        }
    }

    #[inline]
    pub(in crate::store) fn hit(&mut self, arena: &mut Arena, at: Ref) {
        self.sample.used(at, self.now);
        with_rule!(self, rule => rule.hit(arena, at));
    }

    pub(in crate::store) fn remove(&mut self, arena: &mut Arena, at: Ref) {
        self.sample.remove(at);
        self.entries -= 1;
        with_rule!(self, rule => rule.remove(arena, at));
    }

    pub(in crate::store) fn moved(&mut self, arena: &mut Arena, from: Ref, to: Ref) {
        self.sample.moved(from, to);
        with_rule!(self, rule => rule.moved(arena, from, to));
    }

    pub(in crate::store) fn victim(&mut self, arena: &mut Arena) -> Option<Ref> {
        if self.is_restoring {
            return self.oldest();
        }
        with_rule!(self, rule => rule.victim(arena))
    }

    fn oldest(&mut self) -> Option<Ref> {
        let (first, queues) = with_rule!(self, rule => (rule.coldest_queue(), rule.queues()));
        let (before, from) = queues.split_at(first);
        from.iter().chain(before).find_map(List::back)
    }

    pub(in crate::store) fn evicted(&mut self, arena: &mut Arena, at: Ref) {
        if !self.is_restoring {
            with_rule!(self, rule => rule.evicted(arena, at));
        }
    }

    /// Milliseconds since the victim was used, as far as the sample tells.
    pub(in crate::store) fn victim_idle(&mut self, at: Ref, now: Millis) -> Option<u64> {
        self.sample.victim_idle(at, now)
    }

    /// Puts the cursor at the coldest entry.
    pub(in crate::store) fn start_walk(&mut self) -> Queues {
        let (first, queues) = with_rule!(self, rule => (rule.coldest_queue(), rule.queues()));
        for queue in &mut *queues {
            queue.cursor = queue.back;
        }
        Queues { queue: first, left: queues.len(), steps_left: self.entries * 2 }
    }

    /// The entry under the cursor, which goes on to the next warmer one.
    pub(in crate::store) fn walk_on(&mut self, arena: &Arena, walk: &mut Queues) -> Option<Ref> {
        let queues = with_rule!(self, rule => rule.queues());
        while walk.left > 0 && walk.steps_left > 0 {
            let queue = &mut queues[walk.queue];
            if queue.cursor != NIL {
                walk.steps_left -= 1;
                let at = queue.cursor;
                queue.cursor = entry::links(arena, at).0;
                return Some(at);
            }
            walk.queue = (walk.queue + 1) % queues.len();
            walk.left -= 1;
        }
        None
    }

    #[cfg(any(test, debug_assertions))]
    pub(in crate::store) fn check(&mut self, arena: &Arena, entries: &HashSet<Ref>) -> usize {
        assert_eq!(self.entries, entries.len());
        let queues = with_rule!(self, rule => rule.queues());
        queues.iter().map(|queue| queue.check(arena, entries)).sum()
    }
}

/// How far a walk over all queues has come.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Queues {
    queue: usize,
    left: usize,
    /// Ends a walk whose end uses keep moving away.
    steps_left: usize,
}
