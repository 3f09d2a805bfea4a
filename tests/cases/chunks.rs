//! Bodies in chunks: sizes, extensions, data and trailers.

use crate::{
    input::{chunked, get},
    tell::{STORED, declined, is_problem, kept, refused, tell_to, value_of},
};
use kvcache::shard::Role;

#[test]
fn chunks_extensions_and_trailers_are_decoded() {
    for coding in ["chunked", "Chunked", "CHUNKED", "\t chunked \t"] {
        let head = format!("POST /put HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: {coding}\r\n\r\n");
        for body in [
            "17\r\n{\"key\":\"a\",\"value\":\"b\"}\r\n0\r\n\r\n",
            "0000000000000017\r\n{\"key\":\"a\",\"value\":\"b\"}\r\n000\r\n\r\n",
            "A\r\n{\"key\":\"a\"\r\n00D\r\n,\"value\":\"b\"}\r\n0\r\n\r\n",
            "a;x;y=z;q=\"a;\\\"b\"\r\n{\"key\":\"a\"\r\nd ; n = v\r\n,\"value\":\"b\"}\r\n0;last\r\n\r\n",
            "17\r\n{\"key\":\"a\",\"value\":\"b\"}\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n",
        ] {
            let answers = kept(format!("{head}{body}{}", get("a")));
            assert_eq!(answers[0].body, STORED);
            assert_eq!(value_of(&answers[1]), "b");
        }
    }
}

#[test]
fn a_chunk_size_is_hexadecimal_digits() {
    for size in ["0x5", "+5", "-1", " 5", "1_0", "", "5.", "g", "00000000000000005"] {
        refused(chunked(&format!("{size}\r\nhello\r\n0\r\n\r\n")), 400, "bad_chunk_size");
    }
    // White space after the size may only lead to an extension.
    refused(chunked("5 \r\nhello\r\n0\r\n\r\n"), 400, "bad_chunk_extension");
    refused(chunked("ffffffffffffffff\r\n"), 413, "body_too_large");
}

#[test]
fn chunk_data_ends_where_its_size_says() {
    for body in
        ["5\r\nhello!\r\n", "5\r\nhell\r\n0\r\n\r\n", "5\r\nhello0\r\n\r\n", "5\r\nhello\n0\r\n"]
    {
        refused(chunked(body), 400, "bad_chunk_data");
    }
    refused(chunked("5\r\nhello\rX0\r\n\r\n"), 400, "bad_chunk_data");
    for body in ["5\nhello\r\n0\r\n\r\n", "5\rXhello\r\n0\r\n\r\n"] {
        refused(chunked(body), 400, "bad_chunk_size");
    }
    for body in ["0\r\n\n", "0\r\n\rX"] {
        refused(chunked(body), 400, "bad_trailer");
    }
}

#[test]
fn chunk_extensions_have_a_form_and_a_limit() {
    for extension in [";", ";bad[=x", ";a=", ";a=\"b", ";a\u{1}", ";a=\"\u{7f}\"", "; ;"] {
        refused(
            chunked(&format!("5{extension}\r\nhello\r\n0\r\n\r\n")),
            400,
            "bad_chunk_extension",
        );
    }
    refused(chunked("5;a\rb\r\nhello\r\n0\r\n\r\n"), 400, "bad_chunk_size");
    let long = |bytes| format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(bytes));
    declined(chunked(&long(1023)), 400, "bad_json");
    refused(chunked(&long(1024)), 400, "chunk_extension_too_long");
    refused(chunked(&long(64 << 10)), 400, "chunk_extension_too_long");
    let many = "1;aa\r\nx\r\n".repeat(342) + "0\r\n\r\n";
    refused(chunked(&many), 400, "chunk_extension_too_long");
}

#[test]
fn trailers_are_checked_and_never_merged() {
    let body = "17\r\n{\"key\":\"a\",\"value\":\"b\"}\r\n0\r\n";
    let trailers = "Content-Length: 9\r\nTransfer-Encoding: gzip\r\nHost: x\r\nHost: y\r\n\
        Authorization: Bearer t\r\nConnection: close\r\nExpect: x\r\nContent-Type: text/plain\r\n\r\n";
    let answers = kept(chunked(&format!("{body}{trailers}")) + &get("a"));
    assert_eq!(answers[0].body, STORED);
    assert_eq!(value_of(&answers[1]), "b");
    refused(chunked(&format!("{body}X: {}\r\n\r\n", "a".repeat(4096))), 431, "trailer_too_large");
    refused(chunked(&format!("{body}{}\r\n", "X: y\r\n".repeat(700))), 431, "trailer_too_large");
    for trailer in ["X y: z", " folded: x", ": x", "X: \u{1}"] {
        refused(chunked(&format!("{body}{trailer}\r\n\r\n")), 400, "bad_trailer");
    }
}

#[test]
fn a_chunked_body_above_the_limit_is_refused_at_that_byte() {
    let told = |body: &str| {
        tell_to(Role::Data, chunked(body).as_bytes(), |limits| limits.body_bytes_max = 1_000)
    };
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    for body in [format!("{chunk}{chunk}1\r\nx\r\n0\r\n\r\n"), "3e9\r\n".to_owned()] {
        let told = told(&body);
        assert!(!told.is_open);
        is_problem(&told.answers(), 413, "body_too_large", body.as_bytes());
    }
    let told = told(&format!("{chunk}{chunk}0\r\n\r\n"));
    is_problem(&told.answers(), 400, "bad_json", chunk.as_bytes());
}
