//! The first shard's charge: it has snapshots written, one at a time.
//!
//! ```text
//! begin -> Job::Create -> Done::Created -> header, Order::Begin to every shard, Order::Next ...
//!       -> parts become Job::Write; each Done::Written lets its shard make another block
//!       -> every shard is through: footer, Job::Commit -> Done::Committed
//! ```
//!
//! Whatever fails ends the attempt; the file of the snapshot before stays as it was.

use super::{
    Shard, Ticket,
    arrivals::Desk,
    letter::Arrival,
    saving::{Order, PARTS_MAX, Part},
    service::Facts,
};
use crate::{
    clock::Millis,
    metrics::{Snapshots, Stage as ServerStage},
    protocol::Problem,
    query::Share,
    snapshot::{Failure, Header, Summary, Writer},
    store::TagKey,
};
use std::collections::VecDeque;

/// Something to be done to the file, in order.
#[derive(Debug)]
pub enum Job {
    /// Make a file beside the snapshot.
    Create,
    /// Add to it.
    Write(Vec<u8>),
    /// Put it in the place of the snapshot.
    Commit,
}

/// What came of a job. Jobs after one that failed are dropped until the next [`Job::Create`].
#[derive(Debug)]
pub enum Done {
    /// At this time, in milliseconds of Unix time.
    Created {
        wall_ms: u64,
    },
    Written,
    Committed {
        wall_ms: u64,
    },
    Failed(Failure),
}

/// A snapshot that was written, or was not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    pub outcome: Result<Summary, Failure>,
    /// It was the one that [`super::Shard::save_last`] asked for.
    pub is_last: bool,
}

#[derive(Debug)]
pub(super) struct Save {
    /// Whether there may be one at all.
    gate: Result<(), Problem>,
    interval_ms: Option<u64>,
    due: Millis,
    stage: Stage,
    /// Of this process, counted from 1.
    number: u64,
    begun: Millis,
    is_last: bool,
    is_last_wanted: bool,
    pub(super) jobs: VecDeque<Job>,
    /// Orders to be sent, and the shards that they are for.
    pub(super) orders: VecDeque<(usize, Order)>,
    /// Who asked for the one that runs.
    pub(super) waiting: Option<Ticket>,
}

#[derive(Debug)]
enum Stage {
    Idle,
    Creating,
    Walking(Walking),
    Committing(Summary),
}

#[derive(Debug)]
struct Walking {
    writer: Writer,
    /// By shard.
    sources: Vec<Source>,
    /// Whose blocks are being written; the header is nobody's.
    writing: VecDeque<Option<usize>>,
}

#[derive(Clone, Debug, Default)]
struct Source {
    /// Blocks ordered and not written yet.
    ordered: usize,
    progress: u64,
    is_through: bool,
}

/// Steps of a walk for each millisecond of a busy core: a twentieth of its time.
const STEPS_PER_MS: u32 = 150;
/// A turn that took longer has a slice of no more.
const ELAPSED_MAX_MS: u64 = 4;
/// Steps of one slice where the core had nothing else to do: some hundred microseconds.
const IDLE_STEPS: u32 = 1024;

/// By how many thousandths one shard may be ahead of another, so that the file goes from cold to
/// hot as a whole.
const AHEAD_MAX: u64 = 10;

impl Save {
    /// `is_on`: there is a place for snapshots, and this shard writes them.
    pub(super) fn new(is_on: bool, interval_ms: Option<u64>, now: Millis) -> Self {
        Self {
            gate: Err(if is_on {
                Problem::NotServing(ServerStage::Starting)
            } else {
                Problem::NoSnapshotPath
            }),
            interval_ms,
            due: Millis(now.0.saturating_add(interval_ms.unwrap_or(u64::MAX))),
            stage: Stage::Idle,
            number: 0,
            begun: now,
            is_last: false,
            is_last_wanted: false,
            jobs: VecDeque::new(),
            orders: VecDeque::new(),
            waiting: None,
        }
    }

    pub(super) fn begin(&mut self, now: Millis) -> Result<(), Problem> {
        self.gate?;
        if self.is_running() {
            return Err(Problem::SnapshotRunning);
        }
        self.stage = Stage::Creating;
        self.number += 1;
        self.begun = now;
        self.due = Millis(now.0.saturating_add(self.interval_ms.unwrap_or(u64::MAX)));
        self.jobs.push_back(Job::Create);
        Ok(())
    }

