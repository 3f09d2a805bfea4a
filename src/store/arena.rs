//! The memory of one store: pages of one reserved region, kept dense per size class.
//!
//! ```text
//! region   | page 0 | page 1 | ...                                  4 to 64 KiB each
//! page     | slot 0 | slot 1 | ... | tail |                         slots of one class
//! class    page <- page <- top page        every page is full but the top one, holes excepted
//! ```
//!
//! The classes are entries by size, the overflow buckets of the index, and chunks of large
//! values, which are kept in another way; pages of index buckets belong to no class. A slot that
//! is freed becomes one of a few holes of its class, or the class's last slot moves into it: so
//! no page stays half empty, and what a free costs is bounded by one move. Whoever owns the
//! contents is told what moved and mends the references to it. A page that empties returns to the
//! pool.

mod chunks;

use chunks::Partial;

/// Where a slot is, in granules of 8 bytes from the start of the region.
pub(super) type Ref = u32;
pub(super) type Class = u8;

/// No slot: page 0 belongs to the index.
pub(super) const NIL: Ref = 0;
pub(super) const GRANULE: usize = 8;
/// The largest region: above it lie the references with which the wheel marks the head of a list.
pub(super) const REGION_BYTES_MAX: usize = 31 << 30;
/// Bytes in a bucket of the index.
pub(super) const BUCKET_BYTES: usize = 64;

/// A value that is too large for a slot lies in chunks, of this size or of a page.
const CHUNK_BYTES_MAX: usize = 8 << 10;

/// Slots of the smallest and bound on those of the largest class of entries.
pub(super) const SLOT_BYTES_MIN: usize = 24;
pub(super) const SLOT_BYTES_MAX: usize = 8 << 10;
/// Entries of up to this size are worth moving to a larger slot to free a page.
const MERGE_BYTES_MAX: usize = 1 << 10;
const HOLES_MAX: usize = 15;
const HUGE_PAGE_BYTES: usize = 2 << 20;
/// Pages that are kept back for what cannot wait.
const EMERGENCY_PAGES: usize = 2;

/// Contents that went from one slot to another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved {
    pub(super) from: Ref,
    pub(super) to: Ref,
}

#[derive(Clone, Copy, Default)]
struct Page {
    /// The page that was the top of the class before this one; of chunks, the next in the list.
    below: u32,
    /// Of chunks, the one before in the list.
    above: u32,
    class: Class,
    /// Of chunks, a bit for each that is free.
    free: u8,
}

#[derive(Clone)]
struct SizeClass {
    slot_bytes: u32,
    /// Slots in a page.
    slots: u32,
    pages: u32,
    top: u32,
    /// Slots of the top page in use, holes included; 0 when there is none, as of chunks.
    top_used: u32,
    /// Free slots below the top; of chunks, all that are free.
    hole_count: u32,
    holes_max: u32,
    holes: [Ref; HOLES_MAX],
}

const _: () = assert!(size_of::<Page>() == 12 && size_of::<SizeClass>() == 88);

pub(super) struct Arena {
    region: Region,
    page_shift: u32,
    pages: Vec<Page>,
    /// Pages that were used and are free.
    freed: Vec<u32>,
    /// Pages from here on were never used.
    fresh: u32,
    classes: Vec<SizeClass>,
    partial: Partial,
    /// The class of an entry by its granules.
    class_of: Vec<Class>,
    merge_max: Class,
}

