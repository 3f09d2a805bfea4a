//! What a request head must get, whole and in pieces.

use super::{
    Error, Expect, Field, Framing, Head, HeadScan, HeadSpan, Method, RepeatedFields, Version,
    parse_head,
};
use crate::config::Limits;

mod framing;
mod invented;

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
fn http_1_1_without_host_is_refused() {
    refused("GET / HTTP/1.1\r\n\r\n", Error::HostMissing);
    refused("GET http://h/ HTTP/1.1\r\nAccept: */*\r\n\r\n", Error::HostMissing);
}

#[test]
fn two_host_lines_are_refused() {
    refused(&with_field("Host: h"), Error::HostRepeated);
    refused(&with_field("HOST: other"), Error::HostRepeated);
    refused("GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n", Error::HostRepeated);
}

#[test]
fn host_must_be_a_host() {
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
fn http_1_0_needs_no_host() {
    let head = accepted("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(head.version, Version::Http10);
    assert!(!head.keep_alive);
    refused("GET / HTTP/1.0\r\nHost: a,b\r\n\r\n", Error::Host);
}

#[test]
fn folded_lines_are_refused() {
    refused(&with_field("X: a\r\n b"), Error::FieldName);
    refused(&with_field("X: a\r\n\tb: c"), Error::FieldName);
    refused(&with_field("X:\r\n \r\nY: a"), Error::FieldName);
}

#[test]
fn field_names_are_tokens() {
    for line in
        ["X : a", "X\t: a", ": a", "X", "Bad[Name: a", "X y: a", "\"X\": a", "ü: a", "X(: a"]
    {
        refused(&with_field(line), Error::FieldName);
    }
    refused(b"GET / HTTP/1.1\r\nHost: h\r\nX\x80: a\r\n\r\n", Error::FieldName);
    accepted(&with_field("!#$%&'*+-.^_`|~09azAZ: a"));
}

#[test]
fn white_space_before_the_first_field_is_refused() {
    refused("GET / HTTP/1.1\r\n \r\nHost: h\r\n\r\n", Error::FieldName);
    refused("GET / HTTP/1.1\r\n Host: h\r\n\r\n", Error::FieldName);
    refused("GET / HTTP/1.1\r\n\tHost: h\r\n\r\n", Error::FieldName);
}

#[test]
fn a_bare_cr_is_refused() {
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
fn a_bare_lf_is_refused() {
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
fn control_characters_are_refused() {
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
fn a_target_has_only_its_bytes() {
    for target in ["/ü", "/a\\b", "/a#frag", "/?a#b", "/?\\", "\\", "#", "?a", "a", "", "/?ü"] {
        refused(&with_target(target), Error::Target);
    }
    refused(&with_target("/a b"), Error::Version);
    refused(b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n", Error::Target);
    assert_eq!(accepted(&with_target("/kv/{a}|\"<b>^`[c]")).path, b"/kv/{a}|\"<b>^`[c]");
    assert_eq!(accepted(&with_target("//..//%2F%00")).path, b"//..//%2F%00");
}

#[test]
fn some_empty_lines_before_the_request_line_are_ignored() {
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
fn targets_are_bounded() {
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
fn fields_are_bounded_in_number_and_size() {
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
fn limits_are_known_before_the_head_ends() {
    let endless = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(16384 - 19));
    assert_eq!(verdict(&endless.as_bytes()[..16383]), Ok(None));
    refused(&endless, Error::HeadTooLarge(16384));
    refused(&format!("GET / HTTP/1.1\r\n{}", "X: a\r\n".repeat(65)), Error::TooManyFields(64));
}

#[test]
fn methods_are_known_or_told_apart() {
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
fn options_may_ask_of_the_whole_server() {
    let input = with_line("OPTIONS * HTTP/1.1");
    assert_eq!(accepted(&input).path, b"*");
    refused(&with_line("OPTIONS *?a HTTP/1.1"), Error::Target);
    refused(&with_line("OPTIONS ** HTTP/1.1"), Error::Target);
}

#[test]
fn connect_and_star_are_refused() {
    let input = with_line("CONNECT h:443 HTTP/1.1");
    let head = accepted(&input);
    assert_eq!((head.method, head.path, head.query), (Method::Connect, &b""[..], None));
    refused(&with_line("GET * HTTP/1.1"), Error::Target);
    refused(&with_line("GET h:443 HTTP/1.1"), Error::Target);
    refused(&with_line("BREW * HTTP/1.1"), Error::Target);
}

#[test]
fn the_absolute_form_is_read_as_the_origin_form() {
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
fn versions_of_http_1_are_read_and_no_others() {
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
fn http_0_9_is_answered_at_the_end_of_its_line() {
    for input in ["GET /\r\n", "GET / \r\n", "GET\r\n", "GET \r\n", "hello\r\n", "{}\r\n"] {
        assert!(verdict(input.as_bytes()).is_err(), "{input:?}");
    }
    refused("GET /\r\n", Error::RequestLine);
    refused("GET\r\n", Error::RequestLine);
}

#[test]
fn expect_continue_is_known() {
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
fn other_expectations_are_known() {
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
fn upgrade_is_ignored() {
    let input = with_field("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c, websocket");
    assert!(accepted(&input).keep_alive);
}

#[test]
fn connection_options_decide_what_follows() {
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
