//! The store's vocabulary: operations on one key and their replies.

use super::pin::Pin;
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
    /// The same with the bytes held differently.
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
    Read(Read<B>),
    /// At most `bytes` of a pinned value; the key only says whose it is.
    Piece {
        pin: Pin,
        from: usize,
        bytes: usize,
    },
    Write(Write<B>),
    /// Forget the key.
    Delete {
        condition: Condition<B>,
    },
    /// Let a key expire after `ttl_ms` milliseconds from now, or never. It keeps its extras.
    Touch {
        ttl_ms: Option<NonZeroU64>,
        condition: Condition<B>,
    },
    /// Add to a value that is a decimal integer; a key that is not there, or stale, counts as 0.
    /// What is live keeps its extras and its time to live.
    Add {
        by: i64,
        condition: Condition<B>,
    },
}

/// How a key is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read<B> {
    pub condition: Condition<B>,
    /// Where the key is missing or stale, ask for its lease.
    pub lease_ms: Option<NonZeroU64>,
    /// Count it as a use; else eviction does not notice.
    pub is_use: bool,
    /// Tell everything about the entry, its version included. Only such a read and one with a
    /// condition may write: they give an entry its version when that is first asked for.
    pub details: bool,
    /// Pin a longer value if it is chunked, as every value of more than `INLINE_BYTES_MAX` is.
    /// `usize::MAX`: never.
    pub pin_above: usize,
}

/// What is put under a key, instead of all that was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write<B> {
    pub value: B,
    pub extras: Extras<B>,
    pub ttl_ms: Option<NonZeroU64>,
    pub condition: Condition<B>,
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

    #[must_use]
    #[inline]
    pub fn are_none(&self) -> bool {
        self.content_type.is_none() && self.tags.is_none() && self.stale_ms.is_none()
    }

    /// The same with the bytes held differently.
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

    #[must_use]
    #[inline]
    pub fn is_none(&self) -> bool {
        self.matches.is_none() && self.none_match.is_none()
    }

    /// The same with the bytes held differently.
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

impl<B> Read<B> {
    /// The value alone, as a use.
    pub const VALUE: Self = Self {
        condition: Condition::NONE,
        lease_ms: None,
        is_use: true,
        details: false,
        pin_above: usize::MAX,
    };
    /// Everything about the entry, as a use.
    pub const ENTRY: Self = Self { details: true, ..Self::VALUE };

    /// Whether the version of the entry matters, which it may have to be given.
    #[inline]
    pub(super) fn asks_for_version(&self) -> bool {
        self.details || !self.condition.is_none()
    }

    /// The same with the bytes held differently.
    #[must_use]
    #[inline]
    pub fn map<C>(self, hold: impl FnMut(B) -> C) -> Read<C> {
        let Self { condition, lease_ms, is_use, details, pin_above } = self;
        Read { condition: condition.map(hold), lease_ms, is_use, details, pin_above }
    }
}

impl<B> Write<B> {
    /// A value with nothing beside it, whatever is there.
    #[must_use]
    #[inline]
    pub fn plain(value: B, ttl_ms: Option<NonZeroU64>) -> Self {
        Self { value, extras: Extras::NONE, ttl_ms, condition: Condition::NONE }
    }

    /// The same with the bytes held differently.
    #[must_use]
    #[inline]
    pub fn map<C>(self, mut hold: impl FnMut(B) -> C) -> Write<C> {
        let Self { value, extras, ttl_ms, condition } = self;
        let (value, extras) = (hold(value), extras.map(&mut hold));
        Write { value, extras, ttl_ms, condition: condition.map(hold) }
    }
}

impl<B> Verb<B> {
    /// Reads the value.
    #[must_use]
    #[inline]
    pub fn get() -> Self {
        Self::Read(Read::VALUE)
    }

    /// Reads the value, and eviction does not notice.
    #[must_use]
    #[inline]
    pub fn peek() -> Self {
        Self::Read(Read { is_use: false, ..Read::VALUE })
    }

    /// Puts a value with nothing beside it, for `ttl_ms` milliseconds if there is a time.
    #[must_use]
    #[inline]
    pub fn put(value: B, ttl_ms: Option<NonZeroU64>) -> Self {
        Self::Write(Write::plain(value, ttl_ms))
    }

    #[must_use]
    #[inline]
    pub fn delete() -> Self {
        Self::Delete { condition: Condition::NONE }
    }

    /// The same with the bytes held differently.
    #[must_use]
    #[inline]
    pub fn map<C>(self, hold: impl FnMut(B) -> C) -> Verb<C> {
        match self {
            Self::Read(read) => Verb::Read(read.map(hold)),
            Self::Piece { pin, from, bytes } => Verb::Piece { pin, from, bytes },
            Self::Write(write) => Verb::Write(write.map(hold)),
            Self::Delete { condition } => Verb::Delete { condition: condition.map(hold) },
            Self::Touch { ttl_ms, condition } => {
                Verb::Touch { ttl_ms, condition: condition.map(hold) }
            }
            Self::Add { by, condition } => Verb::Add { by, condition: condition.map(hold) },
        }
    }

