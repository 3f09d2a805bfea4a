//! Responses: status line, headers and the JSON bodies, written straight into an output buffer.

use super::{
    etag::EntityTag,
    form::{Exchange, Persistence},
    gzip,
    media::JSON,
    refusal::Refusal,
};
use crate::text::{JsonString, push_decimal};
use std::time::SystemTime;

/// The Date header, rendered once a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    line: [u8; 37],
    /// Nearly all answers begin so: 200, and a length of JSON to come.
    json_head: [u8; 102],
    time: SystemTime,
}

impl From<SystemTime> for Date {
    fn from(time: SystemTime) -> Self {
        let line = format!("Date: {}\r\n", httpdate::HttpDate::from(time));
        let json_head = [b"HTTP/1.1 200 OK\r\n", line.as_bytes(), JSON_LENGTH].concat();
        Self {
            line: line.as_bytes().try_into().expect("an HTTP date has 29 bytes"),
            json_head: json_head.try_into().expect("an HTTP date has 29 bytes"),
            time,
        }
    }
}

impl Date {
    /// What it is the date of.
    #[must_use]
    pub fn time(&self) -> SystemTime {
        self.time
    }
}

/// Writes one response. The order of calls is that of the bytes.
pub struct Response<'a> {
    out: &'a mut Vec<u8>,
    exchange: Exchange,
    version: Option<u64>,
}

const JSON_LENGTH: &[u8] = b"Content-Type: application/json\r\nContent-Length: ";

/// `100 Continue`, the only interim response.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What stands behind the last chunk of a stream.
pub const END_OF_CHUNKS: &[u8] = b"0\r\n\r\n";

/// Appends some of a stream as one chunk; not nothing, which would end it.
pub fn push_chunk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

impl<'a> Response<'a> {
    #[inline]
    pub fn begin(out: &'a mut Vec<u8>, exchange: Exchange, date: &Date, status: u16) -> Self {
        out.extend_from_slice(status_line(status));
        out.extend_from_slice(&date.line);
        match exchange.persistence {
            Persistence::Implicit => {}
            Persistence::KeepAlive => out.extend_from_slice(b"Connection: keep-alive\r\n"),
            Persistence::Close => out.extend_from_slice(b"Connection: close\r\n"),
        }
        Self { out, exchange, version: None }
    }

