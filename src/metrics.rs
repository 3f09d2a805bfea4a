//! Plain counters, one set per shard: `+=` where something happens, summed by message when asked.

use crate::{
    counters::{Hops, counters},
    snapshot::{Failure, Summary},
    store,
};
use std::ops::AddAssign;

/// What a request asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Get,
    Put,
    Delete,
    Incr,
    Touch,
    Mget,
    Mput,
    Mdelete,
    Invalidate,
    Health,
    Admin,
    /// Everything without a handler of its own: unknown routes, wrong methods, broken requests.
    Other,
}

impl Operation {
    pub const ALL: [(Self, &'static str); 12] = [
        (Self::Get, "get"),
        (Self::Put, "put"),
        (Self::Delete, "delete"),
        (Self::Incr, "incr"),
        (Self::Touch, "touch"),
        (Self::Mget, "mget"),
        (Self::Mput, "mput"),
        (Self::Mdelete, "mdelete"),
        (Self::Invalidate, "invalidate"),
        (Self::Health, "health"),
        (Self::Admin, "admin"),
        (Self::Other, "other"),
    ];

    pub const WRITES: [Self; 6] =
        [Self::Put, Self::Delete, Self::Incr, Self::Touch, Self::Mput, Self::Mdelete];

    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// Whether it changes single entries.
    #[must_use]
    pub fn is_write(self) -> bool {
        Self::WRITES.contains(&self)
    }

    /// Whether it reads entries.
    #[must_use]
    pub fn is_read(self) -> bool {
        matches!(self, Self::Get | Self::Mget)
    }
}

/// What became of a request, by the class of its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    NotFound,
    ClientError,
    ServerError,
}

impl Outcome {
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Ok, "ok"),
        (Self::NotFound, "not_found"),
        (Self::ClientError, "client_error"),
        (Self::ServerError, "server_error"),
    ];

    #[must_use]
    pub fn of(status: u16) -> Self {
        match status {
            0..=399 => Self::Ok,
            404 => Self::NotFound,
            400..=499 => Self::ClientError,
            _ => Self::ServerError,
        }
    }
}

/// The statuses in use; whatever else there might be counts as the last.
pub const STATUSES: [u16; 23] = [
    200, 201, 204, 304, 400, 401, 403, 404, 405, 406, 408, 409, 412, 413, 414, 415, 417, 431, 501,
    503, 505, 507, 500,
];

/// The statuses that have a place in [`PLACES`].
const STATUS_MIN: u16 = 200;
const STATUS_MAX: u16 = 511;

/// The place of each status in [`STATUSES`].
const PLACES: [u8; (STATUS_MAX - STATUS_MIN + 1) as usize] = {
    #[expect(clippy::cast_possible_truncation, reason = "there are 23")]
    let other = STATUSES.len() as u8 - 1;
    let mut places = [other; (STATUS_MAX - STATUS_MIN + 1) as usize];
    let mut at = 0;
    while at < other {
        places[(STATUSES[at as usize] - STATUS_MIN) as usize] = at;
        at += 1;
    }
    places
};

/// Answers by operation and status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers([[u64; STATUSES.len()]; Operation::ALL.len()]);

impl Answers {
    #[inline]
    pub fn count(&mut self, operation: Operation, status: u16) {
        let place = PLACES.get(usize::from(status.wrapping_sub(STATUS_MIN)));
        self.0[operation as usize][place.map_or(STATUSES.len() - 1, |at| usize::from(*at))] += 1;
    }

    #[must_use]
    pub fn get(&self, operation: Operation, outcome: Outcome) -> u64 {
        let counts = self.by_status(operation);
        counts.filter(|(status, _)| Outcome::of(*status) == outcome).map(|(_, count)| count).sum()
    }

    /// Every status and how often it was the answer.
    pub fn by_status(&self, operation: Operation) -> impl Iterator<Item = (u16, u64)> {
        STATUSES.into_iter().zip(self.0[operation as usize])
    }

    /// How often a status was the answer to any of these.
    #[must_use]
    pub fn with_status(&self, status: u16, operations: &[Operation]) -> u64 {
        let counts = operations.iter().flat_map(|operation| self.by_status(*operation));
        counts.filter(|(found, _)| *found == status).map(|(_, count)| count).sum()
    }
}

impl AddAssign for Answers {
    fn add_assign(&mut self, other: Self) {
        for (mine, theirs) in self.0.iter_mut().flatten().zip(other.0.as_flattened()) {
            *mine += theirs;
        }
    }
}

counters! {
    /// What happened to connections and on them. Totals since the start, but for `open` and
    /// `buffered_bytes`.
    Connections {
        /// Open now, on the data port.
        open,
        accepted,
        /// Turned away with 503 because the process had `connections_max` already.
        refused,
        /// Closed because a request or an answer made no progress, or nothing came at all.
        timed_out,
        received_bytes,
        sent_bytes,
        /// Of bodies that are not complete, and of long answers that are not sent yet or are still
        /// to come from other shards: what `buffered_bytes_max` bounds.
        buffered_bytes,
    }
}

/// What a shard still takes on. Each step leaves out more than the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    #[default]
    Calm,
    /// No connection stays open after its answer.
    Closing,
    NoWrites,
    NoReads,
}

