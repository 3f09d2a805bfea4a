//! What a request head must get, row by row of the table of bad input, whole and in pieces.

use super::scan::find_control;
use super::{
    Error, Expect, Field, Framing, Head, HeadScan, HeadSpan, Method, RepeatedFields, Version,
    is_token, parse_head,
};
use crate::config::Limits;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_assert_eq, prop_oneof};
use proptest::{prop_assert, proptest, sample};

const LIMITS: Limits = Limits { body_bytes_max: 1000, ..Limits::DEFAULT };

type Verdict<'a> = Result<Option<(Head<'a>, usize)>, Error>;

/// Shows the scan one prefix of `input` after another; the head and where it ends.
fn read(input: &[u8], lengths: impl IntoIterator<Item = usize>) -> Verdict<'_> {
    let mut scan = HeadScan::default();
    for length in lengths {
        if let Some(HeadSpan { start, end }) = scan.advance(&input[..length], &LIMITS)? {
            return Ok(Some((parse_head(&input[start..end], &LIMITS)?, end)));
        }
    }
    Ok(None)
}

/// What the fields of `earlier`, if it is a good head, say of `input`.
fn after<'a>(earlier: &[u8], input: &'a [u8]) -> Option<(Head<'a>, usize)> {
    let mut fields = RepeatedFields::default();
    if let Ok(Some((head, _))) = read(earlier, [earlier.len()]) {
        fields.keep(&head);
    }
    fields.head(input, &LIMITS)
}

/// The verdict on `input`, which must be the same whole, byte by byte and cut once anywhere.
fn verdict(input: &[u8]) -> Verdict<'_> {
    let whole = read(input, [input.len()]);
    assert_eq!(read(input, 0..=input.len()), whole, "byte by byte");
    let stride = if input.len() < 2000 { 1 } else { 211 };
    for cut in (0..input.len()).step_by(stride) {
        assert_eq!(read(input, [cut, input.len()]), whole, "cut at {cut}");
    }
    let own = whole.ok().flatten().map_or(&b""[..], |(_, end)| &input[..end]);
    for earlier in [own, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"] {
        if let Some(found) = after(earlier, input) {
            assert_eq!(Ok(Some(found)), whole, "after {}", earlier.escape_ascii());
        }
    }
    whole
}

/// Reads `input`, which must be exactly one good head.
fn accepted(input: &(impl AsRef<[u8]> + ?Sized)) -> Head<'_> {
    let input = input.as_ref();
    let (head, end) = verdict(input).expect("a good head").expect("a complete head");
    assert_eq!(end, input.len());
    head
}

#[track_caller]
fn refused(input: &(impl AsRef<[u8]> + ?Sized), error: Error) {
    let input = input.as_ref();
    assert_eq!(verdict(input), Err(error), "{}", input.escape_ascii());
}

/// A request whose only field besides Host is `line`.
fn with_field(line: &str) -> String {
    format!("POST /put HTTP/1.1\r\nHost: h\r\n{line}\r\n\r\n")
}

fn with_line(line: &str) -> String {
    format!("{line}\r\nHost: h\r\n\r\n")
}

fn with_target(target: &str) -> String {
    with_line(&format!("GET {target} HTTP/1.1"))
}

#[test]
fn a_plain_get_is_read() {
    let head = accepted("GET /get?key=a%20b HTTP/1.1\r\nHost: h:7171\r\nAccept: */*\r\n\r\n");
    let expected = Head {
        lines: head.lines,
        method: Method::Get,
        version: Version::Http11,
        path: b"/get",
        query: Some(b"key=a%20b"),
        keep_alive: true,
        framing: Framing::Length(0),
        expect: Expect::None,
        content_type: None,
        content_encoding: None,
    };
    assert_eq!(head, expected);
    assert_eq!(accepted(&with_target("/get")).query, None);
    assert_eq!(accepted(&with_target("/get?")).query, Some(&b""[..]));
    assert_eq!(accepted(&with_target("/a?b?c")).query, Some(&b"b?c"[..]));
}