    /// The same with the bytes borrowed: at once where there is no condition and no extra.
    #[inline(never)]
    pub fn as_deref(&self) -> Verb<&B::Target>
    where
        B: Deref,
    {
        match self {
            &Self::Read(Read { ref condition, lease_ms, is_use, details, pin_above })
                if condition.is_none() =>
            {
                let condition = Condition::NONE;
                Verb::Read(Read { condition, lease_ms, is_use, details, pin_above })
            }
            Self::Write(Write { value, extras, ttl_ms, condition })
                if extras.are_none() && condition.is_none() =>
            {
                Verb::put(value, *ttl_ms)
            }
            _ => self.as_deref_whole(),
        }
    }

    #[inline(never)]
    fn as_deref_whole(&self) -> Verb<&B::Target>
    where
        B: Deref,
    {
        match self {
            &Self::Read(Read { ref condition, lease_ms, is_use, details, pin_above }) => {
                let condition = condition.as_deref();
                Verb::Read(Read { condition, lease_ms, is_use, details, pin_above })
            }
            &Self::Piece { pin, from, bytes } => Verb::Piece { pin, from, bytes },
            Self::Write(Write { value, extras, ttl_ms, condition }) => Verb::Write(Write {
                value,
                extras: extras.as_deref(),
                ttl_ms: *ttl_ms,
                condition: condition.as_deref(),
            }),
            Self::Delete { condition } => Verb::Delete { condition: condition.as_deref() },
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
    /// `Read` of a live key, where only the value was asked for.
    Value(B),
    /// `Read` of a live key with its details, and any reading of one that is stale.
    Entry { value: B, details: Details<B> },
    /// Either, of a value of so many bytes that is to be taken in pieces. Whoever gets the reply
    /// unpins the value.
    Pinned { pin: Pin, bytes: usize, details: Option<Details<B>> },
    /// `Piece` of a value that is still pinned, as it is after the reply.
    Piece { pin: Pin, bytes: B },
    /// `Piece` of a value whose pin was revoked.
    Gone,
    /// `Read` of a key that is just as the reader knows it.
    Unchanged { version: u64, ttl_ms: Option<NonZeroU64>, stale: Option<Lease> },
    /// Anything but a write or addition, of a key that is not there, or no longer, whatever the
    /// condition.
    Absent,
    /// `Read` with a lease, of a key that is not there. Never [`Lease::NotAsked`].
    Missing(Lease),
    /// `Write` of a new key.
    Created,
    /// `Write` over a key that is there.
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
    /// `Delete` of a key that is there.
    Deleted,
    /// An entry that is larger than the whole budget or than extras may be. Nothing changed.
    TooLarge,
    /// An entry for which there is no room where nothing is evicted. Nothing changed.
    Full,
}

/// What there is to know of an entry beside its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Details<B> {
    pub content_type: Option<B>,
    /// Each write changes it, a touch does not.
    pub version: u64,
    /// What is left of its time to live; nothing is left where it is stale.
    pub ttl_ms: Option<NonZeroU64>,
    /// The time to live is over: who is to bring the entry up to date?
    pub stale: Option<Lease>,
}

/// Who is to write a key that is missing or stale. To write or touch the key ends its lease. Of
/// more leases than the store has room for, those that end first are dropped.
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

impl<B> Details<B> {
    /// The same with the bytes held differently.
    #[must_use]
    pub fn map<C>(self, hold: impl FnMut(B) -> C) -> Details<C> {
        let Self { content_type, version, ttl_ms, stale } = self;
        Details { content_type: content_type.map(hold), version, ttl_ms, stale }
    }
}

impl<B> Reply<B> {
    /// The pin that the reply hands to whoever gets it.
    #[must_use]
    pub fn pin(&self) -> Option<Pin> {
        match self {
            Self::Pinned { pin, .. } | Self::Piece { pin, .. } => Some(*pin),
            _ => None,
        }
    }

    /// The same with the bytes held differently.
    #[must_use]
    pub fn map<C>(self, mut hold: impl FnMut(B) -> C) -> Reply<C> {
        match self {
            Self::Value(value) => Reply::Value(hold(value)),
            Self::Entry { value, details } => {
                Reply::Entry { value: hold(value), details: details.map(hold) }
            }
            Self::Pinned { pin, bytes, details } => {
                Reply::Pinned { pin, bytes, details: details.map(|details| details.map(hold)) }
            }
            Self::Piece { pin, bytes } => Reply::Piece { pin, bytes: hold(bytes) },
            Self::Gone => Reply::Gone,
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