impl Step {
    #[must_use]
    pub fn above(self) -> Self {
        match self {
            Self::Calm => Self::Closing,
            Self::Closing => Self::NoWrites,
            Self::NoWrites | Self::NoReads => Self::NoReads,
        }
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Closing => "closing",
            Self::NoWrites => "no_writes",
            Self::NoReads => "no_reads",
        }
    }
}

counters! {
    /// What a shard did not take on because it had too much to do.
    Overload {
        /// Requests refused for what buffers held.
        refused_memory,
        /// Requests refused for how long others waited.
        refused_delay,
        /// How often each step was climbed to.
        closing,
        no_writes,
        no_reads,
        /// For how long what is ready waits at least, lately.
        queue_delay_us: max,
    }
}

impl Overload {
    /// Takes note of a step that was climbed to.
    pub fn note(&mut self, step: Step) {
        match step {
            Step::Calm => {}
            Step::Closing => self.closing += 1,
            Step::NoWrites => self.no_writes += 1,
            Step::NoReads => self.no_reads += 1,
        }
    }
}

counters! {
    /// What a shard spends, in all, and holds, when it looked last.
    Usage {
        /// Microseconds of CPU time.
        busy_us,
        /// Requests that are not wholly answered.
        requests_in_flight,
        /// Bytes of memory that connections hold.
        buffer_bytes,
    }
}

counters! {
    /// What the kernel says of the process. Only the shard that was asked for it has looked.
    Process {
        cpu_us,
        resident_bytes,
        open_descriptors,
        descriptors_max,
        /// Bytes of memory that host and cgroup allow it.
        memory_available,
        /// Milliseconds of the wall clock when it started.
        started_ms,
    }
}

counters! {
    /// What became of reading the settings that can change again. The start counts as such.
    Reload {
        is_good: max,
        /// Seconds of the wall clock when it last was.
        good_seconds: max,
    }
}

/// What a shard is about. Of several, that counts which is furthest from serving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    #[default]
    Serving,
    Draining,
    Restoring,
    Starting,
}

impl Stage {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Restoring => "restoring",
            Self::Starting => "starting",
        }
    }
}

counters! {
    /// What was written to the disk, which the first shard sees to, and what was restored from it.
    Snapshots {
        written,
        failed,
        /// Of the last that was written, and so are those below.
        entries: max,
        size_bytes: max,
        duration_ms: max,
        /// In milliseconds of Unix time.
        last_success_ms: max,
        /// Entries that were there again at the start.
        restored,
        /// Those whose time was over.
        restored_expired,
        /// Those that are longer than keys and values may be now.
        restored_too_large,
        /// Those that made room for the ones used later.
        restored_evicted,
    }
}

impl Snapshots {
    /// Takes note of how one ended.
    pub fn note(&mut self, outcome: &Result<Summary, Failure>) {
        match outcome {
            Ok(summary) => {
                self.written += 1;
                self.entries = summary.entries;
                self.size_bytes = summary.bytes;
                self.duration_ms = summary.duration_ms;
            }
            Err(_) => self.failed += 1,
        }
    }
}

/// One shard's counters above the mesh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub answers: Answers,
    pub connections: Connections,
    pub overload: Overload,
    pub step: Step,
    pub usage: Usage,
    pub process: Process,
    pub reload: Reload,
    pub stage: Stage,
    pub snapshots: Snapshots,
}

/// Everything that one shard counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub counters: Counters,
    pub hops: Hops,
    pub store: store::Stats,
}

impl AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.counters.answers += other.counters.answers;
        self.counters.connections += other.counters.connections;
        self.counters.overload += other.counters.overload;
        self.counters.step = self.counters.step.max(other.counters.step);
        self.counters.usage += other.counters.usage;
        self.counters.process += other.counters.process;
        self.counters.reload += other.counters.reload;
        self.counters.stage = self.counters.stage.max(other.counters.stage);
        self.counters.snapshots += other.counters.snapshots;
        self.hops += other.hops;
        self.store += other.store;
    }
}

#[cfg(test)]
mod tests {
    use super::{Answers, Operation, Outcome, STATUSES};

    #[test]
    fn every_status_has_a_place_of_its_own_and_an_unknown_one_is_500() {
        let mut answers = Answers::default();
        for (place, status) in STATUSES.into_iter().enumerate() {
            for _ in 0..=place {
                answers.count(Operation::Put, status);
            }
        }
        let expected: Vec<(u16, u64)> = STATUSES.into_iter().zip(1..).collect();
        assert_eq!(answers.by_status(Operation::Put).collect::<Vec<_>>(), expected);
        assert_eq!(answers.by_status(Operation::Get).map(|(_, count)| count).sum::<u64>(), 0);
        assert_eq!(answers.get(Operation::Put, Outcome::Ok), 1 + 2 + 3 + 4);
        assert_eq!(answers.get(Operation::Put, Outcome::NotFound), 8);
        for status in [0, 100, 299, 418, 511, 999] {
            let mut answers = Answers::default();
            answers.count(Operation::Get, status);
            assert_eq!(answers.with_status(500, &[Operation::Get]), 1, "{status}");
        }
    }
}