#[test]
fn a_plain_put_is_read() {
    let head = accepted(
        "POST /put HTTP/1.1\r\nhost: h\r\nCONTENT-LENGTH:  31 \r\n\
         content-Type:\tapplication/json; charset=utf-8\t\r\n\r\n",
    );
    assert_eq!(head.method, Method::Post);
    assert_eq!(head.framing, Framing::Length(31));
    assert_eq!(head.content_type, Some(&b"application/json; charset=utf-8"[..]));
}

#[test]
fn content_type_and_authorization_may_not_repeat() {
    let line = "Content-Type: text/plain\r\ncontent-type: text/plain";
    refused(&with_field(line), Error::ContentTypeRepeated);
    let line = "Authorization: Bearer a\r\nauthorization: Bearer a";
    refused(&with_field(line), Error::AuthorizationRepeated);
}

#[test]
fn rare_fields_are_found_again() {
    const FIELDS: [(Field, &str); 6] = [
        (Field::IfMatch, "If-Match"),
        (Field::IfNoneMatch, "If-None-Match"),
        (Field::CacheControl, "Cache-Control"),
        (Field::AcceptEncoding, "Accept-Encoding"),
        (Field::Authorization, "Authorization"),
        (Field::KvTags, "Kv-Tags"),
    ];
    for (field, name) in FIELDS {
        let upper = name.to_uppercase();
        let input = with_field(&format!("X-{name}: no\r\n{upper}:\t a: b, c \r\n{name}x: no"));
        let head = accepted(&input);
        assert_eq!(head.lines.values(field).collect::<Vec<_>>(), [b"a: b, c"], "{name}");
        for (other, _) in FIELDS {
            assert_eq!(head.lines.has(other), other == field, "{name}");
            assert_eq!(head.lines.values(other).count(), usize::from(other == field), "{name}");
        }
    }
}

#[test]
fn a_list_is_that_of_all_its_lines() {
    let input = with_field("Kv-Tags: a,, b ,\r\nHost-Tags: no\r\nkv-tags:\r\nKV-TAGS:c\td,e");
    let head = accepted(&input);
    let members: Vec<_> = head.lines.members(Field::KvTags).collect();
    assert_eq!(members, [&b"a"[..], b"b", b"c\td", b"e"]);
}

#[test]
fn content_encoding_is_reported_unless_it_is_identity() {
    let encoding = |line: &str| {
        let input = with_field(line);
        accepted(&input).content_encoding.map(<[u8]>::to_vec)
    };
    assert_eq!(encoding("Content-Encoding: gzip"), Some(b"gzip".to_vec()));
    assert_eq!(encoding("Content-Encoding: Identity"), None);
    for lines in ["identity\r\nContent-Encoding: gzip", "gzip\r\nContent-Encoding: identity"] {
        assert_eq!(encoding(&format!("Content-Encoding: {lines}")), Some(b"gzip".to_vec()));
    }
}

#[test]
fn row_01_http_1_1_without_host() {
    refused("GET / HTTP/1.1\r\n\r\n", Error::HostMissing);
    refused("GET http://h/ HTTP/1.1\r\nAccept: */*\r\n\r\n", Error::HostMissing);
}

#[test]
fn row_02_two_host_lines() {
    refused(&with_field("Host: h"), Error::HostRepeated);
    refused(&with_field("HOST: other"), Error::HostRepeated);
    refused("GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n", Error::HostRepeated);
}

#[test]
fn row_03_host_must_be_a_host() {
    let request = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    #[rustfmt::skip]
    let bad = [
        "", "user@h", "h/path", "a,b", "a b", "h:x", "h:1:2", ":80", "h:65536", "h:-1", "[::1",
        "[]", "[::1]x", "[1.2.3.4]", "[::g]", "a%2", "a%zz", "%", "h?", "h#", "h\\", "::1", "ü",
    ];
    for host in bad {
        refused(&request(host), Error::Host);
    }
    #[rustfmt::skip]
    let hosts = [
        "h", "H.example.", "127.0.0.1:7171", "[::1]", "[::1]:80", "h:", "h:080", "a%20b",
        "a_b-c~d",
    ];
    for host in hosts {
        accepted(&request(host));
    }
}

