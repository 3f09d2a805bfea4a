//! What a run found: lines while it runs, the table at its end, and the files.

use super::{
    mix::LoadOperation,
    settings::LoadSettings,
    tally::{ErrorKind, Tally},
    worker::PhaseSecond,
};
use crate::{
    config::Host,
    http::admin::REVISION,
    latency::{self, IntervalLog},
};
use serde_json::{Map, Value, json};
use std::{
    fmt::Write as _,
    fs, io,
    path::Path,
    time::{Duration, SystemTime},
};

const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

/// All that was found so far.
pub(super) struct Results {
    total: Tally,
    /// One interval for each second that counted.
    log: IntervalLog,
    started: SystemTime,
    /// When the last answer to what counts had come, since the start.
    pub(super) span: Duration,
    measured: &'static str,
}

impl Results {
    pub(super) fn new(settings: &LoadSettings) -> Self {
        let measured = match settings.rate {
            Some(_) => "from when the request was to be sent to its answer read",
            None => "from the request sent to its answer read",
        };
        Self {
            total: Tally::default(),
            log: IntervalLog::begin(measured, SystemTime::UNIX_EPOCH),
            started: SystemTime::UNIX_EPOCH,
            span: Duration::ZERO,
            measured,
        }
    }

    /// From this time on it counts.
    pub(super) fn begin(&mut self, at: SystemTime) {
        self.log = IntervalLog::begin(self.measured, at);
        self.started = at;
    }

    /// Takes up a second of all threads.
    pub(super) fn add(&mut self, second: PhaseSecond, tally: &Tally) {
        if let PhaseSecond::Load(second) = second {
            self.total.add(tally);
            let second = Duration::from_secs(second);
            self.log.push(&tally.latency, second, Duration::from_secs(1), None);
        } else {
            self.total.add_errors(tally);
        }
    }

    pub(super) fn errors(&self) -> u64 {
        self.total.all_errors()
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate has few digits")]
    fn rate(&self) -> f64 {
        self.total.answers() as f64 / self.span.as_secs_f64().max(1e-6)
    }

    fn cpu_seconds(&self) -> f64 {
        Duration::from_micros(self.total.cpu_us).as_secs_f64()
    }

    /// Of the keys that were asked for, those that were there; `None`: none was asked for.
    #[expect(clippy::cast_precision_loss, reason = "a ratio has few digits")]
    fn hit_ratio(&self) -> Option<f64> {
        let asked = self.total.hits + self.total.misses;
        (asked > 0).then(|| self.total.hits as f64 / asked as f64)
    }

    /// The table at the end.
    pub(super) fn table(&self, settings: &LoadSettings) -> String {
        let mut text = String::new();
        let mut row = |name: &str, found: &str| {
            writeln!(text, "{name:<12}{found}").expect("a String takes everything");
        };
        let asked =
            settings.rate.map_or_else(|| "as many as go".to_owned(), |rate| format!("{rate}/s"));
        row("asked", &asked);
        row("got", &format!("{:.0}/s", self.rate()));
        row("requests", &self.total.answers().to_string());
        for ((name, _), count) in LoadOperation::NAMES.iter().zip(self.total.answers) {
            if count > 0 {
                row(&format!("  {name}"), &count.to_string());
            }
        }
        row("unsent", &self.total.unsent.to_string());
        row("errors", &self.errors().to_string());
        for (name, kind) in ErrorKind::NAMES {
            if self.total.errors(kind) > 0 {
                row(&format!("  {name}"), &self.total.errors(kind).to_string());
            }
        }
        if let Some(ratio) = self.hit_ratio() {
            row("hit ratio", &format!("{ratio:.4}"));
        }
        let millis =
            |micros: u64| format!("{:.3} ms", Duration::from_micros(micros).as_secs_f64() * 1e3);
        for (name, quantile) in QUANTILES {
            row(name, &millis(self.total.latency.value_at_quantile(quantile)));
        }
        row("max", &millis(self.total.latency.max()));
        row("own CPU", &format!("{:.3} s", self.cpu_seconds()));
        text
    }

    /// Everything as JSON: what was asked for, where, and what came of it.
    fn json(&self, settings: &LoadSettings) -> Value {
        let typed = settings.typed.iter();
        let settings_in_force: Map<String, Value> =
            typed.map(|(name, text)| ((*name).to_owned(), text.as_str().into())).collect();
        let named = |names: &mut dyn Iterator<Item = (&str, u64)>| {
            names.map(|(name, count)| (name.to_owned(), count.into())).collect::<Map<_, _>>()
        };
        let errors =
            named(&mut ErrorKind::NAMES.iter().map(|(name, it)| (*name, self.total.errors(*it))));
        let operations = LoadOperation::NAMES.iter().zip(self.total.answers);
        let operations = named(&mut operations.map(|((name, _), count)| (*name, count)));
        json!({
            "name": settings.name,
            "tool": "kvcache load",
            "version": env!("CARGO_PKG_VERSION"),
            "revision": REVISION,
            "started": humantime::format_rfc3339_millis(self.started).to_string(),
            "host": host(),
            "loop": if settings.rate.is_some() { "open" } else { "closed" },
            "measured": self.measured,
            "settings": settings_in_force,
            "results": {
                "seconds": self.span.as_secs_f64(),
                "rate_asked": settings.rate,
                "rate": self.rate(),
                "requests": self.total.answers(),
                "operations": operations,
                "unsent": self.total.unsent,
                "errors": errors,
                "hits": self.total.hits,
                "misses": self.total.misses,
                "hit_ratio": self.hit_ratio(),
                "latency_us": latency::summary(&self.total.latency),
                "cpu_seconds": self.cpu_seconds(),
            },
        })
    }

    /// Writes `run.json`, `NAME.hgrm` and `NAME.hlog`.
    pub(super) fn write(&self, directory: &Path, settings: &LoadSettings) -> io::Result<()> {
        let file = |ending: &str| directory.join(format!("{}.{ending}", settings.name));
        fs::create_dir_all(directory)?;
        fs::write(directory.join("run.json"), format!("{:#}\n", self.json(settings)))?;
        fs::write(file("hgrm"), latency::hgrm(&self.total.latency, self.measured))?;
        fs::write(file("hlog"), &self.log.0)
    }
}

/// What the machine is.
fn host() -> Value {
    let Host { cpus, memory_bytes } = Host::read();
    let text = |path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cpu_info = text("/proc/cpuinfo");
    let model = cpu_info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    json!({
        "kernel": text("/proc/sys/kernel/osrelease"),
        "cpu": model.map_or("unknown", |(_, model)| model),
        "cpus": cpus,
        "memory_bytes": memory_bytes,
    })
}

/// A line of progress.
pub(super) fn progress(second: PhaseSecond, tally: &Tally) -> String {
    let (name, second) = match second {
        PhaseSecond::Fill(second) => ("fill", second),
        PhaseSecond::Warmup(second) => ("warmup", second),
        PhaseSecond::Load(second) => ("load", second),
    };
    let (answers, errors) = (tally.answers(), tally.all_errors());
    let (p50, p99) = (tally.latency.value_at_quantile(0.5), tally.latency.value_at_quantile(0.99));
    format!(
        "{name:<6} {:>5} s  {answers:>9} answers  {errors:>6} errors  p50 {p50} us  p99 {p99} us",
        second + 1
    )
}
