//! How a shard answers what all shards are asked: at once, or in slices where it takes long.

use super::{letter::Arrival, service::Service};
use crate::{
    mesh::Asker,
    metrics::Report,
    query::{Query, Share},
};

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