#[test]
fn row_04_http_1_0_needs_no_host() {
    let head = accepted("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(head.version, Version::Http10);
    assert!(!head.keep_alive);
    refused("GET / HTTP/1.0\r\nHost: a,b\r\n\r\n", Error::Host);
}

#[test]
fn row_05_content_length_and_transfer_encoding() {
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: gzip, chunked\r\nContent-Length: 99999",
    ] {
        refused(&with_field(lines), Error::LengthAndTransferEncoding);
    }
}

#[test]
fn row_06_two_different_content_lengths() {
    let lines = "Content-Length: 5\r\nContent-Length: 6";
    refused(&with_field(lines), Error::ContentLengthRepeated);
}

#[test]
fn row_07_two_equal_content_lengths() {
    let lines = "Content-Length: 5\r\nContent-Length: 5";
    refused(&with_field(lines), Error::ContentLengthRepeated);
    refused(&with_field("Content-Length: 5, 5"), Error::ContentLength);
}

#[test]
fn row_08_content_length_must_be_digits() {
    #[rustfmt::skip]
    let values = [
        "+5", "-1", "-0", "0x5", "0o5", "1_0", "1 0", "", "5,", "5.0", "5e0",
        "18446744073709551616", "99999999999999999999", "٥", "5;", "\"5\"",
    ];
    for value in values {
        refused(&with_field(&format!("Content-Length: {value}")), Error::ContentLength);
    }
    for (value, length) in [("0", 0), ("007", 7), ("1000", 1000)] {
        let input = with_field(&format!("Content-Length: {value}"));
        assert_eq!(accepted(&input).framing, Framing::Length(length));
    }
}

#[test]
fn row_09_content_length_above_the_limit() {
    for value in ["1001", "18446744073709551615"] {
        refused(&with_field(&format!("Content-Length: {value}")), Error::BodyTooLarge(1000));
    }
}

#[test]
fn row_10_no_length_means_no_body() {
    for method in ["PUT", "POST", "GET", "DELETE"] {
        let input = with_line(&format!("{method} /kv/a HTTP/1.1"));
        let head = accepted(&input);
        assert_eq!(head.framing, Framing::Length(0));
        assert!(head.keep_alive);
    }
}

#[test]
fn row_11_chunked_in_any_case() {
    for value in ["chunked", "CHUNKED", " \t Chunked \t"] {
        let input = with_field(&format!("Transfer-Encoding:{value}"));
        assert_eq!(accepted(&input).framing, Framing::Chunked);
    }
}

#[test]
fn row_12_another_coding_before_chunked() {
    for value in ["gzip, chunked", "gzip,deflate , Chunked", "identity, chunked", "x;q=1, chunked"]
    {
        let input = with_field(&format!("Transfer-Encoding: {value}"));
        refused(&input, Error::TransferCodingNotSupported);
    }
}

#[test]
fn row_13_transfer_encoding_without_a_reliable_end() {
    #[rustfmt::skip]
    let values = [
        "chunked, gzip", "xchunked", "chunked, chunked", "chunked, gzip, chunked", "",
        ", chunked", "chunked,", "identity", "gzip", "chunked;a=b", "g zip, chunked",
        "\"chunked\"", "chun ked",
    ];
    for value in values {
        refused(&with_field(&format!("Transfer-Encoding: {value}")), Error::TransferEncoding);
    }
    refused(&with_field("Transfer-Encoding: \x0bchunked"), Error::Control);
    let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked";
    refused(&with_field(twice), Error::TransferEncoding);
    refused(&with_field("Transfer-Encoding:\r\n chunked"), Error::FieldName);
    refused(&with_field("Transfer-Encoding : chunked"), Error::FieldName);
}

#[test]
fn row_14_transfer_encoding_in_http_1_0() {
    for value in ["chunked", "gzip, chunked"] {
        let input = format!("POST / HTTP/1.0\r\nTransfer-Encoding: {value}\r\n\r\n");
        refused(&input, Error::TransferEncodingInHttp10);
    }
}

