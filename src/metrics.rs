//! Plain counters, one set per shard: `+=` where something happens, summed by message when asked.

use crate::{counters::counters, store};
use std::ops::AddAssign;

/// What a request asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Get,
    Put,
    Delete,
    Incr,
    Touch,
    Mget,
    Mput,
    Mdelete,
    Invalidate,
    Health,
    Admin,
    /// Everything without a handler of its own: unknown routes, wrong methods, broken requests.
    Other,
}

impl Operation {
    pub const ALL: [(Self, &'static str); 12] = [
        (Self::Get, "get"),
        (Self::Put, "put"),
        (Self::Delete, "delete"),
        (Self::Incr, "incr"),
        (Self::Touch, "touch"),
        (Self::Mget, "mget"),
        (Self::Mput, "mput"),
        (Self::Mdelete, "mdelete"),
        (Self::Invalidate, "invalidate"),
        (Self::Health, "health"),
        (Self::Admin, "admin"),
        (Self::Other, "other"),
    ];
}

/// What became of a request, by the class of its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    NotFound,
    ClientError,
    ServerError,
}

impl Outcome {
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Ok, "ok"),
        (Self::NotFound, "not_found"),
        (Self::ClientError, "client_error"),
        (Self::ServerError, "server_error"),
    ];

    #[must_use]
    pub fn of(status: u16) -> Self {
        match status {
            0..=399 => Self::Ok,
            404 => Self::NotFound,
            400..=499 => Self::ClientError,
            _ => Self::ServerError,
        }
    }
}

/// Answers by operation and outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers([[u64; Outcome::ALL.len()]; Operation::ALL.len()]);

impl Answers {
    pub fn count(&mut self, operation: Operation, status: u16) {
        self.0[operation as usize][Outcome::of(status) as usize] += 1;
    }

    #[must_use]
    pub fn get(&self, operation: Operation, outcome: Outcome) -> u64 {
        self.0[operation as usize][outcome as usize]
    }
}

impl AddAssign for Answers {
    fn add_assign(&mut self, other: Self) {
        for (mine, theirs) in self.0.iter_mut().flatten().zip(other.0.as_flattened()) {
            *mine += theirs;
        }
    }
}

counters! {
    /// What happened to connections and on them. Totals since the start, but for `open` and
    /// `buffered_bytes`.
    Connections {
        /// Open now, on the data port.
        open,
        accepted,
        /// Turned away with 503 because the process had `connections_max` already.
        refused,
        /// Closed because a request or an answer made no progress, or nothing came at all.
        timed_out,
        received_bytes,
        sent_bytes,
        /// Of long answers that are not sent yet, or are still to come from other shards: what
        /// `replies_bytes_max` bounds.
        buffered_bytes,
    }
}

counters! {
    /// Calls that left a shard for their key's owner elsewhere.
    Hops {
        calls,
        /// `calls / messages` is the mean batch.
        messages,
        /// Found the way full and were answered 503.
        refused,
    }
}

/// One shard's counters above the mesh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub answers: Answers,
    pub connections: Connections,
}

/// Everything that one shard counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub counters: Counters,
    pub hops: Hops,
    pub store: store::Stats,
}

impl AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.counters.answers += other.counters.answers;
        self.counters.connections += other.counters.connections;
        self.hops += other.hops;
        self.store += other.store;
    }
}
