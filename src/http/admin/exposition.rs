//! Everything that is counted, as Prometheus' text (exposition format 0.0.4).
//!
//! The metrics of [`write()`] stand in the order of the output. There is no label whose values a
//! client could make up. A metric with a new name keeps its old one beside it for a release where
//! it means the same; its help then begins with `Deprecated`.

use crate::{
    latency::{Buckets, Latencies},
    metrics::{Operation, Outcome, ProtocolName, Report, Stage, Step},
};
use std::fmt::{Display, Write as _};

pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of the histograms, in microseconds and as `le` has them.
const BOUNDS_US: [u64; 13] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000];
const BOUNDS: [&str; BOUNDS_US.len()] = [
    "0.00005", "0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05",
    "0.1", "0.25", "1",
];

/// The commit that this was built from, where the build says so.
pub const REVISION: &str = match option_env!("KVCACHE_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

struct Text(String);

impl Text {
    /// Begins a metric: `kind` is `counter`, `gauge` or `histogram`.
    fn metric(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn line(&mut self, line: impl Display) {
        writeln!(self.0, "{line}").expect("a String takes everything");
    }

    /// A metric of one value.
    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.metric(name, kind, help);
        self.line(format_args!("{name} {value}"));
    }

    /// A metric with one label.
    fn by<L: Display, V: Display>(
        &mut self,
        (name, kind, help): (&str, &str, &str),
        label: &str,
        values: impl IntoIterator<Item = (L, V)>,
    ) {
        self.metric(name, kind, help);
        for (of, value) in values {
            self.line(format_args!("{name}{{{label}=\"{of}\"}} {value}"));
        }
    }

    /// One histogram of a metric, under these labels.
    fn buckets(&mut self, name: &str, labels: &str, buckets: &Buckets) {
        for (bound, within) in BOUNDS.iter().zip(&buckets.cumulative) {
            self.line(format_args!("{name}_bucket{{{labels},le=\"{bound}\"}} {within}"));
        }
        let (count, sum) = (buckets.count, buckets.sum_seconds);
        self.line(format_args!("{name}_bucket{{{labels},le=\"+Inf\"}} {count}"));
        self.line(format_args!("{name}_sum{{{labels}}} {sum}"));
        self.line(format_args!("{name}_count{{{labels}}} {count}"));
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, which is 285 years")]
fn micros_as_seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
fn millis_as_seconds(millis: u64) -> f64 {
    millis as f64 / 1e3
}

/// All metrics. `shards` are every shard's by number, `total` is what they add up to.
pub(super) fn write(
    shards: &[&Report],
    total: &Report,
    latencies: &[&Latencies],
    all: &Latencies,
    connections_max: usize,
) -> String {
    let mut text = Text(String::new());
    write_process(&mut text, total);
    write_requests(&mut text, total);
    write_durations(&mut text, all);
    write_overload(&mut text, total);
    write_store(&mut text, total);
    write_endings(&mut text, total);
    write_connections(&mut text, total, connections_max);
    write_shards(&mut text, shards, latencies);
    text.0
}

fn write_process(text: &mut Text, total: &Report) {
    let version = env!("CARGO_PKG_VERSION");
    text.metric("kvcache_build_info", "gauge", "What was built; always 1.");
    let labels = format_args!("{{version=\"{version}\",revision=\"{REVISION}\"}}");
    text.line(format_args!("kvcache_build_info{labels} 1"));
    let is_ready = u8::from(total.counters.stage == Stage::Serving);
    text.single("kvcache_ready", "gauge", "Whether every shard serves.", is_ready);
    let process = &total.counters.process;
    text.single(
        "process_cpu_seconds_total",
        "counter",
        "CPU time of the process.",
        micros_as_seconds(process.cpu_us),
    );
    let values = [
        ("process_resident_memory_bytes", "Resident memory.", process.resident_bytes),
        (
            "kvcache_host_memory_bytes",
            "Memory that host and cgroup allow the process.",
            process.memory_available,
        ),
        ("process_open_fds", "Open descriptors.", process.open_descriptors),
        ("process_max_fds", "Descriptors that may be open.", process.descriptors_max),
    ];
    for (name, help, value) in values {
        text.single(name, "gauge", help, value);
    }
    text.single(
        "process_start_time_seconds",
        "gauge",
        "When the process started, in seconds since 1970.",
        millis_as_seconds(process.started_ms),
    );
    let reload = &total.counters.reload;
    text.single(
        "kvcache_config_last_reload_successful",
        "gauge",
        "Whether the settings that SIGHUP reads again could be read when they were read last.",
        reload.is_good,
    );
    text.single(
        "kvcache_config_last_reload_success_timestamp_seconds",
        "gauge",
        "When they could be read last, in seconds since 1970.",
        reload.good_seconds,
    );
}

fn write_requests(text: &mut Text, total: &Report) {
    const REQUESTS: &str = "kvcache_requests_total";
    text.metric(REQUESTS, "counter", "Requests answered, by what became of them.");
    for (protocol, protocol_name) in ProtocolName::ALL {
        for (operation, operation_name) in Operation::ALL {
            let of = request_labels(protocol_name, operation_name);
            for (outcome, outcome_name) in Outcome::ALL {
                let count = total.counters.answers.get(protocol, operation, outcome);
                if count > 0 {
                    let labels = format_args!("{{{of},outcome=\"{outcome_name}\"}}");
                    text.line(format_args!("{REQUESTS}{labels} {count}"));
                }
            }
        }
    }
    let in_flight = total.counters.usage.requests_in_flight;
    text.single(
        "kvcache_requests_in_flight",
        "gauge",
        "Requests that were not wholly answered at the last beat.",
        in_flight,
    );
    text.single(
        "kvcache_http_requests_in_flight",
        "gauge",
        "Deprecated: kvcache_requests_in_flight.",
        in_flight,
    );
    let all_operations = Operation::ALL.map(|(operation, _)| operation);
    text.single(
        "kvcache_auth_failures_total",
        "counter",
        "Requests without a token, or with none that may do what they ask for.",
        total.counters.answers.sum(&all_operations, &[Outcome::Denied]),
    );
}

fn request_labels(protocol: &str, operation: &str) -> String {
    format!("protocol=\"{protocol}\",operation=\"{operation}\"")
}

fn write_durations(text: &mut Text, all: &Latencies) {
    const DURATION: &str = "kvcache_request_duration_seconds";
    const OF_HTTP: &str = "kvcache_http_request_duration_seconds";
    text.metric(
        DURATION,
        "histogram",
        "From the first byte of the request parsed to the last byte of its answer taken by the \
        kernel.",
    );
    for (protocol, protocol_name) in ProtocolName::ALL {
        for (operation, operation_name) in Operation::ALL {
            if let Some(buckets) = all.buckets(protocol, operation, &BOUNDS_US) {
                text.buckets(DURATION, &request_labels(protocol_name, operation_name), &buckets);
            }
        }
    }
    text.metric(
        OF_HTTP,
        "histogram",
        "Deprecated: kvcache_request_duration_seconds with protocol=\"http\".",
    );
    for (operation, name) in Operation::ALL {
        if let Some(buckets) = all.buckets(ProtocolName::Http, operation, &BOUNDS_US) {
            text.buckets(OF_HTTP, &format!("op=\"{name}\""), &buckets);
        }
    }
}

fn write_overload(text: &mut Text, total: &Report) {
    let overload = &total.counters.overload;
    text.by(
        (
            "kvcache_shed_requests_total",
            "counter",
            "Requests that were answered 503 because too much was under way already.",
        ),
        "reason",
        [
            ("queue", total.hops.refused),
            ("memory", overload.refused_memory),
            ("delay", overload.refused_delay),
        ],
    );
    text.single(
        "kvcache_overloaded",
        "gauge",
        "Whether a shard takes on less than everything.",
        u8::from(total.counters.step > Step::Calm),
    );
    text.by(
        (
            "kvcache_overload_steps_total",
            "counter",
            "How often shards went on to end connections, to refuse writes, to refuse reads.",
        ),
        "step",
        [
            (Step::Closing.name(), overload.closing),
            (Step::NoWrites.name(), overload.no_writes),
            (Step::NoReads.name(), overload.no_reads),
        ],
    );
}

fn write_store(text: &mut Text, total: &Report) {
    let (store, answers) = (&total.store, &total.counters.answers);
    text.by(
        ("kvcache_lookups_total", "counter", "Reads of keys by what they found."),
        "result",
        [
            ("hit", store.hits - store.stale),
            ("stale", store.stale),
            ("miss", store.misses - store.expired),
            ("expired", store.expired),
        ],
    );
    let unmet = answers.sum(&Operation::WRITES, &[Outcome::Unmet]);
    text.by(
        ("kvcache_writes_total", "counter", "Writes of entries by what became of them."),
        "result",
        [
            ("created", store.created),
            ("replaced", store.replaced),
            ("rejected", store.rejected + unmet),
        ],
    );
    text.by(
        (
            "kvcache_write_rejections_total",
            "counter",
            "Writes that were not carried out; precondition: also for what the value is.",
        ),
        "reason",
        [
            ("too_large", store.rejected - store.rejected_full),
            ("memory", store.rejected_full),
            ("precondition", unmet),
            ("overload", answers.sum(&Operation::WRITES, &[Outcome::Overloaded])),
        ],
    );
    text.single("kvcache_items", "gauge", "Entries held.", store.entries);
    text.single("kvcache_items_with_ttl", "gauge", "Those that expire.", store.entries_with_ttl);
    text.by(
        ("kvcache_memory_used_bytes", "gauge", "Memory in use; buffers are not in the limit."),
        "kind",
        [
            ("entries", store.entry_page_bytes),
            ("index", store.used_bytes - store.entry_page_bytes),
            ("buffers", total.counters.usage.buffer_bytes),
        ],
    );
    text.single(
        "kvcache_memory_limit_bytes",
        "gauge",
        "Bound on entries and index (--memory).",
        store.budget_bytes,
    );
}

/// How entries went other than by a request for their key.
fn write_endings(text: &mut Text, total: &Report) {
    let store = &total.store;
    text.by(
        ("kvcache_evictions_total", "counter", "Live entries dropped to make room."),
        "reason",
        [("memory", store.evictions)],
    );
    text.by(
        ("kvcache_evicted_bytes_total", "counter", "Bytes of those entries."),
        "reason",
        [("memory", store.evicted_bytes)],
    );
    text.single(
        "kvcache_evicted_unread_total",
        "counter",
        "Those of the evicted entries that were never read.",
        store.evicted_unread,
    );
    text.single(
        "kvcache_last_eviction_idle_seconds",
        "gauge",
        "For how long the last evicted entry had not been used; 0 before the first.",
        millis_as_seconds(store.victim_idle_ms),
    );
    text.by(
        ("kvcache_expirations_total", "counter", "Entries dropped because their time was over."),
        "mode",
        [("lazy", store.expirations - store.expirations_swept), ("sweep", store.expirations_swept)],
    );
    text.by(
        ("kvcache_invalidated_items_total", "counter", "Entries dropped many at once."),
        "by",
        [("tag", store.invalidated), ("prefix", store.prefix_deleted), ("flush", store.flushed)],
    );
}

fn write_connections(text: &mut Text, total: &Report, connections_max: usize) {
    let connections = &total.counters.connections;
    let open = connections.open;
    text.single("kvcache_connections", "gauge", "Open connections of the data port.", open);
    text.single(
        "kvcache_connections_limit",
        "gauge",
        "Connections that may be open at once (--connections-max).",
        connections_max,
    );
    let counters = [
        ("kvcache_connections_accepted_total", "Connections accepted.", connections.accepted),
        (
            "kvcache_connections_timed_out_total",
            "Connections closed because nothing moved on them.",
            connections.timed_out,
        ),
        ("kvcache_network_receive_bytes_total", "Bytes read.", connections.received_bytes),
        ("kvcache_network_transmit_bytes_total", "Bytes sent.", connections.sent_bytes),
    ];
    for (name, help, value) in counters {
        text.single(name, "counter", help, value);
    }
    text.by(
        ("kvcache_connections_rejected_total", "counter", "Connections that were turned away."),
        "reason",
        [("limit", connections.refused)],
    );
}

fn write_shards(text: &mut Text, shards: &[&Report], latencies: &[&Latencies]) {
    const DELAY: &str = "kvcache_shard_loop_delay_seconds";
    let each =
        |value: fn(&Report) -> u64| shards.iter().map(move |report| value(report)).enumerate();
    let busy = each(|report| report.counters.usage.busy_us);
    text.by(
        ("kvcache_shard_busy_seconds_total", "counter", "CPU time of the shard."),
        "shard",
        busy.map(|(shard, micros)| (shard, micros_as_seconds(micros))),
    );
    let name = ("kvcache_shard_items", "gauge", "Entries that the shard holds.");
    text.by(name, "shard", each(|report| report.store.entries));
    let help = "Calls that left the shard for the owner of their key.";
    let name = ("kvcache_shard_forwarded_requests_total", "counter", help);
    text.by(name, "shard", each(|report| report.hops.calls));
    text.metric(DELAY, "histogram", "How late turns of the shard's loop came that were due.");
    for (shard, latencies) in latencies.iter().enumerate() {
        let labels = format!("shard=\"{shard}\"");
        text.buckets(DELAY, &labels, &latencies.loop_delay(&BOUNDS_US));
    }
}

#[cfg(test)]
mod tests {
    use super::{BOUNDS, BOUNDS_US, micros_as_seconds};

    #[test]
    fn the_bounds_are_told_as_they_are() {
        for (text, micros) in BOUNDS.into_iter().zip(BOUNDS_US) {
            let seconds: f64 = text.parse().unwrap();
            assert!((seconds - micros_as_seconds(micros)).abs() < 1e-12, "{text} {micros}");
        }
    }
}
