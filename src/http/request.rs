//! The head of an HTTP/1.1 request: where it ends, what it says, and every way in which it can be
//! wrong.
//!
//! [`HeadScan`] finds the end of a head in a buffer that grows; [`parse_head`] reads a whole head.
//! The verdict never depends on how the bytes were cut: a wrong request line comes first, then the
//! first byte or limit that [`HeadScan`] refuses, then the fields. Sections are those of RFC 9112.

mod repeat;
mod scan;
mod field;

pub use field::{Field, Lines};
pub use repeat::RepeatedFields;
pub use scan::{HeadScan, HeadSpan};

use crate::{
    config::Limits,
    text::{above_graphic, below, equal, run},
};
use std::borrow::Cow;
use std::net::Ipv6Addr;

/// A longer method is refused before its end is known.
const METHOD_BYTES_MAX: usize = 32;
/// Fields that are parsed without allocating; more than most clients send.
const FIELDS_ON_STACK: usize = 16;

/// The longest request line that can be right, with its CRLF.
fn request_line_bytes_max(limits: &Limits) -> usize {
    limits.target_bytes_max.saturating_add(METHOD_BYTES_MAX + "  HTTP/1.1\r\n".len())
}

/// Why a request cannot be read. What follows it on the connection cannot be trusted to be a
/// request, so each of these is answered once and closes the connection.
///
/// The number in a variant is the limit that was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    TooManyEmptyLines(usize),
    BareCr,
    BareLf,
    Control,
    RequestLine,
    Method,
    MethodTooLong(usize),
    Target,
    TargetTooLong(usize),
    Version,
    VersionNotSupported,
    HeadTooLarge(usize),
    TooManyFields(usize),
    FieldName,
    FieldValue,
    HostMissing,
    HostRepeated,
    Host,
    ContentLength,
    ContentLengthRepeated,
    LengthAndTransferEncoding,
    TransferEncoding,
    TransferEncodingInHttp10,
    TransferCodingNotSupported,
    ContentTypeRepeated,
    AuthorizationRepeated,
    BodyTooLarge(usize),
    ChunkSize,
    ChunkExtension,
    ChunkExtensionTooLong(usize),
    ChunkData,
    Trailer,
    TrailerTooLarge(usize),
}

impl Error {
    /// The status of the answer.
    pub fn status(self) -> u16 {
        self.describe().0
    }

