//! A walk over all entries in slices, between which they are used: the coldest first, each once.
//!
//! It goes through the queues of the eviction policy from their cold ends. Uses move entries away
//! from it, some again and again; what it has not met after twice as many steps as there were
//! entries it finds through the index, whose order no use changes. So it ends, however fast the
//! entries are used and however seldom it gets its slice, and what stays is met. A bit for each
//! place tells what was met: half a percent of the budget, beside it and only while the walk is.

use super::arena::Ref;
use super::entry;
use super::index::Cursor;
use super::met::{Met, Walk};
use super::state::Store;
use super::stats::Stats;
use crate::clock::Millis;
use std::ops::ControlFlow;

/// An entry as a walk meets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    pub key: &'a [u8],
    pub value: &'a [u8],
    pub content_type: Option<&'a [u8]>,
    /// Eight bytes each.
    pub tags: Option<&'a [u8]>,
    /// The end of its time to live.
    pub expires: Option<Millis>,
    /// Until when it may be read after that.
    pub stale_until: Option<Millis>,
}

impl Store {
    /// Begins a walk over all entries.
    pub fn start_walk(&mut self) {
        let queues = self.policy.start_walk();
        self.walk = Some(Walk { queues, rest: Cursor::START, met: Met::new(&self.arena) });
    }

    /// Whether there may be more of the walk.
    #[must_use]
    pub fn is_walking(&self) -> bool {
        self.walk.is_some()
    }

    /// Ends the walk where it is. A flush does so too.
    pub fn stop_walk(&mut self) {
        self.walk = None;
    }

    /// The next entry of the walk. `None` at its end and where `steps` run out; a step is a look at
    /// an entry. Operations may come between: what stays all the while is met once, what comes
    /// meanwhile may be met or not.
    pub fn walk_on(&mut self, now: Millis, steps: &mut u32) -> Option<Item<'_>> {
        loop {
            let at = self.next_unmet(steps)?;
            let meta = entry::meta(&self.arena, at);
            if self.end(at, meta, now).is_some() {
                continue;
            }
            entry::gather(&self.arena, at, meta, &mut self.scratch);
            let extended = entry::extended(&self.arena, at, meta);
            let end = entry::expires(&self.arena, at, meta);
            let stale_at = extended.and_then(|extended| extended.stale_at);
            return Some(Item {
                key: entry::key(&self.arena, at, meta),
                value: &self.scratch,
                content_type: extended.and_then(|extended| extended.content_type()),
                tags: extended.and_then(|extended| extended.tags()),
                expires: stale_at.or(end).map(Millis),
                stale_until: stale_at.and(end).map(Millis),
            });
        }
    }

    fn next_unmet(&mut self, steps: &mut u32) -> Option<Ref> {
        let walk = self.walk.as_mut()?;
        while *steps > 0 {
            *steps -= 1;
            if let Some(at) = self.policy.walk_on(&self.arena, &mut walk.queues) {
                if walk.met.insert(at) {
                    return Some(at);
                }
                continue;
            }
            if walk.rest == Cursor::END {
                self.walk = None;
                return None;
            }
            match self.index.scan(&self.arena, walk.rest, |at, _| !walk.met.has(at)) {
                ControlFlow::Continue(next) => walk.rest = next,
                ControlFlow::Break(at) => {
                    walk.met.insert(at);
                    return Some(at);
                }
            }
        }
        None
    }

    /// From here on entries come in the order of their last use. Where they do not all fit, the
    /// first of them go, whatever the rule of eviction.
    pub fn start_restore(&mut self) {
        self.policy.set_restoring(true);
    }

    /// From here on the rule of eviction is in force. What was counted so far was no client's
    /// doing and is forgotten.
    pub fn finish_restore(&mut self) {
        self.policy.set_restoring(false);
        let Stats { budget_bytes, payload_bytes, .. } = self.stats;
        self.stats = Stats { payload_bytes, budget_bytes, ..Stats::default() };
    }
}
