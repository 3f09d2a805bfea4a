//! The parts of the format: lengths, marks and checks.

use crate::{
    config::{KEY_BYTES_CEILING, VALUE_BYTES_CEILING},
    store::{CONTENT_TYPE_BYTES_MAX, TAGS_MAX, TagKey},
};

pub(super) const MAGIC: [u8; 8] = *b"kvcache\x1a";
pub(super) const VERSION: u32 = 1;
pub(super) const HEADER_BYTES: usize = 48;
pub(super) const FRAME_BYTES: usize = 24;
pub(super) const BLOCK: [u8; 4] = *b"BLOK";
pub(super) const FOOTER: [u8; 4] = *b"DONE";

pub(super) const ENTRY_BYTES: usize = 8;
pub(super) const WORD_BYTES: usize = size_of::<u64>();
pub(super) const TAG_COUNT: u8 = 0b1111;
pub(super) const HAS_EXPIRES: u8 = 1 << 4;
pub(super) const HAS_STALE_UNTIL: u8 = 1 << 5;

const _: () = assert!(TAGS_MAX <= TAG_COUNT as usize);
const _: () = assert!(CONTENT_TYPE_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(KEY_BYTES_CEILING <= u16::MAX as usize);

/// A block is closed when its body has so many bytes: at most the first, at least the second.
pub(super) const BODY_BYTES: usize = 128 << 10;
pub(super) const BODY_BYTES_LEAST: usize = 4 << 10;
/// The largest entry.
pub(super) const ENTRY_BYTES_MAX: usize = ENTRY_BYTES
    + (2 + TAGS_MAX) * WORD_BYTES
    + CONTENT_TYPE_BYTES_MAX
    + KEY_BYTES_CEILING
    + VALUE_BYTES_CEILING;
/// The largest body.
pub(super) const BODY_BYTES_MAX: usize = BODY_BYTES + ENTRY_BYTES_MAX;

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

/// The CRC32 of `bytes`, which come after what has the check `before`.
pub(super) fn check(before: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&before.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}