    /// A stable word in snake case.
    pub fn code(self) -> &'static str {
        self.describe().1
    }

    /// A sentence for people; it names the limit where there is one.
    pub fn message(self) -> Cow<'static, str> {
        match self.describe() {
            (_, _, text, None) => Cow::Borrowed(text),
            (_, _, text, Some(limit)) => Cow::Owned(format!("{text} The limit is {limit}.")),
        }
    }

    #[rustfmt::skip]
    fn describe(self) -> (u16, &'static str, &'static str, Option<usize>) {
        match self {
            Self::TooManyEmptyLines(n) => (400, "too_many_empty_lines", "Too many empty lines before the request line.", Some(n)),
            Self::BareCr => (400, "bare_cr", "A carriage return without a line feed.", None),
            Self::BareLf => (400, "bare_lf", "A line feed without a carriage return.", None),
            Self::Control => (400, "control_character", "A control character in the request head.", None),
            Self::RequestLine => (400, "bad_request_line", "The request line is not: method, target, HTTP version.", None),
            Self::Method => (400, "bad_method", "The method is not a token.", None),
            Self::MethodTooLong(n) => (501, "method_too_long", "The method has too many bytes.", Some(n)),
            Self::Target => (400, "bad_target", "The request target is not valid.", None),
            Self::TargetTooLong(n) => (414, "target_too_long", "The request target has too many bytes.", Some(n)),
            Self::Version => (400, "bad_version", "The HTTP version is malformed.", None),
            Self::VersionNotSupported => (505, "version_not_supported", "Only HTTP/1.x is served.", None),
            Self::HeadTooLarge(n) => (431, "head_too_large", "The request head has too many bytes.", Some(n)),
            Self::TooManyFields(n) => (431, "too_many_fields", "The request has too many header fields.", Some(n)),
            Self::FieldName => (400, "bad_field_name", "A header field name is not a token followed by a colon.", None),
            Self::FieldValue => (400, "bad_field_value", "A header field value has a forbidden character.", None),
            Self::HostMissing => (400, "missing_host", "An HTTP/1.1 request needs a Host field.", None),
            Self::HostRepeated => (400, "repeated_host", "More than one Host field.", None),
            Self::Host => (400, "bad_host", "The Host field is not a host with an optional port.", None),
            Self::ContentLength => (400, "bad_content_length", "Content-Length is not a decimal number of bytes.", None),
            Self::ContentLengthRepeated => (400, "repeated_content_length", "More than one Content-Length field.", None),
            Self::LengthAndTransferEncoding => (400, "length_and_transfer_encoding", "Both Content-Length and Transfer-Encoding.", None),
            Self::TransferEncoding => (400, "bad_transfer_encoding", "Transfer-Encoding is not a single: chunked.", None),
            Self::TransferEncodingInHttp10 => (400, "transfer_encoding_in_http_1_0", "HTTP/1.0 has no Transfer-Encoding.", None),
            Self::TransferCodingNotSupported => (501, "transfer_coding_not_supported", "The only transfer coding served is: chunked.", None),
            Self::ContentTypeRepeated => (400, "repeated_content_type", "More than one Content-Type field.", None),
            Self::AuthorizationRepeated => (400, "repeated_authorization", "More than one Authorization field.", None),
            Self::BodyTooLarge(n) => (413, "body_too_large", "The request body has too many bytes.", Some(n)),
            Self::ChunkSize => (400, "bad_chunk_size", "A chunk size is not 1 to 16 hexadecimal digits ended by CRLF.", None),
            Self::ChunkExtension => (400, "bad_chunk_extension", "A chunk extension is malformed.", None),
            Self::ChunkExtensionTooLong(n) => (400, "chunk_extension_too_long", "The chunk extensions have too many bytes.", Some(n)),
            Self::ChunkData => (400, "bad_chunk_data", "Chunk data is not ended by CRLF at its size.", None),
            Self::Trailer => (400, "bad_trailer", "A trailer field is malformed.", None),
            Self::TrailerTooLarge(n) => (431, "trailer_too_large", "The trailer fields have too many bytes.", Some(n)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Patch,
    Query,
    Trace,
    Connect,
    /// A valid token that is none of the above. Methods are case-sensitive.
    Unknown,
}

impl Method {
    fn from_token(token: &[u8]) -> Self {
        match token {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"OPTIONS" => Self::Options,
            b"PATCH" => Self::Patch,
            b"QUERY" => Self::Query,
            b"TRACE" => Self::Trace,
            b"CONNECT" => Self::Connect,
            _ => Self::Unknown,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http10,
    /// Also any later 1.x, which is answered as 1.1 (RFC 9110, 2.5).
    Http11,
}

/// How the body that follows the head is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Bytes; 0 when the head says nothing, at most `body_bytes_max`.
    Length(usize),
    Chunked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    None,
    /// The client waits for `100 Continue` before it sends a body. Never for HTTP/1.0 nor when the
    /// head announces no body.
    Continue,
    /// An expectation that cannot be met: 417.
    Unknown,
}

/// One request head that is right in every respect that framing depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    pub method: Method,
    pub version: Version,
    /// As sent: starts with `/`, but for `*` (OPTIONS only) and for CONNECT, where it is empty.
    pub path: &'a [u8],
    /// As sent, without the `?`.
    pub query: Option<&'a [u8]>,
    pub keep_alive: bool,
    pub framing: Framing,
    pub expect: Expect,
    pub content_type: Option<&'a [u8]>,
    /// Present only when the body is encoded: `identity` counts as absent.
    pub content_encoding: Option<&'a [u8]>,
    pub lines: Lines<'a>,
}

/// Reads one request head, as delimited by [`HeadScan`], which has already refused bare CR, bare LF
/// and too many fields.
pub fn parse_head<'a>(head: &'a [u8], limits: &Limits) -> Result<Head<'a>, Error> {
    let line = RequestLine::parse(head, limits)?;
    let fields = &head[line.bytes..];

    let mut few = [httparse::EMPTY_HEADER; FIELDS_ON_STACK];
    match httparse::parse_headers(fields, &mut few) {
        Err(httparse::Error::TooManyHeaders) => {
            let mut many = vec![httparse::EMPTY_HEADER; limits.fields_max];
            line.with_fields(fields, httparse::parse_headers(fields, &mut many), limits)
        }
        parsed => line.with_fields(fields, parsed, limits),
    }
}

