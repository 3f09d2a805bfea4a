//! How a shard answers what all shards are asked: at once, or in slices where it takes long.

use super::{letter::Arrival, service::Service};
use crate::{
    clock::Millis,
    events::Kind,
    mesh::Asker,
    metrics::Report,
    query::{Query, Share},
    store::{Scan, Store},
};
use std::collections::VecDeque;

/// Removals by prefix that shards have asked for. One is worked on at a time; of each shard there
/// are no more than it has queries open.
#[derive(Debug, Default)]
pub(super) struct Removals(VecDeque<Removal>);

#[derive(Debug)]
struct Removal {
    asker: Asker,
    prefix: Box<[u8]>,
    dry_run: bool,
    scan: Scan,
}

impl Removals {
    fn push(&mut self, asker: Asker, prefix: Box<[u8]>, dry_run: bool) {
        self.0.push_back(Removal { asker, prefix, dry_run, scan: Scan::START });
    }

    /// Goes on with the first, for about `steps` steps. Returns what came of it when it is done.
    pub(super) fn work(
        &mut self,
        store: &mut Store,
        now: Millis,
        steps: u32,
    ) -> Option<(Asker, Share)> {
        let Removal { asker, prefix, dry_run, scan } = self.0.front_mut()?;
        if !store.delete_prefix(scan, prefix, *dry_run, now, steps) {
            return None;
        }
        let (asker, entries) = (*asker, scan.matched);
        if !*dry_run {
            store.note(Kind::PrefixDeleted, prefix, entries);
        }
        self.0.pop_front();
        Some((asker, Share::Done { entries }))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Service {
    /// Everything that this shard counts.
    pub(super) fn report(&self) -> Report {
        let (counters, hops) = (self.counters, self.mesh.hops());
        Report { counters, hops, store: self.home.store().stats() }
    }

    /// Answers a query, or begins to. Returns all results where this was the last, and ours.
    pub(super) fn answer_query(
        &mut self,
        asker: Asker,
        query: Query,
        now_us: u64,
    ) -> Option<Arrival<'static>> {
        let store = self.home.store_mut();
        let share = match query {
            Query::Report => Share::Report(Box::new(self.report())),
            Query::Latency { since, anew } => {
                let latencies = self.latency.read(since, anew, now_us);
                Share::Latency(Box::new((self.report(), latencies)))
            }
            Query::Invalidate { tag } if store.invalidate(tag) => Share::Done { entries: 0 },
            Query::Invalidate { .. } => Share::Full,
            Query::Flush => {
                let entries = store.stats().entries;
                store.flush();
                Share::Done { entries }
            }
            Query::DeletePrefix { prefix, dry_run } => {
                self.removals.push(asker, prefix, dry_run);
                return None;
            }
        };
        self.mesh.tell(asker, share)
    }
}
