//! The classes of size and the bytes of their slots.

use super::refs::{GRANULE, NIL, Ref};

pub(in crate::store) type Class = u8;

/// Bytes in a bucket of the index.
pub(in crate::store) const BUCKET_BYTES: usize = 64;

/// A value that is too large for a slot lies in chunks, of this size or of a page.
const CHUNK_BYTES_MAX: usize = 8 << 10;

/// Slots of the smallest and bound on those of the largest class of entries.
pub(in crate::store) const SLOT_BYTES_MIN: usize = 24;
pub(in crate::store) const SLOT_BYTES_MAX: usize = 8 << 10;
const HOLES_MAX: usize = 15;

#[derive(Clone)]
pub(super) struct SizeClass {
    pub(super) slot_bytes: u32,
    /// Slots in a page.
    pub(super) slots: u32,
    pub(super) pages: u32,
    pub(super) top: u32,
    /// Slots of the top page in use, holes included; 0 when there is none, as of chunks.
    pub(super) top_used: u32,
    /// Free slots below the top; of chunks, all that are free.
    pub(super) hole_count: u32,
    pub(super) holes_max: u32,
    pub(super) holes: [Ref; HOLES_MAX],
}

const _: () = assert!(size_of::<SizeClass>() == 88);

impl SizeClass {
    pub(super) fn new(slot_bytes: usize, page_bytes: usize) -> Self {
        let slots = page_bytes / slot_bytes;
        Self {
            slot_bytes: small(slot_bytes),
            slots: small(slots),
            pages: 0,
            top: 0,
            top_used: 0,
            hole_count: 0,
            holes_max: small((slots / 8).min(HOLES_MAX)),
            holes: [NIL; HOLES_MAX],
        }
    }

    pub(super) fn last(&self, page_shift: u32) -> Ref {
        let granules = GRANULE.trailing_zeros();
        (self.top << (page_shift - granules)) + (self.top_used - 1) * (self.slot_bytes >> granules)
    }

    pub(super) fn room(&self) -> u32 {
        let above = if self.top_used == 0 { 0 } else { self.slots - self.top_used };
        above + self.hole_count
    }
}

/// Bytes of a page of an arena of this budget.
pub(in crate::store) fn page_bytes(budget: usize) -> usize {
    let most = 64 << 10;
    (budget / 2048).min(most).next_power_of_two().clamp(4 << 10, most)
}

/// Bytes of a chunk of an arena of this budget.
pub(in crate::store) fn chunk_bytes(budget: usize) -> usize {
    CHUNK_BYTES_MAX.min(page_bytes(budget))
}

/// The largest entry without its chunks in an arena of this budget.
pub(in crate::store) fn entry_bytes_max(budget: usize) -> usize {
    largest_slot_bytes(page_bytes(budget))
}

fn largest_slot_bytes(page_bytes: usize) -> usize {
    SLOT_BYTES_MAX.min(page_bytes / 2)
}

/// Every size whose slots fill a page as well as a smaller slot would, then the overflow bucket
/// and the chunk.
pub(super) fn class_sizes(page_bytes: usize) -> Vec<usize> {
    let largest = largest_slot_bytes(page_bytes);
    let mut sizes: Vec<usize> = (1..=page_bytes / SLOT_BYTES_MIN)
        .rev()
        .map(|slots| page_bytes / slots / GRANULE * GRANULE)
        .filter(|&size| size <= largest)
        .collect();
    sizes.dedup();
    sizes.push(BUCKET_BYTES);
    sizes.push(CHUNK_BYTES_MAX.min(page_bytes));
    sizes
}

pub(super) fn position(sizes: &[usize], test: impl FnMut(&usize) -> bool) -> Class {
    class(sizes.iter().position(test).expect("the largest size passes"))
}

pub(super) fn class(index: usize) -> Class {
    Class::try_from(index).expect("there are at most 173 classes")
}

pub(super) fn small(number: usize) -> u32 {
    u32::try_from(number).expect("at most a page")
}
