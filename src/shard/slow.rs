//! Requests that took longer than they should, for a line of the log: the slowest of some time, and
//! how many there were. It sees no key and no value.

use crate::{http::response::CONTINUE, latency::Timing, metrics::Operation};
use std::time::Duration;

/// A request that took long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slow {
    pub operation: Operation,
    pub micros: u32,
    /// Of its answer, or of the first of those that were sent with it.
    pub status: u16,
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

    /// Answers took so long. `answers` is what of them is still here, and they had `bytes`.
    #[inline]
    pub(super) fn see(&mut self, micros: u32, timing: &Timing, answers: &[u8], bytes: usize) {
        if micros > self.micros_max {
            self.note(micros, timing, answers, bytes);
        }
    }

    #[cold]
    fn note(&mut self, micros: u32, timing: &Timing, answers: &[u8], bytes: usize) {
        let more = self.slowest.map_or(0, |slow| slow.more + 1) + u64::from(timing.answers) - 1;
        let slow = match self.slowest {
            Some(slow) if slow.micros >= micros => slow,
            _ => {
                let operation = timing.start.operation;
                Slow { operation, micros, status: status(answers), bytes, more }
            }
        };
        self.slowest = Some(Slow { more, ..slow });
    }

    /// The slowest since the last call.
    pub(super) fn take(&mut self) -> Option<Slow> {
        self.slowest.take()
    }
}

/// The status of the first of some answers.
fn status(answers: &[u8]) -> u16 {
    let answers = answers.strip_prefix(CONTINUE).unwrap_or(answers);
    let digits = answers.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3));
    // What is sent in pieces, so that its head is gone when the end is sent, is a value.
    digits.map_or(200, |digits| digits.iter().fold(0, |sum, d| sum * 10 + u16::from(d - b'0')))
}

#[cfg(test)]
mod tests {
    use super::{Slow, SlowLog};
    use crate::{
        latency::{Start, Timing},
        metrics::Operation,
    };
    use std::time::Duration;

    fn timing(operation: Operation, answers: u32) -> Timing {
        Timing { start: Start { operation, micros: 0 }, answers, end: 0 }
    }

    #[test]
    fn the_slowest_is_kept_and_the_others_are_counted() {
        let mut log = SlowLog::new(Duration::from_micros(100));
        log.see(100, &timing(Operation::Get, 1), b"HTTP/1.1 200 OK\r\n", 17);
        assert_eq!(log.take(), None);
        log.see(101, &timing(Operation::Get, 16), b"HTTP/1.1 404 Not Found\r\n", 4000);
        log.see(900, &timing(Operation::Put, 1), b"HTTP/1.1 507 Insufficient Storage\r\n", 90);
        log.see(101, &timing(Operation::Get, 1), b"HTTP/1.1 200 OK\r\n", 17);
        let operation = Operation::Put;
        let slowest = Slow { operation, micros: 900, status: 507, bytes: 90, more: 17 };
        assert_eq!(log.take(), Some(slowest));
        assert_eq!(log.take(), None);
    }

    #[test]
    fn the_status_is_that_of_the_final_answer() {
        let mut log = SlowLog::new(Duration::from_micros(1));
        let mut status = |answers: &[u8]| {
            log.see(9, &timing(Operation::Put, 1), answers, answers.len());
            log.take().unwrap().status
        };
        assert_eq!(status(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\n"), 201);
        assert_eq!(status(b"the end of a long value"), 200);
    }

    #[test]
    fn without_a_bound_nothing_is_slow() {
        let mut log = SlowLog::new(Duration::ZERO);
        log.see(u32::MAX, &timing(Operation::Get, 1), b"HTTP/1.1 200 OK\r\n", 17);
        assert_eq!(log.take(), None);
    }
}
