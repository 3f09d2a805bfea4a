//! One shard's data: a single-threaded key-value store with eviction and a byte budget.
//!
//! No I/O, no clock, no knowledge of cores: `execute(op, now)` is the whole protocol, and both the
//! local path and the far side of a hop call it.
//!
//! Entries lie in the size-class pages of an arena and are found through an index of buckets; the
//! queue of the eviction policy and the wheel of expiry run through them. The arena takes the whole
//! budget at the start and index, queue and wheel live in it, so the bound holds by construction.
//! A value too large for a slot lies in chunks and can be pinned: read piece by piece, as it was.

mod execute;
#[cfg(any(test, debug_assertions))]
mod check;
mod write;
mod read;
mod version;
mod walk;
mod scan;
mod room;
mod pieces;
mod place;
mod end;
mod notes;
mod state;
mod met;
mod stats;
mod tags;
mod wheel;
mod policy;
mod lease;
mod index;
mod entry;
mod extras;
mod op;
mod pin;
#[cfg(any(test, debug_assertions))]
mod linked;
mod bounds;
mod arena;
mod hash;
mod words;

pub use bounds::{Bounds, INLINE_BYTES_MAX, MEMORY_BYTES_MIN};
pub use hash::{KeyHasher, TagKey};
pub use op::{
    CONTENT_TYPE_BYTES_MAX, Condition, Details, Extras, Key, Lease, Op, Read, Reply, TAGS_MAX,
    Verb, Versions, Write,
};
pub use pin::Pin;
pub use policy::Eviction;
pub use room::{EXPIRE_STEPS_MAX, ROOM_STEPS_MAX};
pub use scan::{SCAN_STEPS_MAX, Scan};
pub use state::Store;
pub use stats::Stats;
pub use walk::Item;

#[cfg(test)]
mod tests;
