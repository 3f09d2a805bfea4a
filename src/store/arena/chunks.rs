//! The pages of chunks, the parts of values that are too large for a slot.
//!
//! ```text
//! page          | chunk 0 | ... | chunk 7 |      fewer where pages are small
//! partial[n]    page <-> page <-> ...            the pages with n free chunks
//! ```
//!
//! A page knows which of its chunks are free and returns to the pool with the last of them, so a
//! large value leaves without anything being moved. What stays scattered is gathered when pages
//! are short: one chunk at a time goes from the emptiest page to the fullest.

use super::pages::{Arena, PER_PAGE_MAX, Page};
use super::refs::{GRANULE, Moved, Ref, offset};
use super::sizes::{SizeClass, small};

/// No page: the first one belongs to the index.
const NO_PAGE: u32 = 0;

impl Arena {
    /// A free chunk, of a page that is opened for it if need be.
    pub(in crate::store) fn take_chunk(&mut self) -> Option<Ref> {
        let fullest = self.partial.0[1..].iter().copied().find(|&page| page != NO_PAGE);
        let page = fullest.or_else(|| self.open_chunks())?;
        Some(self.take_chunk_of(page))
    }

    pub(in crate::store) fn free_chunk(&mut self, at: Ref) {
        let page = small(self.page_of(at));
        let chunk = (at - self.page_start(page)) / self.chunk_granules();
        self.set_free_chunks(page, self.pages[page as usize].free | 1 << chunk);
        if self.free_count(page) == self.chunks_per_page() {
            self.set_free_chunks(page, 0);
            self.chunk_class_mut().pages -= 1;
            self.give_page(page);
        }
    }

    /// Brings the emptiest page of chunks nearer to its return, if the others can take what it
    /// holds.
    pub(in crate::store) fn gather_chunk(&mut self) -> Option<Moved> {
        if self.room(self.chunk_class()) < self.chunks_per_page() {
            return None;
        }
        // No page is wholly free: there are two at least.
        let mut listed = self.partial.0.iter().copied().filter(|&page| page != NO_PAGE);
        let fullest = listed.next()?;
        let emptiest = listed.next_back().unwrap_or(self.pages[fullest as usize].below);
        let held = !self.pages[emptiest as usize].free;
        let from = self.page_start(emptiest) + held.trailing_zeros() * self.chunk_granules();
        let to = self.take_chunk_of(fullest);
        self.copy(from, to, self.slot_bytes(self.chunk_class()));
        self.free_chunk(from);
        Some(Moved { from, to })
    }

    /// Numbers the chunks of the region.
    pub(in crate::store) fn chunk_number(&self, chunk: Ref) -> usize {
        offset(chunk) / self.slot_bytes(self.chunk_class())
    }

    fn open_chunks(&mut self) -> Option<u32> {
        let page = self.take_page()?;
        let class = self.chunk_class();
        self.pages[page as usize] = Page { class, ..Page::default() };
        self.chunk_class_mut().pages += 1;
        let all = u8::MAX >> (PER_PAGE_MAX - self.chunks_per_page());
        self.set_free_chunks(page, all);
        Some(page)
    }

    fn take_chunk_of(&mut self, page: u32) -> Ref {
        let free = self.pages[page as usize].free;
        self.set_free_chunks(page, free & (free - 1));
        self.page_start(page) + free.trailing_zeros() * self.chunk_granules()
    }

    /// Notes which chunks of a page are free, and lists the page accordingly.
    fn set_free_chunks(&mut self, page: u32, free: u8) {
        let before = self.free_count(page);
        let Page { below, above, .. } = self.pages[page as usize];
        if before > 0 {
            match above {
                NO_PAGE => self.partial.0[before] = below,
                above => self.pages[above as usize].below = below,
            }
            if below != NO_PAGE {
                self.pages[below as usize].above = above;
            }
        }
        let after = free.count_ones() as usize;
        let mut below = NO_PAGE;
        if after > 0 {
            below = std::mem::replace(&mut self.partial.0[after], page);
            if below != NO_PAGE {
                self.pages[below as usize].above = page;
            }
        }
        let class = self.chunk_class();
        self.pages[page as usize] = Page { below, above: NO_PAGE, class, free };
        let class = self.chunk_class_mut();
        class.hole_count = class.hole_count + small(after) - small(before);
    }

    fn free_count(&self, page: u32) -> usize {
        self.pages[page as usize].free.count_ones() as usize
    }

    fn chunks_per_page(&self) -> usize {
        self.slots_per_page(self.chunk_class())
    }

    fn chunk_granules(&self) -> Ref {
        small(self.slot_bytes(self.chunk_class()) / GRANULE)
    }

    fn chunk_class_mut(&mut self) -> &mut SizeClass {
        self.classes.last_mut().expect("the chunks are a class")
    }
}

#[cfg(test)]
mod tests {
    use super::{Arena, Ref};

    /// Two chunks to a page, four, and eight.
    const BUDGETS: [usize; 3] = [32 << 20, 64 << 20, 128 << 20];
    const CHUNKS: usize = if cfg!(miri) { 40 } else { 1_000 };

    fn arenas() -> impl Iterator<Item = Arena> {
        BUDGETS.into_iter().take(if cfg!(miri) { 1 } else { 3 }).map(|budget| {
            let mut arena = Arena::new(budget, 0);
            arena.take_page().expect("the page of the index");
            arena
        })
    }

    fn take(arena: &mut Arena, mark: u64) -> Ref {
        let at = arena.take_chunk().expect("there is room");
        *arena.array_mut(at) = mark.to_le_bytes();
        at
    }

    #[test]
    fn pages_return_with_their_last_chunk_and_nothing_moves() {
        for mut arena in arenas() {
            let pool = arena.pool();
            let mut random = fastrand::Rng::with_seed(2);
            let mut held: Vec<(Ref, u64)> =
                (0..CHUNKS as u64).map(|mark| (take(&mut arena, mark), mark)).collect();
            assert_eq!(pool - arena.pool(), CHUNKS.div_ceil(arena.chunks_per_page()));
            random.shuffle(&mut held);
            for (at, mark) in held {
                assert_eq!(arena.array(at), &mark.to_le_bytes());
                arena.free_chunk(at);
            }
            assert_eq!((arena.pool(), arena.room(arena.chunk_class())), (pool, 0));
        }
    }

    #[test]
    fn what_is_scattered_is_gathered_to_the_last_page() {
        for mut arena in arenas() {
            let pool = arena.pool();
            let mut random = fastrand::Rng::with_seed(3);
            let mut held: Vec<(Ref, u64)> = Vec::new();
            for mark in 0..4 * CHUNKS as u64 {
                held.push((take(&mut arena, mark), mark));
                if random.bool() || held.len() > CHUNKS {
                    let gone = held.swap_remove(random.usize(..held.len()));
                    arena.free_chunk(gone.0);
                }
                if random.u8(..8) > 0 {
                    continue;
                }
                if let Some(moved) = arena.gather_chunk() {
                    let place = held.iter().position(|&(at, _)| at == moved.from);
                    held[place.expect("only what is held moves")].0 = moved.to;
                }
            }
            while let Some(moved) = arena.gather_chunk() {
                let place = held.iter().position(|&(at, _)| at == moved.from);
                held[place.expect("only what is held moves")].0 = moved.to;
            }
            assert_eq!(pool - arena.pool(), held.len().div_ceil(arena.chunks_per_page()));
            assert_eq!(arena.slots_in_use(arena.chunk_class()), held.len());
            for (at, mark) in held {
                assert_eq!(arena.array(at), &mark.to_le_bytes());
            }
        }
    }
}