struct RequestLine<'a> {
    method: Method,
    version: Version,
    path: &'a [u8],
    query: Option<&'a [u8]>,
    /// Length with its CRLF.
    bytes: usize,
}

impl<'a> RequestLine<'a> {
    /// Reads the line at the start of `bytes`; its verdict depends on no byte past
    /// `request_line_bytes_max`.
    #[inline]
    fn parse(bytes: &'a [u8], limits: &Limits) -> Result<Self, Error> {
        let (method, method_bytes) = match bytes {
            [b'G', b'E', b'T', b' ', ..] => (Method::Get, 3),
            _ => parse_method(bytes)?,
        };

        let rest = &bytes[method_bytes + 1..];
        let bounded = &rest[..rest.len().min(limits.target_bytes_max.saturating_add(1))];
        let target_bytes = run(bounded, not_of_target);
        if target_bytes > limits.target_bytes_max {
            return Err(Error::TargetTooLong(limits.target_bytes_max));
        }
        let target = &rest[..target_bytes];
        let (path, query) = match target.iter().position(|&byte| byte == b'?') {
            Some(at) => (&target[..at], Some(&target[at + 1..])),
            None => (target, None),
        };

        let tail = &rest[target_bytes..];
        let version =
            if tail.starts_with(b" HTTP/1.1\r\n") { Version::Http11 } else { parse_version(tail)? };
        let (path, query) = match path {
            [b'/', ..] if method != Method::Connect => (path, query),
            _ => reduce_target(method, path, query)?,
        };
        let bytes = method_bytes + 1 + target_bytes + " HTTP/1.1\r\n".len();
        Ok(Self { method, version, path, query, bytes })
    }

    #[inline]
    fn with_fields(
        self,
        bytes: &'a [u8],
        parsed: httparse::Result<(usize, &[httparse::Header<'a>])>,
        limits: &Limits,
    ) -> Result<Head<'a>, Error> {
        let fields = match parsed {
            Ok(httparse::Status::Complete((end, fields))) if end == bytes.len() => fields,
            Err(httparse::Error::TooManyHeaders) => {
                return Err(Error::TooManyFields(limits.fields_max));
            }
            Err(httparse::Error::HeaderValue) => return Err(Error::FieldValue),
            _ => return Err(Error::FieldName),
        };
        if fields.len() > limits.fields_max {
            return Err(Error::TooManyFields(limits.fields_max));
        }
        let mut known = Fields { lines: Lines::new(bytes), ..Fields::default() };
        for field in fields {
            known.take(field.name.as_bytes(), field.value)?;
        }
        let framing = known.framing(self.version, limits)?;
        if !known.has_host && self.version == Version::Http11 {
            return Err(Error::HostMissing);
        }
        let awaits_continue = self.version == Version::Http11 && framing != Framing::Length(0);
        Ok(Head {
            method: self.method,
            version: self.version,
            path: self.path,
            query: self.query,
            keep_alive: !known.close && (self.version == Version::Http11 || known.keep_alive),
            framing,
            expect: match known.expect {
                Some(Expect::Continue) if !awaits_continue => Expect::None,
                expect => expect.unwrap_or(Expect::None),
            },
            content_type: known.content_type,
            content_encoding: known.content_encoding,
            lines: known.lines,
        })
    }
}

/// Reads the method, which a space must end; and its length.
#[inline]
fn parse_method(bytes: &[u8]) -> Result<(Method, usize), Error> {
    let method_bytes = class_run(&bytes[..bytes.len().min(METHOD_BYTES_MAX + 1)], TOKEN);
    match bytes.get(method_bytes) {
        _ if method_bytes > METHOD_BYTES_MAX => Err(Error::MethodTooLong(METHOD_BYTES_MAX)),
        Some(b' ') if method_bytes > 0 => {
            Ok((Method::from_token(&bytes[..method_bytes]), method_bytes))
        }
        Some(b'\r') | None if method_bytes > 0 => Err(Error::RequestLine),
        _ => Err(Error::Method),
    }
}

/// Reads what follows the target: a space, the version and CRLF.
#[cold]
fn parse_version(tail: &[u8]) -> Result<Version, Error> {
    match tail {
        [] | [b'\r', ..] => Err(Error::RequestLine),
        [b' ', b'H', b'T', b'T', b'P', b'/', major, b'.', minor, b'\r', b'\n', ..]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            match (major, minor) {
                (b'1', b'0') => Ok(Version::Http10),
                (b'1', _) => Ok(Version::Http11),
                _ => Err(Error::VersionNotSupported),
            }
        }
        [b' ', ..] => Err(Error::Version),
        _ => Err(Error::Target),
    }
}

