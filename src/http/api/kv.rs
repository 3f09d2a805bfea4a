//! The routes under `/kv/`: one entry each, as raw bytes with everything that HTTP says of it.

use super::{
    super::{
        etag::EntityTag,
        form::{Exchange, Form, Http, Shape},
        reader::Request,
        refusal::Refusal,
        request::{Field, Framing, Head, Method},
        response::{Date, Response},
        route::Route,
    },
    condition::{Demand, demand},
    key::check_key,
    lifetime::{self, Span},
    query,
    say::say_stale,
    tags,
    value::{Style, pin_above},
};
use crate::{
    config::Config,
    protocol::{About, Ask, Command, Rest},
    store::{CONTENT_TYPE_BYTES_MAX, Details, Extras, Lease, Read, Reply, Verb, Write},
};
use std::{borrow::Cow, num::NonZeroU64};

/// The bytes are what their type says, whatever they look like.
const NO_SNIFF: &str = "X-Content-Type-Options: nosniff\r\n";

/// The type of a value that was stored without one.
const BYTES: &[u8] = b"application/octet-stream";

/// Refuses a body that is known to be too long before it is read.
pub(super) fn admit(head: &Head<'_>, config: &Config) -> Result<(), Refusal> {
    match head.framing {
        Framing::Length(length) if head.method == Method::Put => check_value(length, config),
        _ => Ok(()),
    }
}

fn check_value(length: usize, config: &Config) -> Result<(), Refusal> {
    let limit = config.limits.value_bytes_max;
    if length > limit {
        let message =
            format!("The value has {length} bytes; at most {limit} are taken (--value-bytes-max).");
        return Err(Refusal::new(413, "value_too_long", message).closing());
    }
    Ok(())
}

/// Reads a complete request for `route`, which is one of ours.
pub(super) fn read<'a>(
    request: &Request<'a>,
    route: Route,
    form: &mut Form,
    about: &About<'_, Http>,
) -> Result<Ask<'a, Http>, Refusal> {
    let (config, hasher) = (about.config, about.hasher);
    let head = &request.head;
    let key = query::path_key(Route::key_segment(head.path))?;
    check_key(&key, config)?;
    let Demand { condition, knows_coded } = demand(head, form.exchange.accepts_gzip)?;
    form.shape = Shape::Entry { knows_coded };
    let verb = match (route, head.method) {
        (Route::Incr, _) => {
            let [by] = query::parameters(head.query, ["by"])?;
            Verb::Add { by: summand(by.as_deref())?, condition }
        }
        (Route::Touch, _) => {
            let [ttl] = query::parameters(head.query, ["ttl"])?;
            Verb::Touch { ttl_ms: lifetime::new_ttl(ttl.as_deref())?, condition }
        }
        (_, Method::Put) => {
            check_value(request.body.len(), config)?;
            let [ttl, stale] = query::parameters(head.query, ["ttl", "stale_ttl"])?;
            let ttl_ms = match lifetime::parameter(Span::Ttl, ttl.as_deref())? {
                Some(ttl_ms) => Some(ttl_ms),
                None => lifetime::max_age(head.lines)?.or_else(|| lifetime::default_ttl(config)),
            };
            let stale_ms = lifetime::parameter(Span::StaleTtl, stale.as_deref())?;
            let extras = Extras {
                content_type: content_type(head)?.map(Cow::Borrowed),
                tags: tags::hashes(head.lines.members(Field::KvTags), hasher)?,
                stale_ms: stale_ms.filter(|_| ttl_ms.is_some()),
            };
            Verb::Write(Write { value: Cow::Borrowed(request.body), extras, ttl_ms, condition })
        }
        (_, Method::Delete) => {
            let [] = query::parameters(head.query, [])?;
            Verb::Delete { condition }
        }
        _ => {
            let [lease] = query::parameters(head.query, ["lease"])?;
            let lease_ms = lifetime::parameter(Span::Lease, lease.as_deref())?;
            let is_use = head.method != Method::Head;
            let lease_ms = lease_ms.filter(|_| is_use);
            let pin_above = pin_above(form.exchange, config);
            Verb::Read(Read { condition, lease_ms, is_use, details: true, pin_above })
        }
    };
    Ok(Ask::Call(Command { key, verb, wants_text: false }))
}

