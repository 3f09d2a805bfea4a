//! The store's vocabulary: operations on one key and their replies.

use std::num::NonZeroU64;

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

impl<B: Copy> Op<B> {
    /// The same with the bytes held in another way.
    #[must_use]
    pub fn map<C>(self, mut hold: impl FnMut(B) -> C) -> Op<C> {
        let key = Key { bytes: hold(self.key.bytes), hash: self.key.hash };
        Op { key, verb: self.verb.map(hold) }
    }
}

impl Op<&[u8]> {
    /// Length of key and value.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.key.bytes.len() + self.verb.value().map_or(0, |value| value.len())
    }
}

impl<B> Verb<B> {
    /// The same with the bytes held in another way.
    #[must_use]
    pub fn map<C>(self, hold: impl FnOnce(B) -> C) -> Verb<C> {
        match self {
            Self::Get => Verb::Get,
            Self::Peek => Verb::Peek,
            Self::Put { value, ttl_ms } => Verb::Put { value: hold(value), ttl_ms },
            Self::Delete => Verb::Delete,
        }
    }

    /// The same with the bytes borrowed.
    pub fn as_ref(&self) -> Verb<&B> {
        match self {
            Self::Get => Verb::Get,
            Self::Peek => Verb::Peek,
            Self::Put { value, ttl_ms } => Verb::Put { value, ttl_ms: *ttl_ms },
            Self::Delete => Verb::Delete,
        }
    }

    /// The bytes that the operation brings beside its key.
    pub fn value(&self) -> Option<&B> {
        match self {
            Self::Put { value, .. } => Some(value),
            Self::Get | Self::Peek | Self::Delete => None,
        }
    }
}

impl<B> Reply<B> {
    /// The same with the bytes held in another way.
    pub fn map<C>(self, hold: impl FnOnce(B) -> C) -> Reply<C> {
        match self {
            Self::Value(value) => Reply::Value(hold(value)),
            Self::Absent => Reply::Absent,
            Self::Created => Reply::Created,
            Self::Replaced => Reply::Replaced,
            Self::Deleted => Reply::Deleted,
            Self::TooLarge => Reply::TooLarge,
        }
    }
}
