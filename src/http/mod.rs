//! A sans-IO HTTP/1.1 connection: bytes in, requests out; responses in, bytes out.
//!
//! ```text
//!   read  -> Requests  -> Request -> (whoever answers) -> Responses -> send
//!            kept: bytes of a request                     output: in order, ready to send
//!            that is not complete yet                     owed: answers that are still away
//! ```
//!
//! A long answer leaves in pieces: what comes next is asked for when what came before is sent.
//!
//! An idle connection holds neither buffer. After an error in framing no byte is taken for a
//! request any more: one answer, half-close, a bounded drain of what still comes, close.

use crate::{
    clock::Millis,
    config::Limits,
    latency::{Start, Timing},
};
use body::Chunked;
use request::{Expect, Framing, Head, HeadScan, HeadSpan, RepeatedFields, parse_head};
use std::{collections::VecDeque, time::Duration};

pub mod body;
pub mod etag;
pub mod gzip;
pub mod request;
pub mod response;

pub use request::Error;

/// A body may come this slowly once its read timeout has passed.
const BODY_BYTES_PER_SECOND_MIN: u64 = 64 << 10;

/// Places for answers owed that an idle connection may keep.
const OWED_KEPT_MAX: usize = 16;

/// The first piece of a long answer joins a head of fewer bytes in one send.
const HEAD_BYTES_JOINED_MAX: usize = 1 << 10;

/// One complete request.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub head: Head<'a>,
    pub body: &'a [u8],
    /// Nothing that has arrived stands behind it.
    pub is_last: bool,
}

/// What the bytes so far amount to.
#[derive(Debug)]
pub enum Next<'a> {
    Request(Request<'a>),
    /// The head of a request whose body has not all arrived, once. `waits`: the client sends none
    /// of it before it is told to.
    Body {
        head: Head<'a>,
        waits: bool,
    },
    Partial,
}

/// Bytes on their way through [`Requests`]: those of earlier reads and of this one.
#[derive(Debug)]
pub struct Input<'a> {
    kept: Vec<u8>,
    fresh: &'a [u8],
    consumed: usize,
    /// The socket may hold further bytes.
    more: bool,
}

impl Input<'_> {
    fn bytes(&self) -> &[u8] {
        if self.kept.is_empty() { self.fresh } else { &self.kept }
    }

    /// Whether every byte belongs to a request that was taken.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.consumed == self.bytes().len()
    }
}

/// The requests of a connection, cut out of its bytes.
#[derive(Debug, Default)]
pub struct Requests {
    kept: Vec<u8>,
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

/// What a connection waits for from its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    Request,
    RestOfHead,
    RestOfBody,
}

