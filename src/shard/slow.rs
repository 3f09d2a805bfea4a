//! Requests that took longer than they should, for a line of the log: the slowest of some time, and
//! how many there were. It sees no key and no value.

use crate::{
    latency::{Start, Timing},
    metrics::{Operation, Outcome, ProtocolName},
};
use std::time::Duration;

/// A request that took long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slow {
    pub protocol: ProtocolName,
    pub operation: Operation,
    pub micros: u32,
    /// Of the worst of the answers that were sent with it.
    pub outcome: Outcome,
    /// Of all answers that were sent with it, heads and all.
    pub bytes: usize,
    /// Other slow ones that are not told of.
    pub more: u64,
}

/// The slowest request of some time, and how many others took too long.
#[derive(Debug)]
pub(super) struct SlowLog {
    /// The most that is not slow.
    micros_max: u32,
    slowest: Option<Slow>,
}

impl SlowLog {
    /// What takes longer than `above` is slow; nothing is where that is zero.
    #[must_use]
    pub(super) fn new(above: Duration) -> Self {
        let micros_max = match above.as_micros() {
            0 => u32::MAX,
            micros => u32::try_from(micros).unwrap_or(u32::MAX),
        };
        Self { micros_max, slowest: None }
    }

    /// Answers of so many bytes took so long.
    #[inline]
    pub(super) fn see(&mut self, micros: u32, timing: &Timing, bytes: usize) {
        if micros > self.micros_max {
            self.note(micros, timing, bytes);
        }
    }

    #[cold]
    fn note(&mut self, micros: u32, timing: &Timing, bytes: usize) {
        let more = self.slowest.map_or(0, |slow| slow.more + 1) + u64::from(timing.answers) - 1;
        let slow = match self.slowest {
            Some(slow) if slow.micros >= micros => slow,
            _ => {
                let Start { protocol, operation, .. } = timing.start;
                Slow { protocol, operation, micros, outcome: timing.outcome, bytes, more }
            }
        };
        self.slowest = Some(Slow { more, ..slow });
    }

    /// The slowest since the last call.
    pub(super) fn take(&mut self) -> Option<Slow> {
        self.slowest.take()
    }
}

#[cfg(test)]
mod tests {
    use super::{Operation, Outcome, ProtocolName, Slow, SlowLog, Start, Timing};
    use std::time::Duration;

    fn timing(operation: Operation, answers: u32, outcome: Outcome) -> Timing {
        let start = Start { protocol: ProtocolName::Http, operation, micros: 0 };
        Timing { start, answers, outcome, end: 0 }
    }

    #[test]
    fn the_slowest_is_kept_and_the_others_are_counted() {
        let mut log = SlowLog::new(Duration::from_micros(100));
        log.see(100, &timing(Operation::Get, 1, Outcome::Ok), 17);
        assert_eq!(log.take(), None);
        log.see(101, &timing(Operation::Get, 16, Outcome::NotFound), 4000);
        log.see(900, &timing(Operation::Put, 1, Outcome::NoRoom), 90);
        log.see(101, &timing(Operation::Get, 1, Outcome::Ok), 17);
        let slowest = Slow {
            protocol: ProtocolName::Http,
            operation: Operation::Put,
            micros: 900,
            outcome: Outcome::NoRoom,
            bytes: 90,
            more: 17,
        };
        assert_eq!(log.take(), Some(slowest));
        assert_eq!(log.take(), None);
    }

    #[test]
    fn without_a_bound_nothing_is_slow() {
        let mut log = SlowLog::new(Duration::ZERO);
        log.see(u32::MAX, &timing(Operation::Get, 1, Outcome::Ok), 17);
        assert_eq!(log.take(), None);
    }
}
