//! Queries of `/get` and paths of `/kv/{key}`, beside a decoder that is too simple to be wrong.

#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;

const KEY_BYTES_MAX: usize = 256;
const LEASE_MAX: f64 = 315_576_000.0;

/// `+` and `%XX`, one after the other.
fn decode(text: &[u8], plus: u8) -> Option<Vec<u8>> {
    match text {
        [] => Some(Vec::new()),
        [b'%', high, low, rest @ ..] => {
            let hex = |byte: u8| char::from(byte).to_digit(16);
            let byte = u8::try_from(hex(*high)? * 16 + hex(*low)?).ok()?;
            Some([vec![byte], decode(rest, plus)?].concat())
        }
        [b'%', ..] => None,
        [byte, rest @ ..] => {
            let byte = if *byte == b'+' { plus } else { *byte };
            Some([vec![byte], decode(rest, plus)?].concat())
        }
    }
}

fn check_length(key: &[u8]) -> Result<(), &'static str> {
    match key.len() {
        0 => Err("empty_key"),
        1..=KEY_BYTES_MAX => Ok(()),
        _ => Err("key_too_long"),
    }
}

/// The key, or the code of what is wrong first.
fn key(query: &[u8]) -> Result<String, &'static str> {
    let (mut keys, mut leases) = (Vec::new(), Vec::new());
    for pair in query.split(|&byte| byte == b'&') {
        let mut parts = pair.splitn(2, |&byte| byte == b'=');
        let mut part =
            || decode(parts.next().unwrap_or_default(), b' ').ok_or("bad_percent_encoding");
        let (name, value) = (part()?, part()?);
        match name.as_slice() {
            b"key" => keys.push(value),
            b"lease" => leases.push(value),
            _ => {}
        }
        if keys.len() > 1 {
            return Err("duplicate_key");
        }
        if leases.len() > 1 {
            return Err("duplicate_parameter");
        }
    }
    let key = String::from_utf8(keys.pop().ok_or("missing_key")?).map_err(|_| "bad_utf8")?;
    check_length(key.as_bytes())?;
    if let Some(lease) = leases.pop() {
        let seconds = serde_json::from_slice::<serde_json::Value>(&lease).ok();
        let seconds = seconds.and_then(|it| it.as_f64()).ok_or("bad_lease")?;
        let is_bare = !lease.iter().any(u8::is_ascii_whitespace);
        if !is_bare || seconds <= 0.0 || seconds > LEASE_MAX {
            return Err("bad_lease");
        }
    }
    Ok(key)
}

/// The key of a PUT to `/kv/` and this path, or status and code of what is wrong.
fn path_key(path: &[u8]) -> Result<Vec<u8>, (u16, &'static str)> {
    let segments: Vec<&[u8]> = path.split(|&byte| byte == b'/').collect();
    match segments.as_slice() {
        [segment] => {
            let key = decode(segment, b'+').ok_or((400, "bad_percent_encoding"))?;
            check_length(&key).map_err(|code| (400, code))?;
            Ok(key)
        }
        [_, b"incr" | b"touch"] => Err((405, "method_not_allowed")),
        _ => Err((404, "no_such_route")),
    }
}

fn body(output: &[u8]) -> &str {
    let text = std::str::from_utf8(output).expect("what is asked for is text");
    text.split_once("\r\n\r\n").expect("a body").1
}

fn found(output: &[u8]) -> serde_json::Value {
    serde_json::from_str(body(output)).expect("JSON")
}

fn try_path(path: &[u8]) {
    let mut cluster = common::cluster(1);
    let put = [b"PUT /kv/", path, b" HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nv"].concat();
    let (output, is_open) = common::tell(&mut cluster, 0, &[&put]);
    let status = common::statuses(&output)[0];
    assert!(is_open);
    match path_key(path) {
        Err((expected, code)) => {
            assert_eq!((status, cluster.entries()), (expected, 0));
            assert_eq!(found(&output)["code"], code);
        }
        Ok(key) => {
            assert_eq!((status, cluster.entries()), (201, 1));
            let path: String = key.iter().map(|byte| format!("%{byte:02x}")).collect();
            let get = format!("GET /kv/{path} HTTP/1.1\r\nHost: h\r\n\r\n");
            assert_eq!(body(&common::tell(&mut cluster, 0, &[get.as_bytes()]).0), "v");
        }
    }
}

fn try_query(query: &[u8]) {
    let mut cluster = common::cluster(1);
    let expected = key(query);
    if let Ok(key) = &expected {
        let body = serde_json::json!({ "key": key, "value": "v" }).to_string();
        common::tell(&mut cluster, 0, &[&common::post("/put", body.as_bytes())]);
        assert_eq!(cluster.entries(), 1);
    }
    let get = [b"GET /get?", query, b" HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
    let (output, is_open) = common::tell(&mut cluster, 0, &[&get]);
    assert!(is_open);
    match expected {
        Ok(key) => assert_eq!(found(&output)["key"], key.as_str()),
        Err(code) => assert_eq!(found(&output)["code"], code),
    }
}

fuzz_target!(|input: &[u8]| {
    let is_target = |byte: &u8| byte.is_ascii_graphic() && !b"#\\".contains(byte);
    if input.len() > 4096 || !input.iter().all(is_target) {
        return;
    }
    match input.strip_prefix(b"/") {
        Some(path) if !path.contains(&b'?') => try_path(path),
        _ => try_query(input),
    }
});
