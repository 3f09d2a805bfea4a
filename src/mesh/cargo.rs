//! What travels on a mesh, and what comes of a call for its caller.

use crate::{store::Reply, text::Text};
use std::{fmt::Debug, hash::Hash};

/// What travels on a mesh beside operations on keys. The mesh carries it and never looks inside.
pub trait Cargo {
    /// Finds the way back to whoever made a call. No two calls under way have the same.
    type Ticket: Copy + Debug + Eq + Hash;
    /// What every shard is asked at once.
    type Query: Clone + Debug;
    /// One shard's answer to it.
    type Result: Debug;
    /// What one shard tells another, of which it keeps no account.
    type Letter: Debug;

    /// Letters that may be under way in one direction.
    const LETTERS_MAX: usize;
}

/// What came of a call, at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// The key is ours: the answer was told.
    Here,
    /// The answer comes as an [`Arrival`]: the key is another shard's, or its owner waits itself.
    Away,
    /// Too much is under way to that shard already, or waits at it. Nothing was done.
    Refused,
}

/// What a turn or a delivered message brings for this shard's callers.
#[derive(Debug)]
pub enum Arrival<'a, C: Cargo> {
    /// The answer to a call for `key`. `text`: the measure of a pinned value, where it was wanted.
    Reply { ticket: C::Ticket, key: &'a [u8], reply: Reply<&'a [u8]>, text: Option<Text> },
    /// The call was not executed: the replies to its group have passed their bound.
    LeftOut { ticket: C::Ticket },
    /// The call was not executed: too much waits at the owner of its key.
    Refused { ticket: C::Ticket },
    /// The call was not executed: what stands behind the owner of its key has failed.
    Failed { ticket: C::Ticket },
    /// The call was lost: whether it was executed is not known.
    Lost { ticket: C::Ticket },
    /// Every shard's answer to a query, by shard number.
    Results { ticket: C::Ticket, results: Vec<C::Result> },
}

impl<C: Cargo> Arrival<'_, C> {
    /// Whom it is for.
    #[must_use]
    pub fn ticket(&self) -> C::Ticket {
        let (Self::Reply { ticket, .. }
        | Self::LeftOut { ticket }
        | Self::Refused { ticket }
        | Self::Failed { ticket }
        | Self::Lost { ticket }
        | Self::Results { ticket, .. }) = *self;
        ticket
    }
}
