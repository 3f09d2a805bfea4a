//! The histograms of one shard while it runs, and what is recorded in them.

use super::latencies::{Latencies, histogram};
use crate::metrics::{Operation, Outcome, ProtocolName};

/// What an answer's request came by and asked for, and when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    pub protocol: ProtocolName,
    pub operation: Operation,
    /// The clock's microseconds, of which 32 bits are enough for any request that is served.
    pub micros: u32,
}

/// Answers to requests that began alike, which end in the output where the last of them does.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub start: Start,
    pub answers: u32,
    /// The worst of theirs.
    pub outcome: Outcome,
    pub end: usize,
}

/// Since when latencies are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// The start of the process.
    Ever,
    Reset,
    /// The last reading of an interval.
    Interval,
}

/// One shard's histograms since the start, and what they were when they were last read anew.
#[derive(Debug, Default)]
pub struct Latency {
    totals: Latencies,
    at_reset: Option<Box<Latencies>>,
    at_interval: Option<Box<Latencies>>,
}

impl Latency {
    /// The last of these answers was sent at `now_us`. Returns the microseconds that they took.
    #[inline]
    pub fn record(&mut self, timing: &Timing, now_us: u64) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "counted on from such a one")]
        let elapsed = (now_us as u32).wrapping_sub(timing.start.micros);
        let Start { protocol, operation, .. } = timing.start;
        self.totals.operations[protocol as usize][operation as usize]
            .get_or_insert_with(histogram)
            .saturating_record_n(u64::from(elapsed).max(1), u64::from(timing.answers));
        elapsed
    }

    /// A turn of the loop came so late.
    pub fn record_loop_delay(&mut self, late_us: u64) {
        self.totals.loop_delay.get_or_insert_with(histogram).saturating_record(late_us.max(1));
    }

    /// What was recorded since; `anew`: from here on that is now. `now_us` counts from the start.
    pub fn read(&mut self, since: Since, anew: bool, now_us: u64) -> Latencies {
        let mut found = Latencies { span_us: now_us, ..self.totals.clone() };
        let mark = match since {
            Since::Ever => return found,
            Since::Reset => &mut self.at_reset,
            Since::Interval => &mut self.at_interval,
        };
        let totals = anew.then(|| Box::new(found.clone()));
        if let Some(mark) = mark {
            found.subtract(mark);
        }
        if anew {
            *mark = totals;
        }
        found
    }
}
