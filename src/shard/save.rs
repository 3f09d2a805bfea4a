//! Where the writing of a snapshot stands: one at a time, by the first shard.
//!
//! ```text
//! begin -> Job::Create -> Done::Created -> header, Order::Begin to every shard, Order::Next ...
//!       -> parts become Job::Write; each Done::Written lets its shard make another block
//!       -> every shard is through: footer, Job::Commit -> Done::Committed
//! ```
//!
//! Whatever fails ends the attempt; the file of the snapshot before stays as it was.

use super::{
    connections::Ticket,
    saving::{Order, PARTS_MAX, Part},
};
use crate::{
    clock::Millis,
    metrics::{Snapshots, Stage as ServerStage},
    protocol::Problem,
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

    /// From here on snapshots may be written.
    pub(super) fn open_gate(&mut self) {
        if matches!(self.gate, Err(Problem::NotServing(_))) {
            self.gate = Ok(());
        }
    }

    pub(super) fn is_running(&self) -> bool {
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
