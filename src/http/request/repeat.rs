//! A client sends the same fields with every GET: what was found in them once is not looked for
//! again.

use super::{Expect, Field, Framing, Head, Lines, Method, RequestLine, Version};
use crate::config::Limits;

/// Fields that are longer are not kept.
const BYTES_MAX: usize = 512;

/// The field lines of the last head that changed nothing but perhaps the answer's form: no body, no
/// end of the connection, no expectation. None that hold a token are kept.
#[derive(Clone, Debug, Default)]
pub struct RepeatedFields {
    bytes: Vec<u8>,
    /// Without lines.
    lines: Lines<'static>,
}

impl RepeatedFields {
    /// The head at the start of `bytes`, and its length, if it is a right one with these fields.
    #[inline]
    pub(crate) fn head<'a>(&self, bytes: &'a [u8], limits: &Limits) -> Option<(Head<'a>, usize)> {
        // Others mostly have a body, whose length differs.
        if self.bytes.is_empty() || !bytes.starts_with(b"GET ") {
            return None;
        }
        let line = RequestLine::parse(bytes, limits).ok()?;
        let end = line.bytes + self.bytes.len();
        let fields = bytes.get(line.bytes..end)?;
        let is_same = fields == self.bytes && line.version == Version::Http11;
        (is_same && end <= limits.head_bytes_max).then(|| {
            let head = Head {
                method: line.method,
                version: line.version,
                path: line.path,
                query: line.query,
                keep_alive: true,
                framing: Framing::Length(0),
                expect: Expect::None,
                content_type: None,
                content_encoding: None,
                lines: self.lines.on(fields),
            };
            (head, end)
        })
    }

    /// Keeps the fields of a head.
    #[inline]
    pub(crate) fn keep(&mut self, head: &Head<'_>) {
        let is_plain = head.method == Method::Get
            && head.version == Version::Http11
            && head.keep_alive
            && head.framing == Framing::Length(0)
            && head.expect == Expect::None
            && head.content_type.is_none()
            && head.content_encoding.is_none()
            && !head.lines.has(Field::Authorization);
        let bytes = head.lines.bytes();
        if is_plain && bytes.len() <= BYTES_MAX {
            self.bytes.clear();
            self.bytes.extend_from_slice(bytes);
            self.lines = head.lines.on(b"");
        }
    }
}
