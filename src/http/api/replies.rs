//! Answers of the key-value routes.

use super::{
    super::{
        form::{Exchange, Form, Shape},
        media::JSON,
        response::{Date, Response, write_json, write_refusal},
    },
    kv,
    refusals::{full, no_room, not_text},
    say::write_absent,
    value::{self, Style},
};
use crate::{
    protocol::Rest,
    store::{Lease, Reply},
    text::{JsonString, Text},
};

/// Writes what a reply amounts to, or the beginning of it and then, in `rest`, what is left.
/// Returns the status.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "it was written byte by byte just before, which loading it whole would wait for"
)]
#[inline]
pub(in crate::http) fn write_reply(
    out: &mut Vec<u8>,
    form: &Form,
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

/// Says that the process lives.
pub(in crate::http) fn write_health(out: &mut Vec<u8>, exchange: Exchange, date: &Date) {
    Response::begin(out, exchange, date, 200).text(JSON, b"{\"status\":\"OK\"}");
}

/// Says which methods there are.
pub(in crate::http) fn write_options(
    out: &mut Vec<u8>,
    exchange: Exchange,
    date: &Date,
    allow: &str,
) {
    Response::begin(out, exchange, date, 204).header("Allow", allow).empty();
}
