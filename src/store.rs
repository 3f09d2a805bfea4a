//! One shard's data: a single-threaded key-value store with eviction and a byte budget.
//!
//! No I/O, no clock, no knowledge of cores: `execute(op, now)` is the whole protocol, and both the
//! local path and the far side of a hop call it.
//!
//! Entries lie in the size-class pages of an arena and are found through an index of buckets; the
//! queue of the eviction policy and the wheel of expiry run through them. The arena takes the whole
//! budget at the start and index, queue and wheel live in it, so the bound holds by construction.
//! A value too large for a slot lies in chunks and can be pinned: read piece by piece, as it was.

mod arena;
#[cfg(any(test, debug_assertions))]
mod check;
mod entry;
mod extras;
mod hash;
mod index;
mod lease;
#[cfg(any(test, debug_assertions))]
mod linked;
mod op;
mod pin;
mod place;
mod policy;
mod read;
mod room;
mod scan;
mod stats;
mod tags;
mod version;
mod walk;
mod wheel;
mod words;
mod write;

pub use hash::{KeyHasher, TagKey};
pub use op::{
    CONTENT_TYPE_BYTES_MAX, Condition, Details, Extras, Key, Lease, Op, Read, Reply, TAGS_MAX,
    Verb, Versions, Write,
};
pub use pin::Pin;
pub use policy::Eviction;
pub use room::{EXPIRE_STEPS_MAX, ROOM_STEPS_MAX};
pub use scan::{SCAN_STEPS_MAX, Scan};
pub use stats::Stats;
pub use walk::Item;

use crate::clock::Millis;
use crate::events::{Kind, Note, Samples};
use arena::{Arena, NIL, Ref};
use entry::Meta;
use index::Index;
use lease::Leases;
use pin::Pins;
use policy::Policy;
use tags::Tags;
use walk::Walk;
use wheel::Wheel;

/// The bounds of one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Everything the store owns fits in this; at least 1 MiB.
    pub memory_bytes_max: usize,
    pub key_bytes_max: usize,
    pub value_bytes_max: usize,
    /// 0: no bound but the memory.
    pub entries_max: usize,
}

/// The least memory of one store.
pub const MEMORY_BYTES_MIN: usize = 1 << 20;

/// A longer value lies in chunks.
pub const INLINE_BYTES_MAX: usize = arena::SLOT_BYTES_MAX;

/// One shard's entries.
pub struct Store {
    arena: Arena,
    index: Index,
    policy: Policy,
    eviction: Eviction,
    walk: Option<Walk>,
    wheel: Wheel,
    leases: Leases,
    tags: Tags,
    /// The entry of each chunk, or its pin.
    owners: Vec<Ref>,
    pins: Pins,
    /// Where a chunked value is put together for a reader.
    scratch: Vec<u8>,
    /// The chunks of the value that is being put.
    chunks: Vec<Ref>,
    /// Counts what `version` is taken from.
    writes: u64,
    versions: KeyHasher,
    /// As they were asked for, within what the memory allows.
    bounds: Bounds,
    /// Pages that one entry may take.
    entry_pages_max: usize,
    stats: Stats,
    /// While somebody subscribes to events.
    samples: Option<Box<Samples>>,
    /// Operations since the last check.
    #[cfg(any(test, debug_assertions))]
    operations: u64,
}

/// Why nobody may read an entry any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Expired,
    Invalidated,
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
            writes: version::first(&versions),
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

    /// Runs one operation at the instant `now`, which never runs backwards.
    pub fn execute(&mut self, op: &Op<&[u8]>, now: Millis) -> Reply<&[u8]> {
        #[cfg(any(test, debug_assertions))]
        self.check_now_and_then();
        self.policy.set_now(now);
        let key = op.key;
        match &op.verb {
            Verb::Read(read) => self.read(key, read, now),
            &Verb::Piece { pin, from, bytes } => self.piece(pin, from, bytes),
            Verb::Write(write) => self.write(key, write, now),
            &Verb::Delete { condition } => self.delete(key, condition, now),
            &Verb::Touch { ttl_ms, condition } => self.touch(key, condition, ttl_ms, now),
            &Verb::Add { by, condition } => self.add(key, condition, by, now),
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
    fn note_entry(&mut self, kind: Kind, at: Ref, meta: Meta) {
        if let Some(samples) = &mut self.samples {
            samples.note(kind, entry::key(&self.arena, at, meta), 1);
        }
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

#[cfg(test)]
mod tests;
