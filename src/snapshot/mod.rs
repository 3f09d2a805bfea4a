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

pub use inspect::{Inspection, inspect};
pub use read::{Block, Error, Reader};
pub use write::{Blocks, Sealed, Writer};

use crate::{
    config::{KEY_BYTES_CEILING, VALUE_BYTES_CEILING},
    store::{CONTENT_TYPE_BYTES_MAX, TAGS_MAX, TagKey},
};

const MAGIC: [u8; 8] = *b"kvcache\x1a";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 48;
const FRAME_BYTES: usize = 24;
const BLOCK: [u8; 4] = *b"BLOK";
const FOOTER: [u8; 4] = *b"DONE";

const ENTRY_BYTES: usize = 8;
const WORD_BYTES: usize = size_of::<u64>();
const TAG_COUNT: u8 = 0b1111;
const HAS_EXPIRES: u8 = 1 << 4;
const HAS_STALE_UNTIL: u8 = 1 << 5;

const _: () = assert!(TAGS_MAX <= TAG_COUNT as usize);
const _: () = assert!(CONTENT_TYPE_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(KEY_BYTES_CEILING <= u16::MAX as usize);

/// A block is closed when its body has so many bytes: at most the first, at least the second.
const BODY_BYTES: usize = 128 << 10;
const BODY_BYTES_LEAST: usize = 4 << 10;
/// The largest entry.
const ENTRY_BYTES_MAX: usize = ENTRY_BYTES
    + (2 + TAGS_MAX) * WORD_BYTES
    + CONTENT_TYPE_BYTES_MAX
    + KEY_BYTES_CEILING
    + VALUE_BYTES_CEILING;
/// The largest body.
const BODY_BYTES_MAX: usize = BODY_BYTES + ENTRY_BYTES_MAX;

/// What a file begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Milliseconds of Unix time.
    pub created: u64,
    pub tag_key: TagKey,
}

/// One entry of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub key: &'a [u8],
    pub value: &'a [u8],
    pub content_type: Option<&'a [u8]>,
    /// Eight bytes each.
    pub tags: Option<&'a [u8]>,
    /// The end of its time to live, in milliseconds of Unix time.
    pub expires: Option<u64>,
    /// Until when it may be read after that.
    pub stale_until: Option<u64>,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    pub entries: u64,
    /// Of the file.
    pub bytes: u64,
    pub duration_ms: u64,
}

/// Why nothing was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub reason: String,
    /// There was no room.
    pub is_full: bool,
}

/// The CRC32 of `bytes`, which come after what has the check `before`.
fn check(before: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&before.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

#[cfg(test)]
mod tests;
