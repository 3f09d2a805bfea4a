//! When entries expire: a hierarchical timing wheel whose lists run through the entries.
//!
//! ```text
//! level 0   64 slots of one tick (128 ms)
//! level 1   64 slots of 64 ticks, and so on to level 5
//! ```
//!
//! An entry lies on the level of the highest six bits in which its tick differs from the wheel's,
//! and comes down a level when the wheel gets there: at most five times. Adding and removing are
//! O(1). A read checks expiry by itself; the wheel only gives memory back. (Varghese and Lauck,
//! "Hashed and hierarchical timing wheels", scheme 6.)

#![expect(clippy::cast_possible_truncation, reason = "slots are counted in six bits")]

use super::arena::{Arena, NIL, Ref};
use super::entry;
#[cfg(any(test, debug_assertions))]
use super::linked::walk;
#[cfg(any(test, debug_assertions))]
use std::collections::HashSet;

const TICK_SHIFT: u32 = 7;
const LEVELS: usize = 6;
const LEVEL_BITS: u32 = 6;
const SLOTS: usize = 1 << LEVEL_BITS;
/// `wheel_prev` of the first entry of a slot is this plus the slot's number.
const HEAD: Ref = 0xffff_0000;

pub(super) struct Wheel {
    heads: [Ref; LEVELS * SLOTS],
    /// Per level, which slots are not empty.
    occupied: [u64; LEVELS],
    /// Everything before this tick has been handed out.
    tick: u64,
    entries: usize,
}

impl Wheel {
    pub(super) fn new() -> Self {
        Self { heads: [NIL; LEVELS * SLOTS], occupied: [0; LEVELS], tick: 0, entries: 0 }
    }

    pub(super) fn entries(&self) -> usize {
        self.entries
    }

    /// Takes in an entry that expires after all that `poll` has handed out.
    pub(super) fn insert(&mut self, arena: &mut Arena, at: Ref, expires: u64) {
        self.entries += 1;
        let tick = expires.div_ceil(1 << TICK_SHIFT).max(self.tick);
        let differing = u64::BITS - ((tick ^ self.tick) | 1).leading_zeros() - 1;
        let level = (differing / LEVEL_BITS) as usize;
        let slot = (tick >> (level as u32 * LEVEL_BITS)) as usize % SLOTS;
        let number = level * SLOTS + slot;
        let second = std::mem::replace(&mut self.heads[number], at);
        self.occupied[level] |= 1 << slot;
        entry::set_wheel_prev(arena, at, HEAD + number as Ref);
        entry::set_wheel_next(arena, at, second);
        if second != NIL {
            entry::set_wheel_prev(arena, second, at);
        }
    }

    pub(super) fn remove(&mut self, arena: &mut Arena, at: Ref) {
        self.entries -= 1;
        let (prev, next) = entry::wheel_links(arena, at);
        self.link(arena, prev, next);
        if next != NIL {
            entry::set_wheel_prev(arena, next, prev);
        } else if prev >= HEAD {
            let number = (prev - HEAD) as usize;
            self.occupied[number / SLOTS] &= !(1 << (number % SLOTS));
        }
    }

    /// Mends the neighbours of an entry that now lies at `to`.
    pub(super) fn moved(&mut self, arena: &mut Arena, to: Ref) {
        let (prev, next) = entry::wheel_links(arena, to);
        self.link(arena, prev, to);
        if next != NIL {
            entry::set_wheel_prev(arena, next, to);
        }
    }

    /// An entry whose time is over at `now`, still linked. Moves at most `steps` entries to a
    /// lower level before that, and takes them off `steps`.
    pub(super) fn poll(&mut self, arena: &mut Arena, now: u64, steps: &mut u32) -> Option<Ref> {
        let target = now >> TICK_SHIFT;
        loop {
            for level in (1..LEVELS).rev() {
                let shift = level as u32 * LEVEL_BITS;
                if self.tick & ((1 << shift) - 1) == 0
                    && !self.cascade(arena, level, (self.tick >> shift) as usize % SLOTS, steps)
                {
                    return None;
                }
            }
            let first = self.heads[self.tick as usize % SLOTS];
            if first != NIL && self.tick <= target {
                return Some(first);
            }
            if self.tick >= target {
                return None;
            }
            self.tick = self.next_occupied().map_or(target, |tick| tick.min(target));
        }
    }

    /// Spreads a slot over the levels below it. False when `steps` ran out first.
    fn cascade(&mut self, arena: &mut Arena, level: usize, slot: usize, steps: &mut u32) -> bool {
        loop {
            let at = self.heads[level * SLOTS + slot];
            if at == NIL {
                return true;
            }
            if *steps == 0 {
                return false;
            }
            *steps -= 1;
            self.remove(arena, at);
            let meta = entry::meta(arena, at);
            let expires = entry::expires(arena, at, meta).expect("it is on the wheel");
            self.insert(arena, at, expires);
        }
    }

    /// The first tick after this one at which a slot has to be looked at.
    fn next_occupied(&self) -> Option<u64> {
        (0..LEVELS).find_map(|level| {
            let shift = level as u32 * LEVEL_BITS;
            let here = self.tick >> shift;
            let later = self.occupied[level] & (!1 << (here % SLOTS as u64));
            (later != 0).then(|| {
                let slot = u64::from(later.trailing_zeros());
                (here / SLOTS as u64 * SLOTS as u64 + slot) << shift
            })
        })
    }

    fn link(&mut self, arena: &mut Arena, prev: Ref, next: Ref) {
        if prev >= HEAD {
            self.heads[(prev - HEAD) as usize] = next;
        } else {
            entry::set_wheel_next(arena, prev, next);
        }
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn check(&self, arena: &Arena, entries: &HashSet<Ref>) -> usize {
        let lists = self.heads.iter().enumerate().map(|(number, &first)| {
            let is_occupied = self.occupied[number / SLOTS] >> (number % SLOTS) & 1 != 0;
            assert_eq!(is_occupied, first != NIL);
            let links = |at| entry::wheel_links(arena, at);
            walk(entries, first, HEAD + number as Ref, links).0
        });
        lists.sum()
    }
}
