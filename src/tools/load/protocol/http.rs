//! HTTP/1.1: JSON as kvcache speaks it, and paths with bare values.

use super::super::mix::LoadOperation;
use super::answer::{
    Answer, BODY_BYTES_MAX, Found, HEAD_BYTES_MAX, Malformed, Target, Verdict, decimal,
};
use crate::text::push_decimal;
use std::io::Write as _;

const FIELDS_MAX: usize = 24;

pub(super) fn get(target: &Target, key: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(b"GET /get?key=");
    target.keys.write(key, out);
    out.extend_from_slice(&target.tail);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn put(target: &Target, key: u32, value: &[u8], ttl_ms: u64, out: &mut Vec<u8>) {
    const AROUND: usize = r#"{"key":"","value":""}"#.len();
    let ttl = if ttl_ms == 0 { 0 } else { r#","ttl":"#.len() + ttl_bytes(ttl_ms) };
    begin_post(target, "/put", AROUND + target.keys.bytes + value.len() + ttl, out);
    out.extend_from_slice(b"{\"key\":\"");
    target.keys.write(key, out);
    out.extend_from_slice(b"\",\"value\":\"");
    out.extend_from_slice(value);
    out.push(b'"');
    if ttl_ms > 0 {
        out.extend_from_slice(b",\"ttl\":");
        push_ttl(ttl_ms, out);
    }
    out.push(b'}');
}

/// `{"keys":[..]}` to a path.
pub(super) fn batch(
    target: &Target,
    path: &str,
    keys: impl ExactSizeIterator<Item = u32>,
    out: &mut Vec<u8>,
) {
    const AROUND: usize = r#"{"keys":[]}"#.len();
    let each = target.keys.bytes + r#""","#.len();
    begin_post(target, path, AROUND + keys.len() * each - 1, out);
    out.extend_from_slice(b"{\"keys\":");
    for (at, key) in keys.enumerate() {
        out.extend_from_slice(if at == 0 { b"[\"" } else { b",\"" });
        target.keys.write(key, out);
        out.push(b'"');
    }
    out.extend_from_slice(b"]}");
}

fn begin_post(target: &Target, path: &str, bytes: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"POST ");
    out.extend_from_slice(path.as_bytes());
    out.extend_from_slice(&target.tail);
    out.extend_from_slice(b"Content-Type: application/json\r\n");
    end_head(bytes, out);
}

fn end_head(bytes: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Content-Length: ");
    push_decimal(out, bytes as u64);
    out.extend_from_slice(b"\r\n\r\n");
}

fn begin_rest(target: &Target, method: &str, key: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(&target.path);
    target.keys.write(key, out);
}

pub(super) fn rest(target: &Target, method: &str, key: u32, out: &mut Vec<u8>) {
    begin_rest(target, method, key, out);
    out.extend_from_slice(&target.tail);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn rest_put(target: &Target, key: u32, value: &[u8], ttl_ms: u64, out: &mut Vec<u8>) {
    begin_rest(target, "PUT", key, out);
    if ttl_ms > 0 {
        out.extend_from_slice(b"?ttl=");
        push_ttl(ttl_ms, out);
    }
    out.extend_from_slice(&target.tail);
    end_head(value.len(), out);
    out.extend_from_slice(value);
}

/// Seconds to three decimals.
fn push_ttl(ttl_ms: u64, out: &mut Vec<u8>) {
    write!(out, "{}.{:03}", ttl_ms / 1000, ttl_ms % 1000).expect("a Vec takes everything");
}

fn ttl_bytes(ttl_ms: u64) -> usize {
    1 + (ttl_ms / 1000).checked_ilog10().unwrap_or(0) as usize + ".000".len()
}

/// What the head of an answer says, and its bytes: servers send the same one again and again, so it
/// is compared before it is parsed.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    bytes: Vec<u8>,
    status: u16,
    body_bytes: usize,
    is_last: bool,
}

impl Head {
    /// Reads the head at the front of `bytes`. Returns whether it is whole.
    fn read(&mut self, bytes: &[u8]) -> Result<bool, Malformed> {
        if !self.bytes.is_empty() && bytes.starts_with(&self.bytes) {
            return Ok(true);
        }
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut head = httparse::Response::new(&mut fields);
        let end = match head.parse(bytes) {
            Ok(httparse::Status::Complete(end)) => end,
            Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Ok(false),
            _ => return Err(Malformed),
        };
        let status = head.code.ok_or(Malformed)?;
        let mut length = None;
        let mut is_last = head.version == Some(0);
        for field in head.headers.iter() {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            match field.name.len() {
                14 if is("content-length") && length.is_none() => {
                    length = Some(decimal(field.value)?);
                }
                14 if is("content-length") => return Err(Malformed),
                16 if is("content-encoding") => return Err(Malformed),
                17 if is("transfer-encoding") => return Err(Malformed),
                10 if is("connection") => is_last = field.value.eq_ignore_ascii_case(b"close"),
                _ => {}
            }
        }
        let body_bytes = match (length, status) {
            (_, ..200) => return Err(Malformed),
            (_, 204 | 304) => 0,
            (Some(length), _) if length <= BODY_BYTES_MAX => length,
            _ => return Err(Malformed),
        };
        self.bytes.clear();
        self.bytes.extend_from_slice(&bytes[..end]);
        (self.status, self.body_bytes, self.is_last) = (status, body_bytes, is_last);
        Ok(true)
    }
}

/// The status and where the body begins and ends.
struct HttpAnswer {
    status: u16,
    body: usize,
    end: usize,
    is_last: bool,
}

impl HttpAnswer {
    /// `last`: the head that was read last.
    fn read(last: &mut Head, bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        if !last.read(bytes)? {
            return Ok(None);
        }
        let &mut Head { status, body_bytes, is_last, .. } = last;
        let body = last.bytes.len();
        let end = body + body_bytes;
        Ok((bytes.len() >= end).then_some(Self { status, body, end, is_last }))
    }

    fn answer(&self, verdict: Verdict) -> Answer {
        Answer { bytes: self.end, verdict, is_last: self.is_last }
    }
}

pub(super) fn read(
    target: &Target,
    head: &mut Head,
    operation: LoadOperation,
    mut asked: impl ExactSizeIterator<Item = u32>,
    bytes: &[u8],
    found: &mut Found,
) -> Result<Option<Answer>, Malformed> {
    let Some(message) = HttpAnswer::read(head, bytes)? else { return Ok(None) };
    let mut body = Body { bytes: &bytes[..message.end], at: message.body };
    let verdict = match (operation, message.status) {
        (LoadOperation::Get, 200) => {
            body.take(b"{\"status\":\"OK\",\"key\":\"")?;
            body.take_key(target, asked.next().expect("a get has a key"))?;
            body.take(b"\",\"value\":\"")?;
            // What is inside is the value's own affair: it has a checksum.
            let value = body.at..message.end.saturating_sub(b"\"}".len()).max(body.at);
            body.at = value.end;
            found.push(Some(value));
            body.take_last(b"\"}")?;
            Verdict::Read
        }
        (LoadOperation::Get, 404) => {
            found.push(None);
            Verdict::Read
        }
        (LoadOperation::Mget, 200) => {
            body.take(b"{\"status\":\"OK\",\"values\":")?;
            for (at, key) in asked.enumerate() {
                body.take(if at == 0 { b"{\"" } else { b",\"" })?;
                body.take_key(target, key)?;
                body.take(b"\":")?;
                let is_absent = body.rest().starts_with(b"null");
                found.push(if is_absent { None } else { Some(body.take_string()?) });
                if is_absent {
                    body.take(b"null")?;
                }
            }
            body.take_last(b"}}")?;
            Verdict::Read
        }
        (LoadOperation::Put | LoadOperation::Delete, 200) => Verdict::Done,
        _ => Verdict::Refused,
    };
    Ok(Some(message.answer(verdict)))
}

pub(super) fn read_rest(
    head: &mut Head,
    operation: LoadOperation,
    bytes: &[u8],
    found: &mut Found,
) -> Result<Option<Answer>, Malformed> {
    let Some(message) = HttpAnswer::read(head, bytes)? else { return Ok(None) };
    let verdict = match (operation, message.status) {
        (LoadOperation::Get, 200 | 404) => {
            found.push((message.status == 200).then_some(message.body..message.end));
            Verdict::Read
        }
        (LoadOperation::Put, 200 | 201 | 204) | (LoadOperation::Delete, 200 | 204 | 404) => {
            Verdict::Done
        }
        _ => Verdict::Refused,
    };
    Ok(Some(message.answer(verdict)))
}

/// A body of JSON in the one form that is understood.
struct Body<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Body<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    fn take(&mut self, text: &[u8]) -> Result<(), Malformed> {
        self.at += text.len();
        if self.bytes.get(self.at - text.len()..self.at) == Some(text) {
            Ok(())
        } else {
            Err(Malformed)
        }
    }

    fn take_last(&mut self, text: &[u8]) -> Result<(), Malformed> {
        self.take(text)?;
        if self.rest().is_empty() { Ok(()) } else { Err(Malformed) }
    }

    fn take_key(&mut self, target: &Target, key: u32) -> Result<(), Malformed> {
        let text = self.bytes.get(self.at..self.at + target.keys.bytes).ok_or(Malformed)?;
        self.at += text.len();
        if target.keys.number(text) == Some(key) { Ok(()) } else { Err(Malformed) }
    }

    /// A string without escapes, which no value of ours needs: where it is without its quotes.
    fn take_string(&mut self) -> Result<std::ops::Range<usize>, Malformed> {
        self.take(b"\"")?;
        let start = self.at;
        let length = self.rest().iter().position(|&byte| byte == b'"').ok_or(Malformed)?;
        self.at += length + 1;
        if self.bytes[start..start + length].contains(&b'\\') {
            return Err(Malformed);
        }
        Ok(start..start + length)
    }
}