    /// Begins a last one, now or after the one that runs. False where there is none to come.
    pub(super) fn begin_last(&mut self, now: Millis) -> bool {
        match self.begin(now) {
            Ok(()) => self.is_last = true,
            Err(Problem::SnapshotRunning) => self.is_last_wanted = true,
            Err(_) => return false,
        }
        true
    }

    fn is_running(&self) -> bool {
        !matches!(self.stage, Stage::Idle)
    }

    /// The one that was begun last, counted from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Whether it is time for one.
    pub(super) fn is_due(&self, now: Millis) -> bool {
        now >= self.due && !self.is_running()
    }

    /// Takes in what a shard has made.
    pub(super) fn take_part(&mut self, shard: usize, part: Part) {
        let Stage::Walking(walking) = &mut self.stage else { return };
        if part.snapshot != self.number {
            return;
        }
        let source = &mut walking.sources[shard];
        source.progress = part.progress;
        source.is_through = part.is_last;
        if let Some(block) = part.block {
            walking.writing.push_back(Some(shard));
            self.jobs.push_back(Job::Write(walking.writer.block(block)));
        }
        if walking.sources.iter().all(|source| source.is_through) {
            self.jobs.push_back(Job::Write(walking.writer.footer()));
            self.jobs.push_back(Job::Commit);
            let (entries, bytes) = (walking.writer.entries(), walking.writer.bytes());
            self.stage = Stage::Committing(Summary { entries, bytes, duration_ms: 0 });
        } else {
            walking.order_more(&mut self.orders);
        }
    }

    /// Takes in what came of a job. Returns how the snapshot ended, if it did.
    pub(super) fn done(
        &mut self,
        done: Done,
        now: Millis,
        tag_key: TagKey,
        shards: usize,
        counters: &mut Snapshots,
    ) -> Option<Saved> {
        let outcome = match (done, &mut self.stage) {
            (Done::Created { wall_ms }, Stage::Creating) => {
                let header = Header { created: wall_ms, tag_key };
                let (writer, bytes) = Writer::new(&header);
                self.jobs.push_back(Job::Write(bytes));
                let offset = wall_ms.cast_signed() - now.0.cast_signed();
                let begin = Order::Begin { snapshot: self.number, offset };
                self.orders.extend((0..shards).map(|shard| (shard, begin)));
                let sources = vec![Source::default(); shards];
                let mut walking = Walking { writer, sources, writing: VecDeque::from([None]) };
                walking.order_more(&mut self.orders);
                self.stage = Stage::Walking(walking);
                return None;
            }
            (Done::Written, Stage::Walking(walking)) => {
                if let Some(shard) = walking.writing.pop_front().flatten() {
                    walking.sources[shard].ordered -= 1;
                    walking.order_more(&mut self.orders);
                }
                return None;
            }
            (Done::Committed { wall_ms }, Stage::Committing(summary)) => {
                counters.last_success_ms = wall_ms;
                Ok(Summary { duration_ms: now.since(self.begun), ..*summary })
            }
            (Done::Failed(failure), _) => {
                self.orders.extend((0..shards).map(|shard| (shard, Order::Stop)));
                Err(failure)
            }
            _ => return None,
        };
        self.stage = Stage::Idle;
        self.jobs.clear();
        match &outcome {
            Ok(Summary { entries, bytes, duration_ms }) => {
                counters.note_written(*entries, *bytes, *duration_ms);
            }
            Err(_) => counters.failed += 1,
        }
        let saved = Saved { outcome, is_last: std::mem::take(&mut self.is_last) };
        if std::mem::take(&mut self.is_last_wanted) {
            self.begin_last(now);
        }
        Some(saved)
    }
}

impl Walking {
    /// Orders a block of every shard that is not ahead of the others and has made those before.
    fn order_more(&mut self, orders: &mut VecDeque<(usize, Order)>) {
        let on_their_way = self.sources.iter().filter(|source| !source.is_through);
        let Some(slowest) = on_their_way.map(|source| source.progress).min() else { return };
        for (shard, source) in self.sources.iter_mut().enumerate() {
            let may_go_on = !source.is_through && source.progress <= slowest + AHEAD_MAX;
            while may_go_on && source.ordered < PARTS_MAX {
                source.ordered += 1;
                orders.push_back((shard, Order::Next));
            }
        }
    }
}

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
        let gate = &mut self.service.save.gate;
        if matches!(gate, Err(Problem::NotServing(_))) {
            *gate = Ok(());
        }
    }
}
