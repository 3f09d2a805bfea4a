//! What an extended entry carries between its key and its value.
//!
//! ```text
//! | version u64 | content_type_len u8 | counts u8 |         10 bytes
//! | stale_at u64 |                                           8 more, when it may be read stale
//! | tag u64 ... |                                            8 more for each
//! | content type |
//!
//! counts, from the lowest bit: tags 4 | has_stale_at 1 | zero 3
//! ```

#![expect(clippy::cast_possible_truncation, reason = "lengths are checked before they are written")]

use super::op::{CONTENT_TYPE_BYTES_MAX, Extras, TAGS_MAX};
use super::words::{read_u64, write_u64};

const CONTENT_TYPE_LEN: usize = 8;
const COUNTS: usize = CONTENT_TYPE_LEN + 1;
/// What an entry with nothing but a version carries.
pub(super) const VERSION_BYTES: usize = COUNTS + 1;
/// Where `stale_at` is, if it is there.
pub(super) const STALE_AT: usize = VERSION_BYTES;
const WORD_BYTES: usize = size_of::<u64>();
/// With everything that there may be.
pub(super) const BYTES_MAX: usize =
    VERSION_BYTES + WORD_BYTES + CONTENT_TYPE_BYTES_MAX + TAGS_MAX * WORD_BYTES;

const HAS_STALE_AT: u8 = 1 << 4;
const TAG_COUNT: u8 = HAS_STALE_AT - 1;

const _: () = assert!(VERSION_BYTES == 10);
const _: () = assert!(CONTENT_TYPE_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(TAGS_MAX <= TAG_COUNT as usize);

/// The extras of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extended<'a> {
    pub(super) version: u64,
    /// When its time to live is over, where it may still be read then.
    pub(super) stale_at: Option<u64>,
    /// Eight bytes each.
    pub(super) tags: &'a [u8],
    pub(super) content_type: &'a [u8],
}

impl<'a> Extended<'a> {
    /// Nothing but a version.
    pub(super) fn version(version: u64) -> Self {
        Self { version, stale_at: None, tags: &[], content_type: &[] }
    }

    /// `None` where something is longer than it may be.
    pub(super) fn new(
        version: u64,
        stale_at: Option<u64>,
        extras: Extras<&'a [u8]>,
    ) -> Option<Self> {
        let tags = extras.tags.unwrap_or_default().as_chunks::<WORD_BYTES>().0;
        let content_type = extras.content_type.unwrap_or_default();
        let fits = tags.len() <= TAGS_MAX && content_type.len() <= CONTENT_TYPE_BYTES_MAX;
        fits.then_some(Self { version, stale_at, tags: tags.as_flattened(), content_type })
    }

    pub(super) fn content_type(&self) -> Option<&'a [u8]> {
        (!self.content_type.is_empty()).then_some(self.content_type)
    }

    pub(super) fn tags(&self) -> Option<&'a [u8]> {
        (!self.tags.is_empty()).then_some(self.tags)
    }

    pub(super) fn bytes(&self) -> usize {
        let stale_at = if self.stale_at.is_some() { WORD_BYTES } else { 0 };
        VERSION_BYTES + stale_at + self.tags.len() + self.content_type.len()
    }

    /// Writes to the front of what has room for `bytes`.
    pub(super) fn write(&self, bytes: &mut [u8]) {
        write_u64(bytes, 0, self.version);
        bytes[CONTENT_TYPE_LEN] = self.content_type.len() as u8;
        bytes[COUNTS] = (self.tags.len() / WORD_BYTES) as u8;
        let mut rest = &mut bytes[STALE_AT..];
        if let Some(stale_at) = self.stale_at {
            write_u64(rest, 0, stale_at);
            rest = &mut rest[WORD_BYTES..];
        }
        rest[..self.tags.len()].copy_from_slice(self.tags);
        rest[self.tags.len()..][..self.content_type.len()].copy_from_slice(self.content_type);
        bytes[COUNTS] |= if self.stale_at.is_some() { HAS_STALE_AT } else { 0 };
    }

    /// Reads what was written to the front of `bytes`.
    pub(super) fn read(bytes: &'a [u8]) -> Self {
        let (content_type_len, counts) = (bytes[CONTENT_TYPE_LEN].into(), bytes[COUNTS]);
        let mut rest = &bytes[STALE_AT..];
        let stale_at = (counts & HAS_STALE_AT != 0).then(|| {
            let at = read_u64(rest, 0);
            rest = &rest[WORD_BYTES..];
            at
        });
        let (tags, rest) = rest.split_at(usize::from(counts & TAG_COUNT) * WORD_BYTES);
        let content_type = &rest[..content_type_len];
        Self { version: read_u64(bytes, 0), stale_at, tags, content_type }
    }
}

/// How many bytes were written to the front of `bytes`.
pub(super) fn len(bytes: &[u8]) -> usize {
    let [.., content_type_len, counts]: &[u8; VERSION_BYTES] =
        bytes.first_chunk().expect("inside the slot");
    let words = usize::from(counts & TAG_COUNT) + usize::from(counts & HAS_STALE_AT != 0);
    VERSION_BYTES + words * WORD_BYTES + usize::from(*content_type_len)
}