/// The path and query of a target that is not in origin form (3.2).
#[cold]
fn reduce_target<'a>(
    method: Method,
    path: &'a [u8],
    query: Option<&'a [u8]>,
) -> Result<(&'a [u8], Option<&'a [u8]>), Error> {
    if method == Method::Connect && !path.is_empty() {
        return Ok((b"", None));
    }
    if method == Method::Options && path == b"*" && query.is_none() {
        return Ok((path, None));
    }
    let rest = [&b"http://"[..], b"https://"]
        .iter()
        .find_map(|scheme| {
            let (start, rest) = path.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some(rest)
        })
        .ok_or(Error::Target)?;
    let (host, path) = rest.split_at(rest.iter().position(|&b| b == b'/').unwrap_or(rest.len()));
    if !is_host(host) {
        return Err(Error::Target);
    }
    Ok((if path.is_empty() { b"/" } else { path }, query))
}

/// What the known fields of one head say, taken in order.
#[derive(Default)]
struct Fields<'a> {
    has_host: bool,
    content_length: Option<&'a [u8]>,
    transfer_encoding: Option<&'a [u8]>,
    close: bool,
    keep_alive: bool,
    expect: Option<Expect>,
    content_type: Option<&'a [u8]>,
    content_encoding: Option<&'a [u8]>,
    lines: Lines<'a>,
}

impl<'a> Fields<'a> {
    #[inline]
    fn take(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), Error> {
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                if self.has_host {
                    return Err(Error::HostRepeated);
                }
                if !is_host(value) {
                    return Err(Error::Host);
                }
                self.has_host = true;
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                let met = value.eq_ignore_ascii_case(b"100-continue")
                    && self.expect != Some(Expect::Unknown);
                self.expect = Some(if met { Expect::Continue } else { Expect::Unknown });
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                for option in value.split(|&byte| byte == b',') {
                    let option = option.trim_ascii();
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            12 if name.eq_ignore_ascii_case(b"content-type") => {
                return set_once(&mut self.content_type, value, Error::ContentTypeRepeated);
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                return set_once(&mut self.content_length, value, Error::ContentLengthRepeated);
            }
            16 if name.eq_ignore_ascii_case(b"content-encoding") => {
                let plain = value.is_empty() || value.eq_ignore_ascii_case(b"identity");
                self.content_encoding = if plain { self.content_encoding } else { Some(value) };
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                return set_once(&mut self.transfer_encoding, value, Error::TransferEncoding);
            }
            _ => {
                if let Some(field) = Field::of(name)
                    && !self.lines.note(field)
                    && field == Field::Authorization
                {
                    return Err(Error::AuthorizationRepeated);
                }
            }
        }
        Ok(())
    }

