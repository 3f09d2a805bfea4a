//! From a key's hash to its entry: buckets of one cache line, grown one at a time.
//!
//! ```text
//! bucket   | ref u32 x 12 | tag u8 x 12 | overflow u32 |     64 bytes
//! ```
//!
//! Linear hashing (Litwin 1980): with 2^L + s buckets, the first s have been split by bit L of the
//! hash. A bucket is split about every ten inserts and two are joined as entries leave, so the
//! table follows their number and nothing is ever hashed again. Chains are packed: only the last
//! bucket of one has room. A tag is eight bits of the hash that never pick a bucket.
//!
//! Buckets lie in whole pages of the arena, in the order of `directory`; overflow buckets are slots
//! of a class of their own.

#![expect(clippy::cast_possible_truncation, reason = "a hash is cut on purpose")]

use super::arena::{self, Arena, BUCKET_BYTES, GRANULE, Moved, NIL, Ref};
use super::entry::{self, HASH_BITS, Meta};
use super::words::{read_u32, write_u32};
use std::ops::ControlFlow;

const ENTRIES: usize = 12;
const TAGS: usize = ENTRIES * size_of::<Ref>();
const OVERFLOW: usize = TAGS + ENTRIES;
const _: () = assert!(OVERFLOW + size_of::<Ref>() == BUCKET_BYTES);

/// Split above this many entries per ten buckets, join below that many.
const SPLIT_ABOVE: usize = 96;
const JOIN_BELOW: usize = 72;

/// Two buckets are joined when their chains have no more buckets than this together. A scan that
/// removes what it meets leaves all that it has not met to buckets whose numbers end alike: joined
/// without a bound, these would come to share one chain.
const JOINED_MAX: usize = 4;

const BUCKETS_MAX: usize = 1 << HASH_BITS;

type Bucket = [u8; BUCKET_BYTES];

/// How far a scan over all buckets has come.
///
/// It goes through the hashes in the order of their bits read backwards, highest first. In that
/// order the hashes of a bucket are neighbours, and to split it cuts their range in two. So the
/// buckets may change as they like between two steps: what stays is met exactly once. (The cursor
/// of SCAN in Redis, by Pieter Noordhuis, counts alike.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cursor(u32);

impl Cursor {
    pub(super) const START: Self = Self(0);
    /// Every entry has been met.
    pub(super) const END: Self = Self(1 << HASH_BITS);

    pub(super) fn has_met(self, hash: u32) -> bool {
        backwards(hash) < self.0
    }
}

fn backwards(hash: u32) -> u32 {
    hash.reverse_bits() >> (u32::BITS - HASH_BITS)
}

pub(super) struct Index {
    /// The page that holds each run of buckets.
    directory: Vec<u32>,
    /// Logarithm of the buckets in a page.
    page_shift: u32,
    buckets: usize,
    entries: usize,
    /// What `split` and `join` take apart; empty between calls.
    scratch: Vec<(Ref, u8)>,
}

impl Index {
    /// One page of empty buckets.
    pub(super) fn new(arena: &mut Arena) -> Self {
        let per_page = arena.page_bytes() / BUCKET_BYTES;
        let mut index = Self {
            directory: Vec::with_capacity(arena.pages()),
            page_shift: per_page.trailing_zeros(),
            buckets: per_page,
            entries: 0,
            scratch: Vec::with_capacity(JOINED_MAX * ENTRIES),
        };
        index.clear(arena);
        index
    }

    /// Starts again in an arena that was cleared.
    pub(super) fn clear(&mut self, arena: &mut Arena) {
        let page = arena.take_page().expect("an arena has pages");
        assert!(page == 0, "the first page, so that no slot has the number of no slot");
        self.directory.clear();
        self.directory.push(page);
        self.buckets = 1 << self.page_shift;
        self.entries = 0;
        arena.bytes_mut(arena.page_start(page))[..self.buckets * BUCKET_BYTES].fill(0);
    }

    pub(super) fn entries(&self) -> usize {
        self.entries
    }

    /// Pages of buckets.
    pub(super) fn pages(&self) -> usize {
        self.directory.len()
    }

