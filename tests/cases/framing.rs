//! Where a body ends, and what comes of it where that is in doubt.

use crate::{
    input::{get, put, put_with},
    tell::{declined, refused, statuses, tell},
};
use kvcache::config::Limits;

#[test]
fn bodies_are_framed_for_every_method() {
    let smuggled = get("a");
    let input = format!(
        "GET /get?key=a HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{smuggled}",
        smuggled.len()
    );
    declined(input, 404, "not_found");
    let input = "GET /get?key=a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nGET\r\n0\r\n\r\n";
    declined(input, 404, "not_found");
}

#[test]
fn content_length_beside_transfer_encoding_is_refused() {
    let body = "0\r\n\r\n";
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 0\r\nTransfer-Encoding: identity",
    ] {
        let input = format!("POST /put HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n{body}");
        refused(input, 400, "length_and_transfer_encoding");
    }
}

#[test]
fn different_content_lengths_are_refused() {
    refused(put_with("Content-Length: 5"), 400, "repeated_content_length");
}

#[test]
fn equal_content_lengths_are_refused() {
    refused(put_with("Content-Length: 23"), 400, "repeated_content_length");
    let input = "POST /put HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 5\r\n\r\nhello";
    refused(input, 400, "bad_content_length");
}

#[test]
fn content_length_is_digits() {
    for length in [
        "+5",
        "-1",
        "-0",
        "0x5",
        "0o5",
        "1_0",
        "1 0",
        "",
        "5.0",
        "18446744073709551616",
        "99999999999999999999",
        "٥",
    ] {
        let input =
            format!("POST /put HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\nhello");
        refused(input, 400, "bad_content_length");
    }
}

#[test]
fn a_content_length_above_the_limit_is_refused_unread() {
    for length in [Limits::DEFAULT.body_bytes_max as u64 + 1, u64::MAX] {
        let head = format!("POST /put HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
        refused(&head, 413, "body_too_large");
        refused(head + &get("a"), 413, "body_too_large");
    }
}

#[test]
fn without_a_length_the_body_is_empty() {
    declined("POST /put HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_json");
    declined("POST /put HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", 400, "bad_json");
}

#[test]
fn another_coding_before_chunked_is_not_supported() {
    for codings in ["gzip, chunked", "deflate,gzip,chunked", "x;q=1, Chunked"] {
        let field = format!("Transfer-Encoding: {codings}");
        let input = format!("POST /put HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n0\r\n\r\n");
        refused(input, 501, "transfer_coding_not_supported");
    }
}

#[test]
fn a_transfer_encoding_without_a_reliable_end_is_refused() {
    for (lines, code) in [
        ("Transfer-Encoding: chunked, gzip", "bad_transfer_encoding"),
        ("Transfer-Encoding: xchunked", "bad_transfer_encoding"),
        ("Transfer-Encoding: chunked, chunked", "bad_transfer_encoding"),
        ("Transfer-Encoding:", "bad_transfer_encoding"),
        ("Transfer-Encoding: , chunked", "bad_transfer_encoding"),
        ("Transfer-Encoding: chunked,", "bad_transfer_encoding"),
        ("Transfer-Encoding: identity", "bad_transfer_encoding"),
        ("Transfer-Encoding: \"chunked\"", "bad_transfer_encoding"),
        ("Transfer-Encoding: \u{b}chunked", "control_character"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "bad_transfer_encoding"),
        ("Transfer-Encoding: gzip\r\ntransfer-encoding: chunked", "bad_transfer_encoding"),
        ("Transfer-Encoding:\r\n chunked", "bad_field_name"),
    ] {
        let input = format!("POST /put HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n0\r\n\r\n");
        refused(input, 400, code);
    }
}

#[test]
fn http_1_0_has_no_transfer_encoding() {
    let input = "POST /put HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    refused(input, 400, "transfer_encoding_in_http_1_0");
}

#[test]
fn nothing_is_taken_after_a_broken_request() {
    let input = [put("a", "b"), "GET / HTTP/1.1\r\n\r\n".to_owned(), put("b", "c")].concat();
    let told = tell(input);
    assert!(!told.is_open);
    statuses(&told.answers(), &[200, 400]);
    assert_eq!(told.entries, 1);
}

#[test]
fn nothing_is_taken_after_a_request_to_close() {
    let last = "GET /get?key=a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    for rest in [put("b", "c"), "garbage\n".to_owned()] {
        let told = tell([put("a", "b"), last.to_owned(), rest].concat());
        assert!(!told.is_open);
        statuses(&told.answers(), &[200, 200]);
        assert_eq!(told.entries, 1);
    }
}

#[test]
fn the_body_of_a_refused_request_is_never_a_request() {
    let smuggled = put("evil", "1");
    let length = smuggled.len();
    for (line, status, code) in [
        ("POST /nowhere HTTP/1.1", 404, "no_such_route"),
        ("DELETE /put HTTP/1.1", 405, "method_not_allowed"),
        ("FOO /put HTTP/1.1", 501, "not_implemented"),
        ("POST /put HTTP/1.1\r\nContent-Type: text/plain", 415, "unsupported_media_type"),
        ("POST /put HTTP/1.1", 400, "bad_json"),
    ] {
        let sized = format!("{line}\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{smuggled}");
        declined(sized, status, code);
        let coding = "Transfer-Encoding: chunked";
        let chunks = format!("{length:x}\r\n{smuggled}\r\n0\r\n\r\n");
        declined(format!("{line}\r\nHost: h\r\n{coding}\r\n\r\n{chunks}"), status, code);
    }
}
