//! The tags of an entry: their bounds, and the hashes that the store knows them by.

use crate::{
    config::TAG_BYTES_MAX,
    http::refusal::Refusal,
    store::{KeyHasher, TAGS_MAX},
};
use std::borrow::Cow;

/// The hashes of an entry's tags, or nothing where it has none.
pub(super) fn hashes<'a, 't>(
    tags: impl Iterator<Item = &'t [u8]>,
    hasher: &KeyHasher,
) -> Result<Option<Cow<'a, [u8]>>, Refusal> {
    let mut hashes = Vec::new();
    for (index, tag) in tags.enumerate() {
        if index == TAGS_MAX {
            let message = format!("An entry has at most {TAGS_MAX} tags.");
            return Err(Refusal::new(400, "too_many_tags", message));
        }
        hashes.extend_from_slice(&hash(tag, hasher)?.to_le_bytes());
    }
    Ok((!hashes.is_empty()).then_some(Cow::Owned(hashes)))
}

/// The hash of one tag.
pub(super) fn hash(tag: &[u8], hasher: &KeyHasher) -> Result<u64, Refusal> {
    if tag.is_empty() {
        return Err(Refusal::new(400, "empty_tag", "A tag must have at least one byte."));
    }
    if tag.len() > TAG_BYTES_MAX {
        let message =
            format!("The tag has {} bytes; at most {TAG_BYTES_MAX} are taken.", tag.len());
        return Err(Refusal::new(400, "tag_too_long", message));
    }
    Ok(hasher.tag(tag))
}
