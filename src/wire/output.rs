//! Answers that are ready to send.

use crate::{
    latency::{Start, Timing},
    metrics::Outcome,
};

/// Spares that are kept, and the largest that is.
const SPARES_MAX: usize = 16;
const SPARE_BYTES_MAX: usize = 2 << 10;
/// What a new one takes: an answer with a short value.
const SPARE_BYTES_MIN: usize = 512;

#[derive(Debug, Default)]
pub struct Output {
    pub bytes: Vec<u8>,
    /// Of the answers that end in `bytes` and were not reported as sent, in their order.
    pub(super) timings: Vec<Timing>,
    /// Where the last of those ends that were reported.
    pub(super) reported: usize,
    /// Empty memory for answers that are held behind one that is not here.
    spares: Vec<Vec<u8>>,
}

impl Output {
    pub(super) fn take_spare(&mut self) -> Vec<u8> {
        self.spares.pop().unwrap_or_else(|| Vec::with_capacity(SPARE_BYTES_MIN))
    }

    pub(super) fn keep_spare(&mut self, mut bytes: Vec<u8>) {
        let is_fit = (1..=SPARE_BYTES_MAX).contains(&bytes.capacity());
        if is_fit && self.spares.len() < SPARES_MAX {
            bytes.clear();
            self.spares.push(bytes);
        }
    }

    /// So many answers, which began at `start`, end here; the worst of them went like `outcome`.
    #[inline]
    pub(super) fn end(&mut self, start: Start, answers: u32, outcome: Outcome) {
        let end = self.bytes.len();
        match self.timings.last_mut() {
            _ if answers == 0 => {}
            Some(last) if last.start == start => {
                last.answers += answers;
                last.outcome = last.outcome.max(outcome);
                last.end = end;
            }
            _ => self.timings.push(Timing { start, answers, outcome, end }),
        }
    }

    /// Reports the first answers, each time those that began alike, and what of them is here.
    pub(super) fn report(&mut self, timings: usize, mut ended: impl FnMut(&Timing, usize)) {
        for timing in self.timings.drain(..timings) {
            ended(&timing, timing.end - self.reported);
            self.reported = timing.end;
        }
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn buffer_bytes(&self) -> usize {
        let spares = self.spares.iter().map(Vec::capacity).sum::<usize>();
        let places = self.spares.capacity() * size_of::<Vec<u8>>();
        self.bytes.capacity() + self.timings.capacity() * size_of::<Timing>() + spares + places
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.timings.clear();
        self.reported = 0;
    }
}
