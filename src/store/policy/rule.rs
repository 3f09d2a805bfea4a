//! What the policy asks of a rule of eviction.

use super::list::List;
use crate::store::arena::{Arena, Ref};

/// Entries that one search for a victim passes over at most; then the one it stands at goes.
pub(super) const STEPS_MAX: u32 = 64;

/// What a rule does. It may keep four bits in each entry, and queues whose links are the first
/// words of each.
pub(super) trait Rule {
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
