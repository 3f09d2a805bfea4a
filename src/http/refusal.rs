//! Why a request is refused, as HTTP says it.

use super::request::Error;
use crate::{
    metrics::{Outcome, Stage},
    protocol::Problem,
};
use std::borrow::Cow;

/// Why a request was not carried out: a status, a stable code and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub code: &'static str,
    pub message: Cow<'static, str>,
    /// The methods that the route has, where it lacks that of the request.
    pub allow: Option<&'static str>,
    pub retry_after_seconds: Option<u32>,
    /// The connection is closed after it: a body that nobody wants may be on its way.
    pub closes: bool,
}

impl Refusal {
    #[must_use]
    pub fn new(status: u16, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        Self { status, code, message, allow: None, retry_after_seconds: None, closes: false }
    }

    #[must_use]
    pub fn allowing(self, allow: &'static str) -> Self {
        Self { allow: Some(allow), ..self }
    }

    #[must_use]
    pub fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after_seconds: Some(seconds), ..self }
    }

    #[must_use]
    pub fn closing(self) -> Self {
        Self { closes: true, ..self }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::new(error.status(), error.code(), error.message())
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        let overloaded = |message| Self::new(503, "overloaded", message).retry_after(1);
        match problem {
            Problem::NoToken => {
                let message = "This needs one of the server's tokens: Authorization: Bearer ...";
                Self::new(401, "unauthorized", message)
            }
            Problem::ReadOnlyToken => Self::new(403, "forbidden", "This token may read only."),
            Problem::HopFull => {
                overloaded("Too many requests are under way between the cores; try again.")
            }
            Problem::BuffersFull => {
                overloaded("Too many bodies and long answers wait for their clients; try again.")
            }
            Problem::Shed => overloaded("The server has too much to do; try again later."),
            Problem::ShardGone => {
                Self::new(503, "unavailable", "The shard of this key has stopped.").retry_after(1)
            }
            Problem::TooManyConnections(limit) => {
                let message = format!("All {limit} connections are taken (--connections-max).");
                Self::new(503, "too_many_connections", message).retry_after(1)
            }
            Problem::TooManySubscribers(limit) => {
                let message = format!("{limit} clients subscribe already.");
                Self::new(503, "too_many_readers", message).retry_after(1)
            }
            Problem::TimedOut => {
                let message = "The request did not arrive in time (--read-timeout).";
                Self::new(408, "request_timeout", message)
            }
            Problem::NotServing(stage) => not_serving(stage),
            Problem::NoSnapshotPath => {
                let message = "There is no place for a snapshot (--snapshot-path).";
                Self::new(409, "no_snapshot_path", message)
            }
            Problem::SnapshotRunning => {
                Self::new(409, "snapshot_running", "A snapshot is being written already.")
            }
        }
    }
}

/// Why the server is not ready.
fn not_serving(stage: Stage) -> Refusal {
    let (code, message) = match stage {
        Stage::Starting => ("starting", "The server is starting."),
        Stage::Restoring => ("restoring", "A snapshot is being restored."),
        Stage::Draining => ("draining", "The server is about to stop."),
        Stage::Serving => unreachable!("then it is ready"),
    };
    Refusal::new(503, code, message).retry_after(1)
}

/// What became of a request that is answered with this status.
#[inline]
#[must_use]
pub fn outcome_of(status: u16) -> Outcome {
    match status {
        200 | 201 | 204 | 304 => Outcome::Ok,
        404 => Outcome::NotFound,
        409 | 412 => Outcome::Unmet,
        400 | 405 | 406 | 413 | 414 | 415 | 417 | 431 => Outcome::Invalid,
        501 | 505 => Outcome::Unsupported,
        401 | 403 => Outcome::Denied,
        408 => Outcome::TimedOut,
        503 => Outcome::Overloaded,
        507 => Outcome::NoRoom,
        _ => Outcome::Failed,
    }
}
