//! A histogram against a few upper bounds.

use hdrhistogram::Histogram;
use std::time::Duration;

/// A histogram against a few upper bounds, as Prometheus has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Buckets {
    /// For each bound, how many values were not above it, to three digits.
    pub cumulative: Vec<u64>,
    pub count: u64,
    pub sum_seconds: f64,
}

impl Buckets {
    pub(super) fn none(bounds: &[u64]) -> Self {
        Self { cumulative: vec![0; bounds.len()], count: 0, sum_seconds: 0.0 }
    }

    pub(super) fn of(histogram: &Histogram<u64>, bounds: &[u64]) -> Self {
        let mut buckets = Self::none(bounds);
        let mut sum_us = 0;
        for step in histogram.iter_recorded() {
            let (value, count) = (step.value_iterated_to(), step.count_at_value());
            let lowest = histogram.lowest_equivalent(value);
            let at = bounds.partition_point(|bound| *bound < lowest);
            if let Some(within) = buckets.cumulative.get_mut(at) {
                *within += count;
            }
            buckets.count += count;
            sum_us += count * histogram.median_equivalent(value);
        }
        let mut below = 0;
        for within in &mut buckets.cumulative {
            below += *within;
            *within = below;
        }
        buckets.sum_seconds = Duration::from_micros(sum_us).as_secs_f64();
        buckets
    }
}
