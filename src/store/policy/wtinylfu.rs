//! W-TinyLFU: a small window of what is new, a segmented LRU for the rest, and a sketch of how
//! often keys were seen lately that decides which of the two is evicted.
//!
//! Einziger and others, "`TinyLFU`: a highly efficient cache admission policy", 2017. The window
//! does not adapt: experimental. Policy bits: the segment.
//!
//! ```text
//! sketch   | counter u4 x 16 | ...         four counters of a key are in one word
//! ```

#![expect(clippy::cast_possible_truncation, reason = "a hash is cut on purpose")]

use super::list::List;
use super::rule::Rule;
use crate::store::arena::{Arena, NIL, Ref};
use crate::store::entry;
use ahash::RandomState;

const WINDOW: u8 = 0;
const PROBATION: u8 = 1;
const PROTECTED: u8 = 2;
/// The window holds one in this many entries, and probation that share of the rest.
const WINDOW_SHARE: usize = 100;
const PROBATION_SHARE: usize = 5;

pub(super) struct WTinyLfu {
    segments: [List; 3],
    /// What left the window last, until it has been compared with a victim.
    candidate: Ref,
    sketch: Sketch,
}

impl WTinyLfu {
    pub(super) fn new(budget: usize) -> Self {
        Self { segments: Default::default(), candidate: NIL, sketch: Sketch::new(budget) }
    }

    pub(super) fn table_bytes(budget: usize) -> usize {
        Sketch::words(budget) * size_of::<u64>()
    }

    fn len(&self, segment: u8) -> usize {
        self.segments[usize::from(segment)].len()
    }

    fn all(&self) -> usize {
        self.len(WINDOW) + self.len(PROBATION) + self.len(PROTECTED)
    }

    fn shift(&mut self, arena: &mut Arena, at: Ref, to: u8) {
        let from = entry::meta(arena, at).policy();
        self.segments[usize::from(from)].remove(arena, at);
        entry::set_policy(arena, at, to);
        self.segments[usize::from(to)].push_front(arena, at);
    }
}

impl Rule for WTinyLfu {
    fn insert(&mut self, arena: &mut Arena, at: Ref) {
        self.sketch.add(arena, at, self.all());
        entry::set_policy(arena, at, WINDOW);
        self.segments[usize::from(WINDOW)].push_front(arena, at);
        if self.len(WINDOW) * WINDOW_SHARE > self.all()
            && let Some(back) = self.segments[usize::from(WINDOW)].back()
        {
            self.shift(arena, back, PROBATION);
            self.candidate = back;
        }
    }

    fn restore(&mut self, arena: &mut Arena, at: Ref) {
        self.sketch.add(arena, at, self.all());
        entry::set_policy(arena, at, PROBATION);
        self.segments[usize::from(PROBATION)].push_front(arena, at);
    }

    fn hit(&mut self, arena: &mut Arena, at: Ref) {
        self.sketch.add(arena, at, self.all());
        if self.candidate == at {
            self.candidate = NIL;
        }
        match entry::meta(arena, at).policy() {
            PROBATION => self.shift(arena, at, PROTECTED),
            segment => self.segments[usize::from(segment)].renew(arena, at),
        }
        let main = self.len(PROBATION) + self.len(PROTECTED);
        if self.len(PROTECTED) > main - main / PROBATION_SHARE
            && let Some(back) = self.segments[usize::from(PROTECTED)].back()
        {
            self.shift(arena, back, PROBATION);
        }
    }

    fn remove(&mut self, arena: &mut Arena, at: Ref) {
        if self.candidate == at {
            self.candidate = NIL;
        }
        let segment = entry::meta(arena, at).policy();
        self.segments[usize::from(segment)].remove(arena, at);
    }

    fn moved(&mut self, arena: &mut Arena, from: Ref, to: Ref) {
        if self.candidate == from {
            self.candidate = to;
        }
        let segment = entry::meta(arena, to).policy();
        self.segments[usize::from(segment)].moved(arena, from, to);
    }

    fn victim(&mut self, arena: &mut Arena) -> Option<Ref> {
        let back = |segment: u8| self.segments[usize::from(segment)].back();
        let victim = back(PROBATION).or_else(|| back(PROTECTED)).or_else(|| back(WINDOW))?;
        let candidate = std::mem::replace(&mut self.candidate, NIL);
        let stays = candidate == NIL
            || self.sketch.count(arena, candidate) > self.sketch.count(arena, victim);
        Some(if stays { victim } else { candidate })
    }

    fn queues(&mut self) -> &mut [List] {
        &mut self.segments
    }

    /// The sketch stays: how often a key was asked for does not depend on what is held.
    fn clear(&mut self) {
        self.segments = Default::default();
        self.candidate = NIL;
    }
}

/// Counts of recent uses, four bits each, halved as time goes on.
struct Sketch {
    words: Vec<u64>,
    hasher: RandomState,
    /// Goes up by all words per use; at `USES_PER_ENTRY` times the entries a word is halved.
    due: usize,
    /// Words before this one have been halved in this round.
    halved: usize,
}

/// Uses per entry between two halvings of a count.
const USES_PER_ENTRY: usize = 10;
/// Words halved at one use, at most.
const HALVED_MAX: u32 = 64;

impl Sketch {
    fn new(budget: usize) -> Self {
        let words = vec![0; Self::words(budget)];
        Self { words, hasher: RandomState::new(), due: 0, halved: 0 }
    }

    fn words(budget: usize) -> usize {
        (budget / 512).next_power_of_two() / 2
    }

    fn places(&self, arena: &Arena, at: Ref) -> (usize, [u32; 4]) {
        let hash = self.hasher.hash_one(entry::key(arena, at, entry::meta(arena, at)));
        let word = hash as usize & (self.words.len() - 1);
        (
            word,
            [48, 52, 56, 60]
                .map(|shift| (hash >> shift) as u32 % 16 / 4 + (shift - 48))
                .map(|nibble| nibble * 4),
        )
    }

    fn add(&mut self, arena: &Arena, at: Ref, entries: usize) {
        let (word, places) = self.places(arena, at);
        for place in places {
            if self.words[word] >> place & 0xf < 0xf {
                self.words[word] += 1 << place;
            }
        }
        // A few words are halved at each use, so that there is never a pass over all of them.
        self.due += self.words.len();
        for _ in 0..HALVED_MAX {
            if self.due < USES_PER_ENTRY * entries {
                return;
            }
            self.due -= USES_PER_ENTRY * entries;
            self.words[self.halved] = self.words[self.halved] >> 1 & 0x7777_7777_7777_7777;
            self.halved = (self.halved + 1) & (self.words.len() - 1);
        }
        self.due = 0;
    }

    fn count(&self, arena: &Arena, at: Ref) -> u64 {
        let (word, places) = self.places(arena, at);
        places.map(|place| self.words[word] >> place & 0xf).into_iter().min().unwrap_or(0)
    }
}
