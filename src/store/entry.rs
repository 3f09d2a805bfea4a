//! The bytes of one entry, and how they are read and written in place.
//!
//! ```text
//! | prev u32 | next u32 | meta u64 |                        16 bytes
//! | expires u32 | wheel_prev u32 | wheel_next u32 |         12 more, with a time to live
//! | key |
//! | version, content type, tags ... |                       10 and more, when extended: extras.rs
//! | value_len u32 | chunk u32 ... |                         when the value is chunked
//! | value, or the end of it that is not in chunks |
//!
//! meta, from the lowest bit: hash 24 | key_len 11 | inline_len 14 | has_ttl 1 | chunked 1 |
//!                            extended 1 | was_read 1 | policy 4 | high bits of expires 7
//! ```
//!
//! `prev` and `next` belong to the eviction policy. The hash is the part of the key's that picks
//! its bucket: with it an entry finds its place in the index without its key. Milliseconds in 39
//! bits last 17 years. `expires` is when nobody may read the entry any more, stale or not.

#![expect(clippy::cast_possible_truncation, reason = "fields are masked to their width")]

use super::arena::{Arena, Ref};
use super::extras::{self, Extended};
use super::words::{read_u32, read_u64, write_u32, write_u64};

pub(super) const KEY_BYTES_MAX: usize = 1 << 10;
/// Instants from here on are never reached.
pub(super) const EXPIRES_MAX: u64 = (1 << 39) - 1;
pub(super) const HASH_BITS: u32 = 24;

const HEADER_BYTES: usize = 16;
const TTL_BYTES: usize = 12;
/// Bytes of an entry beside key and value.
pub(super) const OVERHEAD_BYTES_MAX: usize = HEADER_BYTES + TTL_BYTES + extras::BYTES_MAX;
const INLINE_LEN_MAX: usize = (1 << 14) - 1;

const KEY_LEN: u32 = HASH_BITS;
const INLINE_LEN: u32 = KEY_LEN + 11;
const HAS_TTL: u32 = INLINE_LEN + 14;
const CHUNKED: u32 = HAS_TTL + 1;
const EXTENDED: u32 = CHUNKED + 1;
const WAS_READ: u32 = EXTENDED + 1;
const POLICY: u32 = WAS_READ + 1;
const EXPIRES_HIGH: u32 = POLICY + 4;
const _: () = assert!(EXPIRES_HIGH + 7 == u64::BITS);

/// The fixed part of an entry, as one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta(u64);

impl Meta {
    fn bits(self, at: u32, count: u32) -> usize {
        (self.0 >> at) as usize & ((1 << count) - 1)
    }

    pub(super) fn hash(self) -> u32 {
        self.0 as u32 & ((1 << HASH_BITS) - 1)
    }

    pub(super) fn key_len(self) -> usize {
        self.bits(KEY_LEN, 11)
    }

    pub(super) fn inline_len(self) -> usize {
        self.bits(INLINE_LEN, 14)
    }

    pub(super) fn has_ttl(self) -> bool {
        self.0 >> HAS_TTL & 1 != 0
    }

    pub(super) fn is_chunked(self) -> bool {
        self.0 >> CHUNKED & 1 != 0
    }

    pub(super) fn is_extended(self) -> bool {
        self.0 >> EXTENDED & 1 != 0
    }

    pub(super) fn was_read(self) -> bool {
        self.0 >> WAS_READ & 1 != 0
    }

    /// Four bits that the eviction policy keeps.
    pub(super) fn policy(self) -> u8 {
        self.bits(POLICY, 4) as u8
    }

    fn with_policy(self, bits: u8) -> Self {
        Self(self.0 & !(0xf << POLICY) | u64::from(bits & 0xf) << POLICY)
    }

    /// Whether key, hash and lengths leave this a candidate for a key.
    pub(super) fn may_be(self, hash: u32, key_len: usize) -> bool {
        let both = (1 << INLINE_LEN) - 1;
        self.0 & both == u64::from(hash) | (key_len as u64) << KEY_LEN
    }

    fn key_at(self) -> usize {
        HEADER_BYTES + if self.has_ttl() { TTL_BYTES } else { 0 }
    }

    fn extended_at(self) -> usize {
        self.key_at() + self.key_len()
    }
}

/// What an entry consists of, before it has a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape<'a> {
    pub(super) hash: u32,
    pub(super) key_len: usize,
    pub(super) value_len: usize,
    pub(super) expires: Option<u64>,
    pub(super) extended: Option<&'a Extended<'a>>,
    /// Chunks beside the slot, and what of the value stays in it.
    pub(super) chunks: usize,
    inline_len: usize,
}

