//! Least frequently used, with dynamic ageing: an entry's rank is its count of uses plus the rank
//! of the last victim when it was used last, so that what was popular once sinks by itself.
//!
//! Arlitt and others, "Evaluating content management techniques for Web proxy caches" (LFU-DA),
//! 1999. Ranks lie within 16 of the lowest and are kept modulo 16 in the policy bits, one queue
//! each; the higher it stands, the seldomer a use lifts an entry.

use super::list::List;
use super::rule::Rule;
use crate::store::arena::{Arena, Ref};
use crate::store::entry;

const RANKS: u8 = 16;
/// One in two to this power of the new entries starts above the lowest rank; once it is the lowest,
/// all others have aged by one.
const AGEING: u8 = 2;

pub(super) struct Lfu {
    queues: [List; RANKS as usize],
    /// The rank, modulo 16, below which there is nothing.
    lowest: u8,
    random: u32,
}

impl Default for Lfu {
    fn default() -> Self {
        Self { queues: Default::default(), lowest: 0, random: 0x9e37_79b9 }
    }
}

impl Lfu {
    fn above_lowest(&self, rank: u8) -> u8 {
        rank.wrapping_sub(self.lowest) % RANKS
    }

    fn push(&mut self, arena: &mut Arena, at: Ref, above: u8) {
        let rank = (self.lowest + above) % RANKS;
        entry::set_policy(arena, at, rank);
        self.queues[usize::from(rank)].push_front(arena, at);
    }

    fn one_in(&mut self, power: u8) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random.trailing_zeros() >= u32::from(power)
    }
}

impl Rule for Lfu {
    fn insert(&mut self, arena: &mut Arena, at: Ref) {
        let above = u8::from(self.one_in(AGEING));
        self.push(arena, at, above);
    }

    fn restore(&mut self, arena: &mut Arena, at: Ref) {
        self.push(arena, at, 0);
    }

    fn hit(&mut self, arena: &mut Arena, at: Ref) {
        let rank = entry::meta(arena, at).policy();
        let above = self.above_lowest(rank);
        if above + 1 < RANKS && self.one_in(above / 2) {
            self.queues[usize::from(rank)].remove(arena, at);
            self.push(arena, at, above + 1);
        } else {
            self.queues[usize::from(rank)].renew(arena, at);
        }
    }

    fn remove(&mut self, arena: &mut Arena, at: Ref) {
        let rank = entry::meta(arena, at).policy();
        self.queues[usize::from(rank)].remove(arena, at);
    }

    fn moved(&mut self, arena: &mut Arena, from: Ref, to: Ref) {
        let rank = entry::meta(arena, to).policy();
        self.queues[usize::from(rank)].moved(arena, from, to);
    }

    fn victim(&mut self, _arena: &mut Arena) -> Option<Ref> {
        let above = (0..RANKS)
            .find(|above| self.queues[usize::from((self.lowest + above) % RANKS)].len() > 0)?;
        self.lowest = (self.lowest + above) % RANKS;
        self.queues[usize::from(self.lowest)].back()
    }

    fn queues(&mut self) -> &mut [List] {
        &mut self.queues
    }

    fn coldest_queue(&self) -> usize {
        usize::from(self.lowest)
    }
}
