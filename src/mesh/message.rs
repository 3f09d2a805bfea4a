//! What shards say to each other.

use super::{batch::Batch, cargo::Cargo, late::LateReplies};

/// What shards say to each other.
#[derive(Debug)]
pub enum Message<C: Cargo> {
    Calls(Box<Batch<C::Ticket>>),
    /// The same batch.
    Replies(Box<Batch<C::Ticket>>),
    /// To calls whose reply was `Later`.
    Late(Box<LateReplies<C::Ticket>>),
    /// The same, empty: there is room for another such message.
    LateTaken(Box<LateReplies<C::Ticket>>),
    /// Asks the peer; `broadcast` is never used twice by the asking shard.
    Ask {
        broadcast: u64,
        query: C::Query,
    },
    Told {
        broadcast: u64,
        result: C::Result,
    },
    Letter(C::Letter),
}

/// Who asks a query: a shard, and its number for the broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    pub shard: usize,
    pub(super) broadcast: u64,
}

/// What a delivered message has for this shard itself.
#[derive(Debug)]
pub enum Incoming<C: Cargo> {
    /// To be answered with [`super::Mesh::tell`], now or later.
    Query {
        asker: Asker,
        query: C::Query,
    },
    Letter {
        from: usize,
        letter: C::Letter,
    },
}
