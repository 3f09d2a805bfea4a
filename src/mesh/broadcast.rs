//! Queries of this shard that all shards are asked, and the results that have come so far.

use super::{
    bounds::BROADCASTS_MAX,
    cargo::{Arrival, Cargo},
};

#[derive(Debug)]
pub(super) struct Broadcasts<C: Cargo> {
    open: Vec<Broadcast<C>>,
    begun: u64,
}

#[derive(Debug)]
struct Broadcast<C: Cargo> {
    id: u64,
    ticket: C::Ticket,
    /// By shard number.
    results: Vec<Option<C::Result>>,
}

impl<C: Cargo> Broadcasts<C> {
    pub(super) fn new() -> Self {
        Self { open: Vec::new(), begun: 0 }
    }

    /// Returns its number, which is never used again.
    pub(super) fn begin(&mut self, ticket: C::Ticket, shards: usize) -> u64 {
        self.begun += 1;
        let results = (0..shards).map(|_| None).collect();
        self.open.push(Broadcast { id: self.begun, ticket, results });
        self.begun
    }

    pub(super) fn has_room(&self) -> bool {
        self.open.len() < BROADCASTS_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Takes in what a shard has told, unless another was lost before. Returns all results when
    /// this was the last.
    pub(super) fn take(
        &mut self,
        shard: usize,
        id: u64,
        result: C::Result,
    ) -> Option<Arrival<'static, C>> {
        let at = self.open.iter().position(|broadcast| broadcast.id == id)?;
        self.open[at].results[shard] = Some(result);
        if self.open[at].results.iter().any(Option::is_none) {
            return None;
        }
        let Broadcast { ticket, results, .. } = self.open.swap_remove(at);
        Some(Arrival::Results { ticket, results: results.into_iter().flatten().collect() })
    }

    /// A shard cannot be asked.
    pub(super) fn lose(&mut self, id: u64) -> Option<Arrival<'static, C>> {
        let at = self.open.iter().position(|broadcast| broadcast.id == id)?;
        Some(Arrival::Lost { ticket: self.open.swap_remove(at).ticket })
    }
}