fn content_type<'a>(head: &Head<'a>) -> Result<Option<&'a [u8]>, Refusal> {
    let content_type = head.content_type.filter(|content_type| !content_type.is_empty());
    match content_type.map(<[u8]>::len) {
        Some(length) if length > CONTENT_TYPE_BYTES_MAX => {
            let message = format!(
                "The content type has {length} bytes; at most {CONTENT_TYPE_BYTES_MAX} are taken."
            );
            Err(Refusal::new(400, "content_type_too_long", message))
        }
        _ => Ok(content_type),
    }
}

/// What `by` says to add; 1 if it is not there.
fn summand(by: Option<&[u8]>) -> Result<i64, Refusal> {
    let Some(by) = by else { return Ok(1) };
    str::from_utf8(by).ok().and_then(|by| by.parse().ok()).ok_or_else(|| {
        let message = format!("`by` is a whole number from {} to {}.", i64::MIN, i64::MAX);
        Refusal::new(400, "bad_by", message)
    })
}

/// Writes what a reply amounts to, but for those that other routes get as well, and, in `rest`,
/// what is left of a long value. Returns the status.
pub(super) fn write_reply(
    out: &mut Vec<u8>,
    exchange: Exchange,
    date: &Date,
    knows_coded: bool,
    reply: &Reply<&[u8]>,
    rest: &mut Option<Rest<Style>>,
) -> Result<u16, Refusal> {
    let refuse = |status, code, message| Err(Refusal::new(status, code, message));
    let status = match reply {
        Reply::Entry { .. } | Reply::Pinned { .. } | Reply::Number(_) => 200,
        Reply::Unchanged { .. } => 304,
        Reply::Created => 201,
        Reply::Replaced | Reply::Deleted | Reply::Touched => 204,
        Reply::Refused => {
            let message = "If-Match or If-None-Match does not hold.";
            return refuse(412, "precondition_failed", message);
        }
        Reply::NotANumber => {
            let message = "The value is no decimal integer of 64 bits.";
            return refuse(409, "not_an_integer", message);
        }
        Reply::Overflow => {
            return refuse(409, "overflow", "The sum is no integer of 64 bits.");
        }
        _ => unreachable!("the caller sees to the others, or no verb of ours gets them"),
    };
    let response = Response::begin(out, exchange, date, status);
    match reply {
        &Reply::Entry { value, details } => {
            let Details { content_type, version, ttl_ms, stale } = details;
            say_freshness(response, ttl_ms, stale)
                .lines(NO_SNIFF)
                .version(version)
                .text(content_type.unwrap_or(BYTES), value);
        }
        &Reply::Pinned { pin, bytes, details: Some(details) } => {
            let Details { content_type, version, ttl_ms, stale } = details;
            let body = say_freshness(response, ttl_ms, stale)
                .lines(NO_SNIFF)
                .version(version)
                .body_in_pieces(content_type.unwrap_or(BYTES), bytes);
            *rest = body.map(|_| Rest { pin, from: 0, bytes, style: Style::Raw });
        }
        &Reply::Unchanged { version, ttl_ms, stale } => {
            let tag = EntityTag { version, is_coded: knows_coded };
            say_freshness(response, ttl_ms, stale).varies().entity_tag(tag).empty();
        }
        Reply::Number(number) => {
            let text = number.to_string();
            response.lines(NO_SNIFF).text("text/plain", text.as_bytes());
        }
        Reply::Created => response.bare(),
        _ => response.empty(),
    }
    Ok(status)
}

/// Says for how long the value may be used without asking again.
fn say_freshness(
    response: Response<'_>,
    ttl_ms: Option<NonZeroU64>,
    stale: Option<Lease>,
) -> Response<'_> {
    let response = match ttl_ms {
        Some(ttl_ms) => response.number("Cache-Control: max-age=", ttl_ms.get() / 1000),
        None if stale.is_some() => response.lines("Cache-Control: max-age=0\r\n"),
        None => response.lines("Cache-Control: no-cache\r\n"),
    };
    say_stale(response, stale)
}
