//! What a chunked body must get, row by row of the table of bad input, whole and in pieces.

use super::{Chunked, Decoded};
use crate::{config::Limits, http::request::Error};
use proptest::prelude::{ProptestConfig, any, prop, prop_assert_eq, prop_oneof};
use proptest::{proptest, sample};

const LIMITS: Limits = Limits { body_bytes_max: 1000, ..Limits::DEFAULT };

/// The data, how many bytes were consumed, and whether the body ended.
type Verdict = Result<(Vec<u8>, usize, bool), Error>;

/// Feeds `input` in pieces that end at `ends`.
fn decode(input: &[u8], ends: impl IntoIterator<Item = usize>) -> Verdict {
    let mut chunked = Chunked::default();
    let mut body = b"kept".to_vec();
    let mut consumed = 0;
    let mut done = false;
    for end in ends {
        let piece = &input[consumed..end.max(consumed)];
        let step = chunked.decode(piece, &mut body, &LIMITS)?;
        assert!(step.done || step.consumed == piece.len());
        consumed += step.consumed;
        done = step.done;
        if done {
            assert_eq!(chunked.decode(b"x", &mut body, &LIMITS), Ok(Decoded { consumed: 0, done }));
            break;
        }
    }
    assert_eq!(body[..4], *b"kept");
    Ok((body.split_off(4), consumed, done))
}

/// The verdict on `input`, which must be the same whole, byte by byte and cut once anywhere.
fn verdict(input: &[u8]) -> Verdict {
    let whole = decode(input, [input.len()]);
    assert_eq!(decode(input, 0..=input.len()), whole, "byte by byte");
    let stride = if input.len() < 2000 { 1 } else { 211 };
    for cut in (0..input.len()).step_by(stride) {
        assert_eq!(decode(input, [cut, input.len()]), whole, "cut at {cut}");
    }
    whole
}

#[track_caller]
fn accepted(input: &str, body: &str) {
    let consumed = input.len();
    let expected = Ok((body.as_bytes().to_vec(), consumed, true));
    assert_eq!(verdict(input.as_bytes()), expected, "{input:?}");
    let followed = format!("{input}GET / HTTP/1.1\r\n");
    assert_eq!(verdict(followed.as_bytes()), expected, "{followed:?}");
}

#[track_caller]
fn refused(input: &str, error: Error) {
    assert_eq!(verdict(input.as_bytes()), Err(error), "{input:?}");
}

#[test]
fn chunks_extensions_and_trailers_are_read() {
    accepted("0\r\n\r\n", "");
    accepted("5\r\nhello\r\n0\r\n\r\n", "hello");
    accepted(
        "3\r\nabc\r\n00A\r\n0123456789\r\na\r\n0123456789\r\n000\r\n\r\n",
        "abc01234567890123456789",
    );
    accepted("0000000000000001\r\n\r\r\n0\r\n\r\n", "\r");
    accepted(
        "5;a;b=c;d=\"q;\\\"\\\\\r\n\"\r\nhello\r\n0\r\n\r\n".replace("\r\n\"", "\t \"").as_str(),
        "hello",
    );
    accepted("5 ;\ta = b ; c\r\nhello\r\n0;x\r\n\r\n", "hello");
    accepted("5\r\nhello\r\n0\r\nX: a\r\nY:\r\nZ: \tb \r\n\r\n", "hello");
}

#[test]
fn a_chunk_size_is_hexadecimal_digits_alone() {
    for size in
        ["0x5", "+5", "-1", " 5", "1_0", "", "00000000000000005", "g", "\u{665}", "5h", "5,", "5\n"]
    {
        refused(&format!("{size}\r\nhello\r\n0\r\n\r\n"), Error::ChunkSize);
    }
    refused("5 \r\nhello\r\n0\r\n\r\n", Error::ChunkExtension);
    refused("5\t\r\nhello\r\n0\r\n\r\n", Error::ChunkExtension);
}

#[test]
fn chunk_data_ends_where_its_size_says() {
    for input in [
        "5\r\nhello!\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "6\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\rX",
        "5\r\nhello\n0\r\n\r\n",
    ] {
        refused(input, Error::ChunkData);
    }
    refused("5\rXhello\r\n0\r\n\r\n", Error::ChunkSize);
    refused("5\nhello\r\n0\r\n\r\n", Error::ChunkSize);
    refused("5\r\nhello\r\n\r\n", Error::ChunkSize);
    refused("0\r\n\rX", Error::Trailer);
    refused("0\r\n\n", Error::Trailer);
}

