//! One shard's data: a single-threaded key-value store with LRU eviction and a byte budget.
//!
//! No I/O, no clock, no knowledge of cores: `execute(op, now)` is the whole protocol, and both the
//! local path and the far side of a hop call it.

use crate::clock::Millis;
use std::{num::NonZeroU64, time::Duration};

/// One operation on one key. `B` is how the bytes are held: `&[u8]` where they are borrowed, a
/// span of a buffer where they travel between cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op<B> {
    pub key: Key<B>,
    pub verb: Verb<B>,
}

/// A key and its keyed hash, computed once where the request arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<B> {
    pub bytes: B,
    pub hash: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb<B> {
    /// Read the value and count it as a use.
    Get,
    /// Read the value; eviction does not notice.
    Peek,
    /// Store the value, for `ttl` milliseconds if there is one.
    Put { value: B, ttl_ms: Option<NonZeroU64> },
    /// Forget the key.
    Delete,
}

/// What an operation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<B> {
    /// `Get` and `Peek` of a live key.
    Value(B),
    /// `Get`, `Peek` and `Delete` of a key that is not there, or no longer.
    Absent,
    /// `Put` of a new key.
    Created,
    /// `Put` over a live key.
    Replaced,
    /// `Delete` of a live key.
    Deleted,
    /// `Put` of an entry that is larger than the whole budget allows. Nothing changed.
    TooLarge,
}