#[test]
fn row_20_folded_lines() {
    refused(&with_field("X: a\r\n b"), Error::FieldName);
    refused(&with_field("X: a\r\n\tb: c"), Error::FieldName);
    refused(&with_field("X:\r\n \r\nY: a"), Error::FieldName);
}

#[test]
fn row_21_field_names_are_tokens() {
    for line in
        ["X : a", "X\t: a", ": a", "X", "Bad[Name: a", "X y: a", "\"X\": a", "ü: a", "X(: a"]
    {
        refused(&with_field(line), Error::FieldName);
    }
    refused(b"GET / HTTP/1.1\r\nHost: h\r\nX\x80: a\r\n\r\n", Error::FieldName);
    accepted(&with_field("!#$%&'*+-.^_`|~09azAZ: a"));
}

#[test]
fn row_22_white_space_before_the_first_field() {
    refused("GET / HTTP/1.1\r\n \r\nHost: h\r\n\r\n", Error::FieldName);
    refused("GET / HTTP/1.1\r\n Host: h\r\n\r\n", Error::FieldName);
    refused("GET / HTTP/1.1\r\n\tHost: h\r\n\r\n", Error::FieldName);
}

#[test]
fn row_23_bare_cr() {
    #[rustfmt::skip]
    let inputs = [
        "GET / HTTP/1.1\rHost: h\r\n\r\n", "GET /\r HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nHost: h\rX: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n\r\r", "\rGET / HTTP/1.1\r\n", "\r\r",
    ];
    for input in inputs {
        refused(input, Error::BareCr);
    }
}

#[test]
fn row_24_bare_lf() {
    for input in [
        "GET / HTTP/1.1\nHost: h\n\n",
        "GET / HTTP/1.1\r\nHost: h\n",
        "GET / HTTP/1.1\r\nHost: h\r\n\n",
        "GET / HTTP/1.1\r\n\n",
        "\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
    ] {
        refused(input, Error::BareLf);
    }
}

#[test]
fn row_25_control_characters() {
    for byte in (0..0x20_u8).filter(|byte| !b"\t\r\n".contains(byte)) {
        let control = char::from(byte);
        refused(&with_field(&format!("X: a{control}b")), Error::Control);
        refused(&with_field(&format!("X{control}: a")), Error::Control);
        refused(&with_target(&format!("/a{control}b")), Error::Control);
        refused(&format!("{control}"), Error::Control);
    }
    refused(&with_field("X: a\x7fb"), Error::FieldValue);
    refused(&with_field("X\x7f: a"), Error::FieldName);
    refused(&with_target("/a\x7fb"), Error::Target);
    refused(&with_target("/a\tb"), Error::Target);
    accepted(b"GET / HTTP/1.1\r\nHost: h\r\nX: a\tb\x80\xff\r\n\r\n");
}

