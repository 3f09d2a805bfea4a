//! Requests as clients write them.

pub(crate) fn get(key: &str) -> String {
    format!("GET /get?key={key} HTTP/1.1\r\nHost: h\r\n\r\n")
}

pub(crate) fn health() -> String {
    "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n".to_owned()
}

pub(crate) fn post(body: &str) -> String {
    format!("POST /put HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

pub(crate) fn put(key: &str, value: &str) -> String {
    post(&serde_json::json!({ "key": key, "value": value }).to_string())
}

/// A put with one more field.
pub(crate) fn put_with(field: &str) -> String {
    let body = r#"{"key":"a","value":"b"}"#;
    format!(
        "POST /put HTTP/1.1\r\nHost: h\r\n{field}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(crate) fn chunked(body: &str) -> String {
    format!("POST /put HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

pub(crate) const BODY: &str = r#"{"key":"a","value":"b"}"#;

pub(crate) fn post_to(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

pub(crate) fn mget(keys: &[&str]) -> String {
    post_to("/mget", &serde_json::json!({ "keys": keys }).to_string())
}

pub(crate) fn mdelete(keys: &[&str]) -> String {
    post_to("/mdelete", &serde_json::json!({ "keys": keys }).to_string())
}

pub(crate) fn mput(entries: &[(&str, &str)]) -> String {
    let entry = |&(key, value): &(&str, &str)| serde_json::json!({ "key": key, "value": value });
    let entries: Vec<_> = entries.iter().map(entry).collect();
    post_to("/mput", &serde_json::json!({ "entries": entries }).to_string())
}

pub(crate) fn ask(method: &str, target: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: h\r\n\r\n")
}

/// A request; each of `fields` ends in CRLF.
pub(crate) fn request(method: &str, target: &str, fields: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = match body.len() {
        0 => String::new(),
        length => format!("Content-Length: {length}\r\n"),
    };
    let head = format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{fields}{length}\r\n");
    [head.as_bytes(), body].concat()
}
