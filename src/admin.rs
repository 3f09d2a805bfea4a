//! The admin listener's routes: health, statistics and what changes many entries at once.

use crate::{
    api::Route,
    auth::Access,
    http::{
        request::Method,
        response::{Date, Exchange, JSON, Response},
    },
    mesh::Finding,
    metrics::{Operation, Outcome, Report},
};
use serde_json::{Value, json};

/// The route of a path on the admin listener.
#[must_use]
pub fn route(path: &[u8]) -> Option<Route> {
    match path {
        b"/healthz" => Some(Route::Health),
        b"/stats" => Some(Route::Stats),
        b"/openapi.json" => Some(Route::OpenApi),
        b"/invalidate" => Some(Route::Invalidate),
        b"/delete-prefix" => Some(Route::DeletePrefix),
        b"/flush" => Some(Route::Flush),
        b"*" => Some(Route::Server),
        _ => None,
    }
}

/// What a request needs on the admin listener: to look at it is free.
#[must_use]
pub fn access(method: Method) -> Access {
    match method {
        Method::Get | Method::Head | Method::Options => Access::Open,
        _ => Access::Write,
    }
}

/// Writes `{"totals":{...},"shards":[{...},...]}`; each object has the same members.
pub fn write_stats(out: &mut Vec<u8>, exchange: Exchange, date: &Date, findings: &[Finding]) {
    let mut totals = Report::default();
    let mut shards: Vec<Value> = Vec::new();
    for finding in findings {
        let Finding::Report(report) = finding else { unreachable!("every shard reports") };
        totals += **report;
        shards.push(report_json(report));
    }
    let body = json!({ "totals": report_json(&totals), "shards": shards }).to_string();
    Response::begin(out, exchange, date, 200).text(JSON, body.as_bytes());
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
        "connections": object(&report.counters.connections.fields()),
        "hops": object(&report.hops.fields()),
        "store": object(&report.store.fields()),
    })
}
