//! A snapshot: what all shards hold, as one file that is whole or is refused.
//!
//! ```text
//! header   | magic 8 | version u32 | 0 u32 | created u64 | tag key 16 | 0 u32 | check u32 |
//! frame    | "BLOK"  | number u32 | body_len u32 | entries u32 | body check u32 | check u32 |
//! body     | entry ... |
//!            frame and body again for each block, numbered from 0
//! footer   | "DONE"  | blocks u32 | entries u64                | 0 u32          | check u32 |
//!
//! entry    | flags u8 | content_type_len u8 | key_len u16 | value_len u32 |
//!          | expires u64 |                    with a time to live
//!          | stale_until u64 |                with a time for which it may be read after that
//!          | tag u64 ... | content type | key | value |
//!
//! flags, from the lowest bit: tags 4 | has_expires 1 | has_stale_until 1 | zero 2
//! ```
//!
//! Numbers are little-endian. A block holds entries of one shard, the ones used longest ago first,
//! and the blocks of all shards are interleaved so that they are through at the same time: the file
//! goes from cold to hot, and any number of shards can take it up. What stands twice counts as it
//! stands last.
//!
//! Instants are milliseconds of Unix time. Entries live by the steady clock: both were read when
//! the snapshot began, and a restore lets no entry live longer than it still had to then, whatever
//! the wall's clock did meanwhile. `tag key` is what the hashes of tags were made with.
//!
//! A body's check is the CRC32 of the body. The check of the header, a frame or the footer is the
//! CRC32 of all bytes before it, and of the check before: so a frame is known to be sound before
//! its length is believed, and no block can be lost, doubled, moved or of another file.

mod inspect;
mod read;
mod write;
mod format;

pub use format::{Entry, Header};
pub use inspect::{Inspection, inspect};
pub use read::{Block, SnapshotError, SnapshotReader};
pub use write::{Blocks, Failure, Sealed, Summary, Writer};

#[cfg(test)]
mod tests;
