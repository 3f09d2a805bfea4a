//! The admin listener's routes: health, statistics and what changes many entries at once.

pub mod events;
mod exposition;
pub mod page;
pub mod snapshot;

pub use exposition::REVISION;

use crate::{
    api::{
        Route,
        question::{self, Form},
    },
    auth::Access,
    config::Config,
    http::{
        request::Method,
        response::{Date, Exchange, JSON, Problem, Response, write_problem},
    },
    latency::{self, Latencies},
    metrics::{Counters, Operation, Outcome, Report, Stage, Step},
    query::Share,
};
use serde_json::{Value, json};

/// The route of a path on the admin listener.
#[must_use]
pub fn route(path: &[u8]) -> Option<Route> {
    match path {
        b"/" => Some(Route::Page),
        b"/healthz" => Some(Route::Health),
        b"/readyz" => Some(Route::Ready),
        b"/stats" => Some(Route::Stats),
        b"/metrics" => Some(Route::Metrics),
        b"/latency" => Some(Route::Latency),
        b"/latency/reset" => Some(Route::LatencyReset),
        b"/events" => Some(Route::Events),
        b"/config" => Some(Route::Config),
        b"/openapi.json" => Some(Route::OpenApi),
        b"/invalidate" => Some(Route::Invalidate),
        b"/delete-prefix" => Some(Route::DeletePrefix),
        b"/flush" => Some(Route::Flush),
        b"/snapshot" => Some(Route::Snapshot),
        b"*" => Some(Route::Server),
        _ => None,
    }
}

/// What a request needs on the admin listener: to look at it is free, but for where keys are told.
#[must_use]
pub fn access(route: Option<Route>, method: Method) -> Access {
    match method {
        Method::Get | Method::Head if route == Some(Route::Events) => Access::Read,
        Method::Get | Method::Head | Method::Options => Access::Open,
        _ => Access::Write,
    }
}

/// Why the server is not ready.
#[must_use]
pub fn not_ready(stage: Stage) -> Problem {
    let problem = match stage {
        Stage::Starting => Problem::new(503, "starting", "The server is starting."),
        Stage::Restoring => Problem::new(503, "restoring", "A snapshot is being restored."),
        Stage::Draining => Problem::new(503, "draining", "The server is about to stop."),
        Stage::Serving => unreachable!("then it is ready"),
    };
    problem.retry_after(1)
}

/// Writes the settings in force as one object.
pub fn write_config(out: &mut Vec<u8>, exchange: Exchange, date: &Date, config: &Config) {
    let body = Value::from(config.effective()).to_string();
    Response::begin(out, exchange, date, 200).text(JSON, body.as_bytes());
}

/// Writes what all shards have found. Returns the status.
pub fn write_results(
    out: &mut Vec<u8>,
    exchange: Exchange,
    date: &Date,
    form: Form,
    results: &[Share],
) -> u16 {
    let (content_type, body) = match form {
        Form::Snapshot => return snapshot::write(out, exchange, date, results),
        Form::Done => return question::write_results(out, exchange, date, None, results),
        Form::Count(name) => {
            return question::write_results(out, exchange, date, Some(name), results);
        }
        Form::Ready => match totals(&reports(results)).counters {
            Counters { stage: Stage::Serving, step: Step::Calm, .. } => {
                (JSON, b"{\"status\":\"OK\"}".to_vec())
            }
            // To be overloaded is no reason to send everybody elsewhere.
            Counters { stage: Stage::Serving, step, .. } => {
                (JSON, json!({ "status": "OK", "step": step.name() }).to_string().into_bytes())
            }
            Counters { stage, .. } => {
                let problem = not_ready(stage);
                write_problem(out, exchange, date, &problem);
                return problem.status;
            }
        },
        Form::Stats => (JSON, stats(&reports(results)).to_string().into_bytes()),
        Form::Metrics { connections_max } => {
            let (reports, latencies) = (reports(results), latencies(results));
            let (total, all) = (totals(&reports), merged(&latencies));
            let text = exposition::write(&reports, &total, &latencies, &all, connections_max);
            (exposition::CONTENT_TYPE, text.into_bytes())
        }
        Form::Latency { operation, form } => {
            let all = merged(&latencies(results));
            match form {
                latency::Form::Hgrm => (TEXT, all.hgrm(operation)),
                latency::Form::Hlog => (TEXT, all.hlog(operation, date.time())),
                latency::Form::HlogEach => (TEXT, all.hlog_each(operation, date.time())),
                latency::Form::Json => (JSON, all.json(operation).to_string().into_bytes()),
            }
        }
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

fn report_json(report: &Report) -> Value {
    let mut requests = serde_json::Map::new();
    for (operation, operation_name) in Operation::ALL {
        let mut outcomes = serde_json::Map::new();
        for (outcome, outcome_name) in Outcome::ALL {
            let count = report.counters.answers.get(operation, outcome);
            outcomes.insert(outcome_name.to_owned(), count.into());
        }
        requests.insert(operation_name.to_owned(), outcomes.into());
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
