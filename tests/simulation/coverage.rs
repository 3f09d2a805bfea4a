//! Counts how often the runs came through the places that are hard to reach.

use std::collections::BTreeMap;

/// Each must be reached, or the simulation has gone blind.
const PLACES: [&str; 32] = [
    "all shards did it",
    "backpressure",
    "batch get",
    "batch put",
    "batch refused",
    "broken off",
    "chunked put",
    "closed while idle",
    "continue",
    "drained with a word",
    "drained without a word",
    "early refusal",
    "entry expired",
    "fin read without room",
    "gather refused",
    "head told a length",
    "killed while lingering",
    "long value",
    "lost",
    "many messages in flight",
    "overloaded",
    "partial write",
    "read timeout",
    "refused connection",
    "reply too large",
    "reset with answers away",
    "slot used again",
    "stats told",
    "unread bytes after a closing answer",
    "value gone but for its readers",
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
