//! What happens to entries is noted while somebody subscribes to events.

use super::arena::Ref;
use super::entry::{self, Meta};
use super::state::Store;
use crate::events::{Kind, Note};

impl Store {
    /// From here on what happens to entries is noted, or is not any more.
    pub fn subscribe(&mut self, is_on: bool) {
        if is_on {
            self.samples.get_or_insert_default();
        } else {
            self.samples = None;
        }
    }

    /// What was noted since the last time.
    pub fn take_notes(&mut self) -> Vec<Note> {
        self.samples.as_mut().map(|samples| samples.take()).unwrap_or_default()
    }

    /// Notes something that happened to many entries, where somebody has subscribed.
    pub fn note(&mut self, kind: Kind, subject: &[u8], entries: u64) {
        if let Some(samples) = &mut self.samples {
            samples.note(kind, subject, entries);
        }
    }

    /// The same of one entry.
    #[inline]
    pub(super) fn note_entry(&mut self, kind: Kind, at: Ref, meta: Meta) {
        if let Some(samples) = &mut self.samples {
            samples.note(kind, entry::key(&self.arena, at, meta), 1);
        }
    }
}