#[test]
fn row_26_bytes_that_no_target_has() {
    for target in ["/ü", "/a\\b", "/a#frag", "/?a#b", "/?\\", "\\", "#", "?a", "a", "", "/?ü"] {
        refused(&with_target(target), Error::Target);
    }
    refused(&with_target("/a b"), Error::Version);
    refused(b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n", Error::Target);
    assert_eq!(accepted(&with_target("/kv/{a}|\"<b>^`[c]")).path, b"/kv/{a}|\"<b>^`[c]");
    assert_eq!(accepted(&with_target("//..//%2F%00")).path, b"//..//%2F%00");
}

#[test]
fn row_27_empty_lines_before_the_request_line() {
    for count in 0..=8 {
        let input = "\r\n".repeat(count) + "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        let span = HeadScan::default().advance(input.as_bytes(), &LIMITS).unwrap().unwrap();
        assert_eq!((span.start, span.end), (2 * count, input.len()));
        accepted(&input);
    }
    let input = "\r\n".repeat(9) + "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    refused(&input, Error::TooManyEmptyLines(8));
}

#[test]
fn row_28_the_longest_target() {
    for length in [7900, 8192] {
        let target = format!("/{}", "a".repeat(length - 1));
        assert_eq!(accepted(&with_target(&target)).path, target.as_bytes());
        let target = format!("/get?key={}", "a".repeat(length - 9));
        assert_eq!(accepted(&with_target(&target)).path, b"/get");
    }
    for length in [8193, 8194, 9000, 20_000] {
        let long = format!("/{}", "a".repeat(length - 1));
        refused(&with_target(&long), Error::TargetTooLong(8192));
        refused(&with_line(&format!("GET {long} nonsense")), Error::TargetTooLong(8192));
        refused(&with_target(&format!("/?{long}")), Error::TargetTooLong(8192));
    }
    let endless = format!("GET /{}", "a".repeat(8300));
    refused(&endless, Error::TargetTooLong(8192));
}

#[test]
fn row_29_too_many_or_too_large_fields() {
    let with_fields = |count: usize| {
        let fields = "X: a\r\n".repeat(count - 1);
        format!("GET / HTTP/1.1\r\n{fields}Host: h\r\n\r\n")
    };
    for count in [15, 16, 17, 18, 63, 64] {
        accepted(&with_fields(count));
    }
    for count in [65, 66, 10_000] {
        let input = with_fields(count);
        refused(&input, Error::TooManyFields(64));
        assert_eq!(parse_head(input.as_bytes(), &LIMITS), Err(Error::TooManyFields(64)));
    }

    let sized = |bytes: usize| with_field(&format!("X: {}", "a".repeat(bytes - 36)));
    assert_eq!(sized(16384).len(), 16384);
    accepted(&sized(16384));
    refused(&sized(16385), Error::HeadTooLarge(16384));
    refused(&sized(16386), Error::HeadTooLarge(16384));
    refused(&with_field(&format!("X: {}", "a".repeat(100_000))), Error::HeadTooLarge(16384));
    refused(&with_field(&"X".repeat(100_000)), Error::HeadTooLarge(16384));
}

#[test]
fn row_29_limits_are_known_before_the_head_ends() {
    let endless = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(16384 - 19));
    assert_eq!(verdict(&endless.as_bytes()[..16383]), Ok(None));
    refused(&endless, Error::HeadTooLarge(16384));
    refused(&format!("GET / HTTP/1.1\r\n{}", "X: a\r\n".repeat(65)), Error::TooManyFields(64));
}

#[test]
fn row_30_methods() {
    let method = |token: &str| {
        let input = with_line(&format!("{token} / HTTP/1.1"));
        accepted(&input).method
    };
    for (token, expected) in [
        ("GET", Method::Get),
        ("HEAD", Method::Head),
        ("POST", Method::Post),
        ("PUT", Method::Put),
        ("DELETE", Method::Delete),
        ("OPTIONS", Method::Options),
        ("PATCH", Method::Patch),
        ("QUERY", Method::Query),
        ("TRACE", Method::Trace),
        ("get", Method::Unknown),
        ("BREW", Method::Unknown),
        ("!#$%&'*+-.^_`|~", Method::Unknown),
    ] {
        assert_eq!(method(token), expected);
    }
    assert_eq!(method(&"M".repeat(32)), Method::Unknown);
    for length in [33, 100, 20_000] {
        refused(
            &with_line(&format!("{} / HTTP/1.1", "M".repeat(length))),
            Error::MethodTooLong(32),
        );
        let endless = "M".repeat(length.max(9000));
        refused(&endless, Error::MethodTooLong(32));
    }
    for line in
        [" / HTTP/1.1", "G[T / HTTP/1.1", "GET: / HTTP/1.1", "GET\t/ HTTP/1.1", "Ä / HTTP/1.1"]
    {
        refused(&with_line(line), Error::Method);
    }
}

#[test]
fn row_32_options_of_the_whole_server() {
    let input = with_line("OPTIONS * HTTP/1.1");
    assert_eq!(accepted(&input).path, b"*");
    refused(&with_line("OPTIONS *?a HTTP/1.1"), Error::Target);
    refused(&with_line("OPTIONS ** HTTP/1.1"), Error::Target);
}

#[test]
fn row_33_connect_and_star() {
    let input = with_line("CONNECT h:443 HTTP/1.1");
    let head = accepted(&input);
    assert_eq!((head.method, head.path, head.query), (Method::Connect, &b""[..], None));
    refused(&with_line("GET * HTTP/1.1"), Error::Target);
    refused(&with_line("GET h:443 HTTP/1.1"), Error::Target);
    refused(&with_line("BREW * HTTP/1.1"), Error::Target);
}

