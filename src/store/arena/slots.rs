//! Slots of entries and of overflow buckets: taken, freed, and kept dense.

use super::pages::{Arena, Page};
use super::refs::{Moved, Ref};
use super::sizes::Class;

impl Arena {
    /// A slot of the class, if one is free without a page.
    pub(in crate::store) fn add(&mut self, class: Class) -> Option<Ref> {
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
    pub(in crate::store) fn open(&mut self, class: Class) -> Option<Ref> {
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
    pub(in crate::store) fn has_place(&self, class: Class, pages: usize) -> bool {
        let pool = self.pool();
        pool > pages || (pool == pages && self.class_with_room(class).is_some())
    }

    /// A slot for an entry of the class: of its own size if that does not take the last pages,
    /// else a larger one.
    pub(in crate::store) fn place(&mut self, class: Class) -> Option<Ref> {
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
    pub(in crate::store) fn free(&mut self, at: Ref) -> Option<Moved> {
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
    pub(in crate::store) fn merge_one(&mut self) -> Option<Moved> {
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
}