impl Requests {
    /// Joins what was kept with what was read; `more` if there may be more to read. Give it back
    /// with [`Connection::keep`].
    pub fn input<'a>(&mut self, fresh: &'a [u8], more: bool) -> Input<'a> {
        let mut kept = std::mem::take(&mut self.kept);
        if !kept.is_empty() {
            kept.extend_from_slice(fresh);
        }
        Input { kept, fresh, consumed: 0, more }
    }

    /// The next request in `input`. After an error nothing more may be asked of this connection.
    /// `fields` may be those of any connection.
    pub fn next<'a>(
        &'a mut self,
        input: &'a mut Input<'_>,
        fields: &mut RepeatedFields,
        limits: &Limits,
    ) -> Result<Next<'a>, Error> {
        let Input { kept, fresh, consumed, more } = input;
        let bytes: &'a [u8] = if kept.is_empty() { fresh } else { kept };
        self.finished = None;
        let is_last = |consumed| !*more && consumed == bytes.len();
        if let Progress::Head(scan) = &mut self.progress {
            let rest = &bytes[*consumed..];
            if scan.is_fresh()
                && let Some((head, end)) = fields.head(rest, limits)
            {
                *consumed += end;
                let is_last = is_last(*consumed);
                return Ok(Next::Request(Request { head, body: b"", is_last }));
            }
            let Some(span) = scan.advance(rest, limits)? else { return Ok(Next::Partial) };
            let head = parse_head(&rest[span.start..span.end], limits)?;
            let waits = head.expect != Expect::None;
            match head.framing {
                Framing::Length(length) if rest.len() - span.end >= length => {
                    self.progress = Progress::default();
                    fields.keep(&head);
                    *consumed += span.end + length;
                    let body = &rest[span.end..][..length];
                    let is_last = is_last(*consumed);
                    return Ok(Next::Request(Request { head, body, is_last }));
                }
                Framing::Length(length) => {
                    self.progress = Progress::Sized { head: span, length };
                    return Ok(Next::Body { head, waits });
                }
                Framing::Chunked => {
                    self.progress = Progress::Chunked(Box::new(ChunkedRequest {
                        head: rest[span.start..span.end].to_vec(),
                        decoder: Chunked::default(),
                        body: Vec::new(),
                    }));
                    *consumed += span.end;
                    return Ok(Next::Body { head, waits: waits && *consumed == bytes.len() });
                }
            }
        }
        let rest = &bytes[*consumed..];
        match &mut self.progress {
            Progress::Sized { head, length } => {
                let (head, length) = (*head, *length);
                let Some(body) = rest.get(head.end..head.end + length) else {
                    return Ok(Next::Partial);
                };
                self.progress = Progress::default();
                *consumed += head.end + length;
                let head = parse_head(&rest[head.start..head.end], limits)?;
                Ok(Next::Request(Request { head, body, is_last: is_last(*consumed) }))
            }
            Progress::Chunked(chunked) => {
                let decoded = chunked.decoder.decode(rest, &mut chunked.body, limits)?;
                *consumed += decoded.consumed;
                if !decoded.done {
                    return Ok(Next::Partial);
                }
                let Progress::Chunked(chunked) = std::mem::take(&mut self.progress) else {
                    unreachable!("it was matched above")
                };
                let chunked = self.finished.insert(chunked);
                let head = parse_head(&chunked.head, limits)?;
                let is_last = is_last(*consumed);
                Ok(Next::Request(Request { head, body: &chunked.body, is_last }))
            }
            Progress::Head(_) => unreachable!("a head without a body has been handed out"),
        }
    }

    /// Takes back what was not consumed.
    fn keep(&mut self, input: Input<'_>) {
        let Input { mut kept, fresh, consumed, .. } = input;
        self.finished = None;
        if kept.is_empty() {
            kept.extend_from_slice(&fresh[consumed..]);
        } else if consumed == kept.len() {
            kept = Vec::new();
        } else {
            kept.drain(..consumed);
        }
        self.kept = kept;
    }

    /// Drops everything that was kept: no further request will be taken.
    fn forget(&mut self) {
        *self = Self::default();
    }

    fn awaited(&self) -> Awaited {
        match &self.progress {
            // Empty lines before a request are no request yet.
            Progress::Head(_) if self.kept.iter().all(|byte| b"\r\n".contains(byte)) => {
                Awaited::Request
            }
            Progress::Head(_) => Awaited::RestOfHead,
            Progress::Sized { .. } | Progress::Chunked(_) => Awaited::RestOfBody,
        }
    }

    /// Bytes that the body has if its head says so, else the most that it can have; once it is
    /// known to have more than `floor`.
    fn large_body_bytes(&self, floor: usize, limits: &Limits) -> Option<usize> {
        match &self.progress {
            Progress::Sized { length, .. } if *length > floor => Some(*length),
            Progress::Chunked(chunked) if chunked.body.len() > floor => Some(limits.body_bytes_max),
            _ => None,
        }
    }

    /// Bytes of memory held for what has arrived.
    #[must_use]
    pub fn buffer_bytes(&self) -> usize {
        let chunked = match &self.progress {
            Progress::Chunked(chunked) => chunked.head.capacity() + chunked.body.capacity(),
            _ => 0,
        };
        self.kept.capacity() + chunked
    }

    /// The same where it is a request whose body has not all arrived.
    #[must_use]
    pub fn unfinished_bytes(&self) -> usize {
        match &self.progress {
            Progress::Head(_) => 0,
            Progress::Sized { .. } | Progress::Chunked(_) => self.buffer_bytes(),
        }
    }

    /// Bytes of body that the read timeout is stretched for.
    fn body_bytes(&self) -> usize {
        match &self.progress {
            Progress::Head(_) => 0,
            Progress::Sized { length, .. } => *length,
            Progress::Chunked(chunked) => chunked.body.len(),
        }
    }
}

