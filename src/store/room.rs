//! How a store makes room: eviction ahead of need, in small bounded steps, and expiry.
//!
//! A put does not evict until its entry fits. It strives for a pool of free pages and takes a few
//! victims for each page that is missing, so that the cost of a page is spread over the puts before
//! the one that opens it. When the pool is nearly dry all the same, it moves entries of a class
//! that fills little of its top page into larger slots, which frees a page without an eviction.
//! Only what fits even then nowhere is forced in. The bounds come from simulation: at most 32
//! victims and 36 moves for an entry of 600 bytes, whatever sizes came before.

use super::arena::Class;
use super::entry::{self, Shape};
use super::index::Index;
use super::state::Store;
use crate::clock::Millis;
use crate::events::Kind;

/// Free pages that a put strives for, in an arena from `PAGES_LARGE` on and in a smaller one.
const POOL_PAGES: usize = 16;
const POOL_PAGES_SMALL: usize = 8;
const PAGES_LARGE: usize = 2048;
/// Victims of one put when the whole pool is missing.
const VICTIMS_PER_POOL: usize = 64;
/// Victims of one put at most, for each 640 bytes of it.
const VICTIMS_MAX: usize = 32;
const VICTIMS_UNIT_BYTES: usize = 640;
/// Entries that one put moves at most to free a page. With one move for each victim, and those for
/// the entry it replaces and for what expires meanwhile, a put of 640 bytes moves 65 at most.
const MERGES_MAX: u32 = 30;
/// Pages that a put leaves alone where nothing can be evicted: the index may need them.
pub(super) const SPARE_PAGES: usize = 3;
/// Entries that one put drops or moves at most because of their time.
pub(super) const EXPIRE_STEPS: u32 = 2;
/// Chunks that are freed in the time of a step.
const CHUNKS_PER_STEP: usize = 32;
/// Steps of [`Store::expire`] that one turn of the loop takes: about 30 us where nothing is in the
/// CPU's caches.
pub const EXPIRE_STEPS_MAX: u32 = 64;
/// The same of [`Store::make_room_ahead`]: entries of 170 bytes leave room for one read of 32 KiB.
pub const ROOM_STEPS_MAX: u32 = 64;

impl Store {
    /// Evicts and moves entries until the shape fits, and a little ahead of that.
    pub(super) fn make_room(&mut self, shape: &Shape<'_>, class: Class, now: Millis) {
        while self.index.entries() >= self.bounds.entries_max && self.evict(now) {}
        self.make_place(class, shape.bytes(), shape.chunks, now);
    }

    /// The same for a slot of the class and for chunks, `bytes` together.
    pub(super) fn make_place(&mut self, class: Class, bytes: usize, chunks: usize, now: Millis) {
        let want = self.pool_wanted() + self.chunk_pages(chunks);
        let most = VICTIMS_MAX * bytes.div_ceil(VICTIMS_UNIT_BYTES);
        let mut steps = 0;
        while let missing @ 1.. = want.saturating_sub(self.arena.pool())
            && steps < most.min(VICTIMS_PER_POOL / self.pool_wanted() * missing)
            && self.gather_or_evict(now)
        {
            steps += 1;
        }
        for _ in 0..MERGES_MAX {
            let Some(moved) = self.arena.merge_one() else { break };
            self.entry_moved(moved);
        }
        while !self.has_room(class, chunks) {
            let is_nearer = self.gather_or_evict(now);
            assert!(is_nearer, "an empty store has room for any entry that is accepted");
            steps += 1;
            self.stats.forced += u64::from(steps > most);
        }
    }

    /// Makes room for a value of `bytes` that is arriving, in at most `steps` steps of constant
    /// time. True when there is no more to do: there is room, until other puts take it, or nothing
    /// is left to evict.
    pub fn make_room_ahead(&mut self, bytes: usize, now: Millis, steps: u32) -> bool {
        let pages = bytes.div_ceil(self.arena.page_bytes()).min(self.entry_pages_max);
        let want = self.pool_wanted() + pages;
        for _ in 0..steps {
            if self.arena.pool() >= want || !self.gather_or_evict(now) {
                return true;
            }
        }
        self.arena.pool() >= want
    }

    /// One step towards a free page: moves a chunk where that can free one, else evicts.
    fn gather_or_evict(&mut self, now: Millis) -> bool {
        match self.arena.gather_chunk() {
            Some(moved) => {
                self.chunk_moved(moved);
                true
            }
            None => self.evict(now),
        }
    }

    fn has_room(&self, class: Class, chunks: usize) -> bool {
        let overflow_pages = usize::from(!Index::has_room(&self.arena));
        self.arena.has_place(class, self.chunk_pages(chunks) + overflow_pages)
    }

    /// Whether the shape fits without an eviction, whatever the index does meanwhile.
    pub(super) fn has_room_for_good(&mut self, shape: &Shape<'_>, class: Class) -> bool {
        loop {
            if self.arena.has_place(class, self.chunk_pages(shape.chunks) + SPARE_PAGES) {
                return true;
            }
            let Some(moved) = self.arena.gather_chunk() else { return false };
            self.chunk_moved(moved);
        }
    }

    /// Pages to open for that many chunks.
    fn chunk_pages(&self, chunks: usize) -> usize {
        let class = self.arena.chunk_class();
        let missing = chunks.saturating_sub(self.arena.room(class));
        missing.div_ceil(self.arena.slots_per_page(class))
    }

    /// Evicts one entry, if the rule has one to evict.
    fn evict(&mut self, now: Millis) -> bool {
        let Some(at) = self.policy.victim(&mut self.arena) else { return false };
        let meta = entry::meta(&self.arena, at);
        if let Some(end) = self.end(at, meta, now) {
            self.count(at, meta, end);
        } else {
            self.stats.evictions += 1;
            self.note_entry(Kind::Evicted, at, meta);
            self.stats.evicted_bytes += entry::bytes_used(&self.arena, at, meta) as u64;
            self.stats.evicted_unread += u64::from(!meta.was_read());
            if let Some(idle) = self.policy.victim_idle(at, now) {
                self.stats.victim_idle_ms = idle;
            }
        }
        self.policy.evicted(&mut self.arena, at);
        self.remove(at, meta);
        true
    }

    /// Gives back the memory of entries whose time is over, in at most `steps` steps of constant
    /// time. True when there may be more to do.
    pub fn expire(&mut self, now: Millis, steps: u32) -> bool {
        let mut left = steps;
        while left > 0
            && let Some(at) = self.wheel.poll(&mut self.arena, now.0, &mut left)
        {
            self.stats.expirations += 1;
            self.stats.expirations_swept += 1;
            let meta = entry::meta(&self.arena, at);
            self.note_entry(Kind::Expired, at, meta);
            let chunks = entry::chunk_count(&self.arena, at, meta) / CHUNKS_PER_STEP;
            left = left.saturating_sub(1 + u32::try_from(chunks).unwrap_or(u32::MAX));
            self.remove(at, meta);
        }
        left == 0
    }

    fn pool_wanted(&self) -> usize {
        if self.arena.pages() < PAGES_LARGE { POOL_PAGES_SMALL } else { POOL_PAGES }
    }
}

#[cfg(test)]
mod tests;
