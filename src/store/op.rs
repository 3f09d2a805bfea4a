//! The store's vocabulary: operations on one key and their replies.

use super::Loan;
use std::{num::NonZeroU64, ops::Deref};

/// One operation on one key.
///
/// A key is live from its put until its time to live is over, and stale from then on for as long as
/// its extras say. What is stale is still there: reads say that it is, conditions see its version,
/// a put replaces it, a delete deletes it, a touch makes it live. Only an addition starts from 0.
///
/// `B` is how the bytes are held: `&[u8]` where they are borrowed, a
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
    /// Length of everything that the operation brings.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let mut bytes = 0;
        let _same = self.map(|held| bytes += held.len());
        bytes
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb<B> {
    /// Read the value and count it as a use.
    Get,
    /// Read the value; eviction does not notice.
    Peek,
    /// `Get` that lends a value of more than `above` bytes if it is chunked, as every value of more
    /// than `INLINE_BYTES_MAX` is.
    Lend { above: usize },
    /// At most `bytes` of a value on loan; the key only says whose it is.
    Piece { loan: Loan, from: usize, bytes: usize },
    /// Store the value, for `ttl` milliseconds if there is one.
    Put { value: B, ttl_ms: Option<NonZeroU64> },
    /// Forget the key.
    Delete,
    /// `Get`, or `Peek` where it is no use, that tells everything about the entry. Where the key is
    /// missing or stale it asks for the lease, if `lease_ms` is there. Lends like `Lend`, where
    /// `above` is no `usize::MAX`.
    Read { condition: Condition<B>, lease_ms: Option<NonZeroU64>, is_use: bool, above: usize },
    /// `Put` of an entry that may carry more than its value.
    Write { value: B, extras: Extras<B>, ttl_ms: Option<NonZeroU64>, condition: Condition<B> },
    /// `Delete` under a condition.
    Remove { condition: Condition<B> },
    /// Let a key expire after `ttl_ms` milliseconds from now, or never. It keeps its extras.
    Touch { ttl_ms: Option<NonZeroU64>, condition: Condition<B> },
    /// Add to a value that is a decimal integer; a key that is not there, or stale, counts as 0.
    /// What is live keeps its extras and its time to live.
    Add { by: i64, condition: Condition<B> },
}

/// What an entry may carry beside its value. What is not there takes no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extras<B> {
    /// At most `CONTENT_TYPE_BYTES_MAX`; an empty one is none.
    pub content_type: Option<B>,
    /// The hashes of at most `TAGS_MAX` tags, eight little-endian bytes each.
    pub tags: Option<B>,
    /// For how long the entry may still be read once its time to live is over. Without a time to
    /// live, or when a touch takes that away, it means nothing.
    pub stale_ms: Option<NonZeroU64>,
}

/// The longest content type that is kept.
pub const CONTENT_TYPE_BYTES_MAX: usize = 255;
/// Tags of one entry.
pub const TAGS_MAX: usize = 8;

/// What must hold for an operation to be done. As in RFC 9110 section 13.2.2 `matches` is looked
/// at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition<B> {
    /// The key is there with one of these versions.
    pub matches: Option<Versions<B>>,
    /// The key is not there with one of these versions.
    pub none_match: Option<Versions<B>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions<B> {
    Any,
    /// Eight little-endian bytes each.
    Listed(B),
}

impl<B: Deref> Versions<B> {
    fn as_deref(&self) -> Versions<&B::Target> {
        match self {
            Self::Any => Versions::Any,
            Self::Listed(listed) => Versions::Listed(listed),
        }
    }
}

impl Versions<&[u8]> {
    #[must_use]
    pub fn include(self, version: u64) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(list) => list.as_chunks().0.contains(&version.to_le_bytes()),
        }
    }
}

impl<B> Extras<B> {
    pub const NONE: Self = Self { content_type: None, tags: None, stale_ms: None };

    /// The same with the bytes held in another way.
    #[must_use]
    pub fn map<C>(self, mut hold: impl FnMut(B) -> C) -> Extras<C> {
        Extras {
            content_type: self.content_type.map(&mut hold),
            tags: self.tags.map(&mut hold),
            stale_ms: self.stale_ms,
        }
    }