/// Answers that are ready to send.
#[derive(Debug, Default)]
pub struct Output {
    pub bytes: Vec<u8>,
    /// Of the answers that end in `bytes` and were not told of as sent, in their order.
    timings: Vec<Timing>,
    /// Where the last of those ends that were.
    told: usize,
    /// Empty memory for answers that are held behind one that is not here.
    spares: Vec<Vec<u8>>,
}

/// Spares that are kept, and the largest that is.
const SPARES_MAX: usize = 8;
const SPARE_BYTES_MAX: usize = 4 << 10;

impl Output {
    fn take_spare(&mut self) -> Vec<u8> {
        self.spares.pop().unwrap_or_default()
    }

    fn keep_spare(&mut self, mut bytes: Vec<u8>) {
        let is_fit = (1..=SPARE_BYTES_MAX).contains(&bytes.capacity());
        if is_fit && self.spares.len() < SPARES_MAX {
            bytes.clear();
            self.spares.push(bytes);
        }
    }

    /// So many answers, which began at `start`, end here.
    fn end(&mut self, start: Start, answers: u32) {
        let end = self.bytes.len();
        match self.timings.last_mut() {
            _ if answers == 0 => {}
            Some(last) if last.start == start => {
                last.answers += answers;
                last.end = end;
            }
            _ => self.timings.push(Timing { start, answers, end }),
        }
    }

    /// Tells of the first answers, each time of those that began alike, and what of them is here.
    fn tell(&mut self, timings: usize, mut ended: impl FnMut(&Timing, &[u8])) {
        for timing in self.timings.drain(..timings) {
            ended(&timing, &self.bytes[self.told..timing.end]);
            self.told = timing.end;
        }
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn buffer_bytes(&self) -> usize {
        let spares = self.spares.iter().map(Vec::capacity).sum::<usize>();
        let places = self.spares.capacity() * size_of::<Vec<u8>>();
        self.bytes.capacity() + self.timings.capacity() * size_of::<Timing>() + spares + places
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.timings.clear();
        self.told = 0;
    }
}

/// The answers of a connection, in the order of its requests. `T` is what has to be known to
/// write an answer that is still away.
#[derive(Debug)]
pub struct Responses<T> {
    output: Output,
    sent: usize,
    owed: VecDeque<Owed<T>>,
    /// Sequence number of the first answer owed.
    first: u64,
    /// The most that the answers that are away can bring.
    away_bytes_max: usize,
    /// Bytes of answers that are written but stand behind one that is not.
    held_bytes: usize,
    /// Since when the client has not taken a byte of what there is to send.
    stalled: Option<Millis>,
    /// Bytes of the next answer that were sent and are no longer in the output.
    gone_bytes: usize,
}

/// What is ready before an answer that is away waits for it, for a little while, if it is shorter.
const SENT_AHEAD_BYTES_MAX: usize = 16 << 10;

#[derive(Debug)]
enum Owed<T> {
    Away {
        owing: T,
        start: Start,
        bytes_max: usize,
    },
    /// So many answers to requests that began alike.
    Ready {
        bytes: Vec<u8>,
        start: Start,
        answers: u32,
    },
    /// A long answer of which a part is written; the rest comes in pieces, each of them away in
    /// turn. At the front, what is written is in the output.
    Begun {
        bytes: Vec<u8>,
        start: Start,
        rest: T,
    },
}

impl<T> Owed<T> {
    fn of(bytes: Vec<u8>, start: Start, rest: Option<T>) -> Self {
        match rest {
            None => Self::Ready { bytes, start, answers: 1 },
            Some(rest) => Self::Begun { bytes, start, rest },
        }
    }
}

impl<T> Default for Responses<T> {
    fn default() -> Self {
        Self {
            output: Output::default(),
            sent: 0,
            owed: VecDeque::new(),
            first: 0,
            away_bytes_max: 0,
            held_bytes: 0,
            stalled: None,
            gone_bytes: 0,
        }
    }
}

impl<T> Responses<T> {
    /// Writes the answer to the request that was taken last and began at `start`.
    pub fn write(&mut self, start: Start, write: impl FnOnce(&mut Vec<u8>)) {
        self.begin(start, |out| {
            write(out);
            None
        });
    }

