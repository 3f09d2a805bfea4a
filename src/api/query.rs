//! The query of a target: `key=` out of a form-encoded string.

use crate::http::response::Problem;
use std::borrow::Cow;

/// The value of the one `key=`, decoded once: `+` is a space, `%XX` a byte, and the whole is UTF-8.
pub(super) fn key(query: &[u8]) -> Result<Cow<'_, [u8]>, Problem> {
    let mut key = None;
    for pair in query.split(|&byte| byte == b'&') {
        let (name, value) = match pair.iter().position(|&byte| byte == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[][..]),
        };
        let (name, value) = (decode(name)?, decode(value)?);
        if *name == *b"key" && key.replace(value).is_some() {
            return Err(Problem::new(400, "duplicate_key", "The query has more than one `key=`."));
        }
    }
    let key = key.ok_or_else(|| {
        Problem::new(400, "missing_key", "The query must name the key: /get?key=...")
    })?;
    if let Err(error) = std::str::from_utf8(&key) {
        let message = format!("The key is not UTF-8 from byte {} on.", error.valid_up_to());
        return Err(Problem::new(400, "bad_utf8", message));
    }
    Ok(key)
}

fn decode(text: &[u8]) -> Result<Cow<'_, [u8]>, Problem> {
    let Some(first) = text.iter().position(|byte| matches!(byte, b'%' | b'+')) else {
        return Ok(Cow::Borrowed(text));
    };
    let mut decoded = Vec::with_capacity(text.len());
    decoded.extend_from_slice(&text[..first]);
    let mut at = first;
    while let Some(&byte) = text.get(at) {
        at += 1;
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = text.get(at..at + 2).and_then(|pair| {
                    let (high, low) = (hex(pair[0])?, hex(pair[1])?);
                    Some(high << 4 | low)
                });
                at += 2;
                digits.ok_or_else(|| {
                    let end = text.len().min(at);
                    let shown = String::from_utf8_lossy(&text[at - 3..end]);
                    let message = format!("`{shown}` in the query is not % and two hex digits.");
                    Problem::new(400, "bad_percent_encoding", message)
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
    use super::key;
    use proptest::prelude::*;

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
    fn row_46_names_what_is_wrong() {
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

    proptest! {
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
