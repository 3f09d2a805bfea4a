//! S3-FIFO: a small queue that tries what is new, a main queue for what was used meanwhile, and a
//! ghost of keys that went too early.
//!
//! Yang and others, "FIFO queues are all you need for cache eviction", SOSP 2023. Policy bits: two
//! of a count of uses, one that says "main".
//!
//! ```text
//! ghost    | age u16, fingerprint u16 | x 4 per bucket
//! ```

#![expect(clippy::cast_possible_truncation, reason = "a hash is cut on purpose")]

use super::list::List;
use super::rule::{Rule, STEPS_MAX};
use crate::store::arena::{Arena, Ref};
use crate::store::entry;
use ahash::RandomState;

const USES: u8 = 0b011;
const MAIN: u8 = 0b100;
/// The small queue holds at most one in this many entries.
const SMALL_SHARE: usize = 10;
/// Uses in the small queue that open the main one.
const USES_FOR_MAIN: u8 = 2;

pub(super) struct S3Fifo {
    /// The small one and the main one.
    queues: [List; 2],
    ghost: Ghost,
    has_evicted: bool,
}

impl S3Fifo {
    pub(super) fn new(budget: usize) -> Self {
        Self { queues: Default::default(), ghost: Ghost::new(budget), has_evicted: false }
    }

    pub(super) fn table_bytes(budget: usize) -> usize {
        Ghost::slots(budget) * size_of::<u32>()
    }

    fn queue(&mut self, bits: u8) -> &mut List {
        &mut self.queues[usize::from(bits & MAIN != 0)]
    }

    fn small(&self) -> &List {
        &self.queues[0]
    }

    fn main(&self) -> &List {
        &self.queues[1]
    }

    /// Whether the next victim is looked for in the small queue.
    fn is_small_due(&self) -> bool {
        let (small, main) = (self.small().len(), self.main().len());
        main == 0 || small * SMALL_SHARE >= small + main
    }

    fn shift(&mut self, arena: &mut Arena, at: Ref, bits: u8) {
        let before = entry::meta(arena, at).policy();
        self.queue(before).remove(arena, at);
        entry::set_policy(arena, at, bits);
        self.queue(bits).push_front(arena, at);
    }
}

impl Rule for S3Fifo {
    fn insert(&mut self, arena: &mut Arena, at: Ref) {
        // Until there was need to evict, what the small queue cannot take is not tried.
        let is_filling = !self.has_evicted && self.is_small_due();
        let bits = if self.ghost.take(arena, at) || is_filling { MAIN } else { 0 };
        entry::set_policy(arena, at, bits);
        self.queue(bits).push_front(arena, at);
    }

    fn restore(&mut self, arena: &mut Arena, at: Ref) {
        entry::set_policy(arena, at, MAIN);
        self.queue(MAIN).push_front(arena, at);
    }

    #[inline]
    fn hit(&mut self, arena: &mut Arena, at: Ref) {
        let bits = entry::meta(arena, at).policy();
        if bits & USES < USES {
            entry::set_policy(arena, at, bits + 1);
        }
    }

    fn remove(&mut self, arena: &mut Arena, at: Ref) {
        let bits = entry::meta(arena, at).policy();
        self.queue(bits).remove(arena, at);
    }

    fn moved(&mut self, arena: &mut Arena, from: Ref, to: Ref) {
        let bits = entry::meta(arena, to).policy();
        self.queue(bits).moved(arena, from, to);
    }

    fn victim(&mut self, arena: &mut Arena) -> Option<Ref> {
        for _ in 0..STEPS_MAX {
            if self.is_small_due() {
                let at = self.small().back()?;
                if entry::meta(arena, at).policy() & USES < USES_FOR_MAIN {
                    break;
                }
                self.shift(arena, at, MAIN);
            } else {
                let at = self.main().back()?;
                let uses = entry::meta(arena, at).policy() & USES;
                if uses == 0 {
                    break;
                }
                self.shift(arena, at, MAIN | (uses - 1));
            }
        }
        if self.is_small_due() { self.small().back() } else { self.main().back() }
    }

    fn evicted(&mut self, arena: &mut Arena, at: Ref) {
        self.has_evicted = true;
        if entry::meta(arena, at).policy() & MAIN == 0 {
            self.ghost.add(arena, at, self.main().len());
        }
    }

    fn queues(&mut self) -> &mut [List] {
        &mut self.queues
    }

    fn clear(&mut self) {
        self.queues = Default::default();
        self.ghost.clear();
        self.has_evicted = false;
    }
}

/// Two keys in many share a fingerprint; under test always the same two.
fn random_state() -> RandomState {
    if cfg!(test) { RandomState::with_seeds(1, 2, 3, 4) } else { RandomState::new() }
}

/// The keys that left the small queue, as many as the main queue has entries.
struct Ghost {
    slots: Vec<u32>,
    hasher: RandomState,
    /// Keys added since `age` went up, times `AGES`.
    added: usize,
    age: u16,
}

const WAYS: usize = 4;
/// Ages that a key stays: as long as the main queue's entries are many keys are added meanwhile.
const AGES: u16 = 256;

impl Ghost {
    fn new(budget: usize) -> Self {
        Self { slots: vec![0; Self::slots(budget)], hasher: random_state(), added: 0, age: AGES }
    }

    fn slots(budget: usize) -> usize {
        (budget / 128).next_power_of_two() / 2
    }

    /// The bucket and the fingerprint of an entry's key.
    fn place(&self, arena: &Arena, at: Ref) -> (usize, u16) {
        let hash = self.hasher.hash_one(entry::key(arena, at, entry::meta(arena, at)));
        let bucket = hash as usize & (self.slots.len() / WAYS - 1);
        (bucket * WAYS, (hash >> 48) as u16 | 1)
    }

    fn age_of(&self, slot: u32) -> u16 {
        self.age.wrapping_sub((slot >> 16) as u16)
    }

    fn add(&mut self, arena: &Arena, at: Ref, capacity: usize) {
        let capacity = capacity.max(1);
        self.added += usize::from(AGES);
        self.age = self.age.wrapping_add((self.added / capacity) as u16);
        self.added %= capacity;
        let (bucket, fingerprint) = self.place(arena, at);
        let oldest = (bucket..bucket + WAYS)
            .max_by_key(|&slot| match self.slots[slot] {
                0 => u16::MAX,
                taken => self.age_of(taken),
            })
            .expect("a bucket has slots");
        self.slots[oldest] = u32::from(self.age) << 16 | u32::from(fingerprint);
    }

    /// Lets all keys be too old.
    fn clear(&mut self) {
        self.added = 0;
        self.age = self.age.wrapping_add(AGES + 1);
        self.added = 0;
    }

    /// Whether the key was there; it is no longer.
    fn take(&mut self, arena: &Arena, at: Ref) -> bool {
        let (bucket, fingerprint) = self.place(arena, at);
        let found = (bucket..bucket + WAYS).find(|&slot| {
            let taken = self.slots[slot];
            taken as u16 == fingerprint && self.age_of(taken) < AGES
        });
        if let Some(slot) = found {
            self.slots[slot] = 0;
        }
        found.is_some()
    }
}
