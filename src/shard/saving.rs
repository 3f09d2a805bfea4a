//! One shard's share of a snapshot: blocks of its entries, made in slices as they are asked for.
//!
//! The shard that writes the file asks every shard, itself included, to begin, then for one block
//! after the other. A shard makes no block that was not asked for, so blocks in memory are bounded
//! by what is asked for at once.

use crate::{
    clock::Millis,
    snapshot::{Blocks, Entry, Sealed},
    store::{Item, Store},
};

/// Blocks of a snapshot under way from one shard, and orders for them to it.
pub(super) const PARTS_MAX: usize = 4;

/// What a shard is told to do for a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Begin another walk, and give up the one before. Unix time is the steady clock plus `offset`,
    /// in milliseconds.
    Begin {
        snapshot: u64,
        offset: i64,
    },
    /// Make the next block.
    Next,
    Stop,
}

/// A block that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The snapshot that it belongs to.
    pub snapshot: u64,
    /// `None`: there was nothing left.
    pub block: Option<Sealed>,
    /// What share of the shard's entries was met, in thousandths.
    pub progress: u64,
    /// The shard is through.
    pub is_last: bool,
}

/// Where a shard's share stands.
#[derive(Debug)]
pub(super) struct Saving {
    /// Who asks.
    pub(super) writer: usize,
    snapshot: u64,
    offset: i64,
    blocks: Blocks,
    /// Blocks asked for and not made.
    pub(super) wanted: usize,
    entries: u64,
    entries_met: u64,
}

/// Bytes of an entry whose copying counts for a step of the walk.
const BYTES_PER_STEP: usize = 512;

impl Saving {
    pub(super) fn begin(writer: usize, snapshot: u64, offset: i64, store: &mut Store) -> Self {
        store.start_walk();
        let stats = store.stats();
        let (entries, blocks) = (stats.entries, Blocks::of(stats.payload_bytes));
        Self { writer, snapshot, offset, blocks, wanted: 0, entries, entries_met: 0 }
    }

    /// Goes on with the block that is wanted, for about `steps` steps. Returns it when it is made.
    pub(super) fn work(&mut self, store: &mut Store, now: Millis, steps: u32) -> Option<Part> {
        if self.wanted == 0 {
            return None;
        }
        let mut left = steps;
        while !self.blocks.is_full() {
            let Some(item) = store.walk_on(now, &mut left) else { break };
            self.entries_met += 1;
            let copying = u32::try_from(item.value.len() / BYTES_PER_STEP).unwrap_or(u32::MAX);
            left = left.saturating_sub(copying);
            self.blocks.push(&entry(&item, self.offset));
        }
        let is_last = !store.is_walking();
        if !is_last && !self.blocks.is_full() {
            return None;
        }
        self.wanted -= 1;
        let progress = match self.entries {
            0 => 1000,
            entries => (self.entries_met * 1000 / entries).min(1000),
        };
        Some(Part { snapshot: self.snapshot, block: self.blocks.take(), progress, is_last })
    }
}

/// With the instants of the wall's clock.
fn entry<'a>(item: &Item<'a>, offset: i64) -> Entry<'a> {
    let instant = |at: Millis| at.0.saturating_add_signed(offset);
    Entry {
        key: item.key,
        value: item.value,
        content_type: item.content_type,
        tags: item.tags,
        expires: item.expires.map(instant),
        stale_until: item.stale_until.map(instant),
    }
}
