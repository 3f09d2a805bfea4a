//! What is asked of every shard at once: one request, and one answer when all have done it.

use super::{json, tags};
use crate::{
    config::Config,
    http::response::{Date, Exchange, JSON, Problem, Response, write_problem},
    mesh::{Finding, Question},
    store::KeyHasher,
};

/// How the findings become a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Every shard's counters.
    Stats,
    /// That it is done.
    Done,
    /// How many entries it was done to, under this name.
    Count(&'static str),
}

impl Form {
    #[must_use]
    pub fn of(question: &Question) -> Self {
        match question {
            Question::Report => Self::Stats,
            Question::Invalidate { .. } => Self::Done,
            Question::Flush => Self::Count("flushed"),
            Question::DeletePrefix { dry_run: true, .. } => Self::Count("matched"),
            Question::DeletePrefix { dry_run: false, .. } => Self::Count("deleted"),
        }
    }
}

pub(super) fn invalidate(body: &[u8], hasher: &KeyHasher) -> Result<Question, Problem> {
    let tag = json::question_body(body)?.tag;
    let tag = tag.ok_or_else(|| json::missing("missing_tag", "a string member `tag`"))?;
    Ok(Question::Invalidate { tag: tags::hash(tag.as_bytes(), hasher)? })
}

pub(super) fn delete_prefix(body: &[u8], config: &Config) -> Result<Question, Problem> {
    let body = json::question_body(body)?;
    let prefix =
        body.prefix.ok_or_else(|| json::missing("missing_prefix", "a string member `prefix`"))?;
    let limit = config.limits.key_bytes_max;
    if prefix.is_empty() {
        let message = "The prefix must have at least one byte; /flush removes everything.";
        return Err(Problem::new(400, "empty_prefix", message));
    }
    if prefix.len() > limit {
        let message = format!(
            "The prefix has {} bytes; no key has more than {limit} (--key-bytes-max).",
            prefix.len()
        );
        return Err(Problem::new(400, "prefix_too_long", message));
    }
    let dry_run = body.dry_run.unwrap_or(false);
    Ok(Question::DeletePrefix { prefix: prefix.as_bytes().into(), dry_run })
}

/// Writes what the findings of all shards amount to, where that is no more than a word or a
/// number. Returns the status.
pub fn write_findings(
    out: &mut Vec<u8>,
    exchange: Exchange,
    date: &Date,
    count_name: Option<&str>,
    findings: &[Finding],
) -> u16 {
    let mut total = 0;
    for finding in findings {
        match finding {
            Finding::Done { entries } => total += entries,
            Finding::Full => {
                let message = "Too many tags were invalidated at once; try again.";
                let problem = Problem::new(503, "overloaded", message).retry_after(1);
                write_problem(out, exchange, date, &problem);
                return problem.status;
            }
            Finding::Report(_) => unreachable!("nobody asked for it"),
        }
    }
    let body = match count_name {
        Some(name) => format!("{{\"status\":\"OK\",\"{name}\":{total}}}"),
        None => "{\"status\":\"OK\"}".to_owned(),
    };
    Response::begin(out, exchange, date, 200).text(JSON, body.as_bytes());
    200
}
