//! Tags that were invalidated: an entry that carries one and was written before is over.
//!
//! ```text
//! row      | tag u64 | writes u64 |         at most half of a table's rows are in use
//! ```
//!
//! `writes` is the counter that versions are taken from, as it stood at the invalidation: entries
//! of the tag with a version up to it are over, for every reader at once. Their memory comes back
//! as they are met and by a sweep over the index. Rows come into `recent`; a sweep begins by making
//! them the `sweeping` ones and ends by dropping those, for then no entry is left that they cover.
//! A tag is known by its hash alone.

use super::index::Cursor;

/// Rows of one table, and the budget for each.
const ROWS_MAX: usize = 1 << 13;
const BUDGET_BYTES_PER_ROW: usize = 16 << 10;

#[derive(Clone, Copy, Default)]
struct Row {
    tag: u64,
    /// 0: the row is free.
    writes: u64,
}

const _: () = assert!(size_of::<Row>() == 16);

/// A hash table with linear probing from which single rows never leave.
struct Table {
    rows: Vec<Row>,
    len: usize,
}

pub(super) struct Tags {
    recent: Table,
    sweeping: Table,
    /// How far the sweep has come.
    cursor: Cursor,
}

impl Tags {
    pub(super) fn new(budget: usize) -> Self {
        Self { recent: Table::new(budget), sweeping: Table::new(budget), cursor: Cursor::START }
    }

    /// Bytes that `new` allocates.
    pub(super) fn table_bytes(budget: usize) -> usize {
        2 * row_count(budget) * size_of::<Row>()
    }

    /// Ends the entries of the tag whose version is at most `writes`. False when there is no row.
    pub(super) fn invalidate(&mut self, tag: u64, writes: u64) -> bool {
        self.recent.insert(tag, writes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.recent.len + self.sweeping.len == 0
    }

    /// Whether one of the tags of an entry of this version was invalidated since.
    pub(super) fn cover(&self, tags: &[u8], version: u64) -> bool {
        [&self.recent, &self.sweeping].iter().any(|table| table.covers(tags, version))
    }

    /// How far the sweep has come, which may begin here. `None` where there is nothing to sweep.
    pub(super) fn sweep(&mut self) -> Option<Cursor> {
        if self.sweeping.len == 0 {
            std::mem::swap(&mut self.recent, &mut self.sweeping);
            self.cursor = Cursor::START;
        }
        (self.sweeping.len > 0).then_some(self.cursor)
    }

    /// The sweep has come to here. True when there is more to sweep.
    pub(super) fn swept(&mut self, cursor: Cursor) -> bool {
        self.cursor = cursor;
        if cursor == Cursor::END {
            self.sweeping.clear();
        }
        !self.is_empty()
    }

    /// There are no entries any more.
    pub(super) fn clear(&mut self) {
        self.recent.clear();
        self.sweeping.clear();
    }

    /// Panics if an entry should have been swept.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn check(&self, hash: u32, tags: &[u8], version: u64) {
        let is_met = self.sweeping.len > 0 && self.cursor.has_met(hash);
        assert!(!is_met || !self.sweeping.covers(tags, version), "the sweep missed an entry");
    }
}

impl Table {
    fn new(budget: usize) -> Self {
        Self { rows: vec![Row::default(); row_count(budget)], len: 0 }
    }

    fn insert(&mut self, tag: u64, writes: u64) -> bool {
        let place = self.place(tag);
        if self.rows[place].writes == 0 {
            if self.len == self.rows.len() / 2 {
                return false;
            }
            self.len += 1;
        }
        self.rows[place] = Row { tag, writes };
        true
    }

    fn covers(&self, tags: &[u8], version: u64) -> bool {
        let is_covered =
            |tag: &[u8; 8]| version <= self.rows[self.place(u64::from_le_bytes(*tag))].writes;
        self.len > 0 && tags.as_chunks().0.iter().any(is_covered)
    }

    /// The row of the tag, or the free one where it belongs.
    #[expect(clippy::cast_possible_truncation, reason = "a hash is cut on purpose")]
    fn place(&self, tag: u64) -> usize {
        let last = self.rows.len() - 1;
        let mut place = tag as usize & last;
        while self.rows[place].writes != 0 && self.rows[place].tag != tag {
            place = (place + 1) & last;
        }
        place
    }

    fn clear(&mut self) {
        self.rows.fill(Row::default());
        self.len = 0;
    }
}

fn row_count(budget: usize) -> usize {
    (budget / BUDGET_BYTES_PER_ROW).next_power_of_two().min(ROWS_MAX)
}
