//! How long victims had not been used, known from a sample of the entries.
//!
//! No entry has room for the time of its last use. That of one in [`SHARE`] new ones is kept here,
//! until the entry leaves or another takes its place.
//!
//! ```text
//! place of an entry   | ref u32 | used u64 |      x 512, by the reference
//! ```

use crate::clock::Millis;
use crate::store::arena::{NIL, Ref};

const PLACES_LOG: u32 = 9;
const PLACES: usize = 1 << PLACES_LOG;
/// New entries for each that is taken into the sample, when there are as many entries as that.
const SHARE: usize = 128;

pub(super) struct Sample {
    entries: [Ref; PLACES],
    used: [Millis; PLACES],
    /// New entries until one is taken in.
    skip: usize,
    /// When the last victim that was in the sample had been used.
    victim_used: Option<Millis>,
}

impl Sample {
    pub(super) fn new() -> Self {
        Self { entries: [NIL; PLACES], used: [Millis(0); PLACES], skip: 0, victim_used: None }
    }

    /// A new entry, beside so many others.
    pub(super) fn insert(&mut self, at: Ref, others: usize, now: Millis) {
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        self.skip = others / SHARE;
        self.entries[place(at)] = at;
        self.used[place(at)] = now;
    }

    #[inline]
    pub(super) fn used(&mut self, at: Ref, now: Millis) {
        if self.holds(at) {
            self.used[place(at)] = now;
        }
    }

    pub(super) fn moved(&mut self, from: Ref, to: Ref) {
        if self.holds(from) {
            self.entries[place(from)] = NIL;
            self.entries[place(to)] = to;
            self.used[place(to)] = self.used[place(from)];
        }
    }

    pub(super) fn remove(&mut self, at: Ref) {
        if self.holds(at) {
            self.entries[place(at)] = NIL;
        }
    }

    /// Milliseconds since a victim was used; `None` until one was in the sample.
    pub(super) fn victim_idle(&mut self, at: Ref, now: Millis) -> Option<u64> {
        if self.holds(at) {
            self.victim_used = Some(self.used[place(at)]);
        }
        self.victim_used.map(|used| now.since(used))
    }

    #[inline]
    fn holds(&self, at: Ref) -> bool {
        self.entries[place(at)] == at
    }
}

/// Neighbouring references have different places.
#[inline]
fn place(at: Ref) -> usize {
    (at.wrapping_mul(0x9e37_79b9) >> (Ref::BITS - PLACES_LOG)) as usize
}
