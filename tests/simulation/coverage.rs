//! Counts how often the runs came through the places that are hard to reach.

use std::collections::BTreeMap;

/// Each must be reached, or the simulation has gone blind.
const PLACES: [&str; 53] = [
    "all shards did it",
    "backpressure",
    "batch deleted",
    "batch get",
    "batch put",
    "batch refused",
    "broken off",
    "chunked put",
    "closed while idle",
    "condition refused",
    "continue",
    "deleted",
    "drained with a word",
    "drained without a word",
    "early refusal",
    "entry expired",
    "fin read without room",
    "gather refused",
    "head told a length",
    "killed while lingering",
    "late replies over a hop",
    "lease granted",
    "lease granted on a stale value",
    "lease taken",
    "lease taken on a stale value",
    "long value",
    "lost",
    "many messages in flight",
    "not a number",
    "number",
    "overloaded",
    "partial write",
    "prefix deleted",
    "prefix matched",
    "read timeout",
    "refused connection",
    "reply too large",
    "reset with answers away",
    "slot used again",
    "stale value",
    "stats told",
    "tag ended an entry",
    "touched",
    "unchanged",
    "unread bytes after a closing answer",
    "upstream failed",
    "upstream had a value",
    "upstream had nothing",
    "upstream refused",
    "value gone but for its readers",
    "version matched",
    "would block",
    "write timeout",
];

#[derive(Debug, Default)]
pub(crate) struct Coverage(BTreeMap<&'static str, u64>);

impl Coverage {
    pub(crate) fn reach(&mut self, place: &'static str) {
        debug_assert!(PLACES.contains(&place), "{place} is not listed");
        *self.0.entry(place).or_default() += 1;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (place, count) in &other.0 {
            *self.0.entry(place).or_default() += count;
        }
    }

    pub(crate) fn missing(&self) -> Vec<&'static str> {
        PLACES.into_iter().filter(|place| !self.0.contains_key(place)).collect()
    }
}
