//! The histograms of some time, added up and taken apart.

use super::buckets::Buckets;
use crate::metrics::{Operation, ProtocolName};
use hdrhistogram::Histogram;
use std::borrow::Cow;

const MICROS_MAX: u64 = 60_000_000;
const DIGITS: u8 = 3;

/// The histograms of some time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latencies {
    /// By protocol and operation, of those that there were.
    pub(super) operations:
        [[Option<Histogram<u64>>; Operation::ALL.len()]; ProtocolName::ALL.len()],
    /// How late turns of the loop came that were due.
    pub(super) loop_delay: Option<Histogram<u64>>,
    /// For how long they were recorded.
    pub span_us: u64,
}

/// An empty histogram of microseconds from 1 to 60 seconds, to three digits.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MICROS_MAX, DIGITS).expect("60 seconds to three digits")
}

impl Latencies {
    /// Of one operation, by whatever protocol; `None` where there was none.
    pub(super) fn of(&self, operation: Operation) -> Option<Cow<'_, Histogram<u64>>> {
        let by_protocol = self.operations.iter();
        let mut found =
            by_protocol.filter_map(|operations| operations[operation as usize].as_ref());
        let mut sum = Cow::Borrowed(found.next()?);
        for histogram in found {
            sum.to_mut().add(histogram).expect("all have the same bounds");
        }
        Some(sum)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Option<Histogram<u64>>> {
        self.operations.as_flattened_mut().iter_mut().chain([&mut self.loop_delay])
    }

    fn all(&self) -> impl Iterator<Item = &Option<Histogram<u64>>> {
        self.operations.as_flattened().iter().chain([&self.loop_delay])
    }

    /// Adds those of another shard.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.all_mut().zip(other.all()) {
            if let Some(theirs) = theirs {
                mine.get_or_insert_with(histogram).add(theirs).expect("all have the same bounds");
            }
        }
        self.span_us = self.span_us.max(other.span_us);
    }

    /// Leaves what came after `earlier`.
    pub(super) fn subtract(&mut self, earlier: &Self) {
        for (mine, theirs) in self.all_mut().zip(earlier.all()) {
            if let (Some(mine), Some(theirs)) = (mine, theirs) {
                mine.subtract(theirs).expect("counts only ever grow");
            }
        }
        self.span_us -= earlier.span_us;
    }

    /// Of one operation, or of all of them together.
    pub(super) fn merged(&self, operation: Option<Operation>) -> Histogram<u64> {
        let mut sum = histogram();
        for (each, _) in Operation::ALL {
            if operation.is_none_or(|wanted| wanted == each)
                && let Some(histogram) = self.of(each)
            {
                sum.add(&*histogram).expect("all have the same bounds");
            }
        }
        sum
    }

    /// Of one operation by one protocol against these upper bounds in microseconds; `None` where
    /// there was none.
    #[must_use]
    pub fn buckets(
        &self,
        protocol: ProtocolName,
        operation: Operation,
        bounds: &[u64],
    ) -> Option<Buckets> {
        let histogram = self.operations[protocol as usize][operation as usize].as_ref();
        histogram.map(|histogram| Buckets::of(histogram, bounds))
    }

    /// The same of the lateness of turns.
    #[must_use]
    pub fn loop_delay(&self, bounds: &[u64]) -> Buckets {
        self.loop_delay
            .as_ref()
            .map_or_else(|| Buckets::none(bounds), |histogram| Buckets::of(histogram, bounds))
    }
}