#[test]
fn row_34_absolute_form() {
    for (target, path, query) in [
        ("http://h/get?key=a", "/get", Some("key=a")),
        ("HTTP://h:7171/get", "/get", None),
        ("https://[::1]:80/a/b//c", "/a/b//c", None),
        ("http://h", "/", None),
        ("http://h?a=http://b/", "/", Some("a=http://b/")),
    ] {
        let input = with_target(target);
        let head = accepted(&input);
        assert_eq!((head.path, head.query), (path.as_bytes(), query.map(str::as_bytes)));
    }
    for target in ["http:///get", "http://u@h/get", "http://a,b/", "ftp://h/", "http:/h", "://h/"] {
        refused(&with_target(target), Error::Target);
    }
}

#[test]
fn row_35_versions() {
    let version = |version: &str| {
        let input = with_line(&format!("GET / {version}"));
        verdict(input.as_bytes()).map(|head| head.expect("complete").0.version)
    };
    assert_eq!(version("HTTP/1.0"), Ok(Version::Http10));
    for later in ["HTTP/1.1", "HTTP/1.2", "HTTP/1.9"] {
        assert_eq!(version(later), Ok(Version::Http11));
    }
    for other in ["HTTP/2.0", "HTTP/9.9", "HTTP/0.9"] {
        assert_eq!(version(other), Err(Error::VersionNotSupported));
    }
    #[rustfmt::skip]
    let bads = [
        "http/1.1", "HTTP/01.1", "HTTP/1", "HTTP/2", "HTTP/1.1 ", " HTTP/1.1", "HTTP/1.10",
        "HTTP/11.1", "HTTP/1,1", "HTTP/-1.1", "HTTP/1.x", "XTTP/1.1", "HTTP 1.1", "",
    ];
    for bad in bads {
        assert_eq!(version(bad), Err(Error::Version), "{bad}");
    }
    refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Error::VersionNotSupported);
}

#[test]
fn row_35_http_0_9_is_answered_at_the_end_of_its_line() {
    for input in ["GET /\r\n", "GET / \r\n", "GET\r\n", "GET \r\n", "hello\r\n", "{}\r\n"] {
        assert!(verdict(input.as_bytes()).is_err(), "{input:?}");
    }
    refused("GET /\r\n", Error::RequestLine);
    refused("GET\r\n", Error::RequestLine);
}

#[test]
fn row_36_expect_continue() {
    let expect = |input: &str| accepted(input).expect;
    let line = "Expect: 100-Continue\r\nContent-Length: 5";
    assert_eq!(expect(&with_field(line)), Expect::Continue);
    assert_eq!(
        expect(&with_field("Expect: 100-continue\r\nTransfer-Encoding: chunked")),
        Expect::Continue
    );
    assert_eq!(
        expect("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"),
        Expect::None
    );
    assert_eq!(expect(&with_field("Expect: 100-continue")), Expect::None, "no body to wait for");
    let too_large = "Expect: 100-continue\r\nContent-Length: 1001";
    refused(&with_field(too_large), Error::BodyTooLarge(1000));
}

#[test]
fn row_37_other_expectations() {
    for value in [
        "foo",
        "",
        "100-continue, foo",
        "foo\r\nExpect: 100-continue",
        "100-continue\r\nExpect: foo",
    ] {
        let input = with_field(&format!("Content-Length: 5\r\nExpect: {value}"));
        assert_eq!(accepted(&input).expect, Expect::Unknown, "{value}");
    }
}

#[test]
fn row_38_upgrade_is_ignored() {
    let input = with_field("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c, websocket");
    assert!(accepted(&input).keep_alive);
}

#[test]
fn row_39_connection_options() {
    for (version, lines, keep_alive) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: x,\tClose ,y\r\n", false),
        ("1.1", "Connection: keep-alive\r\nconnection: close\r\n", false),
        ("1.1", "Connection: close, keep-alive\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.1", "Connection:\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let input = format!("GET / HTTP/{version}\r\nHost: h\r\n{lines}\r\n");
        assert_eq!(accepted(&input).keep_alive, keep_alive, "{version} {lines:?}");
    }
}

