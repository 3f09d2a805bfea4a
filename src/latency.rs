//! How long requests take: a histogram for each protocol and operation, of one shard or of several
//! added up.
//!
//! What is measured is the time from when the first byte of a request is parsed to when the kernel
//! has taken the last byte of its answer, in microseconds from 1 to 60 seconds, to three digits. It
//! holds what a client takes to send the rest of its request and to make room for the answer, and
//! what the other shard takes where it owns the key; it does not hold the network, nor the time for
//! which the first byte waited in the socket.

use crate::metrics::{Operation, Outcome, ProtocolName};
use hdrhistogram::{
    Histogram,
    serialization::{
        V2DeflateSerializer,
        interval_log::{IntervalLogWriterBuilder, Tag},
    },
};
use serde_json::{Map, Value, json};
use std::{
    borrow::Cow,
    io::{self, Write as _},
    time::{Duration, SystemTime},
};

const MICROS_MAX: u64 = 60_000_000;
const DIGITS: u8 = 3;

/// Steps of the percentile text in each half of the distance to 100 %.
const STEPS_PER_HALF: u32 = 5;

/// What every form of output says of itself.
pub const MEASURED: &str = "from the first byte of the request parsed to the last byte of its \
    answer taken by the kernel";

/// The line before the rows of a log.
const LEGEND: &str = "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\
    \"Interval_Compressed_Histogram\"\n";

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

/// The form in which they are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The percentile text of `HdrHistogram`.
    Hgrm,
    /// A log of one interval.
    Hlog,
    /// The same with a row for each operation that there was.
    HlogEach,
    Json,
}

/// The histograms of some time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latencies {
    /// By protocol and operation, of those that there were.
    operations: [[Option<Histogram<u64>>; Operation::ALL.len()]; ProtocolName::ALL.len()],
    /// How late turns of the loop came that were due.
    loop_delay: Option<Histogram<u64>>,
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
    fn of(&self, operation: Operation) -> Option<Cow<'_, Histogram<u64>>> {
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
    fn subtract(&mut self, earlier: &Self) {
        for (mine, theirs) in self.all_mut().zip(earlier.all()) {
            if let (Some(mine), Some(theirs)) = (mine, theirs) {
                mine.subtract(theirs).expect("counts only ever grow");
            }
        }
        self.span_us -= earlier.span_us;
    }

    /// Of one operation, or of all of them together.
    fn merged(&self, operation: Option<Operation>) -> Histogram<u64> {
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

    /// The percentile text that `HdrHistogram`'s plotter reads (`.hgrm`), in milliseconds.
    #[must_use]
    pub fn hgrm(&self, operation: Option<Operation>) -> Vec<u8> {
        hgrm(&self.merged(operation), MEASURED)
    }

    /// One interval of a log (`.hlog`, version 1.3) that ends at `end`. Counts are of microseconds.
    #[must_use]
    pub fn hlog(&self, operation: Option<Operation>, end: SystemTime) -> Vec<u8> {
        self.log([(operation, self.merged(operation))], end)
    }

    /// The same with a row for each operation that there was, or for the one.
    #[must_use]
    pub fn hlog_each(&self, operation: Option<Operation>, end: SystemTime) -> Vec<u8> {
        let wanted = Operation::ALL.iter().map(|(each, _)| *each);
        let wanted = wanted.filter(|each| operation.is_none_or(|wanted| wanted == *each));
        self.log(wanted.filter_map(|each| Some((Some(each), self.of(each)?.into_owned()))), end)
    }

    fn log(
        &self,
        rows: impl IntoIterator<Item = (Option<Operation>, Histogram<u64>)>,
        end: SystemTime,
    ) -> Vec<u8> {
        let span = Duration::from_micros(self.span_us);
        let start = end.checked_sub(span).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut log = IntervalLog::begin(MEASURED, start);
        for (operation, histogram) in rows {
            let tag = operation.map(|it| Tag::new(it.name()).expect("a name is one word"));
            log.push(&histogram, Duration::ZERO, span, tag);
        }
        log.0
    }

    /// `{"measured":..,"unit":"us","seconds":..,"operations":{..}}`, of one operation, or of `all`
    /// and each that there was.
    #[must_use]
    pub fn json(&self, operation: Option<Operation>) -> Value {
        let mut operations = Map::new();
        if operation.is_none() {
            operations.insert("all".to_owned(), summary(&self.merged(None)));
        }
        for (each, name) in Operation::ALL {
            let found = self.of(each).filter(|histogram| !histogram.is_empty());
            match (operation, found) {
                (Some(wanted), _) if wanted != each => {}
                (Some(_), None) => {
                    operations.insert(name.to_owned(), summary(&histogram()));
                }
                (_, Some(histogram)) => {
                    operations.insert(name.to_owned(), summary(&histogram));
                }
                (None, None) => {}
            }
        }
        json!({
            "measured": MEASURED,
            "unit": "us",
            "seconds": Duration::from_micros(self.span_us).as_secs_f64(),
            "operations": operations,
        })
    }
}

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

