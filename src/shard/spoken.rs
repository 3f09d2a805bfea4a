//! The protocols that a shard speaks, as one type where it must not matter which: what is kept
//! between two reads, and what an answer that is away will need.

use crate::{
    http::{self, Http, Port},
    metrics::Operation,
    protocol::{Item, Protocol, Rest},
};
use std::time::SystemTime;

/// Which listener a connection came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Data,
    Admin,
    /// There is no room: it is told so and closed.
    Refused,
}

/// What is known of a connection between two reads.
pub(super) enum Reader {
    Http(http::Reader),
}

impl Reader {
    pub(super) fn new(role: Role) -> Self {
        let port = if role == Role::Admin { Port::Admin } else { Port::Data };
        Self::Http(http::Reader::new(port))
    }

    pub(super) fn buffer_bytes(&self) -> usize {
        match self {
            Self::Http(reader) => Http::buffer_bytes(reader),
        }
    }

    /// No further request is taken.
    pub(super) fn reset(&mut self) {
        match self {
            Self::Http(reader) => Http::reset(reader),
        }
    }
}

/// An answer that is away.
pub(super) enum Owing {
    Http(Pending<Http>),
}

/// An answer that is away, and what it will be written with.
pub(super) struct Pending<P: Protocol> {
    pub(super) form: P::Form,
    pub(super) operation: Operation,
    pub(super) waits: Waits<P>,
}

/// What an answer waits for.
pub(super) enum Waits<P: Protocol> {
    Reply,
    Gather(Box<P::Gather>),
    /// Of every shard.
    Results,
    /// The next piece of the value of a key.
    Piece {
        key: Box<[u8]>,
        rest: Rest<P::Style>,
    },
    /// What was begun cannot be completed.
    Broken,
    Stream(P::Stream),
}

impl<P: Protocol> Pending<P> {
    /// Takes what came of one command, where that is not the whole answer. Returns whether all has
    /// come.
    pub(super) fn take(&mut self, index: u32, item: Item<'_>) -> bool {
        match &mut self.waits {
            Waits::Gather(gather) => P::take(gather, index as usize, item),
            _ => true,
        }
    }
}

/// What the connections of one core share to read with.
#[derive(Default)]
pub(super) struct Scratch {
    http: <Http as Protocol>::Scratch,
}

/// The wall's clock as each protocol writes it.
pub(super) struct Dates {
    http: <Http as Protocol>::Date,
}

impl From<SystemTime> for Dates {
    fn from(wall: SystemTime) -> Self {
        Self { http: wall.into() }
    }
}

/// A protocol that has its place in the types above.
pub(super) trait Spoken: Protocol {
    fn date(dates: &Dates) -> &Self::Date;
    fn scratch(scratch: &mut Scratch) -> &mut Self::Scratch;
    fn reader(reader: &mut Reader) -> &mut Self::Reader;
    fn owing(pending: Pending<Self>) -> Owing;
    fn pending(owing: &mut Owing) -> &mut Pending<Self>;
}

impl Spoken for Http {
    fn date(dates: &Dates) -> &Self::Date {
        &dates.http
    }

    fn scratch(scratch: &mut Scratch) -> &mut Self::Scratch {
        &mut scratch.http
    }

    fn reader(reader: &mut Reader) -> &mut Self::Reader {
        let Reader::Http(reader) = reader;
        reader
    }

    fn owing(pending: Pending<Self>) -> Owing {
        Owing::Http(pending)
    }

    fn pending(owing: &mut Owing) -> &mut Pending<Self> {
        let Owing::Http(pending) = owing;
        pending
    }
}
