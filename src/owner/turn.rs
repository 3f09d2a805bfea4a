//! A turn of the owner: what has come from upstream is put, and who waited for it is told.

use super::{
    callers::{Callers, Late},
    keys::Owner,
    parked::Fill,
    upstream::{Delivery, Fetched},
};
use crate::{
    clock::Millis,
    store::{Key, Op, Reply, Verb},
};

/// Keys that are taken from upstream in one turn, so that others get theirs.
const DELIVERIES_MAX: usize = 64;

impl<A: Copy> Owner<A> {
    /// Begins a turn: what may not stay goes, what has come from upstream is put and told, and a
    /// slice of pinned values is measured. Returns whether there may be more to do at once.
    pub fn work(&mut self, now: Millis, callers: &mut impl Callers<A>) -> bool {
        for fill in self.fills.drain(..) {
            let key = Key { bytes: &fill.key[..], hash: fill.hash };
            self.store.execute(&Op { key, verb: Verb::delete() }, now);
        }
        let mut has_more = false;
        if let Some(mut upstream) = self.upstream.take() {
            let deliveries = (0..DELIVERIES_MAX).map_while(|_| upstream.next());
            let taken = deliveries.map(|delivery| self.deliver(delivery, now, callers));
            has_more = taken.count() == DELIVERIES_MAX;
            self.upstream = Some(upstream);
        }
        self.measure_on(now, callers) | has_more
    }

    /// Runs what is parked for a key, in order.
    fn deliver(&mut self, delivery: Delivery, now: Millis, callers: &mut impl Callers<A>) {
        let Delivery { key, fetched } = delivery;
        let Some(list) = self.parked.take(&key) else { return };
        let key = list[0].op().key;
        let is_failed = fetched == Fetched::Failed;
        if let Fetched::Value { value, ttl_ms, stays } = fetched {
            let put = Op { key, verb: Verb::put(&value[..], ttl_ms) };
            let is_put = matches!(self.store.execute(&put, now), Reply::Created | Reply::Replaced);
            if is_put && !stays {
                self.fills.push(Fill { key: key.bytes.into(), hash: key.hash });
            }
        }
        for waiting in list {
            let is_without =
                is_failed && waiting.is_for_upstream && !self.store.holds(waiting.op().key, now);
            if !callers.may_run(&waiting.caller) {
                self.tell(&waiting, Late::LeftOut, callers);
            } else if is_without {
                self.tell(&waiting, Late::Failed, callers);
            } else {
                self.run_waiting(waiting, now, callers);
            }
        }
    }
}
