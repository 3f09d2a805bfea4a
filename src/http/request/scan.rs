//! Finds where a request head ends, and refuses what is wrong before it ends.

use super::{Error, RequestLine, request_line_bytes_max};
use crate::{
    config::Limits,
    text::{below, run},
};

/// Where one head lies in a buffer: from its first byte to the end of its empty line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadSpan {
    pub start: usize,
    pub end: usize,
}

/// Finds the end of a head in a buffer that grows; no byte is searched twice.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScan {
    /// Offset of the request line.
    start: usize,
    /// Offset of the line being read.
    line: usize,
    /// Everything before this offset has been searched.
    position: usize,
    empty_lines: usize,
    /// Complete lines, the request line included.
    lines: usize,
    request_line_checked: bool,
}

impl HeadScan {
    /// Whether no byte of a request was seen.
    #[inline]
    pub(crate) fn is_fresh(&self) -> bool {
        self.position == 0
    }

    /// Goes on where the last call on the same, since then longer, buffer ended.
    ///
    /// `Ok(None)`: the head is not complete, and nothing in it is wrong so far. The buffer never
    /// has to hold more than `head_bytes_max` and the empty lines. On a complete head, only
    /// [`parse_head`](super::parse_head) looks into the lines.
    pub fn advance(&mut self, buffer: &[u8], limits: &Limits) -> Result<Option<HeadSpan>, Error> {
        loop {
            let bytes_max = if self.lines == 0 {
                request_line_bytes_max(limits)
            } else {
                limits.head_bytes_max
            };
            let bound = self.start.saturating_add(bytes_max);
            let visible = &buffer[..buffer.len().min(bound)];

            let found = find_control(visible.get(self.position..).unwrap_or_default());
            self.position = found.map_or(visible.len(), |at| self.position + at);
            match visible.get(self.position..).unwrap_or_default() {
                [] | [b'\r'] if visible.len() < bound => {
                    self.check_request_line(buffer, limits)?;
                    return Ok(None);
                }
                [] | [b'\r'] => return Err(self.too_long(visible, limits)),
                [b'\t', ..] => self.position += 1,
                [b'\r', b'\n', ..] => {
                    if let Some(span) = self.end_line(visible, limits)? {
                        return Ok(Some(span));
                    }
                }
                [b'\r', ..] => return Err(self.refuse(visible, limits, Error::BareCr)),
                [b'\n', ..] => return Err(self.refuse(visible, limits, Error::BareLf)),
                _ => return Err(self.refuse(visible, limits, Error::Control)),
            }
        }
    }

    /// Takes the line that the CRLF at `position` ends.
    #[inline]
    fn end_line(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<HeadSpan>, Error> {
        let next = self.position + 2;
        if self.position > self.line {
            self.lines += 1;
            if self.lines > limits.fields_max.saturating_add(1) {
                return Err(self.refuse(bytes, limits, Error::TooManyFields(limits.fields_max)));
            }
        } else if self.lines > 0 {
            return Ok(Some(HeadSpan { start: self.start, end: next }));
        } else {
            self.empty_lines += 1;
            self.start = next;
            if self.empty_lines > limits.empty_lines_max {
                return Err(Error::TooManyEmptyLines(limits.empty_lines_max));
            }
        }
        self.line = next;
        self.position = next;
        Ok(None)
    }

    /// Judges a complete request line once, without waiting for the rest of the head.
    fn check_request_line(&mut self, buffer: &[u8], limits: &Limits) -> Result<(), Error> {
        if self.lines > 0 && !self.request_line_checked {
            RequestLine::parse(&buffer[self.start..], limits)?;
            self.request_line_checked = true;
        }
        Ok(())
    }

    #[cold]
    fn too_long(&mut self, visible: &[u8], limits: &Limits) -> Error {
        let error = Error::HeadTooLarge(limits.head_bytes_max);
        if self.lines > 0 {
            return self.refuse(visible, limits, error);
        }
        RequestLine::parse(&visible[self.start..], limits).err().unwrap_or(error)
    }

    /// `error`, unless the request line is wrong too: cut input would have met that first.
    #[cold]
    fn refuse(&mut self, buffer: &[u8], limits: &Limits, error: Error) -> Error {
        self.check_request_line(buffer, limits).err().unwrap_or(error)
    }
}

/// Offset of the first byte below 0x20.
#[inline]
pub(super) fn find_control(bytes: &[u8]) -> Option<usize> {
    let at = run(bytes, |word| below(word, 0x20));
    (at < bytes.len()).then_some(at)
}