    /// Bytes that `new` allocates beside the arena.
    pub(super) fn table_bytes(budget: usize) -> usize {
        budget / arena::page_bytes(budget) * size_of::<u32>() + JOINED_MAX * ENTRIES * 8
    }

    /// The entry of this hash that `is_it` accepts.
    #[inline]
    pub(super) fn find(
        &self,
        arena: &Arena,
        hash: u64,
        mut is_it: impl FnMut(Ref) -> bool,
    ) -> Option<Ref> {
        let tags = u128::from_le_bytes([tag(hash); 16]);
        let mut at = self.primary(bucket_bits(hash));
        loop {
            let bucket: &Bucket = arena.array(at);
            let mut hits = zero_bytes(read_tags(bucket) ^ tags);
            while hits != 0 {
                let found = read_ref(bucket, hits.trailing_zeros() as usize / 8);
                if found != NIL && is_it(found) {
                    return Some(found);
                }
                hits &= hits - 1;
            }
            at = read_u32(bucket, OVERFLOW);
            if at == NIL {
                return None;
            }
        }
    }

    /// Whether `insert` may need no page.
    pub(super) fn has_room(arena: &Arena) -> bool {
        arena.room(arena.overflow_class()) > 0
    }

    /// Adds an entry that is not there. There must be room for an overflow bucket, or a page.
    pub(super) fn insert(&mut self, arena: &mut Arena, hash: u64, at: Ref) {
        let primary = self.primary(bucket_bits(hash));
        push(arena, primary, at, tag(hash));
        self.entries += 1;
        if self.entries * 10 > self.buckets * SPLIT_ABOVE {
            self.split(arena);
        }
    }

    pub(super) fn remove(&mut self, arena: &mut Arena, hash: u32, entry: Ref) {
        let (mut before, mut at) = (None, self.primary(hash));
        let mut found = None;
        loop {
            let bucket: &Bucket = arena.array(at);
            if found.is_none() {
                found = slot_of(bucket, entry).map(|slot| (at, slot));
            }
            let next = read_u32(bucket, OVERFLOW);
            if next == NIL {
                break;
            }
            (before, at) = (Some(at), next);
        }
        let (holder, slot) = found.expect("every entry is in the index");
        let bucket: &mut Bucket = arena.array_mut(at);
        let last = count(bucket) - 1;
        let (moved, tag) = (read_ref(bucket, last), bucket[TAGS + last]);
        write(bucket, last, NIL, 0);
        if (at, last) != (holder, slot) {
            write(arena.array_mut(holder), slot, moved, tag);
        }
        if last == 0
            && let Some(before) = before
        {
            write_u32(arena.array_mut::<BUCKET_BYTES>(before), OVERFLOW, NIL);
            self.free(arena, at);
        }
        self.entries -= 1;
        if self.entries * 10 < self.buckets * JOIN_BELOW {
            self.join(arena);
        }
    }

    /// Mends the reference to an entry that moved.
    pub(super) fn entry_moved(&self, arena: &mut Arena, hash: u32, moved: Moved) {
        let mut at = self.primary(hash);
        loop {
            let bucket: &mut Bucket = arena.array_mut(at);
            if let Some(slot) = slot_of(bucket, moved.from) {
                return write_u32(bucket, slot * size_of::<Ref>(), moved.to);
            }
            at = read_u32(bucket, OVERFLOW);
            assert!(at != NIL, "every entry is in the index");
        }
    }

    /// The first entry in the bucket at the cursor that was not met before and that `is_it`
    /// accepts, else where the next bucket begins.
    pub(super) fn scan(
        &self,
        arena: &Arena,
        cursor: Cursor,
        mut is_it: impl FnMut(Ref, Meta) -> bool,
    ) -> ControlFlow<Ref, Cursor> {
        let hash = backwards(cursor.0);
        let mut at = self.primary(hash);
        loop {
            let bucket: &Bucket = arena.array(at);
            for slot in 0..count(bucket) {
                let found = read_ref(bucket, slot);
                let meta = entry::meta(arena, found);
                if !cursor.has_met(meta.hash()) && is_it(found, meta) {
                    return ControlFlow::Break(found);
                }
            }
            at = read_u32(bucket, OVERFLOW);
            if at == NIL {
                break;
            }
        }
        let (whole, low) =
            (self.buckets.ilog2(), hash as usize & ((1 << self.buckets.ilog2()) - 1));
        let is_split = low + (1 << whole) < self.buckets;
        let hashes = 1 << (HASH_BITS - whole - u32::from(is_split));
        ControlFlow::Continue(Cursor((cursor.0 / hashes + 1) * hashes))
    }

