//! A shard takes up what a snapshot holds for it, block by block, before it serves.

use super::{
    service::{Facts, Service},
    turn::Shard,
};
use crate::{
    clock::Millis,
    config::TTL_MAX,
    snapshot::{Block, Entry},
    store::{Condition, Extras, Key, Op, Reply, Verb, Write},
};
use std::num::NonZeroU64;

/// How the clocks stood when the restore began.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// The steady clock.
    pub now: Millis,
    /// Unix time in milliseconds, but no earlier than the snapshot was begun: a clock that was put
    /// back lets nothing live longer.
    pub wall_ms: u64,
}

impl Clocks {
    /// The instant of the steady clock that stands for one of the wall's; none that is further away
    /// than an entry may live.
    fn instant(self, wall_ms: u64) -> Millis {
        let left = wall_ms.saturating_sub(self.wall_ms);
        let most = u64::try_from(TTL_MAX.as_millis()).unwrap_or(u64::MAX);
        Millis(self.now.0 + left.min(most))
    }
}

impl Shard {
    /// Puts those entries of a block that this shard owns.
    pub fn restore(&mut self, block: &Block, clocks: Clocks) {
        let Service { mesh, home, counters, .. } = &mut self.service;
        let Facts { hasher, now, .. } = &self.facts;
        let store = home.store_mut();
        store.start_restore();
        let tally = &mut counters.snapshots;
        for entry in block.entries().filter(|entry| mesh.owner(entry.key) == mesh.me()) {
            let Some(verb) = verb(&entry, clocks, *now) else {
                tally.restored_expired += 1;
                continue;
            };
            let key = Key { bytes: entry.key, hash: hasher.hash(entry.key) };
            match store.execute(&Op { key, verb }, *now) {
                Reply::Created | Reply::Replaced => tally.restored += 1,
                _ => tally.restored_too_large += 1,
            }
        }
    }

    /// Everything was restored.
    pub fn finish_restore(&mut self) {
        let Service { home, counters, .. } = &mut self.service;
        // What made room for entries after it.
        counters.snapshots.restored_evicted += home.store().stats().evictions;
        home.store_mut().finish_restore();
        counters.snapshots.restored = home.store().stats().entries;
    }

    /// What was restored is no good: starts empty.
    pub fn forget_restored(&mut self) {
        let Service { home, counters, .. } = &mut self.service;
        home.store_mut().flush();
        home.store_mut().finish_restore();
        counters.snapshots = crate::metrics::Snapshots::default();
    }
}

/// What puts an entry as it was; `None` where its time is over.
fn verb<'a>(entry: &Entry<'a>, clocks: Clocks, now: Millis) -> Option<Verb<&'a [u8]>> {
    let last = entry.stale_until.or(entry.expires);
    if last.is_some_and(|last| clocks.instant(last) <= now) {
        return None;
    }
    let left = |at: u64| clocks.instant(at).since(now);
    // What is stale already becomes so again in a millisecond.
    let ttl_ms = entry.expires.and_then(|expires| NonZeroU64::new(left(expires).max(1)));
    let stale_ms = entry
        .stale_until
        .zip(ttl_ms)
        .and_then(|(until, ttl_ms)| NonZeroU64::new(left(until).saturating_sub(ttl_ms.get())));
    let extras = Extras { content_type: entry.content_type, tags: entry.tags, stale_ms };
    let condition = Condition::NONE;
    Some(Verb::Write(Write { value: entry.value, extras, ttl_ms, condition }))
}