impl Arena {
    /// Reserves a budget of at most `REGION_BYTES_MAX`, but for `extra` bytes and its own tables.
    pub(super) fn new(budget: usize, extra: usize) -> Self {
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
    pub(super) fn prefault(&mut self) {
        self.region.prefault();
    }

    /// Forgets all contents; costs nothing per page.
    pub(super) fn clear(&mut self) {
        self.freed.clear();
        self.fresh = 0;
        for class in &mut self.classes {
            *class = SizeClass { pages: 0, top: 0, top_used: 0, hole_count: 0, ..*class };
        }
        self.partial = Partial::default();
    }

    pub(super) fn page_bytes(&self) -> usize {
        1 << self.page_shift
    }

    pub(super) fn pages(&self) -> usize {
        self.pages.len()
    }

    /// Pages that entries lie in, when the index has `index` pages for its buckets.
    pub(super) fn entry_pages(&self, index: usize) -> usize {
        let overflow = self.classes[usize::from(self.overflow_class())].pages as usize;
        self.pages() - self.pool() - index - overflow
    }

    /// Free pages.
    pub(super) fn pool(&self) -> usize {
        self.pages.len() - self.fresh as usize + self.freed.len()
    }

    pub(super) fn is_scarce(&self) -> bool {
        self.pool() <= EMERGENCY_PAGES
    }

    pub(super) fn entry_bytes_max(&self) -> usize {
        (self.class_of.len() - 1) * GRANULE
    }

    /// The class of an entry of `bytes`, at most `entry_bytes_max`.
    pub(super) fn class_for(&self, bytes: usize) -> Class {
        self.class_of[bytes.div_ceil(GRANULE)]
    }

    pub(super) fn class_at(&self, at: Ref) -> Class {
        self.pages[self.page_of(at)].class
    }

    pub(super) fn overflow_class(&self) -> Class {
        class(self.classes.len() - 2)
    }

    pub(super) fn chunk_class(&self) -> Class {
        class(self.classes.len() - 1)
    }

    pub(super) fn slot_bytes(&self, class: Class) -> usize {
        self.classes[usize::from(class)].slot_bytes as usize
    }

    pub(super) fn slots_per_page(&self, class: Class) -> usize {
        self.classes[usize::from(class)].slots as usize
    }

    /// Slots that can be had without a page.
    pub(super) fn room(&self, class: Class) -> usize {
        self.classes[usize::from(class)].room() as usize
    }

    /// Takes a free page that belongs to no class.
    pub(super) fn take_page(&mut self) -> Option<u32> {
        self.freed.pop().or_else(|| {
            let page = self.fresh;
            ((page as usize) < self.pages.len()).then(|| {
                self.fresh += 1;
                self.region.used((self.fresh as usize) << self.page_shift);
                page
            })
        })
    }

    pub(super) fn give_page(&mut self, page: u32) {
        self.freed.push(page);
    }

    /// A slot of the class, if one is free without a page.
    pub(super) fn add(&mut self, class: Class) -> Option<Ref> {
        let shift = self.page_shift;
        let class = &mut self.classes[usize::from(class)];
        if class.hole_count > 0 {
            class.hole_count -= 1;
            return Some(class.holes[class.hole_count as usize]);
        }
        if class.pages == 0 || class.top_used == class.slots {
            return None;
        }
        class.top_used += 1;
        Some(class.last(shift))
    }

    /// A slot of the class from a page that is opened for it.
    pub(super) fn open(&mut self, class: Class) -> Option<Ref> {
        let page = self.take_page()?;
        let shift = self.page_shift;
        let size_class = &mut self.classes[usize::from(class)];
        debug_assert_eq!(size_class.room(), 0);
        self.pages[page as usize] = Page { below: size_class.top, class, ..Page::default() };
        size_class.top = page;
        size_class.pages += 1;
        size_class.top_used = 1;
        Some(size_class.last(shift))
    }

    /// Whether `place` finds a slot while `pages` pages of the pool stay out of its reach.
    pub(super) fn has_place(&self, class: Class, pages: usize) -> bool {
        let pool = self.pool();
        pool > pages || (pool == pages && self.class_with_room(class).is_some())
    }

    /// A slot for an entry of the class: of its own size if that does not take the last pages,
    /// else a larger one.
    pub(super) fn place(&mut self, class: Class) -> Option<Ref> {
        if let Some(at) = self.add(class) {
            return Some(at);
        }
        if !self.is_scarce() {
            return self.open(class);
        }
        match self.class_with_room(class) {
            Some(larger) => self.add(larger),
            None => self.open(class.max(self.merge_max)),
        }
    }

    fn class_with_room(&self, class: Class) -> Option<Class> {
        let largest =
            if class > self.merge_max { self.overflow_class() - 1 } else { self.merge_max };
        (class..=largest).find(|&class| self.room(class) > 0)
    }

    /// Frees a slot. The last slot of its class may move into it.
    pub(super) fn free(&mut self, at: Ref) -> Option<Moved> {
        let class = self.class_at(at);
        let size_class = &mut self.classes[usize::from(class)];
        let from = size_class.last(self.page_shift);
        if at == from {
            self.drop_last(class);
            return None;
        }
        if size_class.hole_count < size_class.holes_max {
            size_class.holes[size_class.hole_count as usize] = at;
            size_class.hole_count += 1;
            return None;
        }
        let bytes = size_class.slot_bytes as usize;
        self.copy(from, at, bytes);
        self.drop_last(class);
        Some(Moved { from, to: at })
    }

    /// Moves one entry to a larger slot so as to empty a page, while pages are scarce.
    pub(super) fn merge_one(&mut self) -> Option<Moved> {
        if !self.is_scarce() {
            return None;
        }
        let class = self.emptiest_top()?;
        let size_class = &self.classes[usize::from(class)];
        let (from, bytes) = (size_class.last(self.page_shift), size_class.slot_bytes as usize);
        let larger = self.class_with_room(class + 1)?;
        let to = self.add(larger)?;
        self.copy(from, to, bytes);
        self.drop_last(class);
        Some(Moved { from, to })
    }

    /// The class with the fewest entries in its top page of those whose larger classes can take
    /// them all.
    fn emptiest_top(&self) -> Option<Class> {
        let (mut room, mut fewest) = (0, u32::MAX);
        let mut found = None;
        for index in (0..=self.merge_max).rev() {
            let class = &self.classes[usize::from(index)];
            let is_partial = class.pages > 0 && class.top_used < class.slots;
            if is_partial && class.top_used <= room && class.top_used < fewest {
                fewest = class.top_used;
                found = Some(index);
            }
            room += class.room();
        }
        found
    }

    /// Drops the last slot, and the holes that then come last.
    fn drop_last(&mut self, class: Class) {
        let size_class = &mut self.classes[usize::from(class)];
        loop {
            size_class.top_used -= 1;
            if size_class.top_used == 0 {
                self.freed.push(size_class.top);
                size_class.top = self.pages[size_class.top as usize].below;
                size_class.pages -= 1;
                if size_class.pages == 0 {
                    debug_assert_eq!(size_class.hole_count, 0);
                    return;
                }
                size_class.top_used = size_class.slots;
            }
            let last = size_class.last(self.page_shift);
            let holes = &mut size_class.holes[..size_class.hole_count as usize];
            let Some(hole) = holes.iter().position(|&hole| hole == last) else { return };
            holes[hole] = holes[holes.len() - 1];
            size_class.hole_count -= 1;
        }
    }

    fn page_of(&self, at: Ref) -> usize {
        (at >> (self.page_shift - GRANULE.trailing_zeros())) as usize
    }

    /// Copies the first bytes of a slot to another.
    pub(super) fn copy(&mut self, from: Ref, to: Ref, bytes: usize) {
        let from = offset(from);
        self.region.bytes_mut().copy_within(from..from + bytes, offset(to));
    }

    /// Everything from a slot on.
    pub(super) fn bytes(&self, at: Ref) -> &[u8] {
        &self.region.bytes()[offset(at)..]
    }

    pub(super) fn bytes_mut(&mut self, at: Ref) -> &mut [u8] {
        &mut self.region.bytes_mut()[offset(at)..]
    }

    pub(super) fn array<const N: usize>(&self, at: Ref) -> &[u8; N] {
        self.bytes(at).first_chunk().expect("a slot ends inside the region")
    }

    pub(super) fn array_mut<const N: usize>(&mut self, at: Ref) -> &mut [u8; N] {
        self.bytes_mut(at).first_chunk_mut().expect("a slot ends inside the region")
    }

    /// The slot at which a page starts.
    pub(super) fn page_start(&self, page: u32) -> Ref {
        page << (self.page_shift - GRANULE.trailing_zeros())
    }

    /// Slots that hold something.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn slots_in_use(&self, class: Class) -> usize {
        let is_chunk = class == self.chunk_class();
        let class = &self.classes[usize::from(class)];
        let last = if is_chunk { class.slots } else { class.top_used };
        match class.pages {
            0 => 0,
            pages => ((pages - 1) * class.slots + last - class.hole_count) as usize,
        }
    }
}

