//! What every shard is asked at once, and what one shard answers.

use crate::{
    latency::{Latencies, Since},
    metrics::Report,
    snapshot::{Failure, Summary},
};

/// What every shard is asked to tell or to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// What the shard counts.
    Report,
    /// The same, and how long its requests took since then. `anew`: from here on that is now.
    Latency { since: Since, anew: bool },
    /// End every entry that carries the tag of this hash.
    Invalidate { tag: u64 },
    /// Forget every entry.
    Flush,
    /// Remove the live entries whose key begins like this, or count them in a dry run.
    DeletePrefix { prefix: Box<[u8]>, dry_run: bool },
}

/// One shard's share of the result.
#[derive(Clone, Debug, PartialEq)]
pub enum Share {
    Report(Box<Report>),
    Latency(Box<(Report, Latencies)>),
    /// It is done, to so many entries where they are counted.
    Done {
        entries: u64,
    },
    /// It cannot be done for now.
    Full,
    /// How a snapshot ended: told by the shard that writes it, to whoever asked for one.
    Saved(Result<Summary, Failure>),
}
