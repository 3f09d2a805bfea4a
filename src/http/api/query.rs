//! What a target names: the key and the parameters, percent-decoded once.

use crate::{
    http::refusal::Refusal,
    text::{below, check_utf8, equal, run},
};
use std::borrow::Cow;

/// What a `+` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plus {
    Plus,
    Space,
}

/// A key in a path: any bytes, and a `+` is a plus.
pub(super) fn path_key(segment: &[u8]) -> Result<Cow<'_, [u8]>, Refusal> {
    decode(segment, Plus::Plus)
}

pub(super) fn missing_key() -> Refusal {
    Refusal::new(400, "missing_key", "The query must name the key: /get?key=...")
}

/// Whether a key that a query names is text.
#[inline]
pub(super) fn check_text(key: &[u8]) -> Result<(), Refusal> {
    check_utf8(key).map_err(|valid_bytes| {
        let message = format!("The key is not UTF-8 from byte {valid_bytes} on.");
        Refusal::new(400, "bad_utf8", message)
    })
}

/// The key of a query that names nothing else, with every byte as it is: what nearly all are. It is
/// text, as a target is ASCII.
#[inline]
pub(super) fn plain_key(query: Option<&[u8]>) -> Option<&[u8]> {
    let key = query?.strip_prefix(b"key=")?;
    let special = |word| below(word, 1) | equal(word, b'&') | equal(word, b'%') | equal(word, b'+');
    (run(key, special) == key.len()).then_some(key)
}

/// The values of the parameters of these names, each of which may stand once: `+` is a space, `%XX`
/// a byte. Others are skipped.
pub(in crate::http) fn parameters<'a, const N: usize>(
    query: Option<&'a [u8]>,
    names: [&'static str; N],
) -> Result<[Option<Cow<'a, [u8]>>; N], Refusal> {
    let mut values = [const { None }; N];
    for pair in query.into_iter().flat_map(|query| query.split(|&byte| byte == b'&')) {
        let (name, value) = match pair.iter().position(|&byte| byte == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[][..]),
        };
        let (name, value) = (decode(name, Plus::Space)?, decode(value, Plus::Space)?);
        let Some(at) = names.iter().position(|known| *name == *known.as_bytes()) else { continue };
        if values[at].replace(value).is_some() {
            let code = if names[at] == "key" { "duplicate_key" } else { "duplicate_parameter" };
            let message = format!("The query has more than one `{}=`.", names[at]);
            return Err(Refusal::new(400, code, message));
        }
    }
    Ok(values)
}