    /// Writes an interim response: the answer is still to come.
    pub fn write_interim(&mut self, bytes: &[u8]) {
        match self.owed.back_mut() {
            None => self.output.bytes.extend_from_slice(bytes),
            Some(Owed::Ready { bytes: ready, .. }) => {
                ready.extend_from_slice(bytes);
                self.held_bytes += bytes.len();
            }
            Some(Owed::Away { start, .. } | Owed::Begun { start, .. }) => {
                let start = *start;
                self.held_bytes += bytes.len();
                self.owed.push_back(Owed::Ready { bytes: bytes.to_vec(), start, answers: 0 });
            }
        }
    }

    /// The same as [`Responses::write`] where the answer may be a long one: then `write` returns
    /// what is needed to go on with it. Returns whether it is.
    pub fn begin(&mut self, start: Start, write: impl FnOnce(&mut Vec<u8>) -> Option<T>) -> bool {
        match self.owed.back_mut() {
            None => {
                let rest = write(&mut self.output.bytes);
                let is_long = rest.is_some();
                if let Some(rest) = rest {
                    self.owed.push_back(Owed::Begun { bytes: Vec::new(), start, rest });
                } else {
                    self.output.end(start, 1);
                }
                return is_long;
            }
            Some(Owed::Ready { bytes, start: began, answers }) if *began == start => {
                let before = bytes.len();
                let rest = write(bytes);
                self.held_bytes += bytes.len() - before;
                let Some(rest) = rest else {
                    *answers += 1;
                    return false;
                };
                let bytes = bytes.split_off(before);
                self.owed.push_back(Owed::Begun { bytes, start, rest });
                return true;
            }
            Some(_) => {}
        }
        let mut bytes = self.output.take_spare();
        let rest = write(&mut bytes);
        let is_long = rest.is_some();
        self.held_bytes += bytes.len();
        self.owed.push_back(Owed::of(bytes, start, rest));
        is_long
    }

    /// Reserves the place of an answer that is away and brings about `bytes_max` bytes at most. Its
    /// number, which [`Responses::next_sequence`] tells before, is never used again.
    pub fn owe(&mut self, owing: T, start: Start, bytes_max: usize) -> u64 {
        let sequence = self.next_sequence();
        self.away_bytes_max += bytes_max;
        self.owed.push_back(Owed::Away { owing, start, bytes_max });
        sequence
    }

    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.first + self.owed.len() as u64
    }

    /// What an answer that is away will need.
    pub fn owing(&mut self, sequence: u64) -> &mut T {
        let at = usize::try_from(sequence - self.first).expect("few answers are owed");
        match &mut self.owed[at] {
            Owed::Away { owing, .. } => owing,
            Owed::Ready { .. } | Owed::Begun { .. } => unreachable!("an answer comes once"),
        }
    }

