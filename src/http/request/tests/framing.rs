//! Where a head says that its body ends, and what it must not say.

use super::{Error, Framing, accepted, refused, with_field, with_line};

#[test]
fn content_length_beside_transfer_encoding_is_refused() {
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: gzip, chunked\r\nContent-Length: 99999",
    ] {
        refused(&with_field(lines), Error::LengthAndTransferEncoding);
    }
}

#[test]
fn two_different_content_lengths_are_refused() {
    let lines = "Content-Length: 5\r\nContent-Length: 6";
    refused(&with_field(lines), Error::ContentLengthRepeated);
}

#[test]
fn two_equal_content_lengths_are_refused() {
    let lines = "Content-Length: 5\r\nContent-Length: 5";
    refused(&with_field(lines), Error::ContentLengthRepeated);
    refused(&with_field("Content-Length: 5, 5"), Error::ContentLength);
}

#[test]
fn content_length_must_be_digits() {
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
fn a_content_length_above_the_limit_is_refused() {
    for value in ["1001", "18446744073709551615"] {
        refused(&with_field(&format!("Content-Length: {value}")), Error::BodyTooLarge(1000));
    }
}

#[test]
fn no_length_means_no_body() {
    for method in ["PUT", "POST", "GET", "DELETE"] {
        let input = with_line(&format!("{method} /kv/a HTTP/1.1"));
        let head = accepted(&input);
        assert_eq!(head.framing, Framing::Length(0));
        assert!(head.keep_alive);
    }
}

#[test]
fn chunked_is_known_in_any_case() {
    for value in ["chunked", "CHUNKED", " \t Chunked \t"] {
        let input = with_field(&format!("Transfer-Encoding:{value}"));
        assert_eq!(accepted(&input).framing, Framing::Chunked);
    }
}

#[test]
fn another_coding_before_chunked_is_not_supported() {
    for value in ["gzip, chunked", "gzip,deflate , Chunked", "identity, chunked", "x;q=1, chunked"]
    {
        let input = with_field(&format!("Transfer-Encoding: {value}"));
        refused(&input, Error::TransferCodingNotSupported);
    }
}

#[test]
fn a_transfer_encoding_without_a_reliable_end_is_refused() {
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
fn http_1_0_has_no_transfer_encoding() {
    for value in ["chunked", "gzip, chunked"] {
        let input = format!("POST / HTTP/1.0\r\nTransfer-Encoding: {value}\r\n\r\n");
        refused(&input, Error::TransferEncodingInHttp10);
    }
}
