//! How far a walk has come: a bit for each place whose entry was met.

use super::arena::{Arena, GRANULE, Moved, Ref, SLOT_BYTES_MIN};
use super::index::Cursor;
use super::policy::Queues;

/// How far a walk has come.
pub(super) struct Walk {
    pub(super) queues: Queues,
    pub(super) rest: Cursor,
    pub(super) met: Met,
}

/// The places whose entries were met, a bit each.
pub(super) struct Met(Vec<u64>);

/// No two entries begin in the same so many granules.
const GRANULES_PER_BIT: usize = SLOT_BYTES_MIN / GRANULE;

impl Met {
    pub(super) fn new(arena: &Arena) -> Self {
        let bits = arena.pages() * arena.page_bytes() / SLOT_BYTES_MIN + 1;
        Self(vec![0; bits.div_ceil(u64::BITS as usize)])
    }

    fn place(at: Ref) -> (usize, u64) {
        let bit = at as usize / GRANULES_PER_BIT;
        (bit / u64::BITS as usize, 1 << (bit % u64::BITS as usize))
    }

    pub(super) fn has(&self, at: Ref) -> bool {
        let (word, bit) = Self::place(at);
        self.0[word] & bit != 0
    }

    /// Returns whether it was not there.
    pub(super) fn insert(&mut self, at: Ref) -> bool {
        let is_new = !self.has(at);
        let (word, bit) = Self::place(at);
        self.0[word] |= bit;
        is_new
    }

    pub(super) fn remove(&mut self, at: Ref) {
        let (word, bit) = Self::place(at);
        self.0[word] &= !bit;
    }
}

impl Walk {
    /// An entry leaves; another may come to its place.
    pub(super) fn removed(&mut self, at: Ref) {
        self.met.remove(at);
    }

    pub(super) fn moved(&mut self, Moved { from, to }: Moved) {
        if self.met.has(from) {
            self.met.remove(from);
            self.met.insert(to);
        }
    }
}
