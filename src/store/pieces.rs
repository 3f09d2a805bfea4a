//! Pinned values: a large value stays as it is while its readers take it piece by piece.
//!
//! ```text
//! not pinned    owners[chunk] -> entry                the entry lists its chunks
//! pinned        owners[chunk] -> pin -> entry         one pin for all readers of an entry
//! ```
//!
//! A pinned entry that is replaced, deleted, evicted or over leaves index, queue and wheel, but
//! keeps its slot and its chunks until its last reader has unpinned it: it is an orphan, and what
//! it takes counts as used. Orphans take at most an eighth of the budget; beyond that the pin of
//! the oldest is revoked, and its readers find that it is gone. A flush revokes every pin.

use super::arena::Ref;
use super::entry::{self, Meta};
use super::op::Reply;
use super::pin::{Open, PINS, Pin};
use super::state::Store;

impl Store {
    /// The pin of an entry, if it is pinned.
    pub(super) fn pin_of(&self, at: Ref, meta: Meta) -> Option<u32> {
        if !meta.is_chunked() {
            return None;
        }
        let chunk = entry::chunk(&self.arena, at, meta, 0);
        self.owners[self.arena.chunk_number(chunk)].checked_sub(PINS)
    }

    /// Pins a chunked value for one more reader.
    pub(super) fn pin(&mut self, at: Ref, meta: Meta) -> Pin {
        let number = self.pin_of(at, meta).unwrap_or_else(|| {
            let number = self.pins.add(at);
            self.set_owner(at, meta, PINS + number);
            number
        });
        let open = &mut self.pins.slots[number as usize];
        open.readers += 1;
        Pin { number, serial: open.serial }
    }

    /// A piece of a pinned value, of at most `bytes`.
    pub(super) fn piece(&mut self, pin: Pin, from: usize, bytes: usize) -> Reply<&[u8]> {
        let Some(open) = self.pins.find(pin) else { return Reply::Gone };
        let at = open.entry;
        let meta = entry::meta(&self.arena, at);
        entry::gather_piece(&self.arena, at, meta, (from, bytes), &mut self.scratch);
        Reply::Piece { pin, bytes: &self.scratch }
    }

    /// One reader is done with a pinned value, or gives it up; it may be gone already.
    pub fn unpin(&mut self, pin: Pin) {
        let Some(open) = self.pins.find(pin) else { return };
        open.readers -= 1;
        if open.readers == 0 {
            self.close(pin.number);
        }
    }

    /// A pinned entry has left index, queue and wheel.
    pub(super) fn orphan(&mut self, number: u32, at: Ref, meta: Meta) {
        let chunks = entry::chunk_count(&self.arena, at, meta);
        let bytes = chunks * self.arena.slot_bytes(self.arena.chunk_class())
            + self.arena.slot_bytes(self.arena.class_at(at));
        let open = &mut self.pins.slots[number as usize];
        open.orphaned = u32::try_from(bytes).expect("a value is far below 4 GiB");
        self.pins.orphaned_bytes += bytes;
        self.pins.orphans.push_back(number);
        while self.pins.orphaned_bytes > self.pins.orphaned_bytes_max {
            let oldest = self.pins.orphans[0];
            self.stats.revoked += 1;
            self.close(oldest);
        }
    }

    /// A pinned entry lies somewhere else now. Returns whether it is an orphan.
    pub(super) fn pin_moved(&mut self, number: u32, to: Ref) -> bool {
        let open = &mut self.pins.slots[number as usize];
        open.entry = to;
        open.orphaned > 0
    }

    /// Ends a pin for all its readers.
    fn close(&mut self, number: u32) {
        let Open { entry: at, orphaned, .. } = self.pins.slots[number as usize];
        let meta = entry::meta(&self.arena, at);
        if orphaned > 0 {
            self.pins.orphaned_bytes -= orphaned as usize;
            if self.pins.orphans.pop_front_if(|oldest| *oldest == number).is_none() {
                self.pins.orphans.retain(|&orphan| orphan != number);
            }
            // Chunks of this very entry may move meanwhile: the pin still names it.
            self.free(at, meta);
        } else {
            self.set_owner(at, meta, at);
        }
        self.pins.slots[number as usize].serial = 0;
        self.pins.closed.push(number);
    }

    pub(super) fn set_owner(&mut self, at: Ref, meta: Meta, owner: Ref) {
        for index in 0..entry::chunk_count(&self.arena, at, meta) {
            let chunk = entry::chunk(&self.arena, at, meta, index);
            self.owners[self.arena.chunk_number(chunk)] = owner;
        }
    }

    /// Checks every pin and calls `orphan` for each entry that is one.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn check_pins(&self, mut orphan: impl FnMut(Ref)) {
        let mut orphaned = 0;
        for (number, open) in self.pins.slots.iter().enumerate().filter(|(_, it)| it.serial > 0) {
            let number = u32::try_from(number).expect("few pins");
            let meta = entry::meta(&self.arena, open.entry);
            assert!(open.readers > 0 && meta.is_chunked());
            assert_eq!(self.pin_of(open.entry, meta), Some(number));
            assert_eq!(self.pins.orphans.contains(&number), open.orphaned > 0);
            orphaned += open.orphaned as usize;
            if open.orphaned > 0 {
                orphan(open.entry);
            }
        }
        assert_eq!(orphaned, self.pins.orphaned_bytes);
        assert!(orphaned <= self.pins.orphaned_bytes_max);
    }
}
