//! What the protocols have in common: what a request is made of, and what an answer says.

use super::super::keys::Keys;
use std::ops::Range;

/// More than this before the end of a head, or of a line, is no answer.
pub(super) const HEAD_BYTES_MAX: usize = 16 << 10;
/// The longest body: a thousand of the longest values, and what is around them.
pub(super) const BODY_BYTES_MAX: usize = 2 << 30;

/// An answer that is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// What the server says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A write is done.
    Done,
    /// A read found what it found.
    Read,
    Refused,
}

/// An answer at the front of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) bytes: usize,
    pub(crate) verdict: Verdict,
    /// The server closes the connection after it.
    pub(crate) is_last: bool,
}

impl Answer {
    pub(super) fn new(bytes: usize, verdict: Verdict) -> Self {
        Self { bytes, verdict, is_last: false }
    }
}

/// Where in the bytes of an answer the value of each key is that was asked for, in that order.
pub(crate) type Found = Vec<Option<Range<usize>>>;

/// What all requests are made of.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) keys: Keys,
    /// The path up to the key.
    pub(super) path: Vec<u8>,
    /// What follows the target of an HTTP request without a body.
    pub(super) tail: Vec<u8>,
}

/// A number in decimal digits and nothing else.
pub(super) fn decimal(digits: &[u8]) -> Result<usize, Malformed> {
    if digits.is_empty() || digits.len() > 15 {
        return Err(Malformed);
    }
    digits.iter().try_fold(0, |number, &digit| match digit {
        b'0'..=b'9' => Ok(number * 10 + usize::from(digit - b'0')),
        _ => Err(Malformed),
    })
}

/// The first line of `bytes` without its CRLF, and its length with it; `None`: it is not whole yet.
pub(super) fn line(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, Malformed> {
    let Some(end) = bytes.iter().take(HEAD_BYTES_MAX).position(|&byte| byte == b'\n') else {
        return if bytes.len() < HEAD_BYTES_MAX { Ok(None) } else { Err(Malformed) };
    };
    let text = bytes[..end].strip_suffix(b"\r").ok_or(Malformed)?;
    Ok(Some((text, end + 1)))
}

/// Whether a value of so many bytes and its CRLF are at `start`: its end with that, if they are.
pub(super) fn block(bytes: &[u8], start: usize, length: usize) -> Result<Option<usize>, Malformed> {
    if length > BODY_BYTES_MAX {
        return Err(Malformed);
    }
    let end = start + length;
    match bytes.get(end..end + 2) {
        None => Ok(None),
        Some(b"\r\n") => Ok(Some(end + 2)),
        Some(_) => Err(Malformed),
    }
}
