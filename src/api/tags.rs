//! The tags of an entry: their bounds, and the hashes that the store knows them by.

use crate::{config::TAG_BYTES_MAX, http::response::Problem, store::KeyHasher};

/// The hash of one tag.
pub(super) fn hash(tag: &[u8], hasher: &KeyHasher) -> Result<u64, Problem> {
    if tag.is_empty() {
        return Err(Problem::new(400, "empty_tag", "A tag must have at least one byte."));
    }
    if tag.len() > TAG_BYTES_MAX {
        let message =
            format!("The tag has {} bytes; at most {TAG_BYTES_MAX} are taken.", tag.len());
        return Err(Problem::new(400, "tag_too_long", message));
    }
    Ok(hasher.tag(tag))
}
