//! The key-value routes: an HTTP request to an operation, a reply to an HTTP response.

use crate::{
    auth::Access,
    config::{Config, GZIP_BYTES_MAX},
    events::Kinds,
    http::{
        Request, gzip,
        request::{Expect, Head, Method},
        response::{Date, Exchange, JSON, Problem, Response, write_json, write_problem},
    },
    latency::Since,
    mesh::Question,
    metrics::Operation,
    store::{Condition, Extras, KeyHasher, Lease, Pin, Read, Reply, Verb, Write},
    text::{JsonString, Text, push_escaped},
};
use batch::Batch;
use json::PutBody;
use lifetime::Span;
use question::Form;
use std::borrow::Cow;

pub mod batch;
mod condition;
mod json;
mod kv;
mod lifetime;
mod query;
pub mod question;
mod tags;

/// What a request asks to be done.
#[derive(Debug, PartialEq)]
pub enum Action<'a> {
    /// Run the verb on the key and write what `render` says of the reply.
    Call { key: Cow<'a, [u8]>, verb: Verb<Cow<'a, [u8]>>, render: Render },
    /// Run all of its operations.
    Batch(Batch<'a>),
    /// Say that the process lives.
    Health,
    /// Say which methods there are.
    Options { allow: &'static str },
    /// Ask every shard, and write what it finds in this form.
    Ask(Question, Form),
    /// Show the settings in force.
    Config,
    /// Write a snapshot.
    Snapshot,
    /// Hand out the description of all routes.
    Describe,
    /// Hand out the live page.
    Page,
    /// Tell of these events for as long as the client listens.
    Listen(Kinds),
}

/// A verb and the key that it is for.
#[derive(Debug, PartialEq)]
pub struct Command<'a> {
    pub key: Cow<'a, [u8]>,
    pub verb: Verb<Cow<'a, [u8]>>,
}

/// How a reply becomes a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Render {
    Get,
    Put,
    /// One of the routes under `/kv/`. `knows_coded`: the client may have the compressed form.
    Entry {
        knows_coded: bool,
    },
}

/// What is left of a value that leaves in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    pub pin: Pin,
    from: usize,
    bytes: usize,
    /// Inside a string of JSON, with more after it.
    is_json: bool,
    /// The bytes go out as they are.
    is_plain: bool,
}

impl Rest {
    /// What fetches the next piece.
    #[must_use]
    pub fn verb<B>(&self, bytes: usize) -> Verb<B> {
        Verb::Piece { pin: self.pin, from: self.from, bytes }
    }
}

/// A known path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    Get,
    Put,
    Mget,
    Mput,
    Mdelete,
    Invalidate,
    DeletePrefix,
    Flush,
    Snapshot,
    /// `/kv/{key}`.
    Entry,
    /// `/kv/{key}/incr`.
    Incr,
    /// `/kv/{key}/touch`.
    Touch,
    Health,
    Ready,
    Stats,
    Metrics,
    Latency,
    LatencyReset,
    Config,
    OpenApi,
    /// The live page.
    Page,
    Events,
    /// `OPTIONS *`.
    Server,
}

impl Route {
    /// The route of a path on the data port.
    #[must_use]
    pub fn of(path: &[u8]) -> Option<Self> {
        match path {
            b"/get" => Some(Self::Get),
            b"/put" => Some(Self::Put),
            b"/mget" => Some(Self::Mget),
            b"/mput" => Some(Self::Mput),
            b"/mdelete" => Some(Self::Mdelete),
            b"/invalidate" => Some(Self::Invalidate),
            b"/healthz" => Some(Self::Health),
            b"*" => Some(Self::Server),
            _ => kv::route(path),
        }
    }

    /// What a request needs on the data port.
    #[must_use]
    pub fn access(route: Option<Self>, method: Method) -> Access {
        match route {
            Some(Self::Health) => Access::Open,
            // To read takes a POST where there are many keys.
            None | Some(Self::Mget) => Access::Read,
            _ if matches!(method, Method::Get | Method::Head | Method::Options) => Access::Read,
            _ => Access::Write,
        }
    }

