//! A histogram as text, as a row of a log, and as JSON.

use hdrhistogram::{
    Histogram,
    serialization::{
        V2DeflateSerializer,
        interval_log::{IntervalLogWriterBuilder, Tag},
    },
};
use serde_json::{Value, json};
use std::{
    io::{self, Write as _},
    time::{Duration, SystemTime},
};

/// Steps of the percentile text in each half of the distance to 100 %.
const STEPS_PER_HALF: u32 = 5;

/// The line before the rows of a log.
const LEGEND: &str = "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\
    \"Interval_Compressed_Histogram\"\n";

/// A log of intervals (`.hlog`, version 1.3). Counts are of microseconds.
pub struct IntervalLog(pub Vec<u8>);

impl IntervalLog {
    /// The lines before the first interval; `measured` says from when to when.
    #[must_use]
    pub fn begin(measured: &str, start: SystemTime) -> Self {
        let mut text = Vec::new();
        IntervalLogWriterBuilder::new()
            .add_comment("[Histogram log format version 1.3]")
            .add_comment(&format!("[Measured {measured}, in microseconds]"))
            .with_start_time(start)
            .with_base_time(start)
            .begin_log_with(&mut text, &mut V2DeflateSerializer::new())
            .expect("memory takes everything");
        text.extend_from_slice(LEGEND.as_bytes());
        Self(text)
    }

    /// Adds an interval that began so long after the start.
    pub fn push(
        &mut self,
        histogram: &Histogram<u64>,
        began: Duration,
        span: Duration,
        tag: Option<Tag<'_>>,
    ) {
        IntervalLogWriterBuilder::new()
            .begin_log_with(&mut self.0, &mut V2DeflateSerializer::new())
            .expect("memory takes everything")
            .write_histogram(histogram, began, span, tag)
            .expect("memory takes everything");
    }
}

/// Count, least, mean, the usual percentiles and the greatest, in microseconds.
#[must_use]
pub fn summary(histogram: &Histogram<u64>) -> Value {
    let at = |quantile| histogram.value_at_quantile(quantile);
    json!({
        "count": histogram.len(),
        "min": histogram.min(),
        "mean": histogram.mean(),
        "p50": at(0.5),
        "p90": at(0.9),
        "p99": at(0.99),
        "p99.9": at(0.999),
        "p99.99": at(0.9999),
        "max": histogram.max(),
    })
}

/// The percentile text of `HdrHistogram` (`.hgrm`), in milliseconds; `measured` says from when to
/// when.
#[must_use]
pub fn hgrm(histogram: &Histogram<u64>, measured: &str) -> Vec<u8> {
    let mut text = Vec::new();
    write_hgrm(&mut text, histogram, measured).expect("memory takes everything");
    text
}

#[expect(clippy::cast_precision_loss, reason = "three digits are kept")]
fn write_hgrm(out: &mut Vec<u8>, histogram: &Histogram<u64>, measured: &str) -> io::Result<()> {
    const MICROS_PER_MILLI: f64 = 1000.0;
    writeln!(out, "#[Measured {measured}, in milliseconds]")?;
    writeln!(
        out,
        "{:>12} {:>14} {:>10} {:>14}\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    )?;
    let mut count = 0;
    for step in histogram.iter_quantiles(STEPS_PER_HALF) {
        count += step.count_since_last_iteration();
        let value = step.value_iterated_to() as f64 / MICROS_PER_MILLI;
        let quantile = step.quantile_iterated_to();
        write!(out, "{value:>12.3} {quantile:>14.12} {count:>10}")?;
        if quantile < 1.0 {
            write!(out, " {:>14.2}", 1.0 / (1.0 - quantile))?;
        }
        writeln!(out)?;
    }
    let mean = histogram.mean() / MICROS_PER_MILLI;
    let deviation = histogram.stdev() / MICROS_PER_MILLI;
    let max = histogram.max() as f64 / MICROS_PER_MILLI;
    let (total, buckets) = (histogram.len(), histogram.buckets());
    let halves = histogram.distinct_values() / (usize::from(buckets) + 1);
    writeln!(out, "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]")?;
    writeln!(out, "#[Max     = {max:>12.3}, Total count    = {total:>12}]")?;
    writeln!(out, "#[Buckets = {buckets:>12}, SubBuckets     = {:>12}]", 2 * halves)
}
