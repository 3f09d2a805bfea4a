//! What a driver writes to the log.

use crate::{
    clock::Millis,
    log::{self, Level, Log, Repeats},
    metrics::{Counters, Step},
    shard::Slow,
    snapshot::{Failure, Summary},
};

/// The log of one shard; what would be said again and again is counted instead.
pub(super) struct Reporter {
    pub(super) log: Log,
    repeats: Repeats,
    shard: usize,
    /// As it was logged.
    step: Step,
}

impl Reporter {
    pub(super) fn new(log: Log, shard: usize) -> Self {
        Self { log, repeats: Repeats::default(), shard, step: Step::Calm }
    }

    /// That the shard refuses more than before, or less.
    pub(super) fn load_shedding(&mut self, step: Step, counters: &Counters, now: Millis) {
        if step == self.step {
            return;
        }
        self.step = step;
        let (level, message) = match step {
            Step::Calm => (Level::Info, "no longer overloaded"),
            Step::Closing => (Level::Warn, "overloaded; connections end after their answers"),
            Step::NoWrites => (Level::Warn, "overloaded; writes are refused"),
            Step::NoReads => (Level::Warn, "overloaded; writes and reads are refused"),
        };
        if let Some(left_out) = self.repeats.admit(message, now) {
            let fields: log::Fields<'_> = &[
                ("shard", &self.shard),
                ("buffered_bytes", &counters.connections.buffered_bytes),
                ("queue_delay_us", &counters.overload.queue_delay_us),
                ("more", &left_out),
            ];
            self.log.line(level, message, fields);
        }
    }

    /// The slowest request of some time.
    pub(super) fn slow(&self, slow: &Slow) {
        let Slow { protocol, operation, micros, outcome, bytes, more } = slow;
        let fields: log::Fields<'_> = &[
            ("protocol", &protocol.name()),
            ("operation", &operation.name()),
            ("us", micros),
            ("outcome", &outcome.name()),
            ("bytes", bytes),
            ("shard", &self.shard),
            ("more", more),
        ];
        self.log.line(Level::Warn, "slow request", fields);
    }

    /// How a snapshot went.
    pub(super) fn saved(&mut self, outcome: &Result<Summary, Failure>, now: Millis) {
        match outcome {
            Ok(Summary { entries, bytes, duration_ms }) => {
                let fields: log::Fields<'_> =
                    &[("entries", entries), ("bytes", bytes), ("ms", duration_ms)];
                self.log.line(Level::Info, "snapshot written", fields);
            }
            Err(failure) => {
                let message = "no snapshot was written; the one before stays";
                if let Some(left_out) = self.repeats.admit(message, now) {
                    let fields: log::Fields<'_> =
                        &[("reason", &failure.reason), ("more", &left_out)];
                    self.log.line(Level::Error, message, fields);
                }
            }
        }
    }

    /// That a listener had to pause.
    pub(super) fn no_descriptors(&mut self, now: Millis) {
        let message = "no file descriptors left; accepted no connection for a moment";
        if let Some(left_out) = self.repeats.admit(message, now) {
            let fields: log::Fields<'_> = &[("shard", &self.shard), ("more", &left_out)];
            self.log.line(Level::Warn, message, fields);
        }
    }
}
