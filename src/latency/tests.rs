//! Latencies recorded, read and handed out.

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
        50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
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
