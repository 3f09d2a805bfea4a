//! Reads responses as a client would, with nothing of the server's own code.

use crate::history::Right;
use std::fmt;

/// One response.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) closes: bool,
    /// Of the body, as the head says; 0 where it says nothing.
    pub(crate) length: usize,
    /// What stands between the quotes of the entity tag.
    pub(crate) tag: Option<String>,
    pub(crate) is_stale: bool,
    pub(crate) lease: Option<Right>,
    pub(crate) body: Vec<u8>,
}

impl fmt::Debug for Response {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, closes, length, tag, is_stale, lease, body } = self;
        let body = String::from_utf8_lossy(body);
        write!(out, "{status}, closes: {closes}, tag: {tag:?}, stale: {is_stale}, ")?;
        write!(out, "lease: {lease:?}, {length} bytes: {body}")
    }
}

impl Response {
    /// Reads a head without its empty line. Panics where it is malformed.
    fn head(head: &[u8]) -> Self {
        let head = std::str::from_utf8(head).expect("a head is text");
        let (line, fields) = head.split_once("\r\n").expect("a head has fields");
        let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.unwrap_or_else(|| panic!("{line:?} is no status line"));
        let mut response = Self {
            status,
            closes: false,
            length: 0,
            tag: None,
            is_stale: false,
            lease: None,
            body: Vec::new(),
        };
        for field in fields.split("\r\n").filter(|field| !field.is_empty()) {
            let (name, value) = field.split_once(": ").expect("a field has a name");
            match name {
                "Content-Length" => response.length = value.parse().expect("a length is a number"),
                "Connection" => response.closes = value == "close",
                "ETag" => {
                    let tag = value.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
                    response.tag = Some(tag.expect("a strong entity tag").to_owned());
                }
                "Kv-Stale" => {
                    assert_eq!(value, "1");
                    response.is_stale = true;
                }
                "Kv-Lease" => {
                    response.lease = Some(match value {
                        "granted" => Right::Granted,
                        "wait" => Right::Wait,
                        _ => panic!("{field:?} grants nothing"),
                    });
                }
                "Date" | "Content-Type" | "Allow" | "Retry-After" | "Vary" | "Cache-Control" => {}
                "X-Content-Type-Options" => assert_eq!(value, "nosniff"),
                _ => panic!("nobody asked for {field:?}"),
            }
        }
        response
    }
}

/// Cuts a stream of bytes into responses.
#[derive(Debug, Default)]
pub(crate) struct Responses {
    bytes: Vec<u8>,
    /// No head ends before this place.
    scanned: usize,
    head: Option<Response>,
}

impl Responses {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next response that is complete; `head_only` where it answers HEAD.
    pub(crate) fn next(&mut self, head_only: bool) -> Option<Response> {
        if self.head.is_none() {
            let rest = &self.bytes[self.scanned..];
            let Some(at) = rest.windows(4).position(|end| end == b"\r\n\r\n") else {
                self.scanned = self.bytes.len().saturating_sub(3);
                return None;
            };
            let end = self.scanned + at;
            self.head = Some(Response::head(&self.bytes[..end + 2]));
            self.bytes.drain(..end + 4);
            self.scanned = 0;
        }
        // A timeout answers no request, so it has its body whatever comes next.
        let awaited = match &self.head {
            Some(head) if !head_only || head.status == 408 => head.length,
            _ => 0,
        };
        if self.bytes.len() < awaited {
            return None;
        }
        let mut response = self.head.take()?;
        response.body = self.bytes.drain(..awaited).collect();
        Some(response)
    }

    /// Whether no part of a response is waiting for its rest.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.head.is_none()
    }
}

#[test]
fn responses_are_cut_where_they_end() {
    let stream = b"HTTP/1.1 100 Continue\r\n\r\n\
        HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\
        HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc";
    let mut responses = Responses::default();
    let mut seen = Vec::new();
    for byte in stream {
        responses.push(&[*byte]);
        while let Some(response) = responses.next(seen.len() == 1) {
            seen.push((response.status, response.closes, response.body));
        }
    }
    assert!(responses.is_empty());
    let expected = [(100, false, vec![]), (200, false, vec![]), (404, true, b"abc".to_vec())];
    assert_eq!(seen, expected);
}
