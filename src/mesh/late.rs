//! Replies that come late: to calls whose owner had to wait.

use super::cargo::{Arrival, Cargo};
use crate::{
    owner::{Late, Span},
    store::{Pin, Reply},
    text::Text,
};
use std::collections::HashMap;

/// The way back from a command that waits.
#[derive(Clone, Copy, Debug)]
pub struct Return<T> {
    pub(super) shard: usize,
    pub(super) ticket: T,
    /// Whose bound its reply counts for; 0: nobody's.
    pub(super) group: u64,
}

/// Late replies to one peer.
#[derive(Debug)]
pub struct LateReplies<T> {
    items: Vec<Item<T>>,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Item<T> {
    ticket: T,
    key: Span,
    reply: LateReply,
}

#[derive(Debug)]
enum LateReply {
    Reply(Reply<Span>, Option<Text>),
    LeftOut,
    Failed,
}

impl<T> Default for LateReplies<T> {
    fn default() -> Self {
        Self { items: Vec::new(), bytes: Vec::new() }
    }
}

impl<T: Copy> LateReplies<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.bytes.clear();
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Returns how many bytes the reply takes beside the key.
    pub(super) fn push(&mut self, ticket: T, key: &[u8], late: Late<'_>) -> usize {
        let key = Span::push(&mut self.bytes, key);
        let before = self.bytes.len();
        let reply = match late {
            Late::Reply { reply, text } => {
                LateReply::Reply(reply.map(|part| Span::push(&mut self.bytes, part)), text)
            }
            Late::LeftOut => LateReply::LeftOut,
            Late::Failed => LateReply::Failed,
        };
        self.items.push(Item { ticket, key, reply });
        self.bytes.len() - before
    }

    /// The pins that the replies name.
    pub(super) fn pins(&self) -> impl Iterator<Item = Pin> {
        self.items.iter().filter_map(|item| match &item.reply {
            LateReply::Reply(reply, _) => reply.pin(),
            LateReply::LeftOut | LateReply::Failed => None,
        })
    }

    pub(super) fn arrivals<C: Cargo<Ticket = T>>(&self) -> impl Iterator<Item = Arrival<'_, C>> {
        self.items.iter().map(|item| {
            let ticket = item.ticket;
            match &item.reply {
                LateReply::Reply(reply, text) => Arrival::Reply {
                    ticket,
                    key: item.key.of(&self.bytes),
                    reply: reply.map(|span| span.of(&self.bytes)),
                    text: *text,
                },
                LateReply::LeftOut => Arrival::LeftOut { ticket },
                LateReply::Failed => Arrival::Failed { ticket },
            }
        })
    }
}

/// Groups with calls that wait, by a number that is never used twice, and what is left of them.
#[derive(Debug, Default)]
pub(super) struct Groups {
    open: HashMap<u64, Group>,
    begun: u64,
}

#[derive(Debug)]
struct Group {
    waiting: usize,
    /// Of replies, as of now.
    bytes: usize,
    bytes_max: usize,
}

impl Groups {
    /// The number of the next group.
    pub(super) fn next(&self) -> u64 {
        self.begun + 1
    }

    /// The next group has so many calls that wait, and its other replies have so many bytes.
    pub(super) fn begin(&mut self, waiting: usize, bytes: usize, bytes_max: usize) {
        self.begun += 1;
        self.open.insert(self.begun, Group { waiting, bytes, bytes_max });
    }

    pub(super) fn may_run(&self, group: u64) -> bool {
        self.open.get(&group).is_none_or(|group| group.bytes <= group.bytes_max)
    }

    pub(super) fn count(&mut self, number: u64, bytes: usize) {
        if let Some(group) = self.open.get_mut(&number) {
            group.bytes += bytes;
            group.waiting -= 1;
            if group.waiting == 0 {
                self.open.remove(&number);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}