#[test]
fn bad_extensions_are_refused() {
    #[rustfmt::skip]
    let extensions = [
        ";", ";;a", ";bad[=x", ";a=", ";a=;b", ";a=b c", ";a b", ";a ", ";a=b ", ";=b", ";a=\"b",
        ";a=\"b\"c", ";a=b\"c\"", ";a\0", ";a=\"\0\"", ";a=\"\\\x01\"", ";a=\x7f", ";\n", ";a\n",
        ";a=\"\n\"", ";é", " a",
    ];
    for extension in extensions {
        refused(&format!("5{extension}\r\nhello\r\n0\r\n\r\n"), Error::ChunkExtension);
    }
    refused("5;a\rbhello\r\n0\r\n\r\n", Error::ChunkSize);
}

#[test]
fn extensions_are_bounded_over_the_message() {
    let chunk = |bytes: usize| format!("1;{}\r\nx\r\n", "a".repeat(bytes - 1));
    accepted(&format!("{}0\r\n\r\n", chunk(1024)), "x");
    accepted(&format!("{}0\r\n\r\n", chunk(512).repeat(2)), "xx");
    let error = Error::ChunkExtensionTooLong(1024);
    refused(&chunk(1025), error);
    refused(&chunk(64 << 10), error);
    refused(&format!("{}0;a\r\n\r\n", chunk(512).repeat(2)), error);
    refused(&format!("5;a=\"{}", "a".repeat(1024)), error);
    refused(&format!("5{}", " ".repeat(1025)), error);
}

#[test]
fn trailers_are_checked_and_bounded() {
    accepted("0\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\nHost: h\r\n\r\n", "");
    let line = |bytes: usize| format!("X:{}\r\n", "a".repeat(bytes - 4));
    accepted(&format!("0\r\n{}\r\n", line(4096)), "");
    accepted(&format!("0\r\n{}\r\n", line(2048).repeat(2)), "");
    refused(&format!("0\r\n{}\r\n", line(4097)), Error::TrailerTooLarge(4096));
    refused(&format!("0\r\n{}\r\n", line(64).repeat(65)), Error::TrailerTooLarge(4096));
    refused(&format!("0\r\n{}", "X".repeat(4097)), Error::TrailerTooLarge(4096));
    #[rustfmt::skip]
    let trailers = [
        "X : a", ": a", "X", "X y: a", "X: a\r\n b", " X: a", "X: a\0", "X: a\x7f", "X: a\nY: b",
        "X: a\rb", "é: a",
    ];
    for trailer in trailers {
        refused(&format!("0\r\n{trailer}\r\n\r\n"), Error::Trailer);
    }
}

#[test]
fn the_limit_is_known_from_the_chunk_size() {
    let chunk = |bytes: usize| format!("{bytes:x}\r\n{}\r\n", "a".repeat(bytes));
    accepted(&format!("{}0\r\n\r\n", chunk(1000)), &"a".repeat(1000));
    accepted(&format!("{}{}0\r\n\r\n", chunk(400), chunk(600)), &"a".repeat(1000));
    let error = Error::BodyTooLarge(1000);
    for input in ["3e9\r\n", "FFFFFFFFFFFFFFFF\r\n", "1\r\na\r\nFFFFFFFFFFFFFFFF\r\n"] {
        refused(input, error);
    }
    refused(&format!("{}1\r\n", chunk(1000)), error);
}

#[test]
fn an_incomplete_body_is_not_an_error() {
    let input = b"5;a=\"b\"\r\nhello\r\n0\r\nX: a\r\n\r\n";
    for end in 0..input.len() {
        let (_, consumed, done) = verdict(&input[..end]).unwrap();
        assert_eq!((consumed, done), (end, false));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_data_in_any_chunks_comes_back(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..60), 0..8),
        cuts in prop::collection::vec(any::<sample::Index>(), 0..6),
    ) {
        let mut input = Vec::new();
        for chunk in &chunks {
            input.extend_from_slice(format!("{:X};n=\"v\"\r\n", chunk.len()).as_bytes());
            input.extend_from_slice(chunk);
            input.extend_from_slice(b"\r\n");
        }
        input.extend_from_slice(b"0\r\nX: a\r\n\r\n");
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        ends.sort_unstable();
        ends.push(input.len());
        prop_assert_eq!(decode(&input, ends), Ok((chunks.concat(), input.len(), true)));
    }

    #[test]
    fn cuts_never_change_the_verdict_and_no_bytes_panic(
        start in sample::select(vec!["", "5", "5;a", "5;a=\"", "2\r\nab", "0\r\n", "0\r\nX:", "F"]),
        rest in prop::collection::vec(prop_oneof![sample::select(b"\r\n\t ;:=\"\\01aX".to_vec()), any::<u8>()], 0..40),
    ) {
        let input = [start.as_bytes(), &rest].concat();
        prop_assert_eq!(decode(&input, 0..=input.len()), decode(&input, [input.len()]));
    }
}
