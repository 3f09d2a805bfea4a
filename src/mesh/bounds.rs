//! How many messages of each kind may be under way.

/// Messages of calls in flight to one peer.
pub const MESSAGES_MAX: usize = 64;

/// Messages of late replies under way to one peer, or on their way back.
pub const LATES_MAX: usize = 2;

/// Queries of one shard that are open at a time.
pub const BROADCASTS_MAX: usize = 16;