    /// Writes the answer that was away, or a part of it, in its place: `write` returns what is
    /// needed to go on. Returns whether there is more to come.
    pub fn settle(
        &mut self,
        sequence: u64,
        write: impl FnOnce(T, &mut Vec<u8>) -> Option<T>,
    ) -> bool {
        let at = usize::try_from(sequence - self.first).expect("few answers are owed");
        let Owed::Away { start, .. } = self.owed[at] else { unreachable!("an answer comes once") };
        let empty = Owed::Ready { bytes: Vec::new(), start, answers: 1 };
        let place = std::mem::replace(&mut self.owed[at], empty);
        let Owed::Away { owing, bytes_max, .. } = place else { unreachable!("seen above") };
        self.away_bytes_max -= bytes_max;
        if at > 0 {
            let mut bytes = self.output.take_spare();
            let rest = write(owing, &mut bytes);
            let is_long = rest.is_some();
            self.held_bytes += bytes.len();
            self.owed[at] = Owed::of(bytes, start, rest);
            return is_long;
        }
        if let Some(rest) = write(owing, &mut self.output.bytes) {
            self.owed[0] = Owed::Begun { bytes: Vec::new(), start, rest };
            return true;
        }
        while let Some(Owed::Ready { bytes, start, answers }) =
            self.owed.pop_front_if(|next| matches!(next, Owed::Ready { .. }))
        {
            self.first += 1;
            self.held_bytes -= bytes.len();
            self.output.bytes.extend_from_slice(&bytes);
            self.output.keep_spare(bytes);
            self.output.end(start, answers);
        }
        if let Some(Owed::Begun { bytes, .. }) = self.owed.front_mut() {
            self.held_bytes -= bytes.len();
            self.output.bytes.append(bytes);
        }
        false
    }

    /// Whether the next piece of a long answer is to be asked for: the one before is sent, or
    /// little more than the head is there.
    #[must_use]
    pub fn wants_piece(&self) -> bool {
        let is_free = self.sent == 0 && self.output.bytes.len() < HEAD_BYTES_JOINED_MAX;
        is_free && matches!(self.owed.front(), Some(Owed::Begun { .. }))
    }

    /// Where [`Responses::wants_piece`], counts the answer as away again. Returns its number and
    /// what is needed to go on with it.
    pub fn ask_on(&mut self) -> (u64, &T) {
        let front = self.owed.front_mut().expect("a long answer is owed");
        let (Owed::Away { start, .. } | Owed::Ready { start, .. } | Owed::Begun { start, .. }) =
            *front;
        let empty = Owed::Ready { bytes: Vec::new(), start, answers: 1 };
        if let Owed::Begun { rest, .. } = std::mem::replace(front, empty) {
            // One piece is away at a time, and it finds the output empty.
            *front = Owed::Away { owing: rest, start, bytes_max: 0 };
        }
        let Owed::Away { owing: rest, .. } = front else {
            unreachable!("the caller saw that it was begun")
        };
        (self.first, rest)
    }

    /// What was to go on with the long answers that are not away.
    pub fn unfinished(&self) -> impl Iterator<Item = &T> {
        self.owed.iter().filter_map(|owed| match owed {
            Owed::Begun { rest, .. } => Some(rest),
            _ => None,
        })
    }

    #[must_use]
    pub fn unsent(&self) -> &[u8] {
        &self.output.bytes[self.sent..]
    }

    /// Notes that the kernel took `bytes` of [`Responses::unsent`], and tells which answers end in
    /// them: what of them is still here, and the bytes that they had in all.
    pub fn sent(
        &mut self,
        bytes: usize,
        now: Millis,
        mut ended: impl FnMut(&Timing, &[u8], usize),
    ) {
        self.sent += bytes;
        let gone_bytes = &mut self.gone_bytes;
        let tell = |timing: &Timing, answers: &[u8]| {
            ended(timing, answers, std::mem::take(gone_bytes) + answers.len());
        };
        let output = &mut self.output;
        if self.sent == output.bytes.len() {
            output.tell(output.timings.len(), tell);
            self.gone_bytes += output.bytes.len() - output.told;
            output.clear();
            self.sent = 0;
            self.stalled = None;
        } else if bytes > 0 || self.stalled.is_none() {
            self.stalled = Some(now);
            let whole = output.timings.partition_point(|timing| timing.end <= self.sent);
            output.tell(whole, tell);
        }
    }

