//! A shard's part in snapshots: its own share in slices, and on the first shard the file.

use super::{
    arrivals::Desk,
    letter::Arrival,
    save::{Done, Job, Saved},
    service::Facts,
    turn::Shard,
};
use crate::{clock::Millis, query::Share};

/// Steps of a walk for each millisecond of a busy core: a twentieth of its time.
const STEPS_PER_MS: u32 = 150;
/// A turn that took longer has a slice of no more.
const ELAPSED_MAX_MS: u64 = 4;
/// Steps of one slice where the core had nothing else to do: some hundred microseconds.
const IDLE_STEPS: u32 = 1024;

impl Shard {
    /// Gives this shard's share of a snapshot a slice: a large one where the core was idle, else
    /// one in proportion to the time since the last. Returns whether there is more to do.
    pub fn save_on(&mut self, now: Millis, was_idle: bool) -> bool {
        let steps = if was_idle {
            IDLE_STEPS
        } else {
            let elapsed_ms = now.since(self.last_save).min(ELAPSED_MAX_MS);
            u32::try_from(elapsed_ms).expect("at most ELAPSED_MAX_MS") * STEPS_PER_MS
        };
        let is_wanted = self.service.save_share(now, steps);
        if steps > 0 {
            self.last_save = now;
        }
        is_wanted
    }

    /// Whether a snapshot is under way that this shard writes or has its share of.
    #[must_use]
    pub fn is_saving(&self) -> bool {
        self.service.save.is_running() || self.service.saving.is_some()
    }

    /// Begins a last snapshot, now or after the one that runs. False where there is none to come.
    pub fn save_last(&mut self) -> bool {
        self.service.save.begin_last(self.facts.now)
    }

    /// The next thing to be done to the file.
    pub fn take_job(&mut self) -> Option<Job> {
        self.service.save.jobs.pop_front()
    }

    /// Takes in what came of a job, and answers who waits. Returns how the snapshot ended, if it
    /// did.
    pub fn job_done(&mut self, done: Done) -> Option<Saved> {
        let Facts { hasher, now, .. } = &self.facts;
        let service = &mut self.service;
        let (tag_key, shards) = (hasher.tag_key(), service.mesh.shards());
        let counters = &mut service.counters.snapshots;
        let saved = service.save.done(done, *now, tag_key, shards, counters);
        service.send_orders();
        let saved = saved?;
        service.report_ended_snapshot(&saved);
        if let Some(ticket) = service.save.waiting.take() {
            let results = vec![Share::Saved(saved.outcome.clone())];
            let (counters, connections) = (&mut service.counters, &mut self.connections);
            let mut desk = Desk { facts: &self.facts, counters, connections };
            desk.arrive(&Arrival::Results { ticket, results });
        }
        Some(saved)
    }

    /// From here on snapshots may be written.
    pub fn serve(&mut self) {
        self.service.save.open_gate();
    }
}