#[test]
fn what_follows_the_head_is_left_alone() {
    let one = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let input = format!("{one}\n\x00 GET nonsense");
    let (_, end) = verdict(input.as_bytes()).unwrap().unwrap();
    assert_eq!(end, one.len());
}

#[test]
fn the_request_line_is_judged_before_what_follows_it() {
    for rest in ["Host: h\n", "\x01", "X y: a\r\n\r\n"] {
        refused(&format!("GET /\\ HTTP/1.1\r\n{rest}"), Error::Target);
    }
    refused(&format!("GET HTTP/9.9\r\n{}", "X: a\r\n".repeat(99)), Error::RequestLine);
    let long = "a".repeat(20_000);
    refused(&format!("GET /\\ HTTP/1.1\r\nX: {long}\r\n\r\n"), Error::Target);
}

#[test]
fn every_error_has_a_client_or_server_status_and_a_snake_case_code() {
    let error = Error::TargetTooLong(8192);
    assert_eq!((error.status(), error.code()), (414, "target_too_long"));
    assert!(error.message().ends_with("The limit is 8192."));
    assert_eq!(Error::HostMissing.message(), "An HTTP/1.1 request needs a Host field.");
}

/// Bytes that mean something in a head, and some that never do.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![sample::select(b"\r\n\t :/?#\\,;=%*.019aGHTP\0\x7f\x80\xff".to_vec()), any::<u8>()]
}

/// Good heads, each changed in a few places, one after another.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    const HEADS: [&str; 6] = [
        "GET /get?key=a HTTP/1.1\r\nHost: h\r\n\r\n",
        "\r\nPOST /put HTTP/1.1\r\nHost: h:1\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\n",
        "PUT http://[::1]/kv/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nX: \t a b \r\n\r\n",
        "OPTIONS * HTTP/1.2\r\nHost: h\r\nConnection: close, x\r\nContent-Type: a/b\r\n\r\n",
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Encoding: gzip\r\n\r\n",
        "CONNECT h:1 HTTP/1.1\r\nHost: %41\r\n\r\n",
    ];
    let change = (any::<sample::Index>(), 0..3_usize, prop::collection::vec(byte(), 0..4));
    let changed = (sample::select(HEADS.to_vec()), prop::collection::vec(change, 0..4)).prop_map(
        |(head, changes)| {
            let mut bytes = head.as_bytes().to_vec();
            for (at, removed, added) in changes {
                let at = at.index(bytes.len() + 1);
                let end = (at + removed).min(bytes.len());
                bytes.splice(at..end, added);
            }
            bytes
        },
    );
    prop::collection::vec(changed, 1..3).prop_map(|heads| heads.concat())
}

/// What an accepted head looks like, read in the most naive way.
fn looks_right(head: &[u8]) -> bool {
    let Some(lines) = head.strip_suffix(b"\r\n\r\n") else { return false };
    let text: String = lines.iter().copied().map(char::from).collect();
    let mut lines = text.split("\r\n");
    let request_line: Vec<_> = lines.next().unwrap_or_default().split(' ').collect();
    !text.replace("\r\n", "").contains(|c: char| c != '\t' && c.is_ascii_control())
        && matches!(request_line[..], [method, target, version]
            if is_token(method.as_bytes()) && target.is_ascii() && version.starts_with("HTTP/1."))
        && lines.all(|line| line.split_once(':').is_some_and(|(name, _)| is_token(name.as_bytes())))
}