    /// The same with the bytes borrowed.
    pub fn as_deref(&self) -> Extras<&B::Target>
    where
        B: Deref,
    {
        Extras {
            content_type: self.content_type.as_deref(),
            tags: self.tags.as_deref(),
            stale_ms: self.stale_ms,
        }
    }
}

impl<B> Condition<B> {
    pub const NONE: Self = Self { matches: None, none_match: None };
    /// The key is there.
    pub const PRESENT: Self = Self { matches: Some(Versions::Any), none_match: None };
    /// The key is not there.
    pub const ABSENT: Self = Self { matches: None, none_match: Some(Versions::Any) };

    /// The same with the bytes held in another way.
    #[must_use]
    pub fn map<C>(self, mut hold: impl FnMut(B) -> C) -> Condition<C> {
        let mut map = |versions| match versions {
            Versions::Any => Versions::Any,
            Versions::Listed(listed) => Versions::Listed(hold(listed)),
        };
        Condition { matches: self.matches.map(&mut map), none_match: self.none_match.map(&mut map) }
    }

    /// The same with the bytes borrowed.
    pub fn as_deref(&self) -> Condition<&B::Target>
    where
        B: Deref,
    {
        Condition {
            matches: self.matches.as_ref().map(Versions::as_deref),
            none_match: self.none_match.as_ref().map(Versions::as_deref),
        }
    }
}

impl<B> Verb<B> {
    /// The same with the bytes held in another way.
    #[must_use]
    pub fn map<C>(self, mut hold: impl FnMut(B) -> C) -> Verb<C> {
        match self {
            Self::Get => Verb::Get,
            Self::Peek => Verb::Peek,
            Self::Lend { above } => Verb::Lend { above },
            Self::Piece { loan, from, bytes } => Verb::Piece { loan, from, bytes },
            Self::Put { value, ttl_ms } => Verb::Put { value: hold(value), ttl_ms },
            Self::Delete => Verb::Delete,
            Self::Read { condition, lease_ms, is_use, above } => {
                Verb::Read { condition: condition.map(hold), lease_ms, is_use, above }
            }
            Self::Write { value, extras, ttl_ms, condition } => Verb::Write {
                value: hold(value),
                extras: extras.map(&mut hold),
                ttl_ms,
                condition: condition.map(hold),
            },
            Self::Remove { condition } => Verb::Remove { condition: condition.map(hold) },
            Self::Touch { ttl_ms, condition } => {
                Verb::Touch { ttl_ms, condition: condition.map(hold) }
            }
            Self::Add { by, condition } => Verb::Add { by, condition: condition.map(hold) },
        }
    }

    /// The same with the bytes borrowed.
    #[inline]
    pub fn as_deref(&self) -> Verb<&B::Target>
    where
        B: Deref,
    {
        match self {
            Self::Get => Verb::Get,
            Self::Peek => Verb::Peek,
            Self::Lend { above } => Verb::Lend { above: *above },
            Self::Piece { loan, from, bytes } => {
                Verb::Piece { loan: *loan, from: *from, bytes: *bytes }
            }
            Self::Put { value, ttl_ms } => Verb::Put { value, ttl_ms: *ttl_ms },
            Self::Delete => Verb::Delete,
            &Self::Read { ref condition, lease_ms, is_use, above } => {
                Verb::Read { condition: condition.as_deref(), lease_ms, is_use, above }
            }
            Self::Write { value, extras, ttl_ms, condition } => Verb::Write {
                value,
                extras: extras.as_deref(),
                ttl_ms: *ttl_ms,
                condition: condition.as_deref(),
            },
            Self::Remove { condition } => Verb::Remove { condition: condition.as_deref() },
            Self::Touch { ttl_ms, condition } => {
                Verb::Touch { ttl_ms: *ttl_ms, condition: condition.as_deref() }
            }
            Self::Add { by, condition } => Verb::Add { by: *by, condition: condition.as_deref() },
        }
    }
}

