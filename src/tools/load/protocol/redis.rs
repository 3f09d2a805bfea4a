//! Redis' own protocol, of which GET, SET, DEL and MGET are spoken.

use super::super::mix::LoadOperation;
use super::answer::{Answer, Found, Malformed, Target, Verdict, block, decimal, line};
use crate::text::push_decimal;

/// A command whose arguments are keys.
pub(super) fn command(
    target: &Target,
    name: &str,
    keys: impl IntoIterator<Item = u32, IntoIter: ExactSizeIterator>,
    out: &mut Vec<u8>,
) {
    let keys = keys.into_iter();
    push_length(b'*', 1 + keys.len(), out);
    push_bulk(name.as_bytes(), out);
    keys.for_each(|key| push_key(target, key, out));
}

pub(super) fn set(target: &Target, key: u32, value: &[u8], ttl_ms: u64, out: &mut Vec<u8>) {
    push_length(b'*', if ttl_ms == 0 { 3 } else { 5 }, out);
    push_bulk(b"SET", out);
    push_key(target, key, out);
    push_bulk(value, out);
    if ttl_ms > 0 {
        push_bulk(b"PX", out);
        push_bulk(ttl_ms.to_string().as_bytes(), out);
    }
}

fn push_length(kind: u8, length: usize, out: &mut Vec<u8>) {
    out.push(kind);
    push_decimal(out, length as u64);
    out.extend_from_slice(b"\r\n");
}

fn push_bulk(text: &[u8], out: &mut Vec<u8>) {
    push_length(b'$', text.len(), out);
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

fn push_key(target: &Target, key: u32, out: &mut Vec<u8>) {
    push_length(b'$', target.keys.bytes, out);
    target.keys.write(key, out);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn read(
    operation: LoadOperation,
    asked: usize,
    bytes: &[u8],
    found: &mut Found,
) -> Result<Option<Answer>, Malformed> {
    let Some((text, mut at)) = line(bytes)? else { return Ok(None) };
    let (kind, rest) = text.split_first().ok_or(Malformed)?;
    let verdict = match (operation, kind) {
        (_, b'-') => Verdict::Refused,
        (LoadOperation::Get, b'$') => {
            let Some(end) = bulk(bytes, 0, found)? else { return Ok(None) };
            at = end;
            Verdict::Read
        }
        (LoadOperation::Mget, b'*') if decimal(rest)? == asked => {
            for _ in 0..asked {
                let Some(end) = bulk(bytes, at, found)? else { return Ok(None) };
                at = end;
            }
            Verdict::Read
        }
        (LoadOperation::Put, b'+') if rest == b"OK" => Verdict::Done,
        (LoadOperation::Delete, b':') if rest == b"0" || rest == b"1" => Verdict::Done,
        _ => return Err(Malformed),
    };
    Ok(Some(Answer::new(at, verdict)))
}

/// Takes up a string that begins at `start`, or its absence; returns its end.
fn bulk(bytes: &[u8], start: usize, found: &mut Found) -> Result<Option<usize>, Malformed> {
    let Some((text, length)) = line(&bytes[start..])? else { return Ok(None) };
    let start = start + length;
    let length = text.strip_prefix(b"$").ok_or(Malformed)?;
    if length == b"-1" {
        found.push(None);
        return Ok(Some(start));
    }
    let length = decimal(length)?;
    let end = block(bytes, start, length)?;
    found.push(Some(start..start + length));
    Ok(end)
}