    fn allow(self) -> &'static str {
        match self {
            Self::Get
            | Self::Health
            | Self::Ready
            | Self::Stats
            | Self::Metrics
            | Self::Latency
            | Self::Config
            | Self::OpenApi
            | Self::Page
            | Self::Events => "GET, HEAD, OPTIONS",
            Self::Put
            | Self::Mget
            | Self::Mput
            | Self::Mdelete
            | Self::Invalidate
            | Self::DeletePrefix
            | Self::Flush
            | Self::LatencyReset
            | Self::Snapshot
            | Self::Incr
            | Self::Touch => "POST, OPTIONS",
            Self::Entry => "GET, HEAD, PUT, DELETE, OPTIONS",
            Self::Server => "GET, HEAD, POST, PUT, DELETE, OPTIONS",
        }
    }

    /// Whether requests have a body of JSON.
    fn takes_json(self) -> bool {
        matches!(
            self,
            Self::Put
                | Self::Mget
                | Self::Mput
                | Self::Mdelete
                | Self::Invalidate
                | Self::DeletePrefix
        )
    }

    /// Whether the body of a request may hold what is put into the store.
    #[must_use]
    pub fn stores(self) -> bool {
        matches!(self, Self::Put | Self::Mput | Self::Entry)
    }

    #[must_use]
    pub fn operation(self, method: Method) -> Operation {
        match self {
            Self::Entry if method == Method::Put => Operation::Put,
            Self::Entry if method == Method::Delete => Operation::Delete,
            Self::Get | Self::Entry => Operation::Get,
            Self::Put => Operation::Put,
            Self::Mget => Operation::Mget,
            Self::Mput => Operation::Mput,
            Self::Mdelete => Operation::Mdelete,
            Self::Invalidate => Operation::Invalidate,
            Self::Incr => Operation::Incr,
            Self::Touch => Operation::Touch,
            Self::Health | Self::Ready => Operation::Health,
            Self::DeletePrefix
            | Self::Flush
            | Self::Snapshot
            | Self::Stats
            | Self::Metrics
            | Self::Latency
            | Self::LatencyReset
            | Self::Config
            | Self::OpenApi
            | Self::Page
            | Self::Events => Operation::Admin,
            Self::Server => Operation::Other,
        }
    }
}

/// Everything that the head alone decides, so that a body need not be sent for nothing.
pub fn admit(head: &Head<'_>, route: Option<Route>, config: &Config) -> Result<Route, Problem> {
    if matches!(head.method, Method::Unknown | Method::Connect) {
        return Err(Problem::new(501, "not_implemented", "This method is not known here."));
    }
    if head.expect == Expect::Unknown {
        return Err(Problem::new(417, "expectation_failed", "Only 100-continue can be expected."));
    }
    let Some(route) = route else {
        return Err(Problem::new(404, "no_such_route", "There is nothing at this path."));
    };
    let allowed = head.method == Method::Options
        || match route {
            Route::Get
            | Route::Health
            | Route::Ready
            | Route::Stats
            | Route::Metrics
            | Route::Latency
            | Route::Config
            | Route::OpenApi
            | Route::Page
            | Route::Events => matches!(head.method, Method::Get | Method::Head),
            Route::Put
            | Route::Mget
            | Route::Mput
            | Route::Mdelete
            | Route::Invalidate
            | Route::DeletePrefix
            | Route::Flush
            | Route::LatencyReset
            | Route::Snapshot
            | Route::Incr
            | Route::Touch => head.method == Method::Post,
            Route::Entry => {
                matches!(head.method, Method::Get | Method::Head | Method::Put | Method::Delete)
            }
            Route::Server => false,
        };
    if !allowed {
        let message = format!("This path takes {}.", route.allow());
        return Err(Problem::new(405, "method_not_allowed", message).allowing(route.allow()));
    }
    if head.content_encoding.is_some() {
        let message = "A body is taken as it is: the only Content-Encoding is identity.";
        return Err(Problem::new(415, "unsupported_content_encoding", message));
    }
    if route.takes_json() && !head.content_type.is_none_or(is_json) {
        let message = "The body is application/json.";
        return Err(Problem::new(415, "unsupported_media_type", message));
    }
    if route == Route::Entry {
        kv::admit(head, config)?;
    }
    Ok(route)
}

fn is_json(content_type: &[u8]) -> bool {
    let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(JSON.as_bytes())
}

/// The longest value that is not lent, when no other answer is owed: one that may go out
/// compressed is taken whole.
fn pin_above(head: &Head<'_>, config: &Config) -> usize {
    if gzip::is_accepted(head.lines) { GZIP_BYTES_MAX } else { config.limits.piece_bytes_max }
}

