//! How entries come to their places, move and leave, with everything that refers to them.

use super::arena::{Class, Moved, Ref};
use super::end::End;
use super::entry::{self, Meta, Shape};
use super::extras::Extended;
use super::index;
use super::op::Key;
use super::state::Store;
use crate::clock::Millis;

/// What is to be written under a key.
#[derive(Clone, Copy)]
pub(super) struct Fresh<'a> {
    pub(super) value: &'a [u8],
    pub(super) expires: Option<u64>,
    pub(super) extended: Option<&'a Extended<'a>>,
}

impl Store {
    /// How an entry would lie, if it may be put at all.
    pub(super) fn shape<'a>(&self, key: Key<&[u8]>, fresh: &Fresh<'a>) -> Option<Shape<'a>> {
        let lengths = (key.bytes.len(), fresh.value.len());
        if lengths.0 > self.bounds.key_bytes_max || lengths.1 > self.bounds.value_bytes_max {
            return None;
        }
        let chunk_class = self.arena.chunk_class();
        let shape = Shape::new(
            (index::bucket_bits(key.hash), lengths.0, lengths.1),
            (fresh.expires, fresh.extended),
            (self.arena.entry_bytes_max(), self.arena.slot_bytes(chunk_class)),
        )?;
        let pages = shape.chunks.div_ceil(self.arena.slots_per_page(chunk_class));
        (pages <= self.entry_pages_max).then_some(shape)
    }

    /// The entry of `key`, fresh or stale. One that nobody may read is dropped.
    #[inline]
    pub(super) fn find_live(&mut self, key: Key<&[u8]>, now: Millis) -> Option<(Ref, Meta)> {
        let hash = index::bucket_bits(key.hash);
        let arena = &self.arena;
        let at = self.index.find(arena, key.hash, |at| {
            let meta = entry::meta(arena, at);
            meta.may_be(hash, key.bytes.len()) && entry::key(arena, at, meta) == key.bytes
        })?;
        let meta = entry::meta(arena, at);
        if let Some(end) = self.end(at, meta, now) {
            self.drop_ended(at, meta, end);
            return None;
        }
        Some((at, meta))
    }

    /// Whether there is an entry of `key`, fresh or stale. It counts as no read.
    pub fn holds(&mut self, key: Key<&[u8]>, now: Millis) -> bool {
        self.find_live(key, now).is_some()
    }

    #[cold]
    fn drop_ended(&mut self, at: Ref, meta: Meta, end: End) {
        self.count(at, meta, end);
        self.remove(at, meta);
    }

    /// Writes to the slot of an entry of the same key and class.
    pub(super) fn overwrite(
        &mut self,
        at: Ref,
        meta: Meta,
        shape: &Shape<'_>,
        bytes: (&[u8], &[u8]),
    ) {
        if meta.has_ttl() {
            self.wheel.remove(&mut self.arena, at);
        }
        self.stats.payload_bytes -= entry::bytes_used(&self.arena, at, meta) as u64;
        self.stats.payload_bytes += shape.bytes() as u64;
        shape.write(&mut self.arena, at, bytes, meta.policy(), &[]);
        if let Some(expires) = shape.expires {
            self.wheel.insert(&mut self.arena, at, expires);
        }
    }

    /// Writes an entry that is not there, for which there is room.
    pub(super) fn insert(
        &mut self,
        shape: &Shape<'_>,
        class: Class,
        key: Key<&[u8]>,
        value: &[u8],
    ) {
        self.chunks.clear();
        for _ in 0..shape.chunks {
            self.chunks.push(self.arena.take_chunk().expect("room was made"));
        }
        let at = self.arena.place(class).expect("room was made");
        for &chunk in &self.chunks {
            self.owners[self.arena.chunk_number(chunk)] = at;
        }
        shape.write(&mut self.arena, at, (key.bytes, value), 0, &self.chunks);
        self.stats.payload_bytes += shape.bytes() as u64;
        self.policy.insert(&mut self.arena, at);
        if let Some(expires) = shape.expires {
            self.wheel.insert(&mut self.arena, at, expires);
        }
        self.index.insert(&mut self.arena, key.hash, at);
    }

    /// Takes an entry out of everything and frees its place unless it is pinned. Other entries may
    /// move.
    pub(super) fn remove(&mut self, at: Ref, meta: Meta) {
        self.stats.payload_bytes -= entry::bytes_used(&self.arena, at, meta) as u64;
        self.index.remove(&mut self.arena, meta.hash(), at);
        self.policy.remove(&mut self.arena, at);
        if meta.has_ttl() {
            self.wheel.remove(&mut self.arena, at);
        }
        if let Some(walk) = &mut self.walk {
            walk.removed(at);
        }
        match self.pin_of(at, meta) {
            Some(pin) => self.orphan(pin, at, meta),
            None => self.free(at, meta),
        }
    }

    /// Frees the place of an entry that is in nothing any more.
    pub(super) fn free(&mut self, at: Ref, meta: Meta) {
        for index in 0..entry::chunk_count(&self.arena, at, meta) {
            let chunk = entry::chunk(&self.arena, at, meta, index);
            self.arena.free_chunk(chunk);
        }
        if let Some(moved) = self.arena.free(at) {
            self.entry_moved(moved);
        }
    }

    /// Mends every reference to an entry that moved.
    pub(super) fn entry_moved(&mut self, moved: Moved) {
        let at = moved.to;
        let meta = entry::meta(&self.arena, at);
        self.stats.relocations += 1;
        match self.pin_of(at, meta) {
            Some(pin) if self.pin_moved(pin, at) => return,
            Some(_) => {}
            None => self.set_owner(at, meta, at),
        }
        self.index.entry_moved(&mut self.arena, meta.hash(), moved);
        self.policy.moved(&mut self.arena, moved.from, at);
        if let Some(walk) = &mut self.walk {
            walk.moved(moved);
        }
        if meta.has_ttl() {
            self.wheel.moved(&mut self.arena, at);
        }
    }

    pub(super) fn chunk_moved(&mut self, moved: Moved) {
        let owner = self.owners[self.arena.chunk_number(moved.from)];
        self.owners[self.arena.chunk_number(moved.to)] = owner;
        let at = self.pins.entry(owner);
        let meta = entry::meta(&self.arena, at);
        let index = (0..entry::chunk_count(&self.arena, at, meta))
            .find(|&index| entry::chunk(&self.arena, at, meta, index) == moved.from)
            .expect("a chunk is in the list of its entry");
        entry::set_chunk(&mut self.arena, at, meta, index, moved.to);
        self.stats.relocations += 1;
    }
}