impl<'a> Shape<'a> {
    /// Spreads a value over a slot of at most `slot_bytes_max` and chunks of `chunk_bytes`.
    /// `None` if that is not possible.
    pub(super) fn new(
        (hash, key_len, value_len): (u32, usize, usize),
        (expires, extended): (Option<u64>, Option<&'a Extended<'a>>),
        (slot_bytes_max, chunk_bytes): (usize, usize),
    ) -> Option<Self> {
        let expires = expires.filter(|&expires| expires < EXPIRES_MAX);
        let mut shape =
            Self { hash, key_len, value_len, expires, extended, chunks: 0, inline_len: value_len };
        if key_len > KEY_BYTES_MAX {
            return None;
        }
        if shape.slot_bytes() > slot_bytes_max || value_len > INLINE_LEN_MAX {
            let base = shape.slot_bytes() - value_len + size_of::<u32>();
            shape.chunks = value_len / chunk_bytes;
            let tail = value_len % chunk_bytes;
            let list = shape.chunks * size_of::<Ref>();
            if base + list + tail <= slot_bytes_max {
                shape.inline_len = tail;
            } else {
                shape.chunks += 1;
                shape.inline_len = 0;
            }
        }
        (shape.slot_bytes() <= slot_bytes_max).then_some(shape)
    }

    pub(super) fn slot_bytes(&self) -> usize {
        let list = if self.chunks > 0 { (1 + self.chunks) * size_of::<Ref>() } else { 0 };
        self.meta(0).extended_at() + self.extended_bytes() + list + self.inline_len
    }

    fn extended_bytes(&self) -> usize {
        self.extended.map_or(0, Extended::bytes)
    }

    /// Bytes of the slot and of the chunks that are filled.
    pub(super) fn bytes(&self) -> usize {
        self.slot_bytes() + self.value_len - self.inline_len
    }

    fn meta(&self, policy: u8) -> Meta {
        let high = self.expires.unwrap_or(0) >> 32;
        Meta(
            u64::from(self.hash)
                | (self.key_len as u64) << KEY_LEN
                | (self.inline_len as u64) << INLINE_LEN
                | u64::from(self.expires.is_some()) << HAS_TTL
                | u64::from(self.chunks > 0) << CHUNKED
                | u64::from(self.extended.is_some()) << EXTENDED
                | high << EXPIRES_HIGH,
        )
        .with_policy(policy)
    }

    /// Writes everything but the links of the policy and the wheel.
    pub(super) fn write(
        &self,
        arena: &mut Arena,
        at: Ref,
        (key, value): (&[u8], &[u8]),
        policy: u8,
        chunks: &[Ref],
    ) {
        let chunk_bytes = arena.slot_bytes(arena.chunk_class());
        let (chunked, inline) = value.split_at(value.len() - self.inline_len);
        for (&chunk, part) in chunks.iter().zip(chunked.chunks(chunk_bytes)) {
            arena.bytes_mut(chunk)[..part.len()].copy_from_slice(part);
        }
        let meta = self.meta(policy);
        let bytes = &mut arena.bytes_mut(at)[..self.slot_bytes()];
        write_u64(bytes, 8, meta.0);
        if let Some(expires) = self.expires {
            write_u32(bytes, HEADER_BYTES, expires as u32);
        }
        let (key_bytes, rest) = bytes[meta.key_at()..].split_at_mut(self.key_len);
        key_bytes.copy_from_slice(key);
        let (extended, mut rest) = rest.split_at_mut(self.extended_bytes());
        if let Some(extras) = self.extended {
            extras.write(extended);
        }
        if self.chunks > 0 {
            let len = u32::try_from(value.len()).expect("a value has fewer than 2^32 bytes");
            let (list, inline) = rest.split_at_mut((1 + chunks.len()) * size_of::<Ref>());
            write_u32(list, 0, len);
            for (index, &chunk) in chunks.iter().enumerate() {
                write_u32(list, (1 + index) * size_of::<Ref>(), chunk);
            }
            rest = inline;
        }
        rest.copy_from_slice(inline);
    }
}

/// The largest slot that an entry with nothing but a version may take.
pub(super) fn slot_bytes_max(key_len: usize, value_len: usize) -> usize {
    HEADER_BYTES + TTL_BYTES + key_len + extras::VERSION_BYTES + value_len
}