    /// Frees an overflow bucket that is in no chain any more.
    fn free(&self, arena: &mut Arena, at: Ref) {
        let Some(Moved { from, to }) = arena.free(at) else { return };
        let first = read_u32(arena.array::<BUCKET_BYTES>(to), 0);
        let mut before = self.primary(entry::meta(arena, first).hash());
        while let next = read_u32(arena.array::<BUCKET_BYTES>(before), OVERFLOW)
            && next != from
        {
            before = next;
        }
        write_u32(arena.array_mut::<BUCKET_BYTES>(before), OVERFLOW, to);
    }

    /// Adds a bucket and spreads the next one in turn over both. Put off while pages are scarce.
    fn split(&mut self, arena: &mut Arena) {
        let fresh = self.buckets;
        if fresh >= BUCKETS_MAX {
            return;
        }
        if fresh >> self.page_shift == self.directory.len() {
            if arena.is_scarce() {
                return;
            }
            let Some(page) = arena.take_page() else { return };
            self.directory.push(page);
        }
        let split = fresh - (1 << fresh.ilog2());
        self.take_apart(arena, split);
        self.buckets += 1;
        arena.array_mut::<BUCKET_BYTES>(self.bucket(fresh)).fill(0);
        self.put_together(arena);
    }

    /// Drops the last bucket. Put off while there is no room for an overflow bucket, or too much to
    /// put together.
    fn join(&mut self, arena: &mut Arena) {
        let last = self.buckets - 1;
        if last >> self.page_shift == 0 || (!Self::has_room(arena) && arena.is_scarce()) {
            return;
        }
        let partner = last - (1 << last.ilog2());
        let chains = [last, partner].map(|number| self.chain_buckets(arena, number));
        if chains[0] + chains[1] > JOINED_MAX {
            return;
        }
        self.take_apart(arena, last);
        self.take_apart(arena, partner);
        self.buckets -= 1;
        if last >> self.page_shift == self.directory.len() - 1
            && last & ((1 << self.page_shift) - 1) == 0
        {
            let page = self.directory.pop().expect("the first page stays");
            arena.give_page(page);
        }
        self.put_together(arena);
    }

    /// Buckets in the chain of a bucket; more than can be joined count as one more.
    fn chain_buckets(&self, arena: &Arena, number: usize) -> usize {
        let mut at = self.bucket(number);
        for buckets in 1..=JOINED_MAX {
            at = read_u32(arena.array::<BUCKET_BYTES>(at), OVERFLOW);
            if at == NIL {
                return buckets;
            }
        }
        JOINED_MAX + 1
    }

    /// Moves the chain of a bucket to `scratch`.
    fn take_apart(&mut self, arena: &mut Arena, number: usize) {
        let primary = self.bucket(number);
        let bucket = *arena.array(primary);
        self.gather(&bucket);
        // One after the other leaves its chain before it is freed: what moves is still linked.
        while let next @ 1.. = read_u32(arena.array::<BUCKET_BYTES>(primary), OVERFLOW) {
            let bucket = *arena.array(next);
            self.gather(&bucket);
            write_u32(
                arena.array_mut::<BUCKET_BYTES>(primary),
                OVERFLOW,
                read_u32(&bucket, OVERFLOW),
            );
            self.free(arena, next);
        }
        arena.array_mut::<BUCKET_BYTES>(primary).fill(0);
    }

    fn gather(&mut self, bucket: &Bucket) {
        let held = count(bucket);
        self.scratch.extend((0..held).map(|slot| (read_ref(bucket, slot), bucket[TAGS + slot])));
    }

    fn put_together(&mut self, arena: &mut Arena) {
        while let Some((at, tag)) = self.scratch.pop() {
            let hash = entry::meta(arena, at).hash();
            push(arena, self.primary(hash), at, tag);
        }
    }

