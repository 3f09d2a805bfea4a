//! Calls and replies as they lie in a batch: the frequent ones short, so that a hop moves few
//! bytes, the rest beside them.

use crate::{
    owner::{Call, Span},
    store::{Key, Op, Pin, Read, Reply, Verb, Write},
};
use std::num::NonZeroU64;

/// A call.
#[derive(Debug)]
pub(super) struct Packed<T> {
    pub(super) ticket: T,
    key: Key<Span>,
    verb: ShortVerb,
}

#[derive(Clone, Copy, Debug)]
enum ShortVerb {
    /// For the value alone, under no condition and without a lease.
    Get { pin_above: usize, wants_text: bool },
    /// Without extras, under no condition.
    Put { value: Span, ttl_ms: Option<NonZeroU64> },
    /// Under no condition.
    Delete,
    /// One of the verbs beside.
    Other { at: u32, wants_text: bool },
}

const _: () = assert!(size_of::<ShortVerb>() <= 24);

/// The bytes of calls, and the verbs that are not short.
#[derive(Debug, Default)]
pub(super) struct Called {
    bytes: Vec<u8>,
    verbs: Vec<Verb<Span>>,
}

impl Called {
    #[inline]
    pub(super) fn pack<T>(&mut self, ticket: T, call: Call<'_>) -> Packed<T> {
        let Op { key, verb } = call.op;
        let wants_text = call.wants_text;
        let key = Key { bytes: Span::push(&mut self.bytes, key.bytes), hash: key.hash };
        let verb = match *verb {
            Verb::Read(Read {
                condition,
                lease_ms: None,
                is_use: true,
                details: false,
                pin_above,
            }) if condition.is_none() => ShortVerb::Get { pin_above, wants_text },
            Verb::Write(Write { value, extras, ttl_ms, condition })
                if condition.is_none() && extras.are_none() =>
            {
                ShortVerb::Put { value: Span::push(&mut self.bytes, value), ttl_ms }
            }
            Verb::Delete { condition } if condition.is_none() => ShortVerb::Delete,
            ref verb => ShortVerb::Other { at: self.put_beside(verb), wants_text },
        };
        Packed { ticket, key, verb }
    }

    fn put_beside(&mut self, verb: &Verb<&[u8]>) -> u32 {
        let verb = verb.map(|part| Span::push(&mut self.bytes, part));
        self.verbs.push(verb);
        u32::try_from(self.verbs.len() - 1).expect("hop_requests_max is far below 2^32")
    }

    pub(super) fn key<T>(&self, packed: &Packed<T>) -> &[u8] {
        packed.key.bytes.of(&self.bytes)
    }

    /// The operation, and whether its caller wants a pinned value measured.
    #[inline]
    pub(super) fn unpack<T>(&self, packed: &Packed<T>) -> (Op<&[u8]>, bool) {
        let (verb, wants_text) = match packed.verb {
            ShortVerb::Get { pin_above, wants_text } => {
                (Verb::Read(Read { pin_above, ..Read::VALUE }), wants_text)
            }
            ShortVerb::Put { value, ttl_ms } => (Verb::put(value.of(&self.bytes), ttl_ms), false),
            ShortVerb::Delete => (Verb::delete(), false),
            ShortVerb::Other { at, wants_text } => {
                (self.verbs[at as usize].map(|span| span.of(&self.bytes)), wants_text)
            }
        };
        let key = Key { bytes: self.key(packed), hash: packed.key.hash };
        (Op { key, verb }, wants_text)
    }

    /// The pin of a call for a piece of a value.
    pub(super) fn pin<T>(&self, packed: &Packed<T>) -> Option<Pin> {
        let ShortVerb::Other { at, .. } = packed.verb else { return None };
        match self.verbs[at as usize] {
            Verb::Piece { pin, .. } => Some(pin),
            _ => None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.verbs.clear();
    }
}

/// What stands for a call when its batch comes home.
#[derive(Clone, Copy, Debug)]
pub(super) enum Slot {
    Value(Span),
    Absent,
    Created,
    Replaced,
    /// One of the replies beside.
    Other(u32),
    LeftOut,
    /// The reply is still to come, as one of [`super::late::LateReplies`].
    Later,
    Refused,
}

const _: () = assert!(size_of::<Slot>() <= 12);

/// The bytes of replies, and those that are not short.
#[derive(Debug, Default)]
pub(super) struct Replied {
    bytes: Vec<u8>,
    replies: Vec<Reply<Span>>,
}

impl Replied {
    #[inline]
    pub(super) fn pack(&mut self, reply: &Reply<&[u8]>) -> Slot {
        match reply {
            Reply::Value(value) => Slot::Value(Span::push(&mut self.bytes, value)),
            Reply::Absent => Slot::Absent,
            Reply::Created => Slot::Created,
            Reply::Replaced => Slot::Replaced,
            reply => self.put_beside(reply),
        }
    }

    fn put_beside(&mut self, reply: &Reply<&[u8]>) -> Slot {
        let reply = reply.map(|part| Span::push(&mut self.bytes, part));
        self.replies.push(reply);
        Slot::Other(u32::try_from(self.replies.len() - 1).expect("no more than calls"))
    }

    /// The reply that a slot stands for, if any does yet.
    #[inline]
    pub(super) fn unpack(&self, slot: Slot) -> Option<Reply<&[u8]>> {
        Some(match slot {
            Slot::Value(value) => Reply::Value(value.of(&self.bytes)),
            Slot::Absent => Reply::Absent,
            Slot::Created => Reply::Created,
            Slot::Replaced => Reply::Replaced,
            Slot::Other(at) => self.replies[at as usize].map(|span| span.of(&self.bytes)),
            Slot::LeftOut | Slot::Later | Slot::Refused => return None,
        })
    }

    /// The pins that the replies name.
    pub(super) fn pins(&self) -> impl Iterator<Item = Pin> {
        self.replies.iter().filter_map(Reply::pin)
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.replies.clear();
    }
}
