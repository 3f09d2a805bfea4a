//! Which entry goes when room is needed: one rule per file, behind one interface.

mod fifo;
mod idle;
mod lfu;
mod lru;
mod none;
mod s3fifo;
mod sieve;
mod wtinylfu;

use super::arena::{Arena, NIL, Ref};
#[cfg(any(test, debug_assertions))]
use super::check::walk;
use super::entry;
use crate::clock::Millis;
use idle::Sample;
#[cfg(any(test, debug_assertions))]
use std::collections::HashSet;

/// Entries that one search for a victim passes over at most; then the one it stands at goes.
const STEPS_MAX: u32 = 64;

/// The rules of eviction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eviction {
    /// Least recently used, exactly.
    #[default]
    Lru,
    /// First in, first out.
    Fifo,
    /// Least frequently used, with ageing.
    Lfu,
    Sieve,
    S3Fifo,
    /// Experimental: its window does not adapt.
    WTinyLfu,
    /// Nothing is evicted: what does not fit is refused.
    None,
}

impl Eviction {
    /// Every rule and what it is called in settings.
    pub const NAMES: [(&str, Self); 7] = [
        ("lru", Self::Lru),
        ("fifo", Self::Fifo),
        ("lfu", Self::Lfu),
        ("sieve", Self::Sieve),
        ("s3fifo", Self::S3Fifo),
        ("wtinylfu", Self::WTinyLfu),
        ("none", Self::None),
    ];

    /// What the rule is called in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, rule)| *rule == self).expect("each has a name").0
    }
}

/// What a rule does. It may keep four bits in each entry, and queues whose links are the first
/// words of each.
trait Rule {
    /// A new entry, its policy bits zero.
    fn insert(&mut self, arena: &mut Arena, at: Ref);
    /// A use of an entry: a read or an overwrite in place.
    fn hit(&mut self, arena: &mut Arena, at: Ref);
    /// The entry leaves, for whatever reason.
    fn remove(&mut self, arena: &mut Arena, at: Ref);
    /// A new entry of a snapshot. All of them come into one queue, so that its back is the oldest.
    fn restore(&mut self, arena: &mut Arena, at: Ref) {
        self.insert(arena, at);
    }
    /// The entry that lay at `from` lies at `to` now.
    fn moved(&mut self, arena: &mut Arena, from: Ref, to: Ref);
    /// The entry to evict next; it stays linked. `None` when there is none.
    fn victim(&mut self, arena: &mut Arena) -> Option<Ref>;
    /// The victim is evicted; `remove` follows.
    fn evicted(&mut self, _arena: &mut Arena, _at: Ref) {}
    fn queues(&mut self) -> &mut [List];
    /// All entries are gone; takes a time that does not depend on their number.
    fn clear(&mut self) {
        self.queues().fill_with(List::default);
    }
    /// Where in `queues` the coldest entries are.
    fn coldest_queue(&self) -> usize {
        0
    }
}

