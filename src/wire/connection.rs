//! One connection: what has arrived, what is owed, what it waits for and for how long.

use super::{
    answers::Answers,
    input::{Awaited, Input},
};
use crate::{clock::Millis, config::Limits};
use std::time::Duration;

/// A body may come this slowly once its read timeout has passed.
const BODY_BYTES_PER_SECOND_MIN: u64 = 64 << 10;

#[derive(Debug)]
pub struct Connection<T> {
    pub answers: Answers<T>,
    /// Bytes of a request that is not whole.
    kept: Vec<u8>,
    stage: Stage,
    /// The client has closed its side.
    input_ended: bool,
    /// Whole requests may be waiting in `kept` for room in `answers`.
    is_blocked: bool,
    /// The last read may have left bytes in the socket.
    has_unread: bool,
    awaited: Awaited,
    /// Since when that is awaited.
    since: Millis,
    /// When the first byte of the request that is not whole was parsed.
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
    /// A request began and did not go on: say so, then close.
    Request,
    /// Nothing to say: close.
    Silent,
}

impl<T> Connection<T> {
    #[must_use]
    pub fn new(now: Millis) -> Self {
        Self {
            answers: Answers::default(),
            kept: Vec::new(),
            stage: Stage::Open,
            input_ended: false,
            is_blocked: false,
            has_unread: false,
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

    /// Joins what was kept with what was read; `more` if there may be more to read. Give it back
    /// with [`Connection::keep`].
    pub fn take_input<'a>(&mut self, fresh: &'a [u8], more: bool) -> Input<'a> {
        self.is_blocked = false;
        Input::new(std::mem::take(&mut self.kept), fresh, more)
    }

    /// There is no room for the answers to what is left of the input.
    pub fn block(&mut self, input: &Input<'_>) {
        self.is_blocked = !input.is_spent();
    }

    /// Takes back what was read. `progressed`: at least one request was whole. `micros`: when it
    /// was read. Then [`Connection::wait_for`] says what is to come.
    pub fn keep(&mut self, input: Input<'_>, progressed: bool, micros: u32) {
        self.has_unread = input.has_more();
        if progressed || self.awaited == Awaited::Request {
            self.begun_micros = micros;
        }
        if self.is_open() {
            self.kept = input.into_kept();
        }
    }

    /// The bytes of a request that is not whole.
    #[must_use]
    pub fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// Notes what the connection waits for now.
    pub fn wait_for(&mut self, awaited: Awaited, progressed: bool, now: Millis) {
        if progressed || !awaited.is_like(self.awaited) {
            self.since = now;
        }
        self.awaited = awaited;
        if self.input_ended && !self.is_blocked {
            self.close_when_done();
        }
    }

    /// Bytes of memory that are held for a request whose body has not all arrived.
    #[must_use]
    pub fn is_in_body(&self) -> bool {
        matches!(self.awaited, Awaited::Body(_))
    }

    #[must_use]
    pub fn awaited(&self) -> Awaited {
        self.awaited
    }

    /// Bytes of memory held for what has arrived.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.kept.capacity()
    }

    /// Whether whole requests wait for room that is there now.
    #[must_use]
    pub fn can_go_on(&self, limits: &Limits) -> bool {
        self.is_blocked && self.answers.has_room(limits)
    }

    /// The socket was found empty.
    pub fn exhausted(&mut self) {
        self.has_unread = false;
    }

    /// Whether the last read of the socket may have left bytes in it.
    #[must_use]
    pub fn has_unread(&self) -> bool {
        self.has_unread
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

    /// The client closed its side: what is whole is answered, what is not is dropped.
    pub fn end_input(&mut self) {
        self.input_ended = true;
        if self.is_open() && !self.is_blocked {
            self.close_when_done();
        }
    }

    /// No further request is taken.
    pub fn close_when_done(&mut self) {
        if self.is_open() {
            self.stage = Stage::Closing;
            self.is_blocked = false;
            self.awaited = Awaited::Request;
            self.kept = Vec::new();
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
            && self.answers.is_done()
            && !self.is_blocked
            && !self.has_unread
            && self.awaited == Awaited::Request
    }

    /// Whether it has rested for longer than `time`.
    #[must_use]
    pub fn has_idled(&self, time: Duration, now: Millis) -> bool {
        self.is_idle() && now > self.since.after(time)
    }

    #[must_use]
    pub fn intent(&self, limits: &Limits) -> Intent {
        let write = !self.answers.unsent().is_empty();
        match self.stage {
            Stage::Open => Intent::Wait {
                read: !self.input_ended && !self.is_blocked && self.answers.has_room(limits),
                write,
            },
            Stage::Closing if !self.answers.is_done() => Intent::Wait { read: false, write },
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
        if let Some(stalled) = self.answers.stalled() {
            return late(stalled, limits.write_timeout).then_some(Overdue::Silent);
        }
        match self.stage {
            Stage::Open if self.is_blocked || !self.answers.has_room(limits) => {
                self.since = now;
                None
            }
            Stage::Open => match self.awaited {
                Awaited::Request if !self.answers.is_done() => None,
                Awaited::Request => {
                    late(self.since, limits.idle_timeout).then_some(Overdue::Silent)
                }
                Awaited::Head => late(self.since, limits.read_timeout).then_some(Overdue::Request),
                Awaited::Body(body) => {
                    let bytes = body.bytes as u64;
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
