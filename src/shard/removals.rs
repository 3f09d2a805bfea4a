//! Removals by prefix, in slices.

use crate::{
    clock::Millis,
    events::Kind,
    mesh::Asker,
    query::Share,
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
    pub(super) fn push(&mut self, asker: Asker, prefix: Box<[u8]>, dry_run: bool) {
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