    /// Nothing owed, nothing unsent.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.owed.is_empty() && self.output.bytes.is_empty()
    }

    /// Whether there is little to send before an answer that is away.
    #[must_use]
    pub fn awaits_more(&self) -> bool {
        let is_little = (1..SENT_AHEAD_BYTES_MAX).contains(&self.output.bytes.len());
        is_little && self.sent == 0 && matches!(self.owed.front(), Some(Owed::Away { .. }))
    }

    /// Whether any answer is owed.
    #[must_use]
    pub fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Whether another request may be taken.
    #[must_use]
    pub fn has_room(&self, limits: &Limits) -> bool {
        self.owed.len() < limits.pipeline_depth_max
            && self.away_bytes_max < limits.output_bytes_max
            && self.unsent().len() + self.held_bytes < limits.output_bytes_max
    }

    /// Bytes of answers that are here or may come from elsewhere.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.output.bytes.len() + self.held_bytes + self.away_bytes_max
    }

    /// What answers are written to, for lending one that has its memory already.
    pub fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    /// Requests whose answers are not wholly sent.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        let owed = self.owed.iter().map(|owed| match owed {
            Owed::Ready { answers, .. } => *answers,
            Owed::Away { .. } | Owed::Begun { .. } => 1,
        });
        let unsent = self.output.timings.iter().map(|timing| timing.answers);
        owed.chain(unsent).map(u64::from).sum()
    }

    /// Bytes of memory held for answers.
    #[must_use]
    pub fn buffer_bytes(&self) -> usize {
        let owed = self.owed.iter().map(|owed| match owed {
            Owed::Ready { bytes, .. } | Owed::Begun { bytes, .. } => bytes.capacity(),
            Owed::Away { .. } => 0,
        });
        let places = self.owed.capacity() * size_of::<Owed<T>>();
        owed.sum::<usize>() + places + self.output.buffer_bytes()
    }

    /// Gives up the memory of a connection that has nothing to send.
    pub fn release(&mut self) -> Output {
        debug_assert!(self.output.bytes.is_empty(), "all was sent");
        if self.owed.is_empty() && self.owed.capacity() > OWED_KEPT_MAX {
            self.owed = VecDeque::new();
        }
        std::mem::take(&mut self.output)
    }
}

/// One connection.
#[derive(Debug)]
pub struct Connection<T> {
    pub requests: Requests,
    pub responses: Responses<T>,
    stage: Stage,
    /// The client has closed its side.
    input_ended: bool,
    /// Complete requests may be waiting in `requests` for room in `responses`.
    pub blocked: bool,
    /// The last read may have left bytes in the socket.
    pub has_unread: bool,
    /// The store is to be told of a body that has more bytes than this.
    pub announce_above: usize,
    /// What the connection waits for, and since when.
    awaited: Awaited,
    since: Millis,
    /// When the first byte of the request that is not complete yet was parsed.
    begun_micros: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// No further request is taken; closes when what is owed has been sent.
    Closing,
    /// All is said and our side is closed; what still comes is read and dropped.
    Lingering {
        drained_bytes: usize,
    },
    Dead,
}

/// What the owner of the socket is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Wait until the socket can be read, written, or either.
    Wait {
        read: bool,
        write: bool,
    },
    /// Close the sending side, call [`Connection::linger`] and ask again.
    CloseWrite,
    Close,
}

/// Why a connection ran out of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// A request began and did not go on: answer 408, then close.
    Request,
    /// Nothing to say: close.
    Silent,
}

impl<T> Connection<T> {
    #[must_use]
    pub fn new(now: Millis) -> Self {
        Self {
            requests: Requests::default(),
            responses: Responses::default(),
            stage: Stage::Open,
            input_ended: false,
            blocked: false,
            has_unread: false,
            announce_above: usize::MAX,
            awaited: Awaited::Request,
            since: now,
            begun_micros: 0,
        }
    }

    /// When the next request began, of whose bytes more are read at `micros`.
    #[must_use]
    pub fn begun(&self, micros: u32) -> u32 {
        if self.awaited == Awaited::Request { micros } else { self.begun_micros }
    }

    /// Whether requests are still taken.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// The most bytes that the body on its way can have, once they are known to be more than
    /// `announce_above`; told once for each body.
    pub fn announce_body(&mut self, limits: &Limits) -> Option<usize> {
        let bytes = self.requests.large_body_bytes(self.announce_above, limits)?;
        self.announce_above = usize::MAX;
        Some(bytes)
    }

