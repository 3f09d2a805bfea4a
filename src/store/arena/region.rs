//! One piece of zeroed memory that becomes resident as it is touched.

const HUGE_PAGE_BYTES: usize = 2 << 20;

pub(super) struct Region {
    #[cfg(not(miri))]
    map: memmap2::MmapMut,
    #[cfg(miri)]
    map: Vec<u8>,
}

impl Region {
    #[cfg(not(miri))]
    pub(super) fn new(bytes: usize) -> Self {
        let map = memmap2::MmapOptions::new()
            .len(bytes)
            .no_reserve_swap()
            .map_anon()
            .expect("the budget was checked against the memory of this host");
        Self { map }
    }

    #[cfg(miri)]
    pub(super) fn new(bytes: usize) -> Self {
        Self { map: vec![0; bytes] }
    }

    /// Lets the kernel make huge pages of what lies before `end`, in the background. Asked for
    /// before it is touched, a huge page is zeroed within the first write to it: milliseconds.
    pub(super) fn used(&self, end: usize) {
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

    pub(super) fn prefault(&mut self) {
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

    pub(super) fn bytes(&self) -> &[u8] {
        &self.map
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.map
    }
}
