//! What must hold between the parts of a store after every operation; debug builds look now and
//! then.

use super::arena::NIL;
use super::entry;
use super::state::Store;
use std::collections::HashSet;

/// Operations between two checks, and that many for each entry.
const CHECK_EVERY: u64 = 1 << 9;
const CHECK_EVERY_PER_ENTRY: u64 = 2;

impl Store {
    pub(super) fn check_now_and_then(&mut self) {
        self.operations += 1;
        if self.operations > CHECK_EVERY + CHECK_EVERY_PER_ENTRY * self.index.entries() as u64 {
            self.operations = 0;
            self.check();
        }
    }

    /// Panics on the first thing that does not hold. Takes time in proportion to the entries.
    pub(super) fn check(&mut self) {
        let mut entries = HashSet::new();
        self.index.check(&self.arena, |at| assert!(entries.insert(at), "indexed twice: {at}"));
        assert_eq!(entries.len(), self.index.entries());
        self.leases.check();
        let queued = self.policy.check(&self.arena, &entries);
        assert_eq!(queued, entries.len());
        let on_wheel = self.wheel.check(&self.arena, &entries);
        let mut chunks = HashSet::new();
        let with_ttl = entries.iter().filter(|&&at| entry::meta(&self.arena, at).has_ttl());
        assert_eq!(on_wheel, with_ttl.count());
        assert_eq!(on_wheel, self.wheel.entries());
        let payload_bytes = entries.iter().map(|&at| {
            let meta = entry::meta(&self.arena, at);
            entry::bytes_used(&self.arena, at, meta) as u64
        });
        assert_eq!(payload_bytes.sum::<u64>(), self.stats.payload_bytes);
        for &at in &entries {
            let meta = entry::meta(&self.arena, at);
            if let Some(extended) = entry::extended(&self.arena, at, meta) {
                self.tags.check(meta.hash(), extended.tags, extended.version);
            }
        }
        // No sweep meets those: they are not in the index.
        self.check_pins(|orphan| assert!(entries.insert(orphan), "indexed and orphaned"));
        for &at in &entries {
            let meta = entry::meta(&self.arena, at);
            let pin = self.pin_of(at, meta);
            let slot_bytes = self.arena.slot_bytes(self.arena.class_at(at));
            assert!(entry::slot_bytes_used(&self.arena, at, meta) <= slot_bytes);
            if let Some(extended) = entry::extended(&self.arena, at, meta) {
                assert!(extended.version <= self.writes);
                let expires = entry::expires(&self.arena, at, meta);
                assert!(extended.stale_at.is_none_or(|stale_at| expires > Some(stale_at)));
            }
            for index in 0..entry::chunk_count(&self.arena, at, meta) {
                let chunk = entry::chunk(&self.arena, at, meta, index);
                assert!(chunk != NIL && chunks.insert(chunk));
                let owner = self.owners[self.arena.chunk_number(chunk)];
                assert_eq!(self.pins.entry(owner), at);
                assert_eq!(owner != at, pin.is_some());
            }
        }
        let classes = self.arena.overflow_class();
        let slots: usize = (0..classes).map(|class| self.arena.slots_in_use(class)).sum();
        assert_eq!(slots, entries.len());
        assert_eq!(self.arena.slots_in_use(self.arena.chunk_class()), chunks.len());
    }
}
