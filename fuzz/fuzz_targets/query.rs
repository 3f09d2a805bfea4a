//! Queries of `/get`, beside a decoder that is too simple to be wrong.

#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;

const KEY_BYTES_MAX: usize = 256;

/// `+` and `%XX`, one after the other.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    match text {
        [] => Some(Vec::new()),
        [b'%', high, low, rest @ ..] => {
            let hex = |byte: u8| char::from(byte).to_digit(16);
            let byte = u8::try_from(hex(*high)? * 16 + hex(*low)?).ok()?;
            Some([vec![byte], decode(rest)?].concat())
        }
        [b'%', ..] => None,
        [b'+', rest @ ..] => Some([b" ".to_vec(), decode(rest)?].concat()),
        [byte, rest @ ..] => Some([vec![*byte], decode(rest)?].concat()),
    }
}

/// The key, or the code of what is wrong first.
fn key(query: &[u8]) -> Result<String, &'static str> {
    let mut keys = Vec::new();
    for pair in query.split(|&byte| byte == b'&') {
        let mut parts = pair.splitn(2, |&byte| byte == b'=');
        let mut part = || decode(parts.next().unwrap_or_default()).ok_or("bad_percent_encoding");
        let (name, value) = (part()?, part()?);
        if name == b"key" {
            keys.push(value);
        }
        if keys.len() > 1 {
            return Err("duplicate_key");
        }
    }
    let key = String::from_utf8(keys.pop().ok_or("missing_key")?).map_err(|_| "bad_utf8")?;
    match key.len() {
        0 => Err("empty_key"),
        1..=KEY_BYTES_MAX => Ok(key),
        _ => Err("key_too_long"),
    }
}

fuzz_target!(|query: &[u8]| {
    let is_query = |byte: &u8| byte.is_ascii_graphic() && !b"#\\".contains(byte);
    let names_more = query.windows(5).any(|five| five == b"lease")
        || query.contains(&b'%') && {
            decode(query).is_some_and(|text| text.windows(5).any(|five| five == b"lease"))
        };
    if query.len() > 4096 || !query.iter().all(is_query) || names_more {
        return;
    }
    let mut cluster = common::cluster(1);
    let expected = key(query);
    if let Ok(key) = &expected {
        let body = serde_json::json!({ "key": key, "value": "v" }).to_string();
        common::tell(&mut cluster, 0, &[&common::post("/put", body.as_bytes())]);
        assert_eq!(cluster.entries(), 1);
    }
    let get = [b"GET /get?", query, b" HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
    let (output, is_open) = common::tell(&mut cluster, 0, &[&get]);
    let text = std::str::from_utf8(&output).expect("JSON is UTF-8");
    let (_, found) = text.split_once("\r\n\r\n").expect("a body");
    let found: serde_json::Value = serde_json::from_str(found).expect("JSON");
    assert!(is_open);
    match expected {
        Ok(key) => assert_eq!(found["key"], key.as_str()),
        Err(code) => assert_eq!(found["code"], code),
    }
});