pub(super) fn meta(arena: &Arena, at: Ref) -> Meta {
    Meta(read_u64(arena.array::<HEADER_BYTES>(at), 8))
}

fn set_meta(arena: &mut Arena, at: Ref, meta: Meta) {
    write_u64(arena.array_mut::<HEADER_BYTES>(at), 8, meta.0);
}

pub(super) fn set_policy(arena: &mut Arena, at: Ref, bits: u8) {
    let meta = meta(arena, at).with_policy(bits);
    set_meta(arena, at, meta);
}

pub(super) fn set_read(arena: &mut Arena, at: Ref) {
    let meta = Meta(meta(arena, at).0 | 1 << WAS_READ);
    set_meta(arena, at, meta);
}

pub(super) fn links(arena: &Arena, at: Ref) -> (Ref, Ref) {
    let bytes = arena.array::<8>(at);
    (read_u32(bytes, 0), read_u32(bytes, 4))
}

pub(super) fn set_links(arena: &mut Arena, at: Ref, (prev, next): (Ref, Ref)) {
    let bytes = arena.array_mut::<8>(at);
    write_u32(bytes, 0, prev);
    write_u32(bytes, 4, next);
}

pub(super) fn set_prev(arena: &mut Arena, at: Ref, prev: Ref) {
    write_u32(arena.array_mut::<8>(at), 0, prev);
}

pub(super) fn set_next(arena: &mut Arena, at: Ref, next: Ref) {
    write_u32(arena.array_mut::<8>(at), 4, next);
}

/// The links of the wheel, in an entry with a time to live.
pub(super) fn wheel_links(arena: &Arena, at: Ref) -> (Ref, Ref) {
    let bytes = arena.array::<{ HEADER_BYTES + TTL_BYTES }>(at);
    (read_u32(bytes, HEADER_BYTES + 4), read_u32(bytes, HEADER_BYTES + 8))
}

pub(super) fn set_wheel_prev(arena: &mut Arena, at: Ref, prev: Ref) {
    write_u32(arena.array_mut::<{ HEADER_BYTES + TTL_BYTES }>(at), HEADER_BYTES + 4, prev);
}

pub(super) fn set_wheel_next(arena: &mut Arena, at: Ref, next: Ref) {
    write_u32(arena.array_mut::<{ HEADER_BYTES + TTL_BYTES }>(at), HEADER_BYTES + 8, next);
}

/// The instant at which the entry ends, if it does.
pub(super) fn expires(arena: &Arena, at: Ref, meta: Meta) -> Option<u64> {
    meta.has_ttl().then(|| {
        let low = read_u32(arena.array::<{ HEADER_BYTES + TTL_BYTES }>(at), HEADER_BYTES);
        u64::from(low) | (meta.bits(EXPIRES_HIGH, 7) as u64) << 32
    })
}

pub(super) fn set_expires(arena: &mut Arena, at: Ref, expires: u64) {
    let low = (1 << EXPIRES_HIGH) - 1;
    let meta = Meta(meta(arena, at).0 & low | expires >> 32 << EXPIRES_HIGH);
    set_meta(arena, at, meta);
    let bytes = arena.array_mut::<{ HEADER_BYTES + TTL_BYTES }>(at);
    write_u32(bytes, HEADER_BYTES, expires as u32);
}

/// What the entry carries beside its value.
pub(super) fn extended(arena: &Arena, at: Ref, meta: Meta) -> Option<Extended<'_>> {
    meta.is_extended().then(|| Extended::read(&arena.bytes(at)[meta.extended_at()..]))
}

/// The same as it lies there; empty where there is nothing.
pub(super) fn extended_bytes(arena: &Arena, at: Ref, meta: Meta) -> &[u8] {
    &arena.bytes(at)[meta.extended_at()..][..extended_len(arena, at, meta)]
}

#[inline]
fn extended_len(arena: &Arena, at: Ref, meta: Meta) -> usize {
    if meta.is_extended() { extras::len(&arena.bytes(at)[meta.extended_at()..]) } else { 0 }
}

/// Sets the instant of an entry that has one.
pub(super) fn set_stale_at(arena: &mut Arena, at: Ref, meta: Meta, stale_at: u64) {
    write_u64(arena.bytes_mut(at), meta.extended_at() + extras::STALE_AT, stale_at);
}

