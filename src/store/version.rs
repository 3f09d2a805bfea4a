//! Versions: a number for each entry that every write of its key changes.
//!
//! They come from one counter that starts at random, so that no version of an earlier process is
//! met again. A write without extras spends no bytes on one: the entry is given its version when a
//! reader first asks for it, and the next such write takes it away with all else. Only an entry so
//! large that it may not fit its slot then has one at once. Where there is no room for a version
//! (nothing is evicted and the memory is full) the reader is shown a hash of the value, which a put
//! of the same value does not change.

use super::arena::{Moved, Ref};
use super::entry::{self, Meta};
use super::extras::VERSION_BYTES;
use super::op::{Condition, Key, Versions};
use super::policy::Eviction;
use super::room::SPARE_PAGES;
use super::state::Store;
use crate::clock::Millis;

/// Marks a version that is a hash of the value; the counter never gets there.
const CONTENT_VERSION: u64 = 1 << 63;

impl Store {
    pub(super) fn next_version(&mut self) -> u64 {
        self.writes += 1;
        self.writes
    }

    /// Whether no slot may be large enough to give an entry of these lengths a version later.
    pub(super) fn needs_version(&self, key: &[u8], value: &[u8]) -> bool {
        entry::slot_bytes_max(key.len(), value.len()) > self.arena.entry_bytes_max()
    }

    /// The version of an entry; a hash of its value where it has none of its own.
    pub(super) fn version(&mut self, at: Ref, meta: Meta) -> u64 {
        if let Some(extended) = entry::extended(&self.arena, at, meta) {
            return extended.version;
        }
        let versions = self.versions.clone();
        CONTENT_VERSION | versions.hash(self.value(at, meta))
    }

    /// Whether the condition forbids a change of what was found.
    #[inline]
    pub(super) fn refuses(
        &mut self,
        condition: &Condition<&[u8]>,
        found: Option<(Ref, Meta)>,
    ) -> bool {
        condition.matches.is_some_and(|versions| !self.is_among(versions, found))
            || condition.none_match.is_some_and(|versions| self.is_among(versions, found))
    }

    fn is_among(&mut self, versions: Versions<&[u8]>, found: Option<(Ref, Meta)>) -> bool {
        let Some((at, meta)) = found else { return false };
        // Only a list is worth a version, which may have to be computed.
        versions == Versions::Any || versions.include(self.version(at, meta))
    }

    /// Gives an entry that is not extended a version, if there is room for it. It keeps its place
    /// in the queue. `None` when it was itself evicted to make the room.
    #[cold]
    pub(super) fn extend(
        &mut self,
        key: Key<&[u8]>,
        (mut at, meta): (Ref, Meta),
        now: Millis,
    ) -> Option<(Ref, Meta)> {
        let used = entry::slot_bytes_used(&self.arena, at, meta);
        let bytes = used + VERSION_BYTES;
        let fits = |store: &Self, at| bytes <= store.arena.slot_bytes(store.arena.class_at(at));
        if !fits(self, at) {
            let class = self.arena.class_for(bytes);
            if self.eviction == Eviction::None && !self.arena.has_place(class, SPARE_PAGES) {
                return Some((at, meta));
            }
            self.make_place(class, bytes, 0, now);
            at = self.find_live(key, now)?.0;
        }
        if !fits(self, at) {
            let class = self.arena.class_for(bytes);
            let to = self.arena.place(class).expect("room was made");
            self.arena.copy(at, to, used);
            self.entry_moved(Moved { from: at, to });
            // What moves into the place that is left is of a smaller class.
            if let Some(moved) = self.arena.free(at) {
                self.entry_moved(moved);
            }
            at = to;
        }
        let version = self.next_version();
        entry::extend(&mut self.arena, at, version);
        self.stats.payload_bytes += VERSION_BYTES as u64;
        Some((at, entry::meta(&self.arena, at)))
    }
}
