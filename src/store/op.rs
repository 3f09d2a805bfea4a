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
    /// `Get` that also tells version and remaining time.
    Read,
    /// `Put` under a condition, of an entry that keeps a version of its own.
    Write { value: B, ttl_ms: Option<NonZeroU64>, condition: Condition },
    /// Let a live key expire after `ttl_ms` milliseconds from now, or never.
    Touch { ttl_ms: Option<NonZeroU64> },
    /// Add to a value that is a decimal integer; a key that is not there counts as 0.
    Add { by: i64 },
}

/// What must hold for a `Write` to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Always,
    /// The key is not there.
    Absent,
    /// The key is there.
    Present,
    /// The key is there and this is its version.
    Version(u64),
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
            Self::Read => Verb::Read,
            Self::Write { value, ttl_ms, condition } => {
                Verb::Write { value: hold(value), ttl_ms, condition }
            }
            Self::Touch { ttl_ms } => Verb::Touch { ttl_ms },
            Self::Add { by } => Verb::Add { by },
        }
    }

    /// The same with the bytes borrowed.
    pub fn as_ref(&self) -> Verb<&B> {
        match self {
            Self::Get => Verb::Get,
            Self::Peek => Verb::Peek,
            Self::Put { value, ttl_ms } => Verb::Put { value, ttl_ms: *ttl_ms },
            Self::Delete => Verb::Delete,
            Self::Read => Verb::Read,
            Self::Write { value, ttl_ms, condition } => {
                Verb::Write { value, ttl_ms: *ttl_ms, condition: *condition }
            }
            Self::Touch { ttl_ms } => Verb::Touch { ttl_ms: *ttl_ms },
            Self::Add { by } => Verb::Add { by: *by },
        }
    }

    /// The bytes that the operation brings beside its key.
    pub fn value(&self) -> Option<&B> {
        match self {
            Self::Put { value, .. } | Self::Write { value, .. } => Some(value),
            _ => None,
        }
    }
}

/// What an operation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<B> {
    /// `Get` and `Peek` of a live key.
    Value(B),
    /// `Read` of a live key. Each write changes the version.
    Entry { value: B, version: u64, ttl_ms: Option<NonZeroU64> },
    /// Anything but a put, write or addition, of a key that is not there, or no longer.
    Absent,
    /// `Put` or `Write` of a new key.
    Created,
    /// `Put` or `Write` over a live key.
    Replaced,
    /// `Write` whose condition does not hold. Nothing changed.
    Refused,
    /// `Touch` of a live key.
    Touched,
    /// The value after an `Add`.
    Number(i64),
    /// `Add` to a value that is no decimal integer of 64 bits. Nothing changed.
    NotANumber,
    /// `Add` whose result is no integer of 64 bits. Nothing changed.
    Overflow,
    /// `Delete` of a live key.
    Deleted,
    /// An entry that is larger than the whole budget allows. Nothing changed.
    TooLarge,
    /// An entry for which there is no room where nothing is evicted. Nothing changed.
    Full,
}

impl<B> Reply<B> {
    /// The same with the bytes held in another way.
    pub fn map<C>(self, hold: impl FnOnce(B) -> C) -> Reply<C> {
        match self {
            Self::Value(value) => Reply::Value(hold(value)),
            Self::Entry { value, version, ttl_ms } => {
                Reply::Entry { value: hold(value), version, ttl_ms }
            }
            Self::Absent => Reply::Absent,
            Self::Created => Reply::Created,
            Self::Replaced => Reply::Replaced,
            Self::Refused => Reply::Refused,
            Self::Touched => Reply::Touched,
            Self::Number(number) => Reply::Number(number),
            Self::NotANumber => Reply::NotANumber,
            Self::Overflow => Reply::Overflow,
            Self::Deleted => Reply::Deleted,
            Self::TooLarge => Reply::TooLarge,
            Self::Full => Reply::Full,
        }
    }
}