/// Reads a complete request.
pub fn read<'a>(
    request: &Request<'a>,
    route: Option<Route>,
    config: &Config,
    hasher: &KeyHasher,
) -> Result<Action<'a>, Problem> {
    let route = admit(&request.head, route, config)?;
    if request.head.method == Method::Options {
        return Ok(Action::Options { allow: route.allow() });
    }
    match route {
        Route::Get => {
            let query = request.head.query;
            let (key, lease) = if let Some(key) = query::plain_key(query) {
                (Cow::Borrowed(key), None)
            } else {
                let [key, lease] = query::parameters(query, ["key", "lease"])?;
                let key = key.ok_or_else(query::missing_key)?;
                query::check_text(&key)?;
                (key, lease)
            };
            check_key(&key, config)?;
            let lease_ms = lifetime::parameter(Span::Lease, lease.as_deref())?;
            let verb = match request.head.method {
                Method::Head => Verb::peek(),
                _ if lease_ms.is_some() => Verb::Read(Read { lease_ms, ..Read::VALUE }),
                _ => {
                    let pin_above = pin_above(&request.head, config);
                    Verb::Read(Read { pin_above, ..Read::VALUE })
                }
            };
            Ok(Action::Call { key, verb, render: Render::Get })
        }
        Route::Put => {
            let Command { key, verb } = put_command(json::put_body(request.body)?, config, hasher)?;
            Ok(Action::Call { key, verb, render: Render::Put })
        }
        Route::Mget | Route::Mput | Route::Mdelete => {
            let kind = match route {
                Route::Mget => batch::Kind::Get,
                Route::Mput => batch::Kind::Put,
                _ => batch::Kind::Delete,
            };
            Ok(Action::Batch(batch::read(kind, request.body, config, hasher)?))
        }
        Route::Entry | Route::Incr | Route::Touch => kv::read(request, route, config, hasher),
        Route::Health => Ok(Action::Health),
        Route::Invalidate => {
            Ok(Action::Ask(question::invalidate(request.body, hasher)?, Form::Done))
        }
        Route::DeletePrefix => ask(question::delete_prefix(request.body, config)),
        Route::Flush => Ok(Action::Ask(Question::Flush, Form::Count("flushed"))),
        Route::Ready => Ok(Action::Ask(Question::Report, Form::Ready)),
        Route::Stats => Ok(Action::Ask(Question::Report, Form::Stats)),
        Route::Metrics => {
            let everything = Question::Latency { since: Since::Ever, anew: false };
            let form = Form::Metrics { connections_max: config.limits.connections_max };
            Ok(Action::Ask(everything, form))
        }
        Route::Latency | Route::LatencyReset => ask(question::latency(&request.head)),
        Route::Snapshot => Ok(Action::Snapshot),
        Route::Config => Ok(Action::Config),
        Route::OpenApi => Ok(Action::Describe),
        Route::Page => Ok(Action::Page),
        Route::Events => question::events(&request.head).map(Action::Listen),
        Route::Server => Ok(Action::Options { allow: route.allow() }),
    }
}

fn ask<'a>(asked: Result<(Question, Form), Problem>) -> Result<Action<'a>, Problem> {
    asked.map(|(question, form)| Action::Ask(question, form))
}

/// What one put asks the store to do.
fn put_command<'a>(
    put: PutBody<'a>,
    config: &Config,
    hasher: &KeyHasher,
) -> Result<Command<'a>, Problem> {
    let PutBody { key, value, ttl, stale_ttl, tags } = put;
    check_key(key.as_bytes(), config)?;
    let limit = config.limits.value_bytes_max;
    if value.len() > limit {
        let message = format!(
            "The value has {} bytes; at most {limit} are taken (--value-bytes-max).",
            value.len()
        );
        return Err(Problem::new(400, "value_too_long", message));
    }
    let ttl_ms = match ttl {
        Some(seconds) => Some(lifetime::millis(Span::Ttl, seconds)?),
        None => lifetime::default_ttl(config),
    };
    let value = bytes_of(value);
    let verb = if stale_ttl.is_none() && tags.is_empty() {
        Verb::put(value, ttl_ms)
    } else {
        let stale_ms =
            stale_ttl.map(|seconds| lifetime::millis(Span::StaleTtl, seconds)).transpose()?;
        let extras = Extras {
            content_type: None,
            tags: tags::hashes(tags.iter().map(String::as_bytes), hasher)?,
            stale_ms: stale_ms.filter(|_| ttl_ms.is_some()),
        };
        Verb::Write(Write { value, extras, ttl_ms, condition: Condition::NONE })
    };
    Ok(Command { key: bytes_of(key), verb })
}

