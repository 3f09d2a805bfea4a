//! What is asked of every shard at once: one request, and one answer when all have done it.

use super::super::{
    api::{json, query},
    form::{Count, Exchange, Shape},
    media::JSON,
    refusal::Refusal,
    request::{Head, Method},
    response::{Date, Response, write_refusal},
};
use crate::{
    config::Config,
    events::{Kind, Kinds},
    latency::{Format, Since},
    metrics::Operation,
    query::{Query, Share},
};

fn bad(name: &str, values: &str) -> Refusal {
    Refusal::new(400, "bad_parameter", format!("The parameter `{name}` is {values}."))
}

/// Reads which events are wanted.
pub(super) fn events(head: &Head<'_>) -> Result<Kinds, Refusal> {
    let [kinds] = query::parameters(head.query, ["types"])?;
    let names = Kind::ALL.map(|(_, name)| name).join(",");
    kinds
        .map_or(Some(Kinds::ALL), |list| Kinds::named(&list))
        .ok_or_else(|| bad("types", &format!("some of {names}")))
}

/// Reads what is wanted of the latencies. A HEAD begins no interval: nobody sees what it ends.
pub(super) fn latency(head: &Head<'_>) -> Result<(Query, Shape), Refusal> {
    let [operation, format, interval] =
        query::parameters(head.query, ["op", "format", "interval"])?;
    let operation = match operation.as_deref() {
        None | Some(b"all") => None,
        Some(wanted) => {
            let known = Operation::ALL.iter().find(|(_, name)| name.as_bytes() == wanted);
            let names = Operation::ALL.map(|(_, name)| name).join(", ");
            Some(known.ok_or_else(|| bad("op", &format!("one of all, {names}")))?.0)
        }
    };
    let format = match format.as_deref() {
        None | Some(b"hgrm") => Format::Hgrm,
        Some(b"hlog") => Format::Hlog,
        Some(b"hlog-each") => Format::HlogEach,
        Some(b"json") => Format::Json,
        Some(_) => return Err(bad("format", "one of hgrm, hlog, hlog-each, json")),
    };
    let (since, anew) = match (head.method, interval.as_deref()) {
        (Method::Post, _) => (Since::Reset, true),
        (_, None | Some(b"0")) => (Since::Reset, false),
        (method, Some(b"1")) => (Since::Interval, method == Method::Get),
        (_, Some(_)) => return Err(bad("interval", "one of 0, 1")),
    };
    Ok((Query::Latency { since, anew }, Shape::Latency { operation, format }))
}

pub(super) fn delete_prefix(body: &[u8], config: &Config) -> Result<(Query, Shape), Refusal> {
    let body = json::query_body(body)?;
    let prefix =
        body.prefix.ok_or_else(|| json::missing("missing_prefix", "a string member `prefix`"))?;
    let limit = config.limits.key_bytes_max;
    if prefix.is_empty() {
        let message = "The prefix must have at least one byte; /flush removes everything.";
        return Err(Refusal::new(400, "empty_prefix", message));
    }
    if prefix.len() > limit {
        let message = format!(
            "The prefix has {} bytes; no key has more than {limit} (--key-bytes-max).",
            prefix.len()
        );
        return Err(Refusal::new(400, "prefix_too_long", message));
    }
    let dry_run = body.dry_run.unwrap_or(false);
    let shape = Shape::Count(if dry_run { Count::Matched } else { Count::Deleted });
    Ok((Query::DeletePrefix { prefix: prefix.as_bytes().into(), dry_run }, shape))
}

/// Writes what the results of all shards amount to, where that is no more than a word or a
/// number. Returns the status.
pub(super) fn write(
    out: &mut Vec<u8>,
    exchange: Exchange,
    date: &Date,
    count_name: Option<&str>,
    results: &[Share],
) -> u16 {
    let mut total = 0;
    for share in results {
        match share {
            Share::Done { entries } => total += entries,
            Share::Full => {
                let message = "Too many tags were invalidated at once; try again.";
                let refusal = Refusal::new(503, "overloaded", message).retry_after(1);
                write_refusal(out, exchange, date, &refusal);
                return refusal.status;
            }
            Share::Report(_) | Share::Latency(_) | Share::Saved(_) => {
                unreachable!("nobody asked for it")
            }
        }
    }
    let body = match count_name {
        Some(name) => format!("{{\"status\":\"OK\",\"{name}\":{total}}}"),
        None => "{\"status\":\"OK\"}".to_owned(),
    };
    Response::begin(out, exchange, date, 200).text(JSON, body.as_bytes());
    200
}