impl SizeClass {
    fn new(slot_bytes: usize, page_bytes: usize) -> Self {
        let slots = page_bytes / slot_bytes;
        Self {
            slot_bytes: small(slot_bytes),
            slots: small(slots),
            pages: 0,
            top: 0,
            top_used: 0,
            hole_count: 0,
            holes_max: small((slots / 8).min(HOLES_MAX)),
            holes: [NIL; HOLES_MAX],
        }
    }

    fn last(&self, page_shift: u32) -> Ref {
        let granules = GRANULE.trailing_zeros();
        (self.top << (page_shift - granules)) + (self.top_used - 1) * (self.slot_bytes >> granules)
    }

    fn room(&self) -> u32 {
        let above = if self.top_used == 0 { 0 } else { self.slots - self.top_used };
        above + self.hole_count
    }
}

fn offset(at: Ref) -> usize {
    at as usize * GRANULE
}

/// Bytes of a page of an arena of this budget.
pub(super) fn page_bytes(budget: usize) -> usize {
    let most = 64 << 10;
    (budget / 2048).min(most).next_power_of_two().clamp(4 << 10, most)
}

/// Bytes of a chunk of an arena of this budget.
pub(super) fn chunk_bytes(budget: usize) -> usize {
    CHUNK_BYTES_MAX.min(page_bytes(budget))
}