/// Gives an entry that is not extended a version, in a slot that has `VERSION_BYTES` to spare.
pub(super) fn extend(arena: &mut Arena, at: Ref, version: u64) {
    let meta = meta(arena, at);
    let (from, end) = (meta.extended_at(), slot_bytes_used(arena, at, meta));
    let bytes = &mut arena.bytes_mut(at)[..end + extras::VERSION_BYTES];
    bytes.copy_within(from..end, from + extras::VERSION_BYTES);
    Extended::version(version).write(&mut bytes[from..]);
    set_meta(arena, at, Meta(meta.0 | 1 << EXTENDED));
}

pub(super) fn key(arena: &Arena, at: Ref, meta: Meta) -> &[u8] {
    &arena.bytes(at)[meta.key_at()..][..meta.key_len()]
}

/// Where the value begins, or the list of its chunks.
fn value_at(arena: &Arena, at: Ref, meta: Meta) -> usize {
    meta.extended_at() + extended_len(arena, at, meta)
}

/// Bytes of the list of chunks.
fn list_bytes(arena: &Arena, at: Ref, meta: Meta) -> usize {
    if meta.is_chunked() { (1 + chunk_count(arena, at, meta)) * size_of::<Ref>() } else { 0 }
}

/// The part of the value that lies in the slot: all of it unless there are chunks.
pub(super) fn inline_value(arena: &Arena, at: Ref, meta: Meta) -> &[u8] {
    let from = if meta.0 & (1 << CHUNKED | 1 << EXTENDED) == 0 {
        meta.extended_at()
    } else {
        value_at(arena, at, meta) + list_bytes(arena, at, meta)
    };
    &arena.bytes(at)[from..][..meta.inline_len()]
}

pub(super) fn value_len(arena: &Arena, at: Ref, meta: Meta) -> usize {
    if meta.is_chunked() {
        read_u32(arena.bytes(at), value_at(arena, at, meta)) as usize
    } else {
        meta.inline_len()
    }
}

pub(super) fn chunk_count(arena: &Arena, at: Ref, meta: Meta) -> usize {
    if !meta.is_chunked() {
        return 0;
    }
    let chunk_bytes = arena.slot_bytes(arena.chunk_class());
    (value_len(arena, at, meta) - meta.inline_len()).div_ceil(chunk_bytes)
}

pub(super) fn chunk(arena: &Arena, at: Ref, meta: Meta, index: usize) -> Ref {
    read_u32(arena.bytes(at), value_at(arena, at, meta) + (1 + index) * size_of::<Ref>())
}

pub(super) fn set_chunk(arena: &mut Arena, at: Ref, meta: Meta, index: usize, chunk: Ref) {
    let list = value_at(arena, at, meta);
    write_u32(arena.bytes_mut(at), list + (1 + index) * size_of::<Ref>(), chunk);
}

/// A value as it lies.
pub(super) fn parts(arena: &Arena, at: Ref, meta: Meta) -> impl Iterator<Item = &[u8]> {
    let chunk_bytes = arena.slot_bytes(arena.chunk_class());
    let chunked = value_len(arena, at, meta) - meta.inline_len();
    let chunks = (0..chunk_count(arena, at, meta)).map(move |index| {
        let bytes = (chunked - index * chunk_bytes).min(chunk_bytes);
        &arena.bytes(chunk(arena, at, meta, index))[..bytes]
    });
    chunks.chain([inline_value(arena, at, meta)])
}

/// Copies a value out.
pub(super) fn gather(arena: &Arena, at: Ref, meta: Meta, value: &mut Vec<u8>) {
    gather_piece(arena, at, meta, (0, usize::MAX), value);
}

/// Copies so many bytes of a value out, or those that there are.
pub(super) fn gather_piece(
    arena: &Arena,
    at: Ref,
    meta: Meta,
    (from, bytes): (usize, usize),
    piece: &mut Vec<u8>,
) {
    piece.clear();
    let mut skipped = 0;
    for part in parts(arena, at, meta) {
        let start = (from - skipped).min(part.len());
        skipped += start;
        let end = part.len().min(start.saturating_add(bytes - piece.len()));
        piece.extend_from_slice(&part[start..end]);
    }
}

/// What `Shape::bytes` was.
pub(super) fn bytes_used(arena: &Arena, at: Ref, meta: Meta) -> usize {
    let used = slot_bytes_used(arena, at, meta);
    used - meta.inline_len() + value_len(arena, at, meta)
}

/// What `Shape::slot_bytes` was.
pub(super) fn slot_bytes_used(arena: &Arena, at: Ref, meta: Meta) -> usize {
    value_at(arena, at, meta) + list_bytes(arena, at, meta) + meta.inline_len()
}
