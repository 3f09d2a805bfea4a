//! The body of an answer to a get: key and value as JSON, whole or in pieces.

use super::{
    super::{
        form::Exchange,
        media::JSON,
        response::{Date, Response, write_json},
    },
    say::say_stale,
};
use crate::{
    config::{Config, GZIP_BYTES_MAX},
    protocol::Rest,
    store::{Lease, Pin},
    text::{JsonString, Text, push_escaped},
};

/// How a value that leaves in pieces is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As it is.
    Raw,
    /// Inside a string of JSON, with more after it. `is_plain`: no byte of it is escaped.
    Json { is_plain: bool },
}

/// The longest value that is not pinned, when no other answer is owed: one that may go out
/// compressed is taken whole.
pub(super) fn pin_above(exchange: Exchange, config: &Config) -> usize {
    if exchange.accepts_gzip { GZIP_BYTES_MAX } else { config.limits.piece_bytes_max }
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

/// Writes the beginning of an answer whose value, of `length` bytes as JSON, comes in pieces.
/// Returns what is left.
pub(super) fn begin(
    out: &mut Vec<u8>,
    exchange: Exchange,
    date: &Date,
    (key, length): (&[u8], usize),
    (pin, text): (Pin, Text),
) -> Option<Rest<Style>> {
    let found = Found::new(key, length);
    let response = Response::begin(out, exchange, date, 200);
    let out = response.body_in_pieces(JSON.as_bytes(), found.length)?;
    found.write_start(out);
    out.push(b'"');
    let style = Style::Json { is_plain: text.is_plain() };
    Some(Rest { pin, from: 0, bytes: text.bytes, style })
}

/// Writes a piece of a value, or as much of it as `room` bytes take. Returns what is left then.
pub(in crate::http) fn write_piece(
    out: &mut Vec<u8>,
    rest: Rest<Style>,
    piece: &[u8],
    room: usize,
) -> Option<Rest<Style>> {
    let taken = if matches!(rest.style, Style::Raw | Style::Json { is_plain: true }) {
        out.extend_from_slice(piece);
        piece.len()
    } else {
        push_escaped(out, piece, room)
    };
    let rest = Rest { from: rest.from + taken, ..rest };
    if rest.from < rest.bytes {
        return Some(rest);
    }
    if rest.style != Style::Raw {
        out.push(b'"');
        out.extend_from_slice(Found::END);
    }
    None
}

/// Writes key and value as JSON.
#[inline]
pub(super) fn write(
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
