//! The bounds of a key.

use super::super::refusal::Refusal;
use crate::config::Config;
use std::borrow::Cow;

#[inline]
pub(super) fn check_key(key: &[u8], config: &Config) -> Result<(), Refusal> {
    let limit = config.limits.key_bytes_max;
    if key.is_empty() {
        return Err(Refusal::new(400, "empty_key", "The key must have at least one byte."));
    }
    if key.len() > limit {
        let message = format!(
            "The key has {} bytes; at most {limit} are taken (--key-bytes-max).",
            key.len()
        );
        return Err(Refusal::new(400, "key_too_long", message));
    }
    Ok(())
}

/// The bytes of a text.
pub(super) fn bytes_of(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}
