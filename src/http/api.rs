//! The key-value routes: an HTTP request to an operation, a reply to an HTTP response.

mod kv;
pub mod batch;
mod value;
mod condition;
pub(super) mod json;
mod tags;
pub(super) mod query;
mod lifetime;

pub use value::{Style, write_piece};

use super::{
    form::{BatchKind, Exchange, Form, Http, Shape},
    reader::Request,
    refusal::Refusal,
    request::{Head, Method},
    response::{Date, JSON, Response, write_json, write_refusal},
    route::{self, Route},
};
use crate::{
    config::{Config, GZIP_BYTES_MAX},
    protocol::{About, Ask, Command, Rest},
    query::Query,
    store::{Condition, Extras, KeyHasher, Lease, Read, Reply, Verb, Write},
    text::{JsonString, Text},
};
use json::PutBody;
use lifetime::Span;
use std::borrow::Cow;

/// Everything that the head alone decides, so that a body need not be sent for nothing.
#[inline]
pub fn admit(head: &Head<'_>, route: Option<Route>, config: &Config) -> Result<Route, Refusal> {
    let route = route::check(head, route)?;
    if route == Route::Entry {
        kv::admit(head, config)?;
    }
    Ok(route)
}

/// The longest value that is not pinned, when no other answer is owed: one that may go out
/// compressed is taken whole.
fn pin_above(exchange: Exchange, config: &Config) -> usize {
    if exchange.accepts_gzip { GZIP_BYTES_MAX } else { config.limits.piece_bytes_max }
}

/// Reads an admitted request for one of our routes.
#[inline]
pub(super) fn read<'a>(
    request: &Request<'a>,
    route: Route,
    form: &mut Form,
    about: &About<'_, Http>,
) -> Result<Ask<'a, Http>, Refusal> {
    let (config, hasher) = (about.config, about.hasher);
    match route {
        Route::Get => read_get(&request.head, form, config),
        Route::Put => {
            form.shape = Shape::Put;
            Ok(Ask::Call(put_command(json::put_body(request.body)?, config, hasher)?))
        }
        Route::Mget | Route::Mput | Route::Mdelete => {
            let kind = match route {
                Route::Mget => BatchKind::Get,
                Route::Mput => BatchKind::Put,
                _ => BatchKind::Delete,
            };
            form.shape = Shape::Batch(kind);
            Ok(Ask::Batch(batch::read(kind, request.body, config, hasher)?))
        }
        Route::Invalidate => {
            form.shape = Shape::Done;
            let tag = json::query_body(request.body)?.tag;
            let tag = tag.ok_or_else(|| json::missing("missing_tag", "a string member `tag`"))?;
            Ok(Ask::Broadcast(Query::Invalidate { tag: tags::hash(tag.as_bytes(), hasher)? }))
        }
        _ => kv::read(request, route, form, about),
    }
}

#[inline]
fn read_get<'a>(
    head: &Head<'a>,
    form: &mut Form,
    config: &Config,
) -> Result<Ask<'a, Http>, Refusal> {
    form.shape = Shape::Get;
    let (key, lease) = if let Some(key) = query::plain_key(head.query) {
        (Cow::Borrowed(key), None)
    } else {
        let [key, lease] = query::parameters(head.query, ["key", "lease"])?;
        let key = key.ok_or_else(query::missing_key)?;
        query::check_text(&key)?;
        (key, lease)
    };
    check_key(&key, config)?;
    let lease_ms = lifetime::parameter(Span::Lease, lease.as_deref())?;
    let verb = match head.method {
        Method::Head => Verb::peek(),
        _ if lease_ms.is_some() => Verb::Read(Read { lease_ms, ..Read::VALUE }),
        _ => {
            let pin_above = pin_above(form.exchange, config);
            Verb::Read(Read { pin_above, ..Read::VALUE })
        }
    };
    Ok(Ask::Call(Command { key, verb, wants_text: true }))
}

/// What one put asks the store to do.
fn put_command<'a>(
    put: PutBody<'a>,
    config: &Config,
    hasher: &KeyHasher,
) -> Result<Command<'a>, Refusal> {
    let PutBody { key, value, ttl, stale_ttl, tags } = put;
    check_key(key.as_bytes(), config)?;
    let limit = config.limits.value_bytes_max;
    if value.len() > limit {
        let message = format!(
            "The value has {} bytes; at most {limit} are taken (--value-bytes-max).",
            value.len()
        );
        return Err(Refusal::new(400, "value_too_long", message));
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
    Ok(Command { key: bytes_of(key), verb, wants_text: false })
}

fn bytes_of(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

#[inline]
fn check_key(key: &[u8], config: &Config) -> Result<(), Refusal> {
    let limit = config.limits.key_bytes_max;
    if key.is_empty() {
        return Err(Refusal::new(400, "empty_key", "The key must have at least one byte."));
    }
    if key.len() > limit {
        let message = format!(
            "The key has {} bytes; at most {limit} are taken (--key-bytes-max).",
            key.len()
        );
        return Err(Refusal::new(400, "key_too_long", message));
    }
    Ok(())
}

fn no_room() -> Refusal {
    Refusal::new(507, "no_room", "The entry is larger than its shard's memory takes.")
}

fn full() -> Refusal {
    Refusal::new(507, "full", "The memory is full and nothing is evicted.")
}

fn not_text(value: &str, valid_bytes: usize) -> Refusal {
    let message = format!("{value} is not UTF-8 from byte {valid_bytes} on.");
    Refusal::new(406, "not_text", message)
}

/// Writes what a reply amounts to, or the beginning of it and then, in `rest`, what is left.
/// Returns the status.
#[inline]
pub(super) fn write_reply(
    out: &mut Vec<u8>,
    form: Form,
    date: &Date,
    key: &[u8],
    (reply, text): (&Reply<&[u8]>, Option<Text>),
    rest: &mut Option<Rest<Style>>,
) -> u16 {
    let exchange = form.exchange;
    let refusal = match (form.shape, reply) {
        (Shape::Get, Reply::Value(value) | Reply::Entry { value, .. }) => {
            let stale = match reply {
                Reply::Entry { details, .. } => details.stale,
                _ => None,
            };
            match JsonString::of(value) {
                Ok(value) => {
                    value::write(out, exchange, date, (key, value), stale);
                    return 200;
                }
                Err(valid_bytes) => not_text("The value", valid_bytes),
            }
        }
        (Shape::Get, &Reply::Pinned { pin, .. }) => {
            let text = text.expect("who asks for it as JSON asks for its measure");
            match text.json {
                Ok(length) => {
                    *rest = value::begin(out, exchange, date, (key, length), (pin, text));
                    return 200;
                }
                Err(valid_bytes) => not_text("The value", valid_bytes),
            }
        }
        (Shape::Put, Reply::Created | Reply::Replaced) => {
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
        (Shape::Entry { knows_coded }, reply) => {
            match kv::write_reply(out, exchange, date, knows_coded, reply, rest) {
                Ok(status) => return status,
                Err(refusal) => refusal,
            }
        }
        _ => unreachable!("no other request is ever answered so"),
    };
    write_refusal(out, exchange, date, &refusal);
    refusal.status
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

pub fn write_health(out: &mut Vec<u8>, exchange: Exchange, date: &Date) {
    Response::begin(out, exchange, date, 200).text(JSON, b"{\"status\":\"OK\"}");
}

pub fn write_options(out: &mut Vec<u8>, exchange: Exchange, date: &Date, allow: &str) {
    Response::begin(out, exchange, date, 204).header("Allow", allow).empty();
}
