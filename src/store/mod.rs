//! One shard's data: a single-threaded key-value store with LRU eviction and a byte budget.
//!
//! No I/O, no clock, no knowledge of cores: `execute(op, now)` is the whole protocol, and both the
//! local path and the far side of a hop call it.
//!
//! Entries are slots of one vector, linked from the hottest to the coldest through slot 0 and
//! chained from the buckets of an index that never grows. All that they cost is charged to the
//! budget: the index at once, a slot when it is first used, key and value while they are held.

mod hash;
mod op;
mod stats;

pub use hash::KeyHasher;
pub use op::{Key, Op, Reply, Verb};
pub use stats::Stats;

use crate::clock::Millis;

/// The bounds of one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Everything the store owns fits in this; at least 1 MiB.
    pub memory_bytes_max: usize,
    pub key_bytes_max: usize,
    pub value_bytes_max: usize,
    /// 0: no bound but the memory.
    pub entries_max: usize,
}

/// The end of a chain, and the slot through which the queue of recency runs in a circle.
const NIL: u32 = 0;
const SLOT_BYTES: usize = size_of::<Slot>();
const _: () = assert!(SLOT_BYTES == 48);

struct Slot {
    /// The neighbour towards the hot end.
    prev: u32,
    /// The neighbour towards the cold end.
    next: u32,
    /// The next slot of the same bucket, or the next free slot.
    chain: u32,
    key_len: u32,
    hash: u64,
    expires: Millis,
    /// Key, then value.
    bytes: Box<[u8]>,
}

impl Slot {
    fn key(&self) -> &[u8] {
        &self.bytes[..self.key_len as usize]
    }

    fn value(&self) -> &[u8] {
        &self.bytes[self.key_len as usize..]
    }
}

/// One shard's entries.
pub struct Store {
    settings: Settings,
    /// First slot of each bucket; the length is a power of two.
    buckets: Vec<u32>,
    slots: Vec<Slot>,
    slots_max: usize,
    /// First slot of the list of free ones.
    free: u32,
    stats: Stats,
}

