//! What an answer over HTTP is written with.

use super::{
    gzip,
    request::{Head, Method, Version},
    route::Route,
};
use crate::{latency::Format, metrics::Operation};

/// HTTP/1.1.
#[derive(Clone, Copy, Debug)]
pub struct Http;

/// What needs no store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// Say that the process lives.
    Health,
    /// Say which methods there are.
    Options { allow: &'static str },
    /// Show the settings in force.
    Config,
    /// Hand out the description of all routes.
    OpenApi,
    /// Hand out the live page.
    Page,
    /// The head of a stream of events.
    EventsHead,
}

/// How the answer to one request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    pub exchange: Exchange,
    /// Where the request goes, if there is such a path.
    pub(super) route: Option<Route>,
    pub shape: Shape,
}

/// What a response must know of the request that it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// HEAD: the head of the answer without its body.
    pub head_only: bool,
    /// The client takes a compressed body.
    pub accepts_gzip: bool,
    pub persistence: Persistence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// Stays open, and HTTP/1.1 need not be told.
    Implicit,
    /// Stays open for an HTTP/1.0 client that asked.
    KeepAlive,
    Close,
}

const _: () = assert!(size_of::<Form>() <= 8, "it is copied for each request");

/// What the response tells of what came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Nothing yet: what was asked is not read.
    Unread,
    Get,
    Put,
    /// One of the routes under `/kv/`. `knows_coded`: the client may have the compressed form.
    Entry {
        knows_coded: bool,
    },
    Batch(BatchKind),
    /// That it is done.
    Done,
    /// How many entries it was done to.
    Count(Count),
    /// How a snapshot ended.
    Snapshot,
    /// Whether every shard serves.
    Ready,
    /// Every shard's counters.
    Stats,
    /// Every counter and histogram for Prometheus.
    Metrics,
    /// How long requests took: of one operation, or of all.
    Latency {
        operation: Option<Operation>,
        format: Format,
    },
    /// Events as they come, in chunks or until the connection ends.
    Events {
        is_chunked: bool,
    },
}

/// What was done to entries that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    Flushed,
    Matched,
    Deleted,
}

impl Count {
    /// As the answer names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Flushed => "flushed",
            Self::Matched => "matched",
            Self::Deleted => "deleted",
        }
    }
}

/// What a batch does with each of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchKind {
    Get,
    Put,
    Delete,
}

impl Exchange {
    /// For an answer that no well-formed request asked for.
    pub const LAST: Self =
        Self { head_only: false, accepts_gzip: false, persistence: Persistence::Close };

    /// `is_last`: the connection will be closed after this answer whatever the client wishes.
    #[inline]
    #[must_use]
    pub fn of(head: &Head<'_>, is_last: bool) -> Self {
        let stays = head.keep_alive && !is_last && head.method != Method::Connect;
        let persistence = match (stays, head.version) {
            (false, _) => Persistence::Close,
            (true, Version::Http10) => Persistence::KeepAlive,
            (true, Version::Http11) => Persistence::Implicit,
        };
        let accepts_gzip = gzip::is_accepted(head.lines);
        Self { head_only: head.method == Method::Head, accepts_gzip, persistence }
    }
}
