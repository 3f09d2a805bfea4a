//! Plain counters, one set per shard: `+=` where something happens, summed by message when asked.

use crate::{
    counters::{Hops, counters},
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

/// What a request came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolName {
    Http,
}

impl ProtocolName {
    pub const ALL: [(Self, &'static str); 1] = [(Self::Http, "http")];

    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// What became of a request, whatever protocol it came by. Of several, the greatest is the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Done, or found.
    Ok,
    /// Nothing is there by that name.
    NotFound,
    /// A condition of the request's did not hold, or the value is not of the kind that it needs.
    Unmet,
    /// The request was wrong.
    Invalid,
    /// It asks for what the protocol has and this server does not.
    Unsupported,
    /// It brought no token, or one that does not give it the right.
    Denied,
    /// It did not arrive in time.
    TimedOut,
    /// Refused for now: there is too much to do, the server starts or drains, or the shard is gone.
    Overloaded,
    /// Larger than there is room for, or all is full and nothing is evicted, or the disk is full.
    NoRoom,
    /// Our fault.
    Failed,
}

impl Outcome {
    pub const ALL: [(Self, &'static str); 10] = [
        (Self::Ok, "ok"),
        (Self::NotFound, "not_found"),
        (Self::Unmet, "unmet"),
        (Self::Invalid, "invalid"),
        (Self::Unsupported, "unsupported"),
        (Self::Denied, "denied"),
        (Self::TimedOut, "timed_out"),
        (Self::Overloaded, "overloaded"),
        (Self::NoRoom, "no_room"),
        (Self::Failed, "failed"),
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// Answers by protocol, operation and outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers([[[u64; Outcome::ALL.len()]; Operation::ALL.len()]; ProtocolName::ALL.len()]);

impl Answers {
    #[inline]
    pub fn count(&mut self, protocol: ProtocolName, operation: Operation, outcome: Outcome) {
        self.0[protocol as usize][operation as usize][outcome as usize] += 1;
    }

    #[must_use]
    pub fn get(&self, protocol: ProtocolName, operation: Operation, outcome: Outcome) -> u64 {
        self.0[protocol as usize][operation as usize][outcome as usize]
    }

    /// How often one of these was the outcome of any of these operations, by whatever protocol.
    #[must_use]
    pub fn sum(&self, operations: &[Operation], outcomes: &[Outcome]) -> u64 {
        let protocols = self.0.iter();
        let of_operations =
            protocols.flat_map(|of| operations.iter().map(|operation| &of[*operation as usize]));
        of_operations.flat_map(|of| outcomes.iter().map(|outcome| of[*outcome as usize])).sum()
    }
}

impl AddAssign for Answers {
    fn add_assign(&mut self, other: Self) {
        let theirs = other.0.as_flattened().as_flattened();
        for (mine, theirs) in self.0.as_flattened_mut().as_flattened_mut().iter_mut().zip(theirs) {
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
    /// Takes note of one that was written.
    pub fn note_written(&mut self, entries: u64, size_bytes: u64, duration_ms: u64) {
        self.written += 1;
        self.entries = entries;
        self.size_bytes = size_bytes;
        self.duration_ms = duration_ms;
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
    use super::{Answers, Operation, Outcome, ProtocolName};

    #[test]
    fn every_name_stands_in_its_place() {
        for (place, (protocol, _)) in ProtocolName::ALL.into_iter().enumerate() {
            assert_eq!(protocol as usize, place);
        }
        for (place, (operation, _)) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, place);
        }
        for (place, (outcome, _)) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, place);
        }
    }

    #[test]
    fn answers_are_told_apart_and_added_up() {
        let mut answers = Answers::default();
        for (operation, _) in Operation::ALL {
            for (outcome, _) in Outcome::ALL {
                for _ in 0..=outcome as usize {
                    answers.count(ProtocolName::Http, operation, outcome);
                }
            }
        }
        answers.count(ProtocolName::Http, Operation::Put, Outcome::Denied);
        let mut twice = answers;
        twice += answers;
        assert_eq!(twice.get(ProtocolName::Http, Operation::Get, Outcome::NotFound), 4);
        assert_eq!(twice.get(ProtocolName::Http, Operation::Put, Outcome::Denied), 14);
        let outcomes = [Outcome::Ok, Outcome::Denied];
        assert_eq!(twice.sum(&[Operation::Get, Operation::Put], &outcomes), 2 + 12 + 2 + 14);
        assert_eq!(twice.sum(&[], &outcomes) + twice.sum(&Operation::WRITES, &[]), 0);
    }
}