#[test]
fn fields_that_are_repeated_are_known_but_for_those_that_matter() {
    let known = |first: &str, fields: &str, second: &str| {
        let earlier = format!("{first}{fields}\r\n\r\n");
        let later = format!("{second}{fields}\r\n\r\nGET / ");
        assert!(matches!(read(earlier.as_bytes(), [earlier.len()]), Ok(Some(_))), "{earlier}");
        after(earlier.as_bytes(), later.as_bytes()).is_some()
    };
    let get = |fields| known("GET /a HTTP/1.1\r\n", fields, "GET /get?key=b HTTP/1.1\r\n");
    for fields in [
        "Host: h",
        "Host: h\r\nUser-Agent: curl/8\r\nAccept: */*",
        "Host: h\r\nAccept-Encoding: gzip\r\nConnection: keep-alive\r\nIf-None-Match: *",
        "Host: h\r\nContent-Length: 0",
    ] {
        assert!(get(fields), "{fields}");
    }
    for fields in [
        "Host: h\r\nAuthorization: Bearer secret",
        "Host: h\r\nConnection: close",
        "Host: h\r\nContent-Length: 1",
        "Host: h\r\nTransfer-Encoding: chunked",
        "Host: h\r\nExpect: 100-continue\r\nContent-Length: 1",
        "Host: h\r\nContent-Type: text/plain",
        "Host: h\r\nContent-Encoding: br",
    ] {
        assert!(!get(fields), "{fields}");
    }
    let get = "GET / HTTP/1.1\r\n";
    assert!(!known(get, "Host: h", "GET / HTTP/1.0\r\n"));
    assert!(!known(get, "Host: h", "POST / HTTP/1.1\r\n"));
    assert!(!known("GET / HTTP/1.0\r\n", "Host: h", get));
    let long = format!("Host: h\r\nA: {}", "a".repeat(600));
    assert!(!known(get, &long, get));
    let target = "a".repeat(LIMITS.target_bytes_max - 1);
    assert!(known(get, "Host: h", &format!("GET /{target} HTTP/1.1\r\n")));
    assert!(!known(get, "Host: h", &format!("GET /{target}a HTTP/1.1\r\n")));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_first_control_byte_is_found(bytes in prop::collection::vec(prop_oneof![4 => 0x20..=0xff_u8, 1 => any::<u8>()], 0..40)) {
        prop_assert_eq!(find_control(&bytes), bytes.iter().position(|&byte| byte < 0x20));
    }

    #[test]
    fn row_40_cuts_never_change_the_verdict(
        input in prop_oneof![mutated(), prop::collection::vec(byte(), 0..200)],
        cuts in prop::collection::vec(any::<sample::Index>(), 0..6),
    ) {
        let whole = read(&input, [input.len()]);
        let mut lengths: Vec<_> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        lengths.sort_unstable();
        lengths.push(input.len());
        prop_assert_eq!(read(&input, lengths), whole);
        prop_assert_eq!(read(&input, 0..=input.len()), whole);
    }

    #[test]
    fn fields_that_are_repeated_change_no_verdict(input in mutated(), cut in any::<sample::Index>()) {
        // The same head, one with a byte less, and what it may be followed by.
        let mut shorter = input.clone();
        shorter.remove(cut.index(input.len()));
        for (earlier, input) in [(&input, &input), (&input, &shorter), (&shorter, &input)] {
            let input = [&input[..], b"GET"].concat();
            if let Some(found) = after(earlier, &input) {
                prop_assert_eq!(read(&input, [input.len()]), Ok(Some(found)));
            }
        }
    }

    #[test]
    fn what_is_accepted_looks_right(input in mutated()) {
        let mut scan = HeadScan::default();
        if let Ok(Some(span)) = scan.advance(&input, &LIMITS) {
            let head = &input[span.start..span.end];
            if parse_head(head, &LIMITS).is_ok() {
                prop_assert!(looks_right(head), "{}", head.escape_ascii());
            }
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(
        input in prop_oneof![mutated(), prop::collection::vec(byte(), 0..200)],
        small in prop_oneof![Just(0_usize), 1..40_usize],
    ) {
        let limits = Limits { target_bytes_max: small, head_bytes_max: small, fields_max: small, ..LIMITS };
        for limits in [LIMITS, limits] {
            if let Ok(head) = parse_head(&input, &limits) {
                prop_assert!(head.path.len() <= limits.target_bytes_max);
            }
            let mut scan = HeadScan::default();
            for length in 0..=input.len() {
                if !matches!(scan.advance(&input[..length], &limits), Ok(None)) {
                    break;
                }
            }
        }
    }
}