    /// Decides the length of the body (6.3).
    #[inline]
    fn framing(&self, version: Version, limits: &Limits) -> Result<Framing, Error> {
        match (self.content_length, self.transfer_encoding) {
            (None, None) => Ok(Framing::Length(0)),
            (Some(_), Some(_)) => Err(Error::LengthAndTransferEncoding),
            (Some(length), None) => {
                let length = parse_length(length).ok_or(Error::ContentLength)?;
                match usize::try_from(length) {
                    Ok(length) if length <= limits.body_bytes_max => Ok(Framing::Length(length)),
                    _ => Err(Error::BodyTooLarge(limits.body_bytes_max)),
                }
            }
            (None, Some(_)) if version == Version::Http10 => Err(Error::TransferEncodingInHttp10),
            (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
            (None, Some(codings)) => Err(refuse_codings(codings)),
        }
    }
}

/// `error` when a field that must be single comes again.
fn set_once<'a>(slot: &mut Option<&'a [u8]>, value: &'a [u8], error: Error) -> Result<(), Error> {
    if slot.replace(value).is_some() { Err(error) } else { Ok(()) }
}

/// Decimal digits only, at most 2^64 - 1.
fn parse_length(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |length, digit| {
        let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
        length.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// A body under other codings that still ends where `chunked` says could be framed, so it is only
/// unsupported (6.1); all else has no reliable end.
#[cold]
fn refuse_codings(codings: &[u8]) -> Error {
    let mut codings = codings.rsplit(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let ends_in_chunked =
        codings.next().is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
    let others_are_codings = codings.all(|coding| {
        let name = coding.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        is_token(name) && !name.eq_ignore_ascii_case(b"chunked")
    });
    if ends_in_chunked && others_are_codings {
        Error::TransferCodingNotSupported
    } else {
        Error::TransferEncoding
    }
}

/// `uri-host [ ":" port ]` of RFC 9110, 4.2.1, with a host that is not empty. Stricter than its
/// grammar: no comma, which would read as a list, and no IP literal but IPv6.
fn is_host(value: &[u8]) -> bool {
    let host_bytes = match value {
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|&byte| byte == b']') else { return false };
            let address = str::from_utf8(&rest[..end]).unwrap_or_default();
            if address.parse::<Ipv6Addr>().is_err() {
                return false;
            }
            end + 2
        }
        _ => class_run(value, HOST),
    };
    let (host, port) = value.split_at(host_bytes);
    let escapes_are_hex = || {
        host.split(|&byte| byte == b'%').skip(1).all(
            |rest| matches!(rest, [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit()),
        )
    };
    let port_is_valid = match port {
        [] | [b':'] => true,
        [b':', digits @ ..] => parse_length(digits).is_some_and(|port| port <= u16::MAX.into()),
        _ => false,
    };
    !host.is_empty() && port_is_valid && (!host.contains(&b'%') || escapes_are_hex())
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && class_run(bytes, TOKEN) == bytes.len()
}

pub(super) fn is_token_byte(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & TOKEN != 0
}

/// The bytes of a word which no target has: `#`, `\` and what is not printable ASCII. What RFC 3986
/// wants escaped (brackets, quotes, bars) is let through: clients send it as it is, and nobody can
/// mistake it for something else.
#[inline]
fn not_of_target(word: u64) -> u64 {
    below(word, 0x21) | above_graphic(word) | equal(word, b'#') | equal(word, b'\\')
}

const TOKEN: u8 = 1;
/// `reg-name` of RFC 3986 without the comma.
const HOST: u8 = 2;

static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0x21_u8;
    while byte < 0x7f {
        let mut class = 0;
        if byte.is_ascii_alphanumeric() {
            class |= TOKEN | HOST;
        }
        if matches!(
            byte,
            b'!' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'_' | b'~'
        ) {
            class |= TOKEN | HOST;
        }
        if matches!(byte, b'#' | b'^' | b'`' | b'|') {
            class |= TOKEN;
        }
        if matches!(byte, b'(' | b')' | b';' | b'=') {
            class |= HOST;
        }
        classes[byte as usize] = class;
        byte += 1;
    }
    classes
};

/// How many bytes at the start are of this class.
#[inline]
fn class_run(bytes: &[u8], class: u8) -> usize {
    bytes.iter().position(|&byte| CLASSES[usize::from(byte)] & class == 0).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests;