    #[inline]
    #[must_use]
    pub fn header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b": ");
        self.out.extend_from_slice(value.as_ref());
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Whole header lines, each with its CRLF.
    #[inline]
    #[must_use]
    pub fn lines(self, lines: &'static str) -> Self {
        self.out.extend_from_slice(lines.as_bytes());
        self
    }

    /// A header whose value is a number, after the `start` of the value.
    #[inline]
    #[must_use]
    pub fn number(self, name_and_start: &str, number: u64) -> Self {
        self.out.extend_from_slice(name_and_start.as_bytes());
        push_decimal(self.out, number);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// The body to come is this version of something, in a form that the client's wishes decide.
    #[inline]
    #[must_use]
    pub fn version(self, version: u64) -> Self {
        Self { version: Some(version), ..self }
    }

    /// Says which form of which version there is.
    #[must_use]
    pub fn entity_tag(self, tag: EntityTag) -> Self {
        self.out.extend_from_slice(b"ETag: ");
        tag.write(self.out);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Says that other wishes of the client's would have got another answer.
    #[inline]
    #[must_use]
    pub fn varies(self) -> Self {
        self.lines("Vary: Accept-Encoding\r\n")
    }

    /// Ends a response that by its status has neither body nor length.
    pub fn empty(self) {
        self.out.extend_from_slice(b"\r\n");
    }

    /// Ends a response whose body is empty.
    pub fn bare(self) {
        self.out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    }

    /// Ends the head and lets `write` append exactly `length` bytes of body, unless the request
    /// was HEAD. The body goes out compressed where that is wanted and worth it.
    #[inline]
    pub fn body(
        self,
        content_type: impl AsRef<[u8]>,
        length: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let content_type = content_type.as_ref();
        if gzip::is_fit(length) && gzip::is_worth_trying(content_type) {
            return self.body_in_either_form(content_type, length, write);
        }
        let response = match self.version {
            Some(version) => self.varies().entity_tag(EntityTag { version, is_coded: false }),
            None => self,
        };
        response.finish(content_type, length, write);
    }

    #[cold]
    fn body_in_either_form(
        self,
        content_type: &[u8],
        length: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let mut plain = Vec::new();
        let (coded, write) = if self.exchange.accepts_gzip {
            plain.reserve_exact(length);
            write(&mut plain);
            (gzip::compress(&plain), None)
        } else {
            (None, Some(write))
        };
        let mut response = self.varies();
        if let Some(version) = response.version {
            response = response.entity_tag(EntityTag { version, is_coded: coded.is_some() });
        }
        match (coded, write) {
            (Some(coded), _) => response.lines("Content-Encoding: gzip\r\n").finish(
                content_type,
                coded.len(),
                |out| out.extend_from_slice(&coded),
            ),
            (None, Some(write)) => response.finish(content_type, length, write),
            (None, None) => {
                response.finish(content_type, length, |out| out.extend_from_slice(&plain));
            }
        }
    }

    #[inline]
    fn finish(self, content_type: &[u8], length: usize, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(out) = self.begin_body(content_type, length) {
            let start = out.len();
            write(out);
            debug_assert_eq!(out.len() - start, length, "Content-Length must be the body's");
        }
    }

    /// Ends the head of a response whose body comes in pieces, as it is. Returns where its `length`
    /// bytes go, unless the request was HEAD.
    #[must_use]
    pub fn body_in_pieces(self, content_type: &[u8], length: usize) -> Option<&'a mut Vec<u8>> {
        let response = match self.version {
            Some(version) => self.varies().entity_tag(EntityTag { version, is_coded: false }),
            None if gzip::is_fit(length) => self.varies(),
            None => self,
        };
        response.begin_body(content_type, length)
    }

    /// Ends the head of a response whose length is not known, and which ends with the connection
    /// where it does not come in chunks.
    pub fn stream(self, content_type: &str, is_chunked: bool) {
        let response = self.header("Content-Type", content_type);
        let coding = if is_chunked { "Transfer-Encoding: chunked\r\n" } else { "" };
        response.lines(coding).empty();
    }

    #[inline]
    fn begin_body(self, content_type: &[u8], length: usize) -> Option<&'a mut Vec<u8>> {
        let out = self.out;
        if content_type == JSON.as_bytes() {
            out.extend_from_slice(JSON_LENGTH);
        } else {
            out.extend_from_slice(b"Content-Type: ");
            out.extend_from_slice(content_type);
            out.extend_from_slice(b"\r\nContent-Length: ");
        }
        push_decimal(out, length as u64);
        out.extend_from_slice(b"\r\n\r\n");
        (!self.exchange.head_only).then_some(out)
    }

    #[inline]
    pub fn text(self, content_type: impl AsRef<[u8]>, body: &[u8]) {
        self.body(content_type, body.len(), |out| out.extend_from_slice(body));
    }
}

/// Writes a 200 whose body is JSON of exactly `length` bytes.
#[inline]
pub fn write_json(
    out: &mut Vec<u8>,
    exchange: Exchange,
    date: &Date,
    length: usize,
    write: impl FnOnce(&mut Vec<u8>),
) {
    if exchange.persistence != Persistence::Implicit || gzip::is_fit(length) {
        return Response::begin(out, exchange, date, 200).body(JSON, length, write);
    }
    out.extend_from_slice(&date.json_head);
    push_decimal(out, length as u64);
    out.extend_from_slice(b"\r\n\r\n");
    if !exchange.head_only {
        let start = out.len();
        write(out);
        debug_assert_eq!(out.len() - start, length, "Content-Length must be the body's");
    }
}

/// Writes the one shape that all errors have.
pub fn write_refusal(out: &mut Vec<u8>, exchange: Exchange, date: &Date, refusal: &Refusal) {
    const PARTS: [&[u8]; 3] = [b"{\"status\":\"ERROR\",\"code\":\"", b"\",\"message\":", b"}"];
    let mut response = Response::begin(out, exchange, date, refusal.status);
    if let Some(allow) = refusal.allow {
        response = response.header("Allow", allow);
    }
    if refusal.status == 401 {
        response = response.header("WWW-Authenticate", "Bearer");
    }
    if let Some(seconds) = refusal.retry_after_seconds {
        response = response.number("Retry-After: ", seconds.into());
    }
    let message = JsonString::new(&refusal.message);
    let length: usize =
        PARTS.iter().map(|part| part.len()).sum::<usize>() + refusal.code.len() + message.length;
    response.body(JSON, length, |out| {
        out.extend_from_slice(PARTS[0]);
        out.extend_from_slice(refusal.code.as_bytes());
        out.extend_from_slice(PARTS[1]);
        message.write(out);
        out.extend_from_slice(PARTS[2]);
    });
}