    /// Takes back what was read and notes what the connection waits for now. `progressed`: at
    /// least one request was complete. `micros`: when it was read.
    pub fn keep(&mut self, input: Input<'_>, progressed: bool, now: Millis, micros: u32) {
        self.has_unread = input.more;
        if progressed || self.awaited == Awaited::Request {
            self.begun_micros = micros;
        }
        if self.is_open() {
            self.requests.keep(input);
        }
        if progressed || self.requests.awaited() != self.awaited {
            self.awaited = self.requests.awaited();
            self.since = now;
        }
        if self.input_ended && !self.blocked {
            self.close_when_done();
        }
    }

    /// Bytes that arrived when no request is taken any more.
    pub fn discard(&mut self, bytes: usize, limits: &Limits) {
        if let Stage::Lingering { drained_bytes } = &mut self.stage {
            *drained_bytes += bytes;
            if *drained_bytes > limits.linger_bytes_max {
                self.stage = Stage::Dead;
            }
        }
    }

    /// The client closed its side: what is complete is answered, what is not is dropped.
    pub fn end_input(&mut self) {
        self.input_ended = true;
        if self.is_open() && !self.blocked {
            self.close_when_done();
        }
    }

    /// No further request is taken.
    pub fn close_when_done(&mut self) {
        if self.is_open() {
            self.stage = Stage::Closing;
            self.blocked = false;
            self.requests.forget();
        }
    }

    /// Our side is closed; from here on the client's bytes are drained.
    pub fn linger(&mut self, now: Millis) {
        self.stage = Stage::Lingering { drained_bytes: 0 };
        self.since = now;
    }

    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.stage == Stage::Dead
    }

    /// Nothing more will be sent or read.
    pub fn kill(&mut self) {
        self.stage = Stage::Dead;
    }

    /// Whether the connection rests between requests.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.is_open()
            && self.responses.is_done()
            && !self.blocked
            && !self.has_unread
            && self.requests.awaited() == Awaited::Request
    }

    /// Whether it has rested for longer than `time`.
    #[must_use]
    pub fn has_idled(&self, time: Duration, now: Millis) -> bool {
        self.is_idle() && now > self.since.after(time)
    }

    #[must_use]
    pub fn intent(&self, limits: &Limits) -> Intent {
        let write = !self.responses.unsent().is_empty();
        match self.stage {
            Stage::Open => Intent::Wait {
                read: !self.input_ended && !self.blocked && self.responses.has_room(limits),
                write,
            },
            Stage::Closing if !self.responses.is_done() => Intent::Wait { read: false, write },
            Stage::Closing if !self.input_ended => Intent::CloseWrite,
            Stage::Lingering { .. } if !self.input_ended => {
                Intent::Wait { read: true, write: false }
            }
            Stage::Closing | Stage::Lingering { .. } | Stage::Dead => Intent::Close,
        }
    }

    /// Whether the connection has waited too long for its client. The time in which there was no
    /// room for an answer is not the client's.
    pub fn overdue(&mut self, now: Millis, limits: &Limits) -> Option<Overdue> {
        let late = |since: Millis, allowed: Duration| now > since.after(allowed);
        if let Some(stalled) = self.responses.stalled {
            return late(stalled, limits.write_timeout).then_some(Overdue::Silent);
        }
        match self.stage {
            Stage::Open if self.blocked || !self.responses.has_room(limits) => {
                self.since = now;
                None
            }
            Stage::Open => match self.requests.awaited() {
                Awaited::Request if !self.responses.is_done() => None,
                Awaited::Request => {
                    late(self.since, limits.idle_timeout).then_some(Overdue::Silent)
                }
                Awaited::RestOfHead => {
                    late(self.since, limits.read_timeout).then_some(Overdue::Request)
                }
                Awaited::RestOfBody => {
                    let bytes = self.requests.body_bytes() as u64;
                    let stretch = Duration::from_millis(bytes * 1000 / BODY_BYTES_PER_SECOND_MIN);
                    late(self.since, limits.read_timeout + stretch).then_some(Overdue::Request)
                }
            },
            Stage::Closing => None,
            Stage::Lingering { .. } => {
                late(self.since, limits.linger_timeout).then_some(Overdue::Silent)
            }
            Stage::Dead => Some(Overdue::Silent),
        }
    }
}
