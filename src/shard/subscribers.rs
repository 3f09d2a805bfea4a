//! Who subscribes to events, and how they come from all shards: collected at every beat while there
//! is somebody, and sent at the next.

use super::connections::ConnectionId;
use crate::{
    config::Limits,
    events::{Note, Past},
};

#[derive(Debug)]
pub(super) struct Subscribers {
    pub(super) past: Past,
    /// One for each stream.
    pub(super) ids: Vec<ConnectionId>,
    /// The snapshot whose begin was reported last.
    pub(super) snapshot: u64,
    /// By shard number; our own says nothing.
    pub(super) sources: Vec<Source>,
    /// What shards have noted for this one since the last beat.
    pub(super) notes: Vec<(usize, Vec<Note>)>,
}

/// How this shard stands with another that notes events for it.
#[derive(Clone, Debug, Default)]
pub(super) struct Source {
    /// It was asked to note events.
    pub(super) is_subscribed: bool,
    /// It has not sent any since.
    pub(super) owes_notes: bool,
}

impl Subscribers {
    pub(super) fn new(limits: &Limits, shards: usize) -> Self {
        Self {
            past: Past::new(limits.events_bytes_max),
            ids: Vec::new(),
            snapshot: 0,
            sources: vec![Source::default(); shards],
            notes: Vec::new(),
        }
    }
}
