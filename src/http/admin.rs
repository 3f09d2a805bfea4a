//! The admin listener's routes: health, statistics and what changes many entries at once.

pub mod events;
pub mod page;
mod queries;
pub mod snapshot;
mod exposition;

pub use exposition::REVISION;

use super::{
    form::{Count, Exchange, Form, Http, Local, Persistence, Shape},
    media::JSON,
    reader::Request,
    refusal::Refusal,
    request::{Method, Version},
    response::{Date, Response, write_refusal},
    route::Route,
};
use crate::{
    config::Config,
    latency::{Format, Latencies, Since},
    metrics::{Counters, Operation, Outcome, Report, Stage, Step},
    protocol::{About, Ask, Problem},
    query::{Query, Share},
};
use serde_json::{Value, json};

/// Reads an admitted request for one of our routes.
pub(super) fn read<'a>(
    request: &Request<'_>,
    route: Route,
    form: &mut Form,
    about: &About<'_, Http>,
) -> Result<Ask<'a, Http>, Refusal> {
    let (query, shape) = match route {
        Route::Ready if about.stage != Stage::Serving => {
            return Err(Problem::NotServing(about.stage).into());
        }
        Route::Ready => (Query::Report, Shape::Ready),
        Route::Stats => (Query::Report, Shape::Stats),
        Route::Metrics => (Query::Latency { since: Since::Ever, anew: false }, Shape::Metrics),
        Route::Latency | Route::LatencyReset => queries::latency(&request.head)?,
        Route::DeletePrefix => queries::delete_prefix(request.body, about.config)?,
        Route::Flush => (Query::Flush, Shape::Count(Count::Flushed)),
        Route::Snapshot => {
            form.shape = Shape::Snapshot;
            return Ok(Ask::Snapshot);
        }
        Route::Config => return Ok(Ask::Local(Local::Config)),
        Route::OpenApi => return Ok(Ask::Local(Local::OpenApi)),
        Route::Page => return Ok(Ask::Local(Local::Page)),
        Route::Events => return read_events(request, form),
        _ => unreachable!("the caller serves the others"),
    };
    form.shape = shape;
    Ok(Ask::Broadcast(query))
}

fn read_events<'a>(request: &Request<'_>, form: &mut Form) -> Result<Ask<'a, Http>, Refusal> {
    let kinds = queries::events(&request.head)?;
    let is_chunked = request.head.version == Version::Http11;
    if !is_chunked {
        form.exchange.persistence = Persistence::Close;
    }
    form.shape = Shape::Events { is_chunked };
    match request.head.method {
        Method::Head => Ok(Ask::Local(Local::EventsHead)),
        _ => Ok(Ask::Subscribe(kinds)),
    }
}

/// Writes the settings in force as one object.
pub(super) fn write_config(out: &mut Vec<u8>, exchange: Exchange, date: &Date, config: &Config) {
    let body = Value::from(config.effective()).to_string();
    Response::begin(out, exchange, date, 200).text(JSON, body.as_bytes());
}

/// Writes the description of all routes.
pub(super) fn write_openapi(out: &mut Vec<u8>, exchange: Exchange, date: &Date) {
    const DOCUMENT: &[u8] = include_bytes!("admin/openapi.json");
    Response::begin(out, exchange, date, 200).text(JSON, DOCUMENT);
}

/// Writes what all shards have found. Returns the status.
pub(super) fn write_results(
    out: &mut Vec<u8>,
    form: Form,
    about: &About<'_, Http>,
    results: &[Share],
) -> u16 {
    let (exchange, date) = (form.exchange, about.date);
    let (content_type, body) = match form.shape {
        Shape::Snapshot => return snapshot::write(out, exchange, date, results),
        Shape::Done => return queries::write(out, exchange, date, None, results),
        Shape::Count(count) => {
            return queries::write(out, exchange, date, Some(count.name()), results);
        }
        Shape::Ready => match totals(&reports(results)).counters {
            Counters { stage: Stage::Serving, step: Step::Calm, .. } => {
                (JSON, b"{\"status\":\"OK\"}".to_vec())
            }
            // To be overloaded is no reason to send everybody elsewhere.
            Counters { stage: Stage::Serving, step, .. } => {
                (JSON, json!({ "status": "OK", "step": step.name() }).to_string().into_bytes())
            }
            Counters { stage, .. } => {
                let refusal = Refusal::from(Problem::NotServing(stage));
                write_refusal(out, exchange, date, &refusal);
                return refusal.status;
            }
        },
        Shape::Stats => (JSON, stats(&reports(results)).to_string().into_bytes()),
        Shape::Metrics => {
            let (reports, latencies) = (reports(results), latencies(results));
            let (total, all) = (totals(&reports), merged(&latencies));
            let connections_max = about.config.limits.connections_max;
            let text = exposition::write(&reports, &total, &latencies, &all, connections_max);
            (exposition::CONTENT_TYPE, text.into_bytes())
        }
        Shape::Latency { operation, format } => {
            let all = merged(&latencies(results));
            match format {
                Format::Hgrm => (TEXT, all.hgrm(operation)),
                Format::Hlog => (TEXT, all.hlog(operation, date.time())),
                Format::HlogEach => (TEXT, all.hlog_each(operation, date.time())),
                Format::Json => (JSON, all.json(operation).to_string().into_bytes()),
            }
        }
        _ => unreachable!("nobody asks every shard for it"),
    };
    Response::begin(out, exchange, date, 200).text(content_type, &body);
    200
}