fn bytes_of(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

#[inline]
fn check_key(key: &[u8], config: &Config) -> Result<(), Problem> {
    let limit = config.limits.key_bytes_max;
    if key.is_empty() {
        return Err(Problem::new(400, "empty_key", "The key must have at least one byte."));
    }
    if key.len() > limit {
        let message = format!(
            "The key has {} bytes; at most {limit} are taken (--key-bytes-max).",
            key.len()
        );
        return Err(Problem::new(400, "key_too_long", message));
    }
    Ok(())
}

/// What is said where the way to the key's shard is full.
#[must_use]
pub fn overloaded() -> Problem {
    let message = "Too many requests are under way between the cores; try again.";
    Problem::new(503, "overloaded", message).retry_after(1)
}

/// What is said where too much of long answers waits for clients.
#[must_use]
pub fn congested() -> Problem {
    let message = "Too many bodies and long answers wait for their clients; try again.";
    Problem::new(503, "overloaded", message).retry_after(1)
}

/// What is said where there is too much to do already.
#[must_use]
pub fn not_taken_on() -> Problem {
    let message = "There is too much to do for this to be taken on, too; try again later.";
    Problem::new(503, "overloaded", message).retry_after(1)
}

/// What is said where the key's shard is gone.
#[must_use]
pub fn unavailable() -> Problem {
    Problem::new(503, "unavailable", "The shard of this key has stopped.").retry_after(1)
}

fn no_room() -> Problem {
    Problem::new(507, "no_room", "The entry is larger than its shard's memory takes.")
}

fn full() -> Problem {
    Problem::new(507, "full", "The memory is full and nothing is evicted.")
}

fn not_text(value: &str, valid_bytes: usize) -> Problem {
    let message = format!("{value} is not UTF-8 from byte {valid_bytes} on.");
    Problem::new(406, "not_text", message)
}

/// Writes what a reply amounts to, or the beginning of it and then, in `rest`, what is left.
/// Returns the status.
pub fn write_reply(
    out: &mut Vec<u8>,
    exchange: Exchange,
    date: &Date,
    render: Render,
    key: &[u8],
    (reply, text): (&Reply<&[u8]>, Option<&Text>),
    rest: &mut Option<Rest>,
) -> u16 {
    let problem = match (render, reply) {
        (Render::Get, Reply::Value(value) | Reply::Entry { value, .. }) => {
            let stale = match reply {
                Reply::Entry { details, .. } => details.stale,
                _ => None,
            };
            match JsonString::of(value) {
                Ok(value) => {
                    write_text(out, exchange, date, (key, value), stale);
                    return 200;
                }
                Err(valid_bytes) => not_text("The value", valid_bytes),
            }
        }
        (Render::Get, &Reply::Pinned { pin, bytes, .. }) => {
            let text = text.expect("a value that is pinned without details is measured");
            match text.json {
                Ok(length) => {
                    let found = Found::new(key, length);
                    let response = Response::begin(out, exchange, date, 200);
                    let out = response.body_in_pieces(JSON.as_bytes(), found.length);
                    *rest = out.map(|out| {
                        found.write_start(out);
                        out.push(b'"');
                        let is_plain = text.is_plain();
                        Rest { pin, from: 0, bytes, is_json: true, is_plain }
                    });
                    return 200;
                }
                Err(valid) => not_text("The value", valid),
            }
        }
        (Render::Put, Reply::Created | Reply::Replaced) => {
            const BODY: &[u8] =
                b"{\"status\":\"OK\",\"message\":\"Key inserted/updated successfully.\"}";
            write_json(out, exchange, date, BODY.len(), |out| out.extend_from_slice(BODY));
            return 200;
        }
        (_, Reply::Absent) => {
            write_absent(out, exchange, date, Lease::NotAsked);
            return 404;
        }
        (_, Reply::Missing(lease)) => {
            write_absent(out, exchange, date, *lease);
            return 404;
        }
        (_, Reply::TooLarge) => no_room(),
        (_, Reply::Full) => full(),
        (Render::Entry { knows_coded }, reply) => {
            match kv::write_reply(out, exchange, date, knows_coded, reply, rest) {
                Ok(status) => return status,
                Err(problem) => problem,
            }
        }
        (Render::Get | Render::Put, _) => {
            unreachable!("neither is ever answered so")
        }
    };
    write_problem(out, exchange, date, &problem);
    problem.status
}

/// The body of an answer to a get, around the value.
struct Found<'a> {
    key: JsonString<'a>,
    length: usize,
}

