//! Entity tags (RFC 9110, 8.8.3): ours, `"<16 hex digits>"` or `"<16 hex digits>-gzip"`, and the
//! lists of them that clients send.

use super::request::{Field, Lines};

/// What names one form of one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag {
    pub version: u64,
    /// The compressed form.
    pub is_coded: bool,
}

/// A member of a list that is one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    pub tag: EntityTag,
    /// A weak tag says that two things do for each other, not that they are the same.
    pub is_weak: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum List {
    /// `*`.
    Any,
    /// Any of these; no other tag in the list names anything.
    Of(Vec<Listed>),
}

const CODED: &[u8] = b"-gzip";

impl EntityTag {
    pub(super) fn write(self, out: &mut Vec<u8>) {
        let mut opaque = *b"\"0000000000000000";
        for (pair, byte) in opaque[1..].as_chunks_mut().0.iter_mut().zip(self.version.to_be_bytes())
        {
            *pair = [byte >> 4, byte & 15].map(|nibble| b"0123456789abcdef"[usize::from(nibble)]);
        }
        out.extend_from_slice(&opaque);
        out.extend_from_slice(if self.is_coded { b"-gzip\"" } else { b"\"" });
    }

    /// Reads what stands between the quotes. There is one way to write a tag.
    fn read(opaque: &[u8]) -> Option<Self> {
        let (digits, rest) = opaque.split_at_checked(16)?;
        let mut version = 0;
        for digit in digits {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            version = version << 4 | u64::from(value);
        }
        (rest.is_empty() || rest == CODED).then_some(Self { version, is_coded: rest == CODED })
    }
}

/// It is no list of entity tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Reads `If-Match` or `If-None-Match`, if it is there.
#[inline]
pub fn list(lines: Lines<'_>, field: Field) -> Result<Option<List>, Malformed> {
    if !lines.has(field) {
        return Ok(None);
    }
    read(lines, field).map(Some)
}

fn read(lines: Lines<'_>, field: Field) -> Result<List, Malformed> {
    let mut values = lines.values(field);
    if let (Some(b"*"), None) = (values.next(), values.next()) {
        return Ok(List::Any);
    }
    let mut list = Vec::new();
    for value in lines.values(field) {
        let mut rest = value;
        loop {
            rest = rest.trim_ascii_start();
            rest = match rest {
                [] => break,
                [b',', rest @ ..] => rest,
                _ => {
                    let (listed, rest) = member(rest).ok_or(Malformed)?;
                    list.extend(listed);
                    rest
                }
            }
        }
    }
    Ok(List::Of(list))
}

/// Reads one tag and finds the comma or the end that must follow it.
fn member(text: &[u8]) -> Option<(Option<Listed>, &[u8])> {
    let (is_weak, text) = match text.strip_prefix(b"W/") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let text = text.strip_prefix(b"\"")?;
    let end = text.iter().position(|&byte| byte == b'"')?;
    let opaque = &text[..end];
    if !opaque.iter().all(|byte| matches!(byte, 0x21..=0x7e | 0x80..)) {
        return None;
    }
    let rest = text[end + 1..].trim_ascii_start();
    let listed = EntityTag::read(opaque).map(|tag| Listed { tag, is_weak });
    matches!(rest, [] | [b',', ..]).then_some((listed, rest))
}

#[cfg(test)]
mod tests {
    use super::{EntityTag, List, Listed, Malformed, list};
    use crate::{
        config::Limits,
        http::request::{Field, parse_head},
    };
    use proptest::prelude::*;

    fn read(lines: &[&str]) -> Result<Option<List>, Malformed> {
        let mut head = "GET / HTTP/1.1\r\nHost: h\r\n".to_owned();
        for line in lines {
            head += &format!("If-Match: {line}\r\n");
        }
        head += "\r\n";
        let head = parse_head(head.as_bytes(), &Limits::DEFAULT).unwrap();
        list(head.lines, Field::IfMatch)
    }

    fn listed(version: u64, is_coded: bool, is_weak: bool) -> Listed {
        Listed { tag: EntityTag { version, is_coded }, is_weak }
    }

    #[test]
    fn lists_are_read() {
        const ONE: &str = "\"0000000000000001\"";
        let one = listed(1, false, false);
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["*"]), Ok(Some(List::Any)));
        for (lines, expected) in [
            (&[""][..], vec![]),
            (&[ONE], vec![one]),
            (&[&format!(" , {ONE}\t ,,\"x,y\" , W/\"\"")], vec![one]),
            (&["\"x\"", ONE, ""], vec![one]),
            (&["W/\"fedcba9876543210-gzip\""], vec![listed(0xfedc_ba98_7654_3210, true, true)]),
            (
                &["\"0000000000000001-gzi\",\"0000000000000001x\",\"1\",\"000000000000000A\""],
                vec![],
            ),
            (&["\"*\""], vec![]),
            (&["\"\u{e9}\""], vec![]),
        ] {
            assert_eq!(read(lines), Ok(Some(List::Of(expected))), "{lines:?}");
        }
        for lines in [
            &["a"][..],
            &["\""],
            &["\"a\"b"],
            &["\"a\" \"b\""],
            &["w/\"a\""],
            &["W/ \"a\""],
            &["W/"],
            &["\"a b\""],
            &["\"a\tb\""],
            &["*, \"a\""],
            &["\"a\"", "*"],
            &["*", "*"],
            &["* ", " "],
            &["'a'"],
        ] {
            assert_eq!(read(lines), Err(Malformed), "{lines:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(version: u64, is_coded: bool) {
            let tag = EntityTag { version, is_coded };
            let mut out = Vec::new();
            tag.write(&mut out);
            let text = String::from_utf8(out).unwrap();
            let listed = Listed { tag, is_weak: false };
            prop_assert_eq!(read(&[&text]), Ok(Some(List::Of(vec![listed]))));
        }
    }
}
