//! The requests of a connection, cut out of its bytes.
//!
//! After an error in framing no byte is taken for a request any more: one answer, half-close, a
//! bounded drain of what still comes, close.

use super::{
    body::Chunked,
    form::Http,
    request::{Error, Expect, Framing, Head, HeadScan, HeadSpan, RepeatedFields, parse_head},
    route::Port,
};
use crate::{
    config::Limits,
    protocol,
    wire::{Awaited, BodySize, Cursor, Input},
};

/// One whole request.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub head: Head<'a>,
    pub body: &'a [u8],
    pub port: Port,
    /// Nothing that has arrived stands behind it.
    pub is_last: bool,
}

/// The head of a request whose body has not all arrived.
#[derive(Clone, Debug)]
pub struct BodyHead<'a> {
    pub head: Head<'a>,
    pub port: Port,
    /// The client sends none of the body before it is told to.
    pub waits: bool,
}

/// What the bytes so far amount to.
pub type Next<'a> = protocol::Next<'a, Http>;

#[derive(Debug)]
pub struct Reader {
    pub(super) port: Port,
    progress: Progress,
    /// The chunked request that was handed out last, until its borrower is done.
    finished: Option<Box<ChunkedRequest>>,
}

#[derive(Debug)]
enum Progress {
    Head(HeadScan),
    /// The head is there, so many bytes of body are not.
    Sized {
        head: HeadSpan,
        length: usize,
    },
    Chunked(Box<ChunkedRequest>),
}

impl Default for Progress {
    fn default() -> Self {
        Self::Head(HeadScan::default())
    }
}

#[derive(Debug)]
struct ChunkedRequest {
    head: Vec<u8>,
    decoder: Chunked,
    body: Vec<u8>,
}

impl Reader {
    #[must_use]
    pub fn new(port: Port) -> Self {
        Self { port, progress: Progress::default(), finished: None }
    }

    /// The next request in `input`. After an error nothing more may be asked of this connection.
    /// `fields` may be those of any connection.
    #[inline]
    pub fn next<'a>(
        &'a mut self,
        input: &'a mut Input<'_>,
        fields: &mut RepeatedFields,
        limits: &Limits,
    ) -> Result<Next<'a>, Error> {
        let (rest, mut taken) = input.unread();
        let port = self.port;
        self.finished = None;
        if let Progress::Head(scan) = &mut self.progress {
            if scan.is_fresh()
                && let Some((head, end)) = fields.head(rest, limits)
            {
                taken.take(end);
                let is_last = taken.is_last();
                return Ok(Next::Request(Request { head, body: b"", port, is_last }));
            }
            let Some(span) = scan.advance(rest, limits)? else { return Ok(Next::Partial) };
            let head = parse_head(&rest[span.start..span.end], limits)?;
            let waits = head.expect != Expect::None;
            match head.framing {
                Framing::Length(length) if rest.len() - span.end >= length => {
                    self.progress = Progress::default();
                    fields.keep(&head);
                    taken.take(span.end + length);
                    let body = &rest[span.end..][..length];
                    let is_last = taken.is_last();
                    return Ok(Next::Request(Request { head, body, port, is_last }));
                }
                Framing::Length(length) => {
                    self.progress = Progress::Sized { head: span, length };
                    return Ok(Next::Head(BodyHead { head, port, waits }));
                }
                Framing::Chunked => {
                    self.progress = Progress::Chunked(Box::new(ChunkedRequest {
                        head: rest[span.start..span.end].to_vec(),
                        decoder: Chunked::default(),
                        body: Vec::new(),
                    }));
                    taken.take(span.end);
                    let waits = waits && taken.is_spent();
                    return Ok(Next::Head(BodyHead { head, port, waits }));
                }
            }
        }
        self.next_after_body(rest, taken, limits)
    }

    /// The same where the head of the request was handed out before.
    fn next_after_body<'a>(
        &'a mut self,
        rest: &'a [u8],
        mut taken: Cursor<'_>,
        limits: &Limits,
    ) -> Result<Next<'a>, Error> {
        let port = self.port;
        match &mut self.progress {
            Progress::Sized { head, length } => {
                let (head, length) = (*head, *length);
                let Some(body) = rest.get(head.end..head.end + length) else {
                    return Ok(Next::Partial);
                };
                self.progress = Progress::default();
                taken.take(head.end + length);
                let head = parse_head(&rest[head.start..head.end], limits)?;
                Ok(Next::Request(Request { head, body, port, is_last: taken.is_last() }))
            }
            Progress::Chunked(chunked) => {
                let decoded = chunked.decoder.decode(rest, &mut chunked.body, limits)?;
                taken.take(decoded.consumed);
                if !decoded.done {
                    return Ok(Next::Partial);
                }
                let Progress::Chunked(chunked) = std::mem::take(&mut self.progress) else {
                    unreachable!("it was matched above")
                };
                let chunked = self.finished.insert(chunked);
                let head = parse_head(&chunked.head, limits)?;
                let is_last = taken.is_last();
                Ok(Next::Request(Request { head, body: &chunked.body, port, is_last }))
            }
            Progress::Head(_) => unreachable!("a head without a body has been handed out"),
        }
    }

    /// Gives up what the borrower of the last request has read.
    pub(super) fn release(&mut self) {
        self.finished = None;
    }

    /// Drops what is known of a request that is not whole.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.port);
    }

    pub(super) fn awaited(&self, kept: &[u8], limits: &Limits) -> Awaited {
        match &self.progress {
            // Empty lines before a request are no request yet.
            Progress::Head(_) if kept.iter().all(|byte| b"\r\n".contains(byte)) => Awaited::Request,
            Progress::Head(_) => Awaited::Head,
            Progress::Sized { length, .. } => {
                Awaited::Body(BodySize { bytes: *length, bytes_max: *length })
            }
            Progress::Chunked(chunked) => Awaited::Body(BodySize {
                bytes: chunked.body.len(),
                bytes_max: limits.body_bytes_max,
            }),
        }
    }

    /// Bytes of memory that are held for a chunked body.
    pub(super) fn buffer_bytes(&self) -> usize {
        match &self.progress {
            Progress::Chunked(chunked) => chunked.head.capacity() + chunked.body.capacity(),
            _ => 0,
        }
    }
}
