//! Chunked bodies: the same verdict however they are cut, and what is encoded reads back.

#![no_main]

mod common;

use kvcache::config::Limits;
use kvcache::http::Error;
use kvcache::http::body::Chunked;
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { body_bytes_max: 4096, ..Limits::DEFAULT };

/// The body, how many bytes of the pieces it took and whether it ended.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<(Vec<u8>, usize, bool), Error> {
    let (mut decoder, mut body, mut consumed) = (Chunked::default(), Vec::new(), 0);
    for piece in pieces {
        let decoded = decoder.decode(piece, &mut body, &LIMITS)?;
        consumed += decoded.consumed;
        assert!(decoded.done || decoded.consumed == piece.len());
        assert!(body.len() <= LIMITS.body_bytes_max);
        if decoded.done {
            return Ok((body, consumed, true));
        }
    }
    Ok((body, consumed, false))
}

fn encode(body: &[u8], chunk_bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in body.chunks(chunk_bytes) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

fuzz_target!(|input: &[u8]| {
    let Some((input, cut)) = common::cut(input) else { return };
    let whole = decode([input]);
    let (first, second) = input.split_at(cut);
    assert_eq!(decode([first, second]), whole, "cut at {cut}");
    assert_eq!(decode(input.chunks(1)), whole, "byte by byte");
    for body in [input, whole.as_ref().map_or(&[][..], |(body, ..)| body)] {
        if body.len() <= LIMITS.body_bytes_max {
            let encoded = encode(body, cut % 100 + 1);
            let length = encoded.len();
            assert_eq!(decode([encoded.as_slice(), b"next"]), Ok((body.to_vec(), length, true)));
        }
    }
});
