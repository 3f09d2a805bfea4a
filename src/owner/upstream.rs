//! What an upstream is asked, and what it answers.

use crate::store::Op;
use std::num::NonZeroU64;

/// What is to become of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It runs against the store as it is.
    Run,
    /// It waits for what the upstream has of its key.
    Park,
    /// There is too much to do upstream.
    Refuse,
}

/// What the upstream has of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// `stays`: beyond the turn in which it came.
    Value {
        value: Vec<u8>,
        ttl_ms: Option<NonZeroU64>,
        stays: bool,
    },
    Nothing,
    /// It is not known.
    Failed,
}

/// That something is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub key: Vec<u8>,
    pub fetched: Fetched,
}

/// What stands behind the store. It may not answer at once.
pub trait Upstream {
    /// Decides about a command, which has not run yet; `is_held`: the store has an entry of the
    /// key, fresh or stale. For a key with a parked command [`Upstream::next`] tells once.
    fn decide(&mut self, op: &Op<&[u8]>, is_held: bool) -> Decision;

    /// The next key that something is known of.
    fn next(&mut self) -> Option<Delivery>;
}