impl<'a> Found<'a> {
    const PARTS: [&'static [u8]; 2] = [b"{\"status\":\"OK\",\"key\":", b",\"value\":"];
    const END: &'static [u8] = b"}";

    /// For a value that has `value_length` bytes as JSON.
    fn new(key: &'a [u8], value_length: usize) -> Self {
        let parts = Self::PARTS[0].len() + Self::PARTS[1].len() + Self::END.len();
        let key = JsonString::of(key).expect("read from UTF-8");
        Self { length: parts + key.length + value_length, key }
    }

    fn write_start(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(Self::PARTS[0]);
        self.key.write(out);
        out.extend_from_slice(Self::PARTS[1]);
    }
}

/// Writes a piece of a value, or as much of it as `room` bytes take. Returns what is left then.
pub fn write_piece(out: &mut Vec<u8>, rest: Rest, piece: &[u8], room: usize) -> Option<Rest> {
    let taken = if rest.is_plain {
        out.extend_from_slice(piece);
        piece.len()
    } else {
        push_escaped(out, piece, room)
    };
    let rest = Rest { from: rest.from + taken, ..rest };
    if rest.from < rest.bytes {
        return Some(rest);
    }
    if rest.is_json {
        out.push(b'"');
        out.extend_from_slice(Found::END);
    }
    None
}

/// Writes key and value as JSON.
#[inline]
fn write_text(
    out: &mut Vec<u8>,
    exchange: Exchange,
    date: &Date,
    (key, value): (&[u8], JsonString<'_>),
    stale: Option<Lease>,
) {
    let found = Found::new(key, value.length);
    let write = |out: &mut Vec<u8>| {
        found.write_start(out);
        value.write(out);
        out.extend_from_slice(Found::END);
    };
    if stale.is_none() {
        return write_json(out, exchange, date, found.length, write);
    }
    let response = say_stale(Response::begin(out, exchange, date, 200), stale);
    response.body(JSON, found.length, write);
}

/// Says that the key is not there, and who is to put it.
fn write_absent(out: &mut Vec<u8>, exchange: Exchange, date: &Date, lease: Lease) {
    const BODY: &[u8] =
        b"{\"status\":\"ERROR\",\"message\":\"Key not found.\",\"code\":\"not_found\"}";
    let mut response = say_lease(Response::begin(out, exchange, date, 404), lease);
    if let Lease::Taken { left_ms } = lease {
        response = response.number("Retry-After: ", left_ms.get().div_ceil(1000));
    }
    response.text(JSON, BODY);
}

/// Says that the time to live of what follows is over, and who is to bring it up to date.
#[inline]
fn say_stale(response: Response<'_>, stale: Option<Lease>) -> Response<'_> {
    match stale {
        None => response,
        Some(lease) => say_lease(response.lines("Kv-Stale: 1\r\n"), lease),
    }
}

fn say_lease(response: Response<'_>, lease: Lease) -> Response<'_> {
    match lease {
        Lease::NotAsked => response,
        Lease::Granted => response.lines("Kv-Lease: granted\r\n"),
        Lease::Taken { .. } => response.lines("Kv-Lease: wait\r\n"),
    }
}

/// Writes the answer to an action that needs no store.
pub fn write_health(out: &mut Vec<u8>, exchange: Exchange, date: &Date) {
    Response::begin(out, exchange, date, 200).text(JSON, b"{\"status\":\"OK\"}");
}

pub fn write_openapi(out: &mut Vec<u8>, exchange: Exchange, date: &Date) {
    const DOCUMENT: &[u8] = include_bytes!("api/openapi.json");
    Response::begin(out, exchange, date, 200).text(JSON, DOCUMENT);
}

pub fn write_options(out: &mut Vec<u8>, exchange: Exchange, date: &Date, allow: &str) {
    Response::begin(out, exchange, date, 204).header("Allow", allow).empty();
}