/// What an operation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<B> {
    /// `Get`, `Peek` and `Lend` of a live key.
    Value(B),
    /// `Lend` of a value of so many bytes that is to be taken in pieces. Whoever gets the reply
    /// gives the loan back.
    Lent { loan: Loan, bytes: usize },
    /// `Piece` of a value that is still on loan, as it is after the reply.
    Piece { loan: Loan, bytes: B },
    /// `Piece` of a loan that was revoked.
    Gone,
    /// `Read` of a live key, and any reading of one that is stale. Each write changes the version,
    /// a touch does not.
    Entry {
        value: B,
        content_type: Option<B>,
        version: u64,
        /// What is left of its time to live; nothing is left where it is stale.
        ttl_ms: Option<NonZeroU64>,
        /// The time to live is over: who is to bring the entry up to date?
        stale: Option<Lease>,
    },
    /// The same with a value of so many bytes that is to be taken in pieces.
    LentEntry {
        loan: Loan,
        bytes: usize,
        content_type: Option<B>,
        version: u64,
        ttl_ms: Option<NonZeroU64>,
        stale: Option<Lease>,
    },
    /// `Read` of a key that is just as the reader knows it.
    Unchanged { version: u64, ttl_ms: Option<NonZeroU64>, stale: Option<Lease> },
    /// Anything but a put, write or addition, of a key that is not there, or no longer, whatever
    /// the condition.
    Absent,
    /// `Read` with a lease, of a key that is not there. Never [`Lease::NotAsked`].
    Missing(Lease),
    /// `Put` or `Write` of a new key.
    Created,
    /// `Put` or `Write` over a key that is there.
    Replaced,
    /// The condition does not hold. Nothing changed.
    Refused,
    /// `Touch` of a key that is there.
    Touched,
    /// The value after an `Add`.
    Number(i64),
    /// `Add` to a value that is no decimal integer of 64 bits. Nothing changed.
    NotANumber,
    /// `Add` whose result is no integer of 64 bits. Nothing changed.
    Overflow,
    /// `Delete` or `Remove` of a key that is there.
    Deleted,
    /// An entry that is larger than the whole budget or than extras may be. Nothing changed.
    TooLarge,
    /// An entry for which there is no room where nothing is evicted. Nothing changed.
    Full,
}

/// Who is to write a key that is missing or stale. To write or touch the key ends its lease. Of
/// more leases than the store has room for, those that end first give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    NotAsked,
    /// The one who asked.
    Granted,
    /// Another reader, who has this long.
    Taken {
        left_ms: NonZeroU64,
    },
}

impl<B> Reply<B> {
    /// The loan that the reply hands to whoever gets it.
    #[must_use]
    pub fn loan(&self) -> Option<Loan> {
        match self {
            Self::Lent { loan, .. } | Self::LentEntry { loan, .. } | Self::Piece { loan, .. } => {
                Some(*loan)
            }
            _ => None,
        }
    }

    /// The same with the bytes held in another way.
    #[must_use]
    pub fn map<C>(self, mut hold: impl FnMut(B) -> C) -> Reply<C> {
        match self {
            Self::Value(value) => Reply::Value(hold(value)),
            Self::Lent { loan, bytes } => Reply::Lent { loan, bytes },
            Self::Piece { loan, bytes } => Reply::Piece { loan, bytes: hold(bytes) },
            Self::Gone => Reply::Gone,
            Self::Entry { value, content_type, version, ttl_ms, stale } => Reply::Entry {
                value: hold(value),
                content_type: content_type.map(hold),
                version,
                ttl_ms,
                stale,
            },
            Self::LentEntry { loan, bytes, content_type, version, ttl_ms, stale } => {
                let content_type = content_type.map(hold);
                Reply::LentEntry { loan, bytes, content_type, version, ttl_ms, stale }
            }
            Self::Unchanged { version, ttl_ms, stale } => {
                Reply::Unchanged { version, ttl_ms, stale }
            }
            Self::Absent => Reply::Absent,
            Self::Missing(lease) => Reply::Missing(lease),
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