impl Store {
    /// An empty store. Memory is reserved here and becomes resident as it is used.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let budget = settings.memory_bytes_max.max(1 << 20);
        let buckets = vec![NIL; (budget / 128).next_power_of_two() / 2];
        // Half of the budget, so that slots once used leave room for any entry that is accepted.
        let slots_max = (budget / 2 / SLOT_BYTES).min(u32::MAX as usize);
        let mut slots = Vec::with_capacity(slots_max);
        slots.push(Slot {
            prev: NIL,
            next: NIL,
            chain: NIL,
            key_len: 0,
            hash: 0,
            expires: Millis(u64::MAX),
            bytes: Box::default(),
        });
        let used = buckets.len() * size_of::<u32>() + SLOT_BYTES;
        let stats =
            Stats { used_bytes: used as u64, budget_bytes: budget as u64, ..Stats::default() };
        Self { settings: *settings, buckets, slots, slots_max, free: NIL, stats }
    }

    /// Runs one operation at the instant `now`, which never runs backwards.
    pub fn execute(&mut self, op: Op<&[u8]>, now: Millis) -> Reply<&[u8]> {
        match op.verb {
            Verb::Get => self.read(op.key, now, true),
            Verb::Peek => self.read(op.key, now, false),
            Verb::Put { value, ttl_ms } => {
                let expires =
                    Millis(ttl_ms.map_or(u64::MAX, |ttl| now.0.saturating_add(ttl.get())));
                self.put(op.key, value, expires, now)
            }
            Verb::Delete => self.delete(op.key, now),
        }
    }

    pub fn stats(&self) -> Stats {
        self.stats
    }

    fn read(&mut self, key: Key<&[u8]>, now: Millis, is_use: bool) -> Reply<&[u8]> {
        let expirations = self.stats.expirations;
        let Some(at) = self.find_live(key, now) else {
            self.stats.misses += 1;
            self.stats.expired += self.stats.expirations - expirations;
            return Reply::Absent;
        };
        self.stats.hits += 1;
        if is_use {
            self.unlink(at);
            self.link_hottest(at);
        }
        Reply::Value(self.slots[at as usize].value())
    }

    fn put(&mut self, key: Key<&[u8]>, value: &[u8], expires: Millis, now: Millis) -> Reply<&[u8]> {
        let need = charge(key.bytes.len() + value.len());
        if key.bytes.len() > self.settings.key_bytes_max
            || value.len() > self.settings.value_bytes_max
            || need > self.stats.budget_bytes / 4
        {
            self.stats.rejected += 1;
            return Reply::TooLarge;
        }
        // The old entry goes first: making room for the new one cannot meet it.
        let replaced = self.find_live(key, now).map(|at| self.remove(at)).is_some();
        let at = self.take_slot(need, now);
        let slot = &mut self.slots[at as usize];
        slot.bytes = [key.bytes, value].concat().into_boxed_slice();
        slot.key_len = u32::try_from(key.bytes.len()).expect("checked against a quarter budget");
        slot.hash = key.hash;
        slot.expires = expires;
        self.stats.used_bytes += need;
        self.stats.entries += 1;
        self.link_hottest(at);
        let bucket = self.bucket(key.hash);
        self.slots[at as usize].chain = std::mem::replace(&mut self.buckets[bucket], at);
        if replaced {
            self.stats.replaced += 1;
            Reply::Replaced
        } else {
            self.stats.created += 1;
            Reply::Created
        }
    }

    fn delete(&mut self, key: Key<&[u8]>, now: Millis) -> Reply<&[u8]> {
        let Some(at) = self.find_live(key, now) else { return Reply::Absent };
        self.remove(at);
        self.stats.deleted += 1;
        Reply::Deleted
    }

    /// The slot of `key`. An entry whose time is over is dropped on the way.
    fn find_live(&mut self, key: Key<&[u8]>, now: Millis) -> Option<u32> {
        let mut at = self.buckets[self.bucket(key.hash)];
        while at != NIL {
            let slot = &self.slots[at as usize];
            if slot.hash == key.hash && slot.key() == key.bytes {
                if slot.expires > now {
                    return Some(at);
                }
                self.stats.expirations += 1;
                self.remove(at);
                return None;
            }
            at = slot.chain;
        }
        None
    }

    /// A slot to write to, with `need` bytes of the budget free beside it.
    fn take_slot(&mut self, need: u64, now: Millis) -> u32 {
        let entries_max = match self.settings.entries_max as u64 {
            0 => u64::MAX,
            bound => bound,
        };
        loop {
            let fresh = self.free == NIL;
            let cost = need + if fresh { SLOT_BYTES as u64 } else { 0 };
            if self.stats.used_bytes + cost <= self.stats.budget_bytes
                && self.stats.entries < entries_max
                && !(fresh && self.slots.len() == self.slots_max)
            {
                break;
            }
            self.evict(now);
        }
        let at = self.free;
        if at != NIL {
            self.free = self.slots[at as usize].chain;
            return at;
        }
        let at = u32::try_from(self.slots.len()).expect("slots_max fits");
        self.stats.used_bytes += SLOT_BYTES as u64;
        self.slots.push(Slot { bytes: Box::default(), expires: Millis(0), ..self.slots[0] });
        at
    }

    fn evict(&mut self, now: Millis) {
        let coldest = self.slots[NIL as usize].prev;
        assert!(coldest != NIL, "an empty store has room for any entry that is accepted");
        if self.slots[coldest as usize].expires > now {
            self.stats.evictions += 1;
        } else {
            self.stats.expirations += 1;
        }
        self.remove(coldest);
    }

    fn remove(&mut self, at: u32) {
        self.unlink(at);
        let bucket = self.bucket(self.slots[at as usize].hash);
        let next = self.slots[at as usize].chain;
        if self.buckets[bucket] == at {
            self.buckets[bucket] = next;
        } else {
            let mut before = self.buckets[bucket];
            while self.slots[before as usize].chain != at {
                before = self.slots[before as usize].chain;
            }
            self.slots[before as usize].chain = next;
        }
        let slot = &mut self.slots[at as usize];
        let bytes = std::mem::take(&mut slot.bytes);
        slot.chain = std::mem::replace(&mut self.free, at);
        self.stats.used_bytes -= charge(bytes.len());
        self.stats.entries -= 1;
    }

    fn bucket(&self, hash: u64) -> usize {
        usize::try_from(hash & (self.buckets.len() as u64 - 1)).expect("masked by a length")
    }

    fn unlink(&mut self, at: u32) {
        let Slot { prev, next, .. } = self.slots[at as usize];
        self.slots[prev as usize].next = next;
        self.slots[next as usize].prev = prev;
    }

    fn link_hottest(&mut self, at: u32) {
        let second = std::mem::replace(&mut self.slots[NIL as usize].next, at);
        self.slots[second as usize].prev = at;
        let slot = &mut self.slots[at as usize];
        slot.prev = NIL;
        slot.next = second;
    }
}

/// What the allocator takes for `len` bytes: a header, rounded to 16 bytes and at least 32, or
/// whole pages for what it maps by itself.
fn charge(len: usize) -> u64 {
    let bytes = match len {
        0 => 0,
        1..0x1_0000 => (len + 8).next_multiple_of(16).max(32),
        _ => (len + 16).next_multiple_of(4096),
    };
    bytes as u64
}

#[cfg(test)]
mod tests;