/// The rule of one store, and what is known of the use of its entries.
pub(super) struct Policy {
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
    pub(super) fn new(eviction: Eviction, budget: usize) -> Self {
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
    pub(super) fn clear(&mut self) {
        with_rule!(self, rule => rule.clear());
        self.entries = 0;
        self.sample = Sample::new();
    }

    pub(super) fn is_restoring(&self) -> bool {
        self.is_restoring
    }

    pub(super) fn set_restoring(&mut self, is_restoring: bool) {
        self.is_restoring = is_restoring;
    }

    /// All uses from here on are at `now`.
    #[inline]
    pub(super) fn set_now(&mut self, now: Millis) {
        self.now = now;
    }

    /// Bytes that `new` allocates.
    pub(super) fn table_bytes(eviction: Eviction, budget: usize) -> usize {
        match eviction {
            Eviction::S3Fifo => s3fifo::S3Fifo::table_bytes(budget),
            Eviction::WTinyLfu => wtinylfu::WTinyLfu::table_bytes(budget),
            Eviction::Lru | Eviction::Fifo | Eviction::Lfu | Eviction::Sieve | Eviction::None => 0,
        }
    }

    pub(super) fn insert(&mut self, arena: &mut Arena, at: Ref) {
        self.sample.insert(at, self.entries, self.now);
        self.entries += 1;
        if self.is_restoring {
            with_rule!(self, rule => rule.restore(arena, at));
        } else {
            with_rule!(self, rule => rule.insert(arena, at));
        }
    }

    #[inline]
    pub(super) fn hit(&mut self, arena: &mut Arena, at: Ref) {
        self.sample.used(at, self.now);
        with_rule!(self, rule => rule.hit(arena, at));
    }

    pub(super) fn remove(&mut self, arena: &mut Arena, at: Ref) {
        self.sample.remove(at);
        self.entries -= 1;
        with_rule!(self, rule => rule.remove(arena, at));
    }

    pub(super) fn moved(&mut self, arena: &mut Arena, from: Ref, to: Ref) {
        self.sample.moved(from, to);
        with_rule!(self, rule => rule.moved(arena, from, to));
    }

    pub(super) fn victim(&mut self, arena: &mut Arena) -> Option<Ref> {
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

    pub(super) fn evicted(&mut self, arena: &mut Arena, at: Ref) {
        if !self.is_restoring {
            with_rule!(self, rule => rule.evicted(arena, at));
        }
    }

    /// Milliseconds since the victim was used, as far as the sample tells.
    pub(super) fn victim_idle(&mut self, at: Ref, now: Millis) -> Option<u64> {
        self.sample.victim_idle(at, now)
    }

    /// Puts the cursor at the coldest entry.
    pub(super) fn start_walk(&mut self) -> Queues {
        let (first, queues) = with_rule!(self, rule => (rule.coldest_queue(), rule.queues()));
        for queue in &mut *queues {
            queue.cursor = queue.back;
        }
        Queues { queue: first, left: queues.len(), steps_left: self.entries * 2 }
    }

    /// The entry under the cursor, which goes on to the next warmer one.
    pub(super) fn walk_on(&mut self, arena: &Arena, walk: &mut Queues) -> Option<Ref> {
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
    pub(super) fn check(&mut self, arena: &Arena, entries: &HashSet<Ref>) -> usize {
        assert_eq!(self.entries, entries.len());
        let queues = with_rule!(self, rule => rule.queues());
        queues.iter().map(|queue| queue.check(arena, entries)).sum()
    }
}

/// How far a walk over all queues has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queues {
    queue: usize,
    left: usize,
    /// Ends a walk whose end uses keep moving away.
    steps_left: usize,
}

/// A queue of entries, doubly linked through them. The front is where entries come in.
#[derive(Default)]
struct List {
    front: Ref,
    back: Ref,
    len: u32,
    /// The entry at which a walk goes on; it stays ahead of what leaves.
    cursor: Ref,
}

impl List {
    fn len(&self) -> usize {
        self.len as usize
    }

    fn front(&self) -> Option<Ref> {
        (self.front != NIL).then_some(self.front)
    }

    fn back(&self) -> Option<Ref> {
        (self.back != NIL).then_some(self.back)
    }

    #[inline]
    fn push_front(&mut self, arena: &mut Arena, at: Ref) {
        entry::set_links(arena, at, (NIL, self.front));
        match self.front {
            NIL => self.back = at,
            front => entry::set_prev(arena, front, at),
        }
        self.front = at;
        self.len += 1;
    }

    #[inline]
    fn renew(&mut self, arena: &mut Arena, at: Ref) {
        if self.front != at {
            self.remove(arena, at);
            self.push_front(arena, at);
        }
    }

    #[inline]
    fn remove(&mut self, arena: &mut Arena, at: Ref) {
        let (prev, next) = entry::links(arena, at);
        self.link(arena, prev, next);
        self.len -= 1;
        if self.cursor == at {
            self.cursor = prev;
        }
    }

    fn moved(&mut self, arena: &mut Arena, from: Ref, to: Ref) {
        if self.cursor == from {
            self.cursor = to;
        }
        let (prev, next) = entry::links(arena, to);
        self.link(arena, prev, to);
        self.link(arena, to, next);
    }

    /// Makes `next` follow `prev`, either of which may be the end.
    #[inline]
    fn link(&mut self, arena: &mut Arena, prev: Ref, next: Ref) {
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
    fn check(&self, arena: &Arena, entries: &HashSet<Ref>) -> usize {
        let (count, last) = walk(entries, self.front, NIL, |at| entry::links(arena, at));
        assert_eq!((last, count), (self.back, self.len()));
        count
    }
}

#[cfg(test)]
mod tests;
