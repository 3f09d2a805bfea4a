//! Memcached's text protocol, of which get, set and delete are spoken.

use super::super::mix::LoadOperation;
use super::answer::{Answer, Found, Malformed, Target, Verdict, block, decimal, line};
use crate::text::push_decimal;

pub(super) fn get(target: &Target, keys: impl IntoIterator<Item = u32>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"get");
    for key in keys {
        out.push(b' ');
        target.keys.write(key, out);
    }
    out.extend_from_slice(b"\r\n");
}

pub(super) fn set(target: &Target, key: u32, value: &[u8], ttl_ms: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"set ");
    target.keys.write(key, out);
    out.extend_from_slice(b" 0 ");
    push_decimal(out, ttl_ms.div_ceil(1000));
    out.push(b' ');
    push_decimal(out, value.len() as u64);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn delete(target: &Target, key: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(b"delete ");
    target.keys.write(key, out);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn read(
    target: &Target,
    operation: LoadOperation,
    mut asked: impl ExactSizeIterator<Item = u32>,
    bytes: &[u8],
    found: &mut Found,
) -> Result<Option<Answer>, Malformed> {
    let Some((text, mut at)) = line(bytes)? else { return Ok(None) };
    let is_refusal = text == b"ERROR"
        || text.starts_with(b"SERVER_ERROR ")
        || text.starts_with(b"CLIENT_ERROR ");
    let verdict = match (operation, text) {
        _ if is_refusal => Verdict::Refused,
        (LoadOperation::Put, b"STORED") | (LoadOperation::Delete, b"DELETED" | b"NOT_FOUND") => {
            Verdict::Done
        }
        (LoadOperation::Get | LoadOperation::Mget, _) => {
            let mut text = text;
            while text != b"END" {
                let (key, length) = value_line(target, text)?;
                // Those that were found stand in the order of the request.
                loop {
                    match asked.next() {
                        Some(each) if each == key => break,
                        Some(_) => found.push(None),
                        None => return Err(Malformed),
                    }
                }
                let Some(end) = block(bytes, at, length)? else { return Ok(None) };
                found.push(Some(at..at + length));
                let Some((next, bytes)) = line(&bytes[end..])? else { return Ok(None) };
                text = next;
                at = end + bytes;
            }
            found.extend(asked.map(|_| None));
            Verdict::Read
        }
        _ => return Err(Malformed),
    };
    Ok(Some(Answer::new(at, verdict)))
}

/// The key and the length in `VALUE <key> <flags> <bytes>`.
fn value_line(target: &Target, text: &[u8]) -> Result<(u32, usize), Malformed> {
    let mut words = text.split(|&byte| byte == b' ');
    let mut word = || words.next().ok_or(Malformed);
    if word()? != b"VALUE" {
        return Err(Malformed);
    }
    let key = target.keys.number(word()?).ok_or(Malformed)?;
    decimal(word()?)?;
    let length = decimal(word()?)?;
    if words.next().is_some() { Err(Malformed) } else { Ok((key, length)) }
}
