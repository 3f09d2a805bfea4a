//! The pages of one arena: which are free, which class each belongs to, and their bytes.

use super::refs::{GRANULE, Ref, offset};
use super::region::Region;
use super::sizes::{Class, SizeClass, class, class_sizes, page_bytes, position};

/// Entries of up to this size are worth moving to a larger slot to free a page.
const MERGE_BYTES_MAX: usize = 1 << 10;
/// Pages that are kept back for what cannot wait.
const EMERGENCY_PAGES: usize = 2;

#[derive(Clone, Copy, Default)]
pub(super) struct Page {
    /// The page that was the top of the class before this one; of chunks, the next in the list.
    pub(super) below: u32,
    /// Of chunks, the one before in the list.
    pub(super) above: u32,
    pub(super) class: Class,
    /// Of chunks, a bit for each that is free.
    pub(super) free: u8,
}

const _: () = assert!(size_of::<Page>() == 12);

/// Chunks in a page at most: one bit of `Page::free` each.
pub(super) const PER_PAGE_MAX: usize = u8::BITS as usize;

/// The first of the pages with so many free chunks, by that number.
#[derive(Default)]
pub(super) struct Partial(pub(super) [u32; PER_PAGE_MAX + 1]);

pub(in crate::store) struct Arena {
    region: Region,
    pub(super) page_shift: u32,
    pub(super) pages: Vec<Page>,
    /// Pages that were used and are free.
    pub(super) freed: Vec<u32>,
    /// Pages from here on were never used.
    fresh: u32,
    pub(super) classes: Vec<SizeClass>,
    pub(super) partial: Partial,
    /// The class of an entry by its granules.
    class_of: Vec<Class>,
    pub(super) merge_max: Class,
}

impl Arena {
    /// Reserves a budget of at most `REGION_BYTES_MAX`, but for `extra` bytes and its own tables.
    pub(in crate::store) fn new(budget: usize, extra: usize) -> Self {
        let page_bytes = page_bytes(budget);
        let sizes = class_sizes(page_bytes);
        let largest = sizes[sizes.len() - 3];
        let bytes_per_page = size_of::<Page>() + size_of::<u32>();
        let tables = sizes.len() * size_of::<SizeClass>()
            + largest / GRANULE
            + budget / page_bytes * bytes_per_page;
        let page_count = (budget - tables - extra) / page_bytes;
        let class_of = (0..=largest / GRANULE)
            .map(|granules| position(&sizes, |&size| size >= granules * GRANULE))
            .collect();
        Self {
            region: Region::new(page_count * page_bytes),
            page_shift: page_bytes.trailing_zeros(),
            pages: vec![Page::default(); page_count],
            freed: Vec::with_capacity(page_count),
            fresh: 0,
            merge_max: position(&sizes, |&size| size >= MERGE_BYTES_MAX),
            classes: sizes.iter().map(|&size| SizeClass::new(size, page_bytes)).collect(),
            partial: Partial::default(),
            class_of,
        }
    }

    /// Makes the whole region resident.
    pub(in crate::store) fn prefault(&mut self) {
        self.region.prefault();
    }

    /// Forgets all contents; costs nothing per page.
    pub(in crate::store) fn clear(&mut self) {
        self.freed.clear();
        self.fresh = 0;
        for class in &mut self.classes {
            *class = SizeClass { pages: 0, top: 0, top_used: 0, hole_count: 0, ..*class };
        }
        self.partial = Partial::default();
    }

    pub(in crate::store) fn page_bytes(&self) -> usize {
        1 << self.page_shift
    }

    pub(in crate::store) fn pages(&self) -> usize {
        self.pages.len()
    }

    /// Pages that entries lie in, when the index has `index` pages for its buckets.
    pub(in crate::store) fn entry_pages(&self, index: usize) -> usize {
        let overflow = self.classes[usize::from(self.overflow_class())].pages as usize;
        self.pages() - self.pool() - index - overflow
    }

    /// Free pages.
    pub(in crate::store) fn pool(&self) -> usize {
        self.pages.len() - self.fresh as usize + self.freed.len()
    }

    pub(in crate::store) fn is_scarce(&self) -> bool {
        self.pool() <= EMERGENCY_PAGES
    }

    pub(in crate::store) fn entry_bytes_max(&self) -> usize {
        (self.class_of.len() - 1) * GRANULE
    }

    /// The class of an entry of `bytes`, at most `entry_bytes_max`.
    pub(in crate::store) fn class_for(&self, bytes: usize) -> Class {
        self.class_of[bytes.div_ceil(GRANULE)]
    }

    pub(in crate::store) fn class_at(&self, at: Ref) -> Class {
        self.pages[self.page_of(at)].class
    }

    pub(in crate::store) fn overflow_class(&self) -> Class {
        class(self.classes.len() - 2)
    }

    pub(in crate::store) fn chunk_class(&self) -> Class {
        class(self.classes.len() - 1)
    }

    pub(in crate::store) fn slot_bytes(&self, class: Class) -> usize {
        self.classes[usize::from(class)].slot_bytes as usize
    }

    pub(in crate::store) fn slots_per_page(&self, class: Class) -> usize {
        self.classes[usize::from(class)].slots as usize
    }

    /// Slots that can be had without a page.
    pub(in crate::store) fn room(&self, class: Class) -> usize {
        self.classes[usize::from(class)].room() as usize
    }

    /// Takes a free page that belongs to no class.
    pub(in crate::store) fn take_page(&mut self) -> Option<u32> {
        self.freed.pop().or_else(|| {
            let page = self.fresh;
            ((page as usize) < self.pages.len()).then(|| {
                self.fresh += 1;
                self.region.used((self.fresh as usize) << self.page_shift);
                page
            })
        })
    }

    pub(in crate::store) fn give_page(&mut self, page: u32) {
        self.freed.push(page);
    }

    pub(super) fn page_of(&self, at: Ref) -> usize {
        (at >> (self.page_shift - GRANULE.trailing_zeros())) as usize
    }

    /// Copies the first bytes of a slot to another.
    pub(in crate::store) fn copy(&mut self, from: Ref, to: Ref, bytes: usize) {
        let from = offset(from);
        self.region.bytes_mut().copy_within(from..from + bytes, offset(to));
    }

    /// Everything from a slot on.
    pub(in crate::store) fn bytes(&self, at: Ref) -> &[u8] {
        &self.region.bytes()[offset(at)..]
    }

    pub(in crate::store) fn bytes_mut(&mut self, at: Ref) -> &mut [u8] {
        &mut self.region.bytes_mut()[offset(at)..]
    }

    pub(in crate::store) fn array<const N: usize>(&self, at: Ref) -> &[u8; N] {
        self.bytes(at).first_chunk().expect("a slot ends inside the region")
    }

    pub(in crate::store) fn array_mut<const N: usize>(&mut self, at: Ref) -> &mut [u8; N] {
        self.bytes_mut(at).first_chunk_mut().expect("a slot ends inside the region")
    }

    /// The slot at which a page starts.
    pub(in crate::store) fn page_start(&self, page: u32) -> Ref {
        page << (self.page_shift - GRANULE.trailing_zeros())
    }

    /// Slots that hold something.
    #[cfg(any(test, debug_assertions))]
    pub(in crate::store) fn slots_in_use(&self, class: Class) -> usize {
        let is_chunk = class == self.chunk_class();
        let class = &self.classes[usize::from(class)];
        let last = if is_chunk { class.slots } else { class.top_used };
        match class.pages {
            0 => 0,
            pages => ((pages - 1) * class.slots + last - class.hole_count) as usize,
        }
    }
}