fn decode(text: &[u8], plus: Plus) -> Result<Cow<'_, [u8]>, Refusal> {
    let stands_for = if plus == Plus::Space { b' ' } else { b'+' };
    let is_plain = |byte: &u8| *byte != b'%' && (*byte != b'+' || plus == Plus::Plus);
    let Some(first) = text.iter().position(|byte| !is_plain(byte)) else {
        return Ok(Cow::Borrowed(text));
    };
    let mut decoded = Vec::with_capacity(text.len());
    decoded.extend_from_slice(&text[..first]);
    let mut at = first;
    while let Some(&byte) = text.get(at) {
        at += 1;
        decoded.push(match byte {
            b'+' => stands_for,
            b'%' => {
                let digits = text.get(at..at + 2).and_then(|pair| {
                    let (high, low) = (hex(pair[0])?, hex(pair[1])?);
                    Some(high << 4 | low)
                });
                at += 2;
                digits.ok_or_else(|| {
                    let end = text.len().min(at);
                    let shown = String::from_utf8_lossy(&text[at - 3..end]);
                    let message = format!("`{shown}` in the target is not % and two hex digits.");
                    Refusal::new(400, "bad_percent_encoding", message)
                })?
            }
            byte => byte,
        });
    }
    Ok(Cow::Owned(decoded))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::{check_text, missing_key, parameters, path_key, plain_key};
    use crate::http::refusal::Refusal;
    use proptest::prelude::*;

    fn key(query: &[u8]) -> Result<Cow<'_, [u8]>, Refusal> {
        let [key] = parameters(Some(query), ["key"])?;
        let key = key.ok_or_else(missing_key)?;
        check_text(&key)?;
        if let Some(plain) = plain_key(Some(query)) {
            assert_eq!(*plain, *key, "read in either way");
        }
        Ok(key)
    }

    fn code(query: &str) -> &'static str {
        key(query.as_bytes()).unwrap_err().code
    }

    #[test]
    fn decodes_once() {
        for (query, expected) in [
            ("key=a", "a"),
            ("key=a+b%2Bc", "a b+c"),
            ("key=%2525", "%25"),
            ("key=%C3%A9", "é"),
            ("key=a%00b", "a\0b"),
            ("x=1&key=a&y", "a"),
            ("k%65y=a=b", "a=b"),
            ("key=", ""),
        ] {
            assert_eq!(*key(query.as_bytes()).unwrap(), *expected.as_bytes(), "{query}");
        }
    }

    #[test]
    fn a_key_alone_and_as_it_is_is_plain() {
        for (query, plain) in [("key=a=b?", Some("a=b?")), ("key=", Some("")), ("key", None)] {
            assert_eq!(plain_key(Some(query.as_bytes())), plain.map(str::as_bytes), "{query}");
        }
        for query in ["key=a&b", "key=a+b", "key=%41", "Key=a", "lease=1"] {
            assert_eq!(plain_key(Some(query.as_bytes())), None, "{query}");
        }
        assert_eq!(plain_key(None), None);
    }

    #[test]
    fn what_is_wrong_with_a_query_is_named() {
        assert_eq!(code(""), "missing_key");
        assert_eq!(code("Key=a"), "missing_key");
        assert_eq!(code("key=a&key=a"), "duplicate_key");
        for query in ["key=%zz", "key=%4", "key=%", "x=%zz&key=a", "key=a&%"] {
            assert_eq!(code(query), "bad_percent_encoding", "{query}");
        }
        for query in ["key=%ff", "key=%C0%80", "key=%ED%A0%80"] {
            assert_eq!(code(query), "bad_utf8", "{query}");
        }
    }

    #[test]
    fn parameters_are_found_by_name_and_stand_once() {
        let read = |query: &'static str| parameters(Some(query.as_bytes()), ["a", "b"]);
        let some = |text: &'static str| Some(Cow::Borrowed(text.as_bytes()));
        assert_eq!(read("").unwrap(), [None, None]);
        assert_eq!(parameters(None, ["a"]).unwrap(), [None]);
        assert_eq!(read("b=1&c&%61=+&c").unwrap(), [some(" "), some("1")]);
        assert_eq!(read("a&B=1").unwrap(), [some(""), None]);
        assert_eq!(read("a=1&b=1&b=2").unwrap_err().code, "duplicate_parameter");
        assert_eq!(read("c=%").unwrap_err().code, "bad_percent_encoding");
    }

    #[test]
    fn a_plus_in_a_path_is_a_plus() {
        assert_eq!(*path_key(b"a+b%2B%20%2Fincr").unwrap(), *b"a+b+ /incr");
        assert_eq!(*path_key(b"%ff%00%2525").unwrap(), *b"\xff\0%25");
        assert_eq!(path_key(b"+%+1").unwrap_err().code, "bad_percent_encoding");
    }

    /// The decoder again, as it would be written by somebody else.
    fn decoded(text: &[u8], plus: u8) -> Option<Vec<u8>> {
        match text {
            [] => Some(Vec::new()),
            [b'%', rest @ ..] => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                if digits.starts_with('+') {
                    return None;
                }
                let byte = u8::from_str_radix(digits, 16).ok()?;
                Some([vec![byte], decoded(&rest[2..], plus)?].concat())
            }
            [first, rest @ ..] => {
                let byte = if *first == b'+' { plus } else { *first };
                Some([vec![byte], decoded(rest, plus)?].concat())
            }
        }
    }

    proptest! {
        #[test]
        fn the_decoder_agrees_with_another(
            text in prop::collection::vec(prop::sample::select(&b"%+09afAFgz/.-"[..]), 0..12),
        ) {
            prop_assert_eq!(path_key(&text).ok().map(Cow::into_owned), decoded(&text, b'+'));
            let query = [&b"a="[..], &text].concat();
            let read = parameters(Some(&query), ["a"]).ok().and_then(|[value]| value);
            prop_assert_eq!(read.map(Cow::into_owned), decoded(&text, b' '));
        }

        #[test]
        fn what_is_encoded_reads_back(text: String) {
            let mut encoded = String::new();
            for byte in text.bytes() {
                write!(encoded, "%{byte:02X}").unwrap();
            }
            let query = format!("key={encoded}");
            let read = key(query.as_bytes()).unwrap();
            prop_assert_eq!(&*read, text.as_bytes());
        }

        #[test]
        fn nothing_panics(query: Vec<u8>) {
            let _outcome = key(&query).map(Cow::into_owned);
        }
    }

    use std::{borrow::Cow, fmt::Write};
}
