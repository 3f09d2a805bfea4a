//! Why nobody may read an entry any more: its time is over, or a tag of it was invalidated.

use super::arena::Ref;
use super::entry::{self, Meta};
use super::state::Store;
use crate::clock::Millis;
use crate::events::Kind;

/// Why nobody may read an entry any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Expired,
    Invalidated,
}

impl Store {
    /// Why nobody may read the entry any more, if so.
    #[inline]
    pub(super) fn end(&self, at: Ref, meta: Meta, now: Millis) -> Option<End> {
        if entry::expires(&self.arena, at, meta).is_some_and(|expires| expires <= now.0) {
            Some(End::Expired)
        } else if self.is_invalidated(at, meta) {
            Some(End::Invalidated)
        } else {
            None
        }
    }

    /// Whether a tag of the entry was invalidated after it was written.
    #[inline]
    pub(super) fn is_invalidated(&self, at: Ref, meta: Meta) -> bool {
        meta.is_extended() && !self.tags.is_empty() && self.is_covered(at, meta)
    }

    #[inline(never)]
    fn is_covered(&self, at: Ref, meta: Meta) -> bool {
        let extended = entry::extended(&self.arena, at, meta);
        extended.is_some_and(|it| self.tags.cover(it.tags, it.version))
    }

    pub(super) fn count(&mut self, at: Ref, meta: Meta, end: End) {
        match end {
            End::Expired => {
                self.stats.expirations += 1;
                self.note_entry(Kind::Expired, at, meta);
            }
            End::Invalidated => self.stats.invalidated += 1,
        }
    }
}