    fn primary(&self, hash: u32) -> Ref {
        let whole = 1 << self.buckets.ilog2();
        let wide = hash as usize & (2 * whole - 1);
        self.bucket(if wide < self.buckets { wide } else { wide & (whole - 1) })
    }

    /// Buckets in the longest chain, counted as far as `chain_buckets` does.
    #[cfg(test)]
    pub(super) fn longest_chain(&self, arena: &Arena) -> usize {
        (0..self.buckets).map(|number| self.chain_buckets(arena, number)).max().unwrap_or(0)
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn check(&self, arena: &Arena, mut visit: impl FnMut(Ref)) {
        let mut overflows = 0;
        for number in 0..self.buckets {
            let primary = self.bucket(number);
            let mut at = primary;
            loop {
                let bucket: &Bucket = arena.array(at);
                let (held, next) = (count(bucket), read_u32(bucket, OVERFLOW));
                assert!(next == NIL || held == ENTRIES, "a gap before the end of a chain");
                assert!(at == primary || held > 0, "an empty overflow bucket");
                for slot in 0..held {
                    let found = read_ref(bucket, slot);
                    assert_eq!(self.primary(entry::meta(arena, found).hash()), primary);
                    visit(found);
                }
                if next == NIL {
                    break;
                }
                overflows += 1;
                at = next;
            }
        }
        assert_eq!(arena.slots_in_use(arena.overflow_class()), overflows);
    }

    fn bucket(&self, number: usize) -> Ref {
        let page = self.directory[number >> self.page_shift];
        let place = number & ((1 << self.page_shift) - 1);
        let granules = (BUCKET_BYTES / GRANULE) as Ref;
        ((page << self.page_shift) + place as Ref) * granules
    }
}

/// Adds to the last bucket of a chain.
fn push(arena: &mut Arena, primary: Ref, entry: Ref, tag: u8) {
    let mut at = primary;
    while let next @ 1.. = read_u32(arena.array::<BUCKET_BYTES>(at), OVERFLOW) {
        at = next;
    }
    let mut slot = count(arena.array(at));
    if slot == ENTRIES {
        let class = arena.overflow_class();
        let overflow = arena.add(class).or_else(|| arena.open(class));
        let overflow = overflow.expect("the caller saw to room for an overflow bucket");
        arena.array_mut::<BUCKET_BYTES>(overflow).fill(0);
        write_u32(arena.array_mut::<BUCKET_BYTES>(at), OVERFLOW, overflow);
        (at, slot) = (overflow, 0);
    }
    write(arena.array_mut(at), slot, entry, tag);
}

fn write(bucket: &mut Bucket, slot: usize, entry: Ref, tag: u8) {
    write_u32(bucket, slot * size_of::<Ref>(), entry);
    bucket[TAGS + slot] = tag;
}

fn read_ref(bucket: &Bucket, slot: usize) -> Ref {
    read_u32(bucket, slot * size_of::<Ref>())
}

/// The tags in the low twelve bytes; four bytes of something else above them.
fn read_tags(bucket: &Bucket) -> u128 {
    u128::from_le_bytes(*bucket.last_chunk().expect("shorter than a bucket"))
}

fn slot_of(bucket: &Bucket, entry: Ref) -> Option<usize> {
    let refs: &[u8; TAGS] = bucket.first_chunk().expect("shorter than a bucket");
    refs.as_chunks().0.iter().position(|&bytes| Ref::from_le_bytes(bytes) == entry)
}

fn count(bucket: &Bucket) -> usize {
    slot_of(bucket, NIL).unwrap_or(ENTRIES)
}

/// The top bit of each of the low twelve bytes that is zero.
fn zero_bytes(word: u128) -> u128 {
    const LOW: u128 = u128::from_le_bytes([0x7f; 16]);
    const TAGS_ONLY: u128 = (1 << (8 * ENTRIES)) - 1;
    !(((word & LOW) + LOW) | word | LOW) & TAGS_ONLY
}

/// The part of a hash that an entry keeps.
pub(super) fn bucket_bits(hash: u64) -> u32 {
    hash as u32 & ((1 << HASH_BITS) - 1)
}

fn tag(hash: u64) -> u8 {
    (hash >> 56) as u8
}
