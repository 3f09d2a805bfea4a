//! One put: from a body of JSON to what the store is asked.

use super::{
    super::refusal::Refusal,
    json::PutBody,
    key::{bytes_of, check_key},
    lifetime::{self, Span},
    tags,
};
use crate::{
    config::Config,
    protocol::Command,
    store::{Condition, Extras, KeyHasher, Verb, Write},
};

/// What one put asks the store to do.
pub(super) fn put_command<'a>(
    put: PutBody<'a>,
    config: &Config,
    hasher: &KeyHasher,
) -> Result<Command<'a>, Refusal> {
    let PutBody { key, value, ttl, stale_ttl, tags } = put;
    check_key(key.as_bytes(), config)?;
    let limit = config.limits.value_bytes_max;
    if value.len() > limit {
        let message = format!(
            "The value has {} bytes; at most {limit} are taken (--value-bytes-max).",
            value.len()
        );
        return Err(Refusal::new(400, "value_too_long", message));
    }
    let ttl_ms = match ttl {
        Some(seconds) => Some(lifetime::millis(Span::Ttl, seconds)?),
        None => lifetime::default_ttl(config),
    };
    let value = bytes_of(value);
    let verb = if stale_ttl.is_none() && tags.is_empty() {
        Verb::put(value, ttl_ms)
    } else {
        let stale_ms =
            stale_ttl.map(|seconds| lifetime::millis(Span::StaleTtl, seconds)).transpose()?;
        let extras = Extras {
            content_type: None,
            tags: tags::hashes(tags.iter().map(String::as_bytes), hasher)?,
            stale_ms: stale_ms.filter(|_| ttl_ms.is_some()),
        };
        Verb::Write(Write { value, extras, ttl_ms, condition: Condition::NONE })
    };
    Ok(Command { key: bytes_of(key), verb, wants_text: false })
}
