//! One request head: the same verdict whole, cut once and byte by byte.

#![no_main]

mod common;

use kvcache::config::Limits;
use kvcache::http::Error;
use kvcache::http::request::{Framing, Head, HeadScan, HeadSpan, parse_head};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits::DEFAULT;

/// Shows the scan one prefix after another; the head and where it ends.
fn read(
    input: &[u8],
    lengths: impl IntoIterator<Item = usize>,
) -> Result<Option<(Head<'_>, usize)>, Error> {
    let mut scan = HeadScan::default();
    for length in lengths {
        if let Some(HeadSpan { start, end }) = scan.advance(&input[..length], &LIMITS)? {
            return Ok(Some((parse_head(&input[start..end], &LIMITS)?, end)));
        }
    }
    Ok(None)
}

fuzz_target!(|input: &[u8]| {
    let Some((input, cut)) = common::cut(input) else { return };
    let whole = read(input, [input.len()]);
    assert_eq!(read(input, [cut, input.len()]), whole, "cut at {cut}");
    assert_eq!(read(input, 0..=input.len()), whole, "byte by byte");
    let Ok(Some((head, end))) = whole else { return };
    assert!(input[..end].ends_with(b"\r\n\r\n") && end <= LIMITS.head_bytes_max + 16);
    let lines: Vec<&[u8]> = input[..end].split(|&byte| byte == b'\n').collect();
    assert!(lines[..lines.len() - 1].iter().all(|line| line.ends_with(b"\r")), "a bare line feed");
    // What decides where the body ends stands in the head once.
    let named = |name: &[u8]| {
        let name =
            |line: &&&[u8]| line.get(..name.len()).is_some_and(|n| n.eq_ignore_ascii_case(name));
        lines.iter().filter(name).count()
    };
    let (lengths, codings) = (named(b"content-length:"), named(b"transfer-encoding:"));
    match head.framing {
        Framing::Length(0) => assert!(lengths <= 1 && codings == 0),
        Framing::Length(_) => assert_eq!((lengths, codings), (1, 0)),
        Framing::Chunked => assert_eq!((lengths, codings), (0, 1)),
    }
});
