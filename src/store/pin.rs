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

use super::arena::{self, GRANULE, Ref};
use super::entry::{self, Meta};
use super::{Reply, Store};
use std::collections::VecDeque;

/// In `owners`, from here on: the number of a pin. No entry lies there.
const PINS: Ref = 0xf800_0000;
const _: () = assert!(arena::REGION_BYTES_MAX / GRANULE <= PINS as usize);

/// The part of the budget that orphans may take.
const ORPHANS_PART: usize = 8;

/// What a reader holds. A serial number is never used again, so what is gone stays gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    number: u32,
    serial: u64,
}

#[derive(Clone, Copy)]
struct Open {
    serial: u64,
    entry: Ref,
    readers: u32,
    /// Bytes of the arena that an orphan takes; 0: the entry lives.
    orphaned: u32,
}

pub(super) struct Pins {
    /// Those that are closed have the serial number 0.
    slots: Vec<Open>,
    closed: Vec<u32>,
    /// The oldest first.
    orphans: VecDeque<u32>,
    orphaned_bytes: usize,
    orphaned_bytes_max: usize,
    serials: u64,
}

impl Pins {
    /// For at most `pins_max` pinned values.
    pub(super) fn new(pins_max: usize, budget: usize) -> Self {
        Self {
            slots: Vec::with_capacity(pins_max),
            closed: Vec::with_capacity(pins_max),
            orphans: VecDeque::with_capacity(pins_max),
            orphaned_bytes: 0,
            orphaned_bytes_max: budget / ORPHANS_PART,
            serials: 0,
        }
    }

    /// Bytes that `new` allocates.
    pub(super) fn table_bytes(pins_max: usize) -> usize {
        pins_max * (size_of::<Open>() + 2 * size_of::<u32>())
    }

    pub(super) fn open(&self) -> usize {
        self.slots.len() - self.closed.len()
    }

    pub(super) fn orphaned_bytes(&self) -> usize {
        self.orphaned_bytes
    }

    /// Closes all pins; returns how many there were.
    pub(super) fn clear(&mut self) -> usize {
        let open = self.open();
        self.slots.clear();
        self.closed.clear();
        self.orphans.clear();
        self.orphaned_bytes = 0;
        open
    }

    /// The entry that an owner of chunks is or stands for.
    pub(super) fn entry(&self, owner: Ref) -> Ref {
        if owner < PINS { owner } else { self.slots[(owner - PINS) as usize].entry }
    }

    fn find(&mut self, pin: Pin) -> Option<&mut Open> {
        self.slots.get_mut(pin.number as usize).filter(|open| open.serial == pin.serial)
    }

    fn add(&mut self, entry: Ref) -> u32 {
        self.serials += 1;
        let open = Open { serial: self.serials, entry, readers: 0, orphaned: 0 };
        if let Some(number) = self.closed.pop() {
            self.slots[number as usize] = open;
            return number;
        }
        self.slots.push(open);
        u32::try_from(self.slots.len() - 1).expect("no more than there are chunks")
    }
}

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
