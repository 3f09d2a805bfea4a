//! The parts of a store, how they share its memory, and what is done to all of them at once.

use super::arena::{self, Arena, NIL, Ref};
use super::bounds::{Bounds, MEMORY_BYTES_MIN};
use super::entry;
use super::hash::KeyHasher;
use super::index::Index;
use super::lease::Leases;
use super::met::Walk;
use super::pin::Pins;
use super::policy::{Eviction, Policy};
use super::stats::Stats;
use super::tags::Tags;
use super::wheel::Wheel;
use crate::events::{Kind, Samples};

/// One shard's entries.
pub struct Store {
    pub(super) arena: Arena,
    pub(super) index: Index,
    pub(super) policy: Policy,
    pub(super) eviction: Eviction,
    pub(super) walk: Option<Walk>,
    pub(super) wheel: Wheel,
    pub(super) leases: Leases,
    pub(super) tags: Tags,
    /// The entry of each chunk, or its pin.
    pub(super) owners: Vec<Ref>,
    pub(super) pins: Pins,
    /// Where a chunked value is put together for a reader.
    pub(super) scratch: Vec<u8>,
    /// The chunks of the value that is being put.
    pub(super) chunks: Vec<Ref>,
    /// Counts what `version` is taken from.
    pub(super) writes: u64,
    pub(super) versions: KeyHasher,
    /// As they were asked for, within what the memory allows.
    pub(super) bounds: Bounds,
    /// Pages that one entry may take.
    pub(super) entry_pages_max: usize,
    pub(super) stats: Stats,
    /// While somebody subscribes to events.
    pub(super) samples: Option<Box<Samples>>,
    /// Operations since the last check.
    #[cfg(any(test, debug_assertions))]
    pub(super) operations: u64,
}

impl Store {
    /// An empty store. Its memory is reserved here and becomes resident as it is used.
    #[must_use]
    pub fn new(bounds: &Bounds) -> Self {
        Self::with_eviction(bounds, Eviction::default())
    }

    /// The same with another rule of eviction.
    #[must_use]
    pub fn with_eviction(bounds: &Bounds, eviction: Eviction) -> Self {
        let budget = bounds.memory_bytes_max.clamp(MEMORY_BYTES_MIN, arena::REGION_BYTES_MAX);
        let value_bytes_max = bounds.value_bytes_max.min(budget / 4);
        let owners = budget / arena::chunk_bytes(budget);
        let entry_bytes_max = bounds.key_bytes_max + value_bytes_max + entry::OVERHEAD_BYTES_MAX;
        let is_chunked = entry_bytes_max > arena::entry_bytes_max(budget);
        let pins_max = if is_chunked { owners } else { 0 };
        let extra = size_of::<Self>()
            + Pins::table_bytes(pins_max)
            + Index::table_bytes(budget)
            + Policy::table_bytes(eviction, budget)
            + Leases::table_bytes(budget)
            + Tags::table_bytes(budget)
            + owners * size_of::<Ref>()
            + value_bytes_max;
        let mut arena = Arena::new(budget, extra);
        let versions = KeyHasher::random();
        Self {
            index: Index::new(&mut arena),
            policy: Policy::new(eviction, budget),
            eviction,
            walk: None,
            wheel: Wheel::new(),
            leases: Leases::new(budget),
            tags: Tags::new(budget),
            owners: vec![NIL; owners],
            pins: Pins::new(pins_max, budget),
            scratch: Vec::with_capacity(value_bytes_max),
            chunks: Vec::new(),
            writes: first_version(&versions),
            versions,
            bounds: Bounds {
                memory_bytes_max: budget,
                key_bytes_max: bounds.key_bytes_max.min(entry::KEY_BYTES_MAX),
                value_bytes_max,
                entries_max: match bounds.entries_max {
                    0 => usize::MAX,
                    entries_max => entries_max,
                },
            },
            entry_pages_max: arena.pages() / 4,
            stats: Stats { budget_bytes: budget as u64, ..Stats::default() },
            samples: None,
            arena,
            #[cfg(any(test, debug_assertions))]
            operations: 0,
        }
    }

    pub fn stats(&self) -> Stats {
        let bytes = |pages| (pages * self.arena.page_bytes()) as u64;
        Stats {
            entries: self.index.entries() as u64,
            entries_with_ttl: self.wheel.entries() as u64,
            used_bytes: self.stats.budget_bytes - bytes(self.arena.pool()),
            entry_page_bytes: bytes(self.arena.entry_pages(self.index.pages())),
            lent: self.pins.open() as u64,
            orphaned_bytes: self.pins.orphaned_bytes() as u64,
            ..self.stats
        }
    }

    /// Makes all of the memory resident, so that no later operation waits for the kernel.
    pub fn prefault(&mut self) {
        self.arena.prefault();
        self.scratch.resize(self.scratch.capacity(), 0);
    }

    /// Forgets every entry, in a time that does not depend on their number. Memory that was touched
    /// stays resident for the entries to come.
    pub fn flush(&mut self) {
        let entries = self.index.entries() as u64;
        self.stats.flushed += entries;
        self.note(Kind::Flushed, b"", entries);
        self.stats.payload_bytes = 0;
        self.stats.revoked += self.pins.clear() as u64;
        self.arena.clear();
        self.index.clear(&mut self.arena);
        self.policy.clear();
        self.wheel = Wheel::new();
        self.walk = None;
        self.leases.clear();
        self.tags.clear();
    }
}

/// A random start of the counter, from which it counts for ever.
fn first_version(random: &KeyHasher) -> u64 {
    random.hash(b"version") >> 2 | 1
}
