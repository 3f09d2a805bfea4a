//! What one thread counts, and what all of them have counted.

use super::mix::LoadOperation;
use crate::latency;
use hdrhistogram::Histogram;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrorKind {
    /// No connection.
    Connect,
    /// The connection ended before the answer.
    Closed,
    /// No answer in time.
    Timeout,
    /// The server said no.
    Refused,
    /// An answer that was not understood.
    Malformed,
    /// A value that was not written to its key.
    Wrong,
    /// A value that had been overwritten.
    Stale,
}

impl ErrorKind {
    pub(super) const NAMES: [(&'static str, Self); 7] = [
        ("connect", Self::Connect),
        ("closed", Self::Closed),
        ("timeout", Self::Timeout),
        ("refused", Self::Refused),
        ("malformed", Self::Malformed),
        ("wrong", Self::Wrong),
        ("stale", Self::Stale),
    ];
}

/// Counts of some time.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    /// From when a request was to be sent to when its answer was read, in microseconds.
    pub(super) latency: Histogram<u64>,
    /// By operation.
    pub(super) answers: [u64; LoadOperation::NAMES.len()],
    /// Keys that were asked for.
    pub(super) hits: u64,
    pub(super) misses: u64,
    /// By kind.
    errors: [u64; ErrorKind::NAMES.len()],
    /// Requests that were due and never sent.
    pub(super) unsent: u64,
    pub(super) cpu_us: u64,
    /// Requests that were due before this are not counted, only their errors.
    pub(super) from_us: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            latency: latency::histogram(),
            answers: [0; 4],
            hits: 0,
            misses: 0,
            errors: [0; 7],
            unsent: 0,
            cpu_us: 0,
            from_us: 0,
        }
    }
}

impl Tally {
    pub(super) fn count_answer(&mut self, operation: LoadOperation, due_us: u64, now_us: u64) {
        if due_us >= self.from_us {
            self.answers[operation as usize] += 1;
            self.latency.saturating_record(now_us.saturating_sub(due_us).max(1));
        }
    }

    /// A request was due and never sent; it has waited until `end_us`.
    pub(super) fn count_unsent(&mut self, due_us: u64, end_us: u64) {
        if due_us >= self.from_us {
            self.unsent += 1;
            self.latency.saturating_record((end_us - due_us).max(1));
        }
    }

    pub(super) fn count_hit(&mut self) {
        self.hits += 1;
    }

    pub(super) fn count_miss(&mut self) {
        self.misses += 1;
    }

    pub(super) fn count_error(&mut self, kind: ErrorKind) {
        self.errors[kind as usize] += 1;
    }

    pub(super) fn errors(&self, kind: ErrorKind) -> u64 {
        self.errors[kind as usize]
    }

    pub(super) fn all_errors(&self) -> u64 {
        self.errors.iter().sum()
    }

    /// Of all operations.
    pub(super) fn answers(&self) -> u64 {
        self.answers.iter().sum()
    }

    /// Adds the errors that another counted.
    pub(super) fn add_errors(&mut self, other: &Self) {
        self.errors.iter_mut().zip(&other.errors).for_each(|(sum, more)| *sum += more);
    }

    /// Adds what another counted.
    pub(super) fn add(&mut self, other: &Self) {
        self.latency.add(&other.latency).expect("all have the same bounds");
        self.answers.iter_mut().zip(&other.answers).for_each(|(sum, more)| *sum += more);
        self.add_errors(other);
        self.hits += other.hits;
        self.misses += other.misses;
        self.unsent += other.unsent;
        self.cpu_us += other.cpu_us;
    }
}
