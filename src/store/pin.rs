//! Which values are pinned: by how many readers, and what those take that are nothing but pinned.

use super::arena::{self, GRANULE, Ref};
use std::collections::VecDeque;

/// In `owners`, from here on: the number of a pin. No entry lies there.
pub(super) const PINS: Ref = 0xf800_0000;
const _: () = assert!(arena::REGION_BYTES_MAX / GRANULE <= PINS as usize);

/// The part of the budget that orphans may take.
const ORPHANS_PART: usize = 8;

/// What a reader holds. A serial number is never used again, so what is gone stays gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    pub(super) number: u32,
    pub(super) serial: u64,
}

#[derive(Clone, Copy)]
pub(super) struct Open {
    pub(super) serial: u64,
    pub(super) entry: Ref,
    pub(super) readers: u32,
    /// Bytes of the arena that an orphan takes; 0: the entry lives.
    pub(super) orphaned: u32,
}

pub(super) struct Pins {
    /// Those that are closed have the serial number 0.
    pub(super) slots: Vec<Open>,
    pub(super) closed: Vec<u32>,
    /// The oldest first.
    pub(super) orphans: VecDeque<u32>,
    pub(super) orphaned_bytes: usize,
    pub(super) orphaned_bytes_max: usize,
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

    pub(super) fn find(&mut self, pin: Pin) -> Option<&mut Open> {
        self.slots.get_mut(pin.number as usize).filter(|open| open.serial == pin.serial)
    }

    pub(super) fn add(&mut self, entry: Ref) -> u32 {
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