/// A histogram against a few upper bounds, as Prometheus has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Buckets {
    /// For each bound, how many values were not above it, to three digits.
    pub cumulative: Vec<u64>,
    pub count: u64,
    pub sum_seconds: f64,
}

impl Buckets {
    fn none(bounds: &[u64]) -> Self {
        Self { cumulative: vec![0; bounds.len()], count: 0, sum_seconds: 0.0 }
    }

    fn of(histogram: &Histogram<u64>, bounds: &[u64]) -> Self {
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

#[cfg(test)]
mod tests {
    use super::{Latencies, Latency, Since, Start, Timing};
    use crate::metrics::{Operation, Outcome, ProtocolName};
    use base64::Engine as _;
    use hdrhistogram::{
        Histogram,
        serialization::{
            Deserializer,
            interval_log::{IntervalLogIterator, LogEntry},
        },
    };
    use std::time::{Duration, SystemTime};

    fn record(latency: &mut Latency, operation: Operation, micros: u64, answers: u32) {
        let start = Start { protocol: ProtocolName::Http, operation, micros: 7 };
        latency.record(&Timing { start, answers, outcome: Outcome::Ok, end: 0 }, 7 + micros);
    }

    fn count(latencies: &Latencies, operation: Operation) -> u64 {
        latencies.of(operation).map_or(0, |histogram| histogram.len())
    }

    #[test]
    fn values_on_a_bound_are_within_it_and_those_beyond_are_not() {
        const BOUNDS: [u64; 13] = [
            50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000,
            1_000_000,
        ];
        let mut latency = Latency::default();
        for bound in BOUNDS {
            record(&mut latency, Operation::Get, bound, 1);
            // The next value that three digits tell from it.
            let next = super::histogram().highest_equivalent(bound) + 1;
            assert!(next <= bound + 1 + bound / 1000, "{next} of {bound}");
            record(&mut latency, Operation::Get, next, 1);
        }
        let found = latency.read(Since::Ever, false, 1);
        let buckets = found.buckets(ProtocolName::Http, Operation::Get, &BOUNDS).unwrap();
        let expected: Vec<u64> = (0..13).map(|at| 2 * at + 1).collect();
        assert_eq!((buckets.cumulative, buckets.count), (expected, 26));
        let sum: u64 = BOUNDS.iter().map(|bound| 2 * bound).sum();
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let sum = sum as f64 / 1e6;
        assert!((buckets.sum_seconds / sum - 1.0).abs() < 1e-3, "{} {sum}", buckets.sum_seconds);
        assert_eq!(found.buckets(ProtocolName::Http, Operation::Put, &BOUNDS), None);
    }

    #[test]
    fn the_clock_may_wrap_between_start_and_end_and_what_is_out_of_range_is_on_its_edge() {
        let mut latency = Latency::default();
        let (protocol, operation) = (ProtocolName::Http, Operation::Get);
        let start = Start { protocol, operation, micros: u32::MAX - 9 };
        let timing = Timing { start, answers: 3, outcome: Outcome::Ok, end: 0 };
        latency.record(&timing, (5 << 32) + 90);
        record(&mut latency, Operation::Put, 0, 1);
        record(&mut latency, Operation::Put, 4_000_000_000, 1);
        let found = latency.read(Since::Ever, false, 1);
        let get = found.of(Operation::Get).unwrap();
        assert_eq!((get.len(), get.min(), get.max()), (3, 100, 100));
        let put = found.of(Operation::Put).unwrap();
        assert_eq!((put.min(), put.lowest_equivalent(put.max())), (1, 59_998_208));
    }

    #[test]
    fn each_reader_gets_what_came_since_its_own_mark_and_totals_stay() {
        let mut latency = Latency::default();
        let counts = |latency: &mut Latency, since, anew, now| {
            let found = latency.read(since, anew, now);
            (count(&found, Operation::Get), count(&found, Operation::Put), found.span_us)
        };
        record(&mut latency, Operation::Get, 10, 2);
        assert_eq!(counts(&mut latency, Since::Interval, true, 100), (2, 0, 100));
        record(&mut latency, Operation::Put, 900, 1);
        assert_eq!(counts(&mut latency, Since::Interval, false, 110), (0, 1, 10));
        assert_eq!(counts(&mut latency, Since::Interval, true, 120), (0, 1, 20));
        assert_eq!(counts(&mut latency, Since::Interval, true, 130), (0, 0, 10));
        assert_eq!(counts(&mut latency, Since::Reset, true, 140), (2, 1, 140));
        record(&mut latency, Operation::Get, 30, 1);
        assert_eq!(counts(&mut latency, Since::Reset, false, 150), (1, 0, 10));
        assert_eq!(counts(&mut latency, Since::Ever, false, 160), (3, 1, 160));
        let since = latency.read(Since::Reset, false, 170);
        assert_eq!(since.of(Operation::Get).unwrap().max(), 30, "the extremes go as well");
    }

    /// Two shards: 90 gets of 100 us and 10 puts of 5 ms.
    fn sample() -> Latencies {
        let mut sum = Latencies::default();
        for now_us in [2_000_000, 1_999_990] {
            let mut latency = Latency::default();
            record(&mut latency, Operation::Get, 100, 45);
            record(&mut latency, Operation::Put, 5_000, 5);
            sum.add(&latency.read(Since::Ever, false, now_us));
        }
        sum
    }

    #[test]
    fn the_percentile_text_has_the_columns_and_the_footer_of_its_kind() {
        let text = String::from_utf8(sample().hgrm(None)).unwrap();
        let mut lines = text.lines();
        let measured = lines.next().unwrap();
        assert!(measured.starts_with("#[Measured from the first byte"), "{measured}");
        let titles: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
        assert_eq!(titles, ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]);
        assert_eq!(lines.next(), Some(""));
        let rows: Vec<Vec<f64>> = lines
            .clone()
            .take_while(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|cell| cell.parse().unwrap()).collect())
            .collect();
        let (last, others) = rows.split_last().unwrap();
        assert!(others.iter().all(|row| row.len() == 4 && row[1] < 1.0), "{rows:?}");
        assert_eq!(last[1..], [1.0, 100.0], "the last row has no fourth column");
        assert_eq!((rows[0][0], rows[0][2]), (0.1, 90.0));
        assert!((last[0] - 5.0).abs() < 0.005, "{last:?}");
        let footer: Vec<&str> = lines.skip_while(|line| !line.starts_with('#')).collect();
        assert_eq!(footer[0], "#[Mean    =        0.590, StdDeviation   =        1.471]");
        assert_eq!(footer[1], "#[Max     =        5.003, Total count    =          100]");
        assert_eq!(footer[2], "#[Buckets =           16, SubBuckets     =         2048]");
        assert_eq!(footer.len(), 3);
        assert!(!String::from_utf8(sample().hgrm(Some(Operation::Get))).unwrap().contains("5.0"));
    }