/// The largest entry without its chunks in an arena of this budget.
pub(super) fn entry_bytes_max(budget: usize) -> usize {
    largest_slot_bytes(page_bytes(budget))
}

fn largest_slot_bytes(page_bytes: usize) -> usize {
    SLOT_BYTES_MAX.min(page_bytes / 2)
}

/// Every size whose slots fill a page as well as a smaller slot would, then the overflow bucket
/// and the chunk.
fn class_sizes(page_bytes: usize) -> Vec<usize> {
    let largest = largest_slot_bytes(page_bytes);
    let mut sizes: Vec<usize> = (1..=page_bytes / SLOT_BYTES_MIN)
        .rev()
        .map(|slots| page_bytes / slots / GRANULE * GRANULE)
        .filter(|&size| size <= largest)
        .collect();
    sizes.dedup();
    sizes.push(BUCKET_BYTES);
    sizes.push(CHUNK_BYTES_MAX.min(page_bytes));
    sizes
}

fn position(sizes: &[usize], test: impl FnMut(&usize) -> bool) -> Class {
    class(sizes.iter().position(test).expect("the largest size passes"))
}

fn class(index: usize) -> Class {
    Class::try_from(index).expect("there are at most 173 classes")
}

fn small(number: usize) -> u32 {
    u32::try_from(number).expect("at most a page")
}

/// One piece of zeroed memory that becomes resident as it is touched.
struct Region {
    #[cfg(not(miri))]
    map: memmap2::MmapMut,
    #[cfg(miri)]
    map: Vec<u8>,
}

impl Region {
    #[cfg(not(miri))]
    fn new(bytes: usize) -> Self {
        let map = memmap2::MmapOptions::new()
            .len(bytes)
            .no_reserve_swap()
            .map_anon()
            .expect("the budget was checked against the memory of this host");
        Self { map }
    }

    #[cfg(miri)]
    fn new(bytes: usize) -> Self {
        Self { map: vec![0; bytes] }
    }

    /// Lets the kernel make huge pages of what lies before `end`, in the background. Asked for
    /// before it is touched, a huge page is zeroed within the first write to it: milliseconds.
    fn used(&self, end: usize) {
        if cfg!(not(miri)) && end.is_multiple_of(HUGE_PAGE_BYTES) {
            // Without huge pages the store is slower, not wrong.
            #[cfg(not(miri))]
            drop(self.map.advise_range(
                memmap2::Advice::HugePage,
                end - HUGE_PAGE_BYTES,
                HUGE_PAGE_BYTES,
            ));
        }
    }

    fn prefault(&mut self) {
        #[cfg(not(miri))]
        drop(self.map.advise(memmap2::Advice::HugePage));
        #[cfg(not(miri))]
        if self.map.advise(memmap2::Advice::PopulateWrite).is_ok() {
            return;
        }
        // An older kernel: a write to each page.
        for byte in self.bytes_mut().iter_mut().step_by(4 << 10) {
            *byte = std::hint::black_box(*byte);
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.map
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.map
    }
}
