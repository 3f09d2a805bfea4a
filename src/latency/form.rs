//! The forms in which latencies are handed out.

use super::{
    latencies::{Latencies, histogram},
    output::{IntervalLog, hgrm, summary},
};
use crate::metrics::Operation;
use hdrhistogram::{Histogram, serialization::interval_log::Tag};
use serde_json::{Map, Value, json};
use std::time::{Duration, SystemTime};

/// What every form of output says of itself.
pub const MEASURED: &str = "from the first byte of the request parsed to the last byte of its \
    answer taken by the kernel";

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

impl Latencies {
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
