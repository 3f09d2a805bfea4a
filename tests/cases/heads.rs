//! Request lines and fields: what has a form, and what closes the connection.

use crate::{
    input::{get, put_with},
    tell::{ABSENT, STORED, closed, declined, kept, refused, statuses, tell},
};

#[test]
fn a_request_without_host_is_refused() {
    refused("GET /get?key=a HTTP/1.1\r\n\r\n", 400, "missing_host");
    refused("GET http://h/get?key=a HTTP/1.1\r\nAccept: */*\r\n\r\n", 400, "missing_host");
}

#[test]
fn a_second_host_line_is_refused() {
    refused(put_with("Host: h"), 400, "repeated_host");
    refused(put_with("HOST: other"), 400, "repeated_host");
}

#[test]
fn a_host_has_the_form_of_one() {
    for host in ["", " ", "user@h", "h/path", "a,b", "h:x", "[::1", "h?", "h#", "ü", "a b"] {
        refused(format!("GET /get?key=a HTTP/1.1\r\nHost: {host}\r\n\r\n"), 400, "bad_host");
    }
}

#[test]
fn http_1_0_needs_no_host() {
    let answers = closed("GET /get?key=a HTTP/1.0\r\n\r\n");
    assert_eq!(answers[0].body, ABSENT);
}

#[test]
fn folded_lines_are_refused() {
    for field in ["X: a\r\n b", "X: a\r\n\tb", "X:\r\n \r\nY: b"] {
        refused(put_with(field), 400, "bad_field_name");
    }
}

#[test]
fn field_names_are_tokens() {
    for field in ["Content-Length : 5", ": x", "no colon", "Bad[Name: x", "\u{e4}: x", "a b: c"] {
        refused(put_with(field), 400, "bad_field_name");
    }
    let input = [b"GET / HTTP/1.1\r\nHost: h\r\nX\x80: y\r\n\r\n".as_slice(), b"x"].concat();
    refused(input, 400, "bad_field_name");
}

#[test]
fn white_space_before_the_first_field_is_refused() {
    for line in [" ", "\t", " Host: x", "\tX: y"] {
        let input = format!("GET /get?key=a HTTP/1.1\r\n{line}\r\nHost: h\r\n\r\n");
        refused(input, 400, "bad_field_name");
    }
}

#[test]
fn a_bare_cr_is_refused() {
    for input in [
        "GET /get?key=a HTTP/1.1\rHost: h\r\n\r\n",
        "GET /get?key=a HTTP/1.1\r\nHost: h\rX: y\r\n\r\n",
        "GET /get?key=a HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n",
        "GET /get?key=a HTTP/1.1\r\nHost: h\r\n\rX\r\n",
        "\rGET /get?key=a HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /get?key=a\r HTTP/1.1\r\nHost: h\r\n\r\n",
    ] {
        let told = tell(input);
        assert!(!told.is_open);
        statuses(&told.answers(), &[400]);
    }
}

#[test]
fn a_bare_lf_is_refused() {
    for input in [
        "GET /get?key=a HTTP/1.1\nHost: h\r\n\r\n",
        "GET /get?key=a HTTP/1.1\r\nHost: h\n\r\n",
        "GET /get?key=a HTTP/1.1\r\nHost: h\r\n\n",
        "GET /get?key=a HTTP/1.1\n\n",
        "\nGET /get?key=a HTTP/1.1\r\nHost: h\r\n\r\n",
    ] {
        let told = tell(input);
        assert!(!told.is_open);
        statuses(&told.answers(), &[400]);
    }
}

#[test]
fn control_characters_are_refused() {
    for control in ["\0", "\u{1}", "\u{8}", "\u{b}", "\u{1f}", "\u{7f}"] {
        let code = if control == "\u{7f}" { "bad_field_value" } else { "control_character" };
        refused(put_with(&format!("X: a{control}b")), 400, code);
        let told = tell(get(&format!("a{control}")));
        assert!(!told.is_open);
        statuses(&told.answers(), &[400]);
    }
    assert_eq!(kept(put_with("X: a\tb"))[0].body, STORED);
}

#[test]
fn a_target_has_only_its_bytes() {
    for key in ["ü", "a b", "a\\b", "a#b", "a\u{7f}"] {
        let told = tell(get(key));
        assert!(!told.is_open, "{key}");
        statuses(&told.answers(), &[400]);
    }
    refused(b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_target");
}

#[test]
fn some_empty_lines_before_the_request_line_are_ignored() {
    for lines in [1, 2, 8] {
        let input = "\r\n".repeat(lines) + &get("a");
        declined(input, 404, "not_found");
    }
    refused("\r\n".repeat(9) + &get("a"), 400, "too_many_empty_lines");
}

#[test]
fn a_target_of_eight_kib_is_taken_and_no_longer_one() {
    let target = |path: &str, bytes: usize| {
        let padding = "x".repeat(bytes - path.len());
        format!("GET {path}{padding} HTTP/1.1\r\nHost: h\r\n\r\n")
    };
    declined(target("/", 7_900), 404, "no_such_route");
    declined(target("/get?key=a&x=", 7_900), 404, "not_found");
    declined(target("/get?key=a&x=", 8_192), 404, "not_found");
    refused(target("/get?key=a&x=", 8_193), 414, "target_too_long");
    refused(target("/", 100_000), 414, "target_too_long");
}

#[test]
fn fields_are_bounded_in_number_and_size() {
    let fields = |count: usize| put_with(&vec!["X: y"; count - 2].join("\r\n"));
    assert_eq!(kept(fields(64))[0].body, STORED);
    refused(fields(65), 431, "too_many_fields");
    refused(fields(10_000), 431, "too_many_fields");
    refused(put_with(&format!("X: {}", "y".repeat(16 << 10))), 431, "head_too_large");
    refused(put_with(&format!("X: {}", "y".repeat(100_000))), 431, "head_too_large");
    refused(put_with(&format!("{}: y", "X".repeat(100_000))), 431, "head_too_large");
}

#[test]
fn versions_of_http_1_are_served_and_no_others() {
    let line = |version: &str| format!("GET /get?key=a {version}\r\nHost: h\r\n\r\n");
    declined(line("HTTP/1.2"), 404, "not_found");
    declined(line("HTTP/1.9"), 404, "not_found");
    for version in ["HTTP/2.0", "HTTP/9.9", "HTTP/0.9"] {
        refused(line(version), 505, "version_not_supported");
    }
    refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "version_not_supported");
    for version in ["http/1.1", "HTTP/01.1", "HTTP/1", "HTTP/1.10", "HTTP/1.1 ", "HTTP 1.1", "x"] {
        refused(line(version), 400, "bad_version");
    }
    refused("GET /get?key=a\r\n\r\n", 400, "bad_request_line");
}

#[test]
fn upgrade_is_ignored() {
    for upgrade in ["websocket", "h2c\r\nHTTP2-Settings: AAMAAABk"] {
        let field = format!("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}");
        assert_eq!(kept(put_with(&field))[0].body, STORED);
    }
}
