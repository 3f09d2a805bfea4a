//! The one content coding of responses: whether a client takes it, and making it.

use super::request::{Field, Lines};
use crate::config::{GZIP_BYTES_MAX, GZIP_BYTES_MIN};
use flate2::{Compression, write::GzEncoder};
use std::io::Write;

/// Whether `Accept-Encoding` prefers gzip to the plain form, or likes it as well (RFC 9110,
/// 12.5.3).
#[inline]
#[must_use]
pub fn is_accepted(lines: Lines<'_>) -> bool {
    lines.has(Field::AcceptEncoding) && is_preferred(lines)
}

fn is_preferred(lines: Lines<'_>) -> bool {
    let (mut gzip, mut plain, mut others) = (None, None, None);
    for member in lines.members(Field::AcceptEncoding) {
        let (coding, weight) = match member.iter().position(|&byte| byte == b';') {
            Some(at) => (member[..at].trim_ascii_end(), weight(&member[at + 1..])),
            None => (member, Some(WEIGHT_MAX)),
        };
        let place =
            if coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"x-gzip") {
                &mut gzip
            } else if coding.eq_ignore_ascii_case(b"identity") {
                &mut plain
            } else if coding == b"*" {
                &mut others
            } else {
                continue;
            };
        *place = place.or(weight);
    }
    let gzip = gzip.or(others).unwrap_or(0);
    gzip > 0 && gzip >= plain.or(others).unwrap_or(0)
}

/// Weights are thousandths.
const WEIGHT_MAX: u16 = 1000;

/// Reads `q=0.5`. `None`: it is no weight, and what it stands with is ignored.
fn weight(parameter: &[u8]) -> Option<u16> {
    let [b'q' | b'Q', b'=', whole @ (b'0' | b'1'), fraction @ ..] = parameter.trim_ascii() else {
        return None;
    };
    let digits = match fraction {
        [] => &[],
        [b'.', digits @ ..] if digits.len() <= 3 => digits,
        _ => return None,
    };
    let mut weight = u16::from(whole - b'0');
    for place in 0..3 {
        let digit = digits.get(place).copied().unwrap_or(b'0');
        weight = weight * 10 + u16::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    (weight <= WEIGHT_MAX).then_some(weight)
}

/// Whether a body of this length is compressed where it may be.
#[inline]
#[must_use]
pub fn is_fit(length: usize) -> bool {
    (GZIP_BYTES_MIN..=GZIP_BYTES_MAX).contains(&length)
}

/// Whether content of this type is likely to become shorter.
#[must_use]
pub fn is_worth_trying(content_type: &[u8]) -> bool {
    const PACKED: [&[u8]; 11] = [
        b"application/gzip",
        b"application/x-gzip",
        b"application/zip",
        b"application/zstd",
        b"application/x-7z-compressed",
        b"application/x-bzip2",
        b"application/x-xz",
        b"application/vnd.rar",
        b"application/pdf",
        b"font/woff",
        b"font/woff2",
    ];
    let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    let is_in = |family: &[u8]| {
        essence.get(..family.len()).is_some_and(|start| start.eq_ignore_ascii_case(family))
    };
    if is_in(b"image/") {
        return essence.eq_ignore_ascii_case(b"image/svg+xml");
    }
    !is_in(b"video/")
        && !is_in(b"audio/")
        && !PACKED.iter().any(|packed| essence.eq_ignore_ascii_case(packed))
}

/// The compressed form, where it is shorter.
#[must_use]
pub fn compress(plain: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len()), Compression::fast());
    encoder.write_all(plain).expect("a vector takes all");
    let coded = encoder.finish().expect("a vector takes all");
    (coded.len() < plain.len()).then_some(coded)
}

#[cfg(test)]
mod tests {
    use super::{compress, is_accepted, is_worth_trying, weight};
    use crate::{config::Limits, http::request::parse_head};
    use flate2::read::GzDecoder;
    use proptest::prelude::*;
    use std::{fmt::Write as _, io::Read};

    fn accepted(lines: &[&str]) -> bool {
        let mut head = "GET / HTTP/1.1\r\nHost: h\r\n".to_owned();
        for line in lines {
            write!(head, "Accept-Encoding: {line}\r\n").unwrap();
        }
        head += "\r\n";
        is_accepted(parse_head(head.as_bytes(), &Limits::DEFAULT).unwrap().lines)
    }

    #[test]
    fn gzip_is_taken_where_it_is_liked_as_well_as_the_plain_form() {
        for line in [
            "gzip",
            "GZip, deflate",
            "x-gzip",
            "br;q=1.0, gzip;q=0.001",
            "*",
            "*;q=0.1",
            "deflate, *",
            "gzip ; q=0.5",
            "gzip;Q=1.000",
            "identity;q=0, gzip;q=0.1",
            "identity;q=0.5, gzip",
            "gzip, identity",
            "*;q=0, gzip",
        ] {
            assert!(accepted(&[line]), "{line}");
        }
        for line in [
            "",
            ",",
            "deflate, br",
            "gzip;q=0",
            "gzip;q=0.000, *",
            "*;q=0",
            "identity",
            "identity;q=0",
            "gzip;q=0.5, identity",
            "gzip;q=0.5, *;q=0.8",
            "gzip;q=2",
            "gzip;q=1.001",
            "gzip;q=0.1234",
            "gzip;q=.5",
            "gzip;q=-1",
            "gzip;level=1",
            "gzip;q",
            "agzip",
            "gzip deflate",
        ] {
            assert!(!accepted(&[line]), "{line}");
        }
        assert!(!accepted(&[]));
        assert!(accepted(&["br", "gzip"]));
        assert!(!accepted(&["*", "gzip;q=0"]));
    }

    #[test]
    fn weights_are_thousandths() {
        for (text, expected) in [
            ("q=0", Some(0)),
            ("q=1", Some(1000)),
            ("q=1.", Some(1000)),
            ("q=0.5", Some(500)),
            (" q=0.05 ", Some(50)),
            ("q=0.999", Some(999)),
            ("q=1.001", None),
            ("q=00", None),
            ("q=0.5a", None),
            ("q=0.5;a=b", None),
            ("", None),
        ] {
            assert_eq!(weight(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_packed_already_is_left_alone() {
        for plain in ["", "text/plain", "application/json", "Image/SVG+xml; a=b", "imagine/x"] {
            assert!(is_worth_trying(plain.as_bytes()), "{plain}");
        }
        for packed in ["image/png", "VIDEO/mp4", "audio/ogg", "application/Zip ; a=b", "font/woff2"]
        {
            assert!(!is_worth_trying(packed.as_bytes()), "{packed}");
        }
    }

    proptest! {
        #[test]
        fn the_compressed_form_is_shorter_and_reads_back(
            plain in prop_oneof![any::<Vec<u8>>(), "[ab]{0,3000}".prop_map(String::into_bytes)],
        ) {
            if let Some(coded) = compress(&plain) {
                prop_assert!(coded.len() < plain.len());
                let mut read = Vec::new();
                GzDecoder::new(&*coded).read_to_end(&mut read).unwrap();
                prop_assert_eq!(read, plain);
            } else {
                // The frame alone has 18 bytes.
                prop_assert!(plain.len() < 64 || plain.iter().any(|byte| !b"ab".contains(byte)));
            }
        }
    }
}
