//! Removing many entries in small steps: by what their key begins with, and by tag.

use super::arena::{Arena, Ref};
use super::entry::{self, Meta};
use super::index::Cursor;
use super::state::Store;
use crate::clock::Millis;
use std::ops::ControlFlow;

/// Steps of a scan that one turn of the loop takes: about 30 us where nothing is in the CPU's
/// caches.
pub const SCAN_STEPS_MAX: u32 = 256;
/// Steps for which the removal of an entry counts, beside one for each of its chunks.
const REMOVE_STEPS: u32 = 8;

/// How far a removal of all keys with a prefix has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    cursor: Cursor,
    /// Live entries whose key has the prefix: removed, or counted once each in a dry run.
    pub matched: u64,
}

impl Scan {
    pub const START: Self = Self { cursor: Cursor::START, matched: 0 };
}

impl Store {
    /// Removes the live entries whose key begins with `prefix`, or only counts them, in about
    /// `steps` steps of constant time. True when all that were there when the scan began and
    /// stayed have been met.
    pub fn delete_prefix(
        &mut self,
        scan: &mut Scan,
        prefix: &[u8],
        dry_run: bool,
        now: Millis,
        steps: u32,
    ) -> bool {
        let mut counted = 0;
        let removed = self.cull(&mut scan.cursor, steps, |store, at, meta| {
            let is_match = entry::key(&store.arena, at, meta).starts_with(prefix)
                && store.end(at, meta, now).is_none();
            counted += u64::from(is_match && dry_run);
            is_match && !dry_run
        });
        self.stats.prefix_deleted += removed;
        scan.matched += removed + counted;
        scan.cursor == Cursor::END
    }

    /// Ends every entry that carries the tag, whose hash this is, for every reader at once. False
    /// if nothing was done, because too many other tags wait for their sweep.
    #[must_use = "the tag may have to be invalidated again"]
    pub fn invalidate(&mut self, tag: u64) -> bool {
        self.tags.invalidate(tag, self.writes)
    }

    /// Gives back the memory of entries whose tag was invalidated, in about `steps` steps of
    /// constant time. True when there is more to do.
    pub fn sweep(&mut self, steps: u32) -> bool {
        let Some(mut cursor) = self.tags.sweep() else { return false };
        let removed = self.cull(&mut cursor, steps, Self::is_invalidated);
        self.stats.invalidated += removed;
        self.tags.swept(cursor)
    }

    /// Removes the entries from the cursor on that `is_doomed` picks, each of which it is asked
    /// about at least once; says how many.
    fn cull(
        &mut self,
        cursor: &mut Cursor,
        steps: u32,
        mut is_doomed: impl FnMut(&Self, Ref, Meta) -> bool,
    ) -> u64 {
        let (mut removed, mut left) = (0, steps);
        while left > 0 && *cursor < Cursor::END {
            let mut looked = 1_u32;
            let found = self.index.scan(&self.arena, *cursor, |at, meta| {
                looked += 1;
                is_doomed(self, at, meta)
            });
            match found {
                ControlFlow::Continue(next) => *cursor = next,
                ControlFlow::Break(at) => {
                    let meta = entry::meta(&self.arena, at);
                    looked += REMOVE_STEPS + chunk_steps(&self.arena, at, meta);
                    self.remove(at, meta);
                    removed += 1;
                }
            }
            left = left.saturating_sub(looked);
        }
        removed
    }
}

fn chunk_steps(arena: &Arena, at: Ref, meta: Meta) -> u32 {
    u32::try_from(entry::chunk_count(arena, at, meta)).unwrap_or(u32::MAX / 2)
}