/// The status lines in use, ready to send.
fn status_line(status: u16) -> &'static [u8] {
    match status {
        200 => b"HTTP/1.1 200 OK\r\n",
        201 => b"HTTP/1.1 201 Created\r\n",
        204 => b"HTTP/1.1 204 No Content\r\n",
        304 => b"HTTP/1.1 304 Not Modified\r\n",
        400 => b"HTTP/1.1 400 Bad Request\r\n",
        401 => b"HTTP/1.1 401 Unauthorized\r\n",
        403 => b"HTTP/1.1 403 Forbidden\r\n",
        404 => b"HTTP/1.1 404 Not Found\r\n",
        405 => b"HTTP/1.1 405 Method Not Allowed\r\n",
        406 => b"HTTP/1.1 406 Not Acceptable\r\n",
        408 => b"HTTP/1.1 408 Request Timeout\r\n",
        409 => b"HTTP/1.1 409 Conflict\r\n",
        412 => b"HTTP/1.1 412 Precondition Failed\r\n",
        413 => b"HTTP/1.1 413 Content Too Large\r\n",
        414 => b"HTTP/1.1 414 URI Too Long\r\n",
        415 => b"HTTP/1.1 415 Unsupported Media Type\r\n",
        417 => b"HTTP/1.1 417 Expectation Failed\r\n",
        431 => b"HTTP/1.1 431 Request Header Fields Too Large\r\n",
        501 => b"HTTP/1.1 501 Not Implemented\r\n",
        503 => b"HTTP/1.1 503 Service Unavailable\r\n",
        505 => b"HTTP/1.1 505 HTTP Version Not Supported\r\n",
        507 => b"HTTP/1.1 507 Insufficient Storage\r\n",
        _ => b"HTTP/1.1 500 Internal Server Error\r\n",
    }
}

#[cfg(test)]
mod tests {
    use super::{Date, Exchange, Persistence, Refusal, status_line, write_refusal};
    use crate::{http::refusal::outcome_of, metrics::Outcome};
    use std::time::{Duration, SystemTime};

    const OPEN: Exchange =
        Exchange { head_only: false, accepts_gzip: false, persistence: Persistence::Implicit };

    fn date() -> Date {
        Date::from(SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777))
    }

    #[test]
    fn a_problem_is_one_json_object_with_its_headers() {
        let refusal = Refusal::new(405, "method_not_allowed", "no \"PUT\" here").allowing("GET");
        let mut out = Vec::new();
        write_refusal(&mut out, OPEN, &date(), &refusal);
        let expected = "HTTP/1.1 405 Method Not Allowed\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
            Allow: GET\r\nContent-Type: application/json\r\nContent-Length: 74\r\n\r\n\
            {\"status\":\"ERROR\",\"code\":\"method_not_allowed\",\"message\":\"no \\\"PUT\\\" here\"}";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn head_gets_the_same_head_and_no_body() {
        let refusal = Refusal::new(404, "not_found", "Key not found.");
        let (mut full, mut head) = (Vec::new(), Vec::new());
        write_refusal(&mut full, OPEN, &date(), &refusal);
        write_refusal(&mut head, Exchange { head_only: true, ..OPEN }, &date(), &refusal);
        assert!(head.ends_with(b"\r\n\r\n") && full.starts_with(&head) && full.len() > head.len());
    }

    #[test]
    fn every_status_in_use_has_an_outcome_and_every_other_is_a_failure() {
        let (internal, mut used) = (status_line(500), 0);
        for status in 0..=999 {
            let is_failure = outcome_of(status) == Outcome::Failed;
            assert_eq!(is_failure, status_line(status) == internal, "{status}");
            assert_eq!(outcome_of(status) == Outcome::Ok, (..400).contains(&status) && !is_failure);
            used += u32::from(!is_failure);
        }
        assert_eq!(used, 22);
    }
}
