//! Values on loan: a large value stays where it is while its readers take it piece by piece.
//!
//! ```text
//! not on loan   owners[chunk] -> entry                the entry lists its chunks
//! on loan       owners[chunk] -> loan -> entry        one loan for all readers of an entry
//! ```
//!
//! An entry on loan that is replaced, deleted, evicted or over leaves index, queue and wheel, but
//! keeps its slot and its chunks until the last reader has given it back: it is an orphan, and what
//! it takes counts as used. Orphans take at most an eighth of the budget; beyond that the oldest is
//! revoked, and whoever still reads it is told that it is gone. A flush revokes every loan.

use super::arena::{self, GRANULE, Ref};
use super::entry::{self, Meta};
use super::{Reply, Store};
use std::collections::VecDeque;

/// In `owners`, from here on: the number of a loan. No entry lies there.
const LOANS: Ref = 0xf800_0000;
const _: () = assert!(arena::REGION_BYTES_MAX / GRANULE <= LOANS as usize);

/// The part of the budget that orphans may take.
const ORPHANS_PART: usize = 8;

/// What a reader borrows. A serial number is never used again, so what is gone stays gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loan {
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

pub(super) struct Loans {
    /// Those that are closed have the serial number 0.
    slots: Vec<Open>,
    closed: Vec<u32>,
    /// The oldest first.
    orphans: VecDeque<u32>,
    orphaned_bytes: usize,
    orphaned_bytes_max: usize,
    serials: u64,
}

impl Loans {
    /// For at most `loans_max` values on loan.
    pub(super) fn new(loans_max: usize, budget: usize) -> Self {
        Self {
            slots: Vec::with_capacity(loans_max),
            closed: Vec::with_capacity(loans_max),
            orphans: VecDeque::with_capacity(loans_max),
            orphaned_bytes: 0,
            orphaned_bytes_max: budget / ORPHANS_PART,
            serials: 0,
        }
    }

    /// Bytes that `new` allocates.
    pub(super) fn table_bytes(loans_max: usize) -> usize {
        loans_max * (size_of::<Open>() + 2 * size_of::<u32>())
    }

    pub(super) fn open(&self) -> usize {
        self.slots.len() - self.closed.len()
    }

    pub(super) fn orphaned_bytes(&self) -> usize {
        self.orphaned_bytes
    }

    /// Closes all loans; returns how many there were.
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
        if owner < LOANS { owner } else { self.slots[(owner - LOANS) as usize].entry }
    }

    fn find(&mut self, loan: Loan) -> Option<&mut Open> {
        self.slots.get_mut(loan.number as usize).filter(|open| open.serial == loan.serial)
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
    /// The loan of an entry, if it is on loan.
    pub(super) fn loan_of(&self, at: Ref, meta: Meta) -> Option<u32> {
        if !meta.is_chunked() {
            return None;
        }
        let chunk = entry::chunk(&self.arena, at, meta, 0);
        self.owners[self.arena.chunk_number(chunk)].checked_sub(LOANS)
    }

    /// Lends a chunked value to one more reader.
    pub(super) fn lend(&mut self, at: Ref, meta: Meta) -> Loan {
        let number = self.loan_of(at, meta).unwrap_or_else(|| {
            let number = self.loans.add(at);
            self.set_owner(at, meta, LOANS + number);
            number
        });
        let open = &mut self.loans.slots[number as usize];
        open.readers += 1;
        Loan { number, serial: open.serial }
    }

    /// A piece of a value on loan, of at most `bytes`.
    pub(super) fn piece(&mut self, loan: Loan, from: usize, bytes: usize) -> Reply<&[u8]> {
        let Some(open) = self.loans.find(loan) else { return Reply::Gone };
        let at = open.entry;
        let meta = entry::meta(&self.arena, at);
        entry::gather_piece(&self.arena, at, meta, (from, bytes), &mut self.scratch);
        Reply::Piece { loan, bytes: &self.scratch }
    }

    /// One reader is done with a loan, or gives it up. What is gone already needs no return.
    pub fn give_back(&mut self, loan: Loan) {
        let Some(open) = self.loans.find(loan) else { return };
        open.readers -= 1;
        if open.readers == 0 {
            self.close(loan.number);
        }
    }

    /// An entry on loan has left index, queue and wheel.
    pub(super) fn orphan(&mut self, number: u32, at: Ref, meta: Meta) {
        let chunks = entry::chunk_count(&self.arena, at, meta);
        let bytes = chunks * self.arena.slot_bytes(self.arena.chunk_class())
            + self.arena.slot_bytes(self.arena.class_at(at));
        let open = &mut self.loans.slots[number as usize];
        open.orphaned = u32::try_from(bytes).expect("a value is far below 4 GiB");
        self.loans.orphaned_bytes += bytes;
        self.loans.orphans.push_back(number);
        while self.loans.orphaned_bytes > self.loans.orphaned_bytes_max {
            let oldest = self.loans.orphans[0];
            self.stats.revoked += 1;
            self.close(oldest);
        }
    }

    /// The entry of a loan lies somewhere else now. Returns whether it is an orphan.
    pub(super) fn loan_moved(&mut self, number: u32, to: Ref) -> bool {
        let open = &mut self.loans.slots[number as usize];
        open.entry = to;
        open.orphaned > 0
    }

    /// Ends a loan for all its readers.
    fn close(&mut self, number: u32) {
        let Open { entry: at, orphaned, .. } = self.loans.slots[number as usize];
        let meta = entry::meta(&self.arena, at);
        if orphaned > 0 {
            self.loans.orphaned_bytes -= orphaned as usize;
            if self.loans.orphans.pop_front_if(|oldest| *oldest == number).is_none() {
                self.loans.orphans.retain(|&orphan| orphan != number);
            }
            // Chunks of this very entry may move meanwhile: the loan still names it.
            self.free(at, meta);
        } else {
            self.set_owner(at, meta, at);
        }
        self.loans.slots[number as usize].serial = 0;
        self.loans.closed.push(number);
    }

    pub(super) fn set_owner(&mut self, at: Ref, meta: Meta, owner: Ref) {
        for index in 0..entry::chunk_count(&self.arena, at, meta) {
            let chunk = entry::chunk(&self.arena, at, meta, index);
            self.owners[self.arena.chunk_number(chunk)] = owner;
        }
    }

    /// Checks every loan and calls `orphan` for each entry that is one.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn check_loans(&self, mut orphan: impl FnMut(Ref)) {
        let mut orphaned = 0;
        for (number, open) in self.loans.slots.iter().enumerate().filter(|(_, it)| it.serial > 0) {
            let number = u32::try_from(number).expect("few loans");
            let meta = entry::meta(&self.arena, open.entry);
            assert!(open.readers > 0 && meta.is_chunked());
            assert_eq!(self.loan_of(open.entry, meta), Some(number));
            assert_eq!(self.loans.orphans.contains(&number), open.orphaned > 0);
            orphaned += open.orphaned as usize;
            if open.orphaned > 0 {
                orphan(open.entry);
            }
        }
        assert_eq!(orphaned, self.loans.orphaned_bytes);
        assert!(orphaned <= self.loans.orphaned_bytes_max);
    }
}
