//! The memory of one store: pages of one reserved region, kept dense per size class.
//!
//! ```text
//! region   | page 0 | page 1 | ...                                  4 to 64 KiB each
//! page     | slot 0 | slot 1 | ... | tail |                         slots of one class
//! class    page <- page <- top page        every page is full but the top one, holes excepted
//! ```
//!
//! The classes are entries by size, the overflow buckets of the index, and chunks of large
//! values, which are kept differently; pages of index buckets belong to no class. A slot that
//! is freed becomes one of a few holes of its class, or the class's last slot moves into it: so
//! no page stays half empty, and what a free costs is bounded by one move. Whoever owns the
//! contents is told what moved and mends the references to it. A page that empties returns to the
//! pool.

mod chunks;
mod slots;
mod pages;
mod region;
mod sizes;
mod refs;

pub(super) use pages::Arena;
pub(super) use refs::{GRANULE, Moved, NIL, REGION_BYTES_MAX, Ref};
pub(super) use sizes::{
    BUCKET_BYTES, Class, SLOT_BYTES_MAX, SLOT_BYTES_MIN, chunk_bytes, entry_bytes_max, page_bytes,
};