const TEXT: &str = "text/plain; charset=utf-8";

fn reports(results: &[Share]) -> Vec<&Report> {
    let reports = results.iter().map(|share| match share {
        Share::Report(report) => &**report,
        Share::Latency(both) => &both.0,
        _ => unreachable!("every shard reports"),
    });
    reports.collect()
}

fn totals(reports: &[&Report]) -> Report {
    let mut totals = Report::default();
    for report in reports {
        totals += **report;
    }
    totals
}

fn latencies(results: &[Share]) -> Vec<&Latencies> {
    let latencies = results.iter().map(|share| match share {
        Share::Latency(both) => &both.1,
        _ => unreachable!("every shard tells them"),
    });
    latencies.collect()
}

fn merged(latencies: &[&Latencies]) -> Latencies {
    let mut all = Latencies::default();
    for latencies in latencies {
        all.add(latencies);
    }
    all
}

/// `{"totals":{...},"shards":[{...},...]}`; each object has the same members.
fn stats(reports: &[&Report]) -> Value {
    let shards: Vec<Value> = reports.iter().map(|report| report_json(report)).collect();
    json!({ "totals": report_json(&totals(reports)), "shards": shards })
}

/// The members of each operation in `requests`: the classes of HTTP's statuses.
const CLASSES: [(&str, &[Outcome]); 4] = [
    ("ok", &[Outcome::Ok]),
    ("not_found", &[Outcome::NotFound]),
    ("client_error", &[Outcome::Unmet, Outcome::Invalid, Outcome::Denied, Outcome::TimedOut]),
    (
        "server_error",
        &[Outcome::Unsupported, Outcome::Overloaded, Outcome::NoRoom, Outcome::Failed],
    ),
];

fn report_json(report: &Report) -> Value {
    let mut requests = serde_json::Map::new();
    for (operation, operation_name) in Operation::ALL {
        let mut classes = serde_json::Map::new();
        for (class, outcomes) in CLASSES {
            let count = report.counters.answers.sum(&[operation], outcomes);
            classes.insert(class.to_owned(), count.into());
        }
        requests.insert(operation_name.to_owned(), classes.into());
    }
    let object = |fields: &[(&str, u64)]| -> Value {
        fields.iter().map(|&(name, value)| (name.to_owned(), Value::from(value))).collect()
    };
    json!({
        "requests": requests,
        "stage": report.counters.stage.name(),
        "step": report.counters.step.name(),
        "overload": object(&report.counters.overload.fields()),
        "usage": object(&report.counters.usage.fields()),
        "connections": object(&report.counters.connections.fields()),
        "hops": object(&report.hops.fields()),
        "snapshots": object(&report.counters.snapshots.fields()),
        "store": object(&report.store.fields()),
    })
}

#[cfg(test)]
mod tests {
    use super::CLASSES;
    use crate::{http::refusal::outcome_of, metrics::Outcome};

    #[test]
    fn every_outcome_is_in_the_class_of_its_statuses() {
        let class = |outcome: Outcome| {
            let mut classes = CLASSES.iter().filter(|(_, outcomes)| outcomes.contains(&outcome));
            let (class, _) = classes.next().unwrap();
            assert_eq!(classes.next(), None, "{outcome:?} is in two");
            *class
        };
        for (outcome, _) in Outcome::ALL {
            let statuses = (100..=599).filter(|status| outcome_of(*status) == outcome);
            // Every status that is not in use is a failure of ours.
            let used = statuses.filter(|status| outcome != Outcome::Failed || *status == 500);
            for status in used {
                let expected = match status {
                    ..400 => "ok",
                    404 => "not_found",
                    400..=499 => "client_error",
                    _ => "server_error",
                };
                assert_eq!(class(outcome), expected, "{status}");
            }
        }
    }
}