    #[test]
    fn a_log_of_each_has_a_row_for_every_operation_that_there_was() {
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let text = String::from_utf8(sample().hlog_each(None, end)).unwrap();
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("Tag=")).collect();
        let row_of = |operation: Operation| {
            let log = String::from_utf8(sample().hlog(Some(operation), end)).unwrap();
            log.lines().last().unwrap().to_owned()
        };
        assert_eq!(rows, [row_of(Operation::Get), row_of(Operation::Put)]);
        assert_eq!(
            sample().hlog_each(Some(Operation::Put), end),
            sample().hlog(Some(Operation::Put), end)
        );
        let none = String::from_utf8(sample().hlog_each(Some(Operation::Incr), end)).unwrap();
        assert!(none.ends_with("Interval_Compressed_Histogram\"\n"), "{none}");
    }

    #[test]
    fn the_log_reads_back_as_the_histogram_that_was_written() {
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        for (operation, values) in [(None, 100), (Some(Operation::Put), 10)] {
            let log = sample().hlog(operation, end);
            let text = String::from_utf8(log.clone()).unwrap();
            assert!(text.starts_with("#[Histogram log format version 1.3]\n"), "{text}");
            assert!(text.contains("\n\"StartTimestamp\",\"Interval_Length\","), "{text}");
            // What reads it back takes no legend.
            let log: Vec<u8> = text
                .lines()
                .filter(|line| !line.starts_with('"'))
                .flat_map(|line| [line, "\n"].concat().into_bytes())
                .collect();
            let mut intervals = 0;
            for entry in IntervalLogIterator::new(&log) {
                match entry.unwrap() {
                    LogEntry::StartTime(start) => assert_eq!(start, Duration::from_secs(998)),
                    LogEntry::BaseTime(base) => assert_eq!(base, Duration::from_secs(998)),
                    LogEntry::Interval(interval) => {
                        intervals += 1;
                        assert_eq!(interval.start_timestamp(), Duration::ZERO);
                        assert_eq!(interval.duration(), Duration::from_secs(2));
                        let tag = interval.tag().map(|tag| tag.as_str().to_owned());
                        assert_eq!(tag.as_deref(), operation.map(Operation::name));
                        let bytes = base64::engine::general_purpose::STANDARD
                            .decode(interval.encoded_histogram())
                            .unwrap();
                        let histogram: Histogram<u64> =
                            Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
                        assert_eq!(histogram, sample().merged(operation));
                        assert_eq!(histogram.len(), values);
                    }
                }
            }
            assert_eq!(intervals, 1);
        }
    }

    #[test]
    fn json_has_all_of_them_or_the_one_that_was_asked_for() {
        let all = sample().json(None);
        let names: Vec<&String> = all["operations"].as_object().unwrap().keys().collect();
        assert_eq!(names, ["all", "get", "put"]);
        assert_eq!((&all["seconds"], &all["unit"]), (&2.0.into(), &"us".into()));
        let get = &all["operations"]["get"];
        let figures = ["count", "min", "p50", "p90", "p99", "p99.9", "p99.99", "max"];
        assert_eq!(
            figures.map(|name| get[name].as_u64().unwrap()),
            [90, 100, 100, 100, 100, 100, 100, 100]
        );
        assert_eq!((&get["mean"], &all["operations"]["all"]["p90"]), (&100.0.into(), &100.into()));
        let none = sample().json(Some(Operation::Delete));
        assert_eq!(none["operations"]["delete"]["count"], 0);
        assert_eq!(none["operations"].as_object().unwrap().len(), 1);
    }
}
