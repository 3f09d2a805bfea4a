//! The seam between a shard and a protocol: bytes become what is asked, replies become bytes.
//!
//! ```text
//!   bytes -> next -> Request -> (admission) -> read -> Ask -> (mesh, shard) -> reply ... -> bytes
//! ```
//!
//! A protocol knows neither sockets nor shards. It returns what a request asks and is handed what
//! came of it. The shard knows no method, path or status: it admits, carries out and counts.

use crate::{
    auth::Access,
    clock::Millis,
    config::{Config, Limits},
    events::{Kinds, Past},
    metrics::{self, Operation, Outcome, Stage},
    query::{Query, Share},
    store::{KeyHasher, Pin, Reply, Verb},
    text::Text,
    wire::{Awaited, Input},
};
use std::{borrow::Cow, time::SystemTime};

/// What a request may be refused for, whatever protocol it came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It brings no token that is known.
    NoToken,
    /// Its token may read only.
    ReadOnlyToken,
    /// Too much is under way to the shard of its key.
    HopFull,
    /// Too many bodies and long answers wait for their clients.
    BuffersFull,
    /// There is too much to do: the shard sheds load.
    Shed,
    /// The shard of its key is gone.
    ShardGone,
    /// Every one of so many connections is taken.
    TooManyConnections(usize),
    /// So many clients subscribe to events already.
    TooManySubscribers(usize),
    /// It did not arrive in time.
    TimedOut,
    /// The server does not serve yet, or no more.
    NotServing(Stage),
    NoSnapshotPath,
    SnapshotRunning,
}

/// What a request is read and an answer written with.
pub struct About<'a, P: Protocol> {
    pub config: &'a Config,
    pub hasher: &'a KeyHasher,
    pub date: &'a P::Date,
    pub stage: Stage,
    /// Of this turn of the loop.
    pub now: Millis,
    /// Microseconds since the start, as the clock was read last.
    pub now_us: u64,
    /// The connection is to end with the next answer that has no request behind it.
    pub closes: bool,
}

/// What is known of a request before it is read: how its answer is written, as far as that is
/// settled, and what it counts as.
pub struct Claim<P: Protocol> {
    pub form: P::Form,
    pub operation: Operation,
}

impl<P: Protocol> Clone for Claim<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Protocol> Copy for Claim<P> {}

/// What admission judges of a request.
pub struct Judged<'a> {
    pub needs: Access,
    pub token: Option<&'a [u8]>,
    /// False where it costs so little that it is served whatever the load.
    pub may_be_shed: bool,
    /// Of the body, as it is there or declared; `usize::MAX` where neither is so.
    pub body_bytes: usize,
}

/// A request whose body is on its way.
pub struct Announced<'a, P: Protocol> {
    pub claim: Claim<P>,
    pub judged: Judged<'a>,
    /// Why the body need not come, as far as the head tells.
    pub refusal: Option<P::Refusal>,
    /// The client sends none of it before it is told to.
    pub waits: bool,
    /// It may hold what is put into the store.
    pub stores: bool,
}

/// What the bytes so far amount to.
pub enum Next<'a, P: Protocol> {
    Partial,
    /// The head of a request whose body has not all arrived; once for each.
    Head(P::Head<'a>),
    /// A whole request that is framed and not read yet.
    Request(P::Request<'a>),
}

/// What a request asks to be done.
pub enum Ask<'a, P: Protocol> {
    Call(Command<'a>),
    Batch(Batch<'a>),
    /// Ask every shard.
    Broadcast(Query),
    /// Report these events for as long as the client stays.
    Subscribe(Kinds),
    /// Write a snapshot.
    Snapshot,
    /// What needs no store.
    Local(P::Local),
}

/// A verb and the key that it is for.
#[derive(Debug, PartialEq)]
pub struct Command<'a> {
    pub key: Cow<'a, [u8]>,
    pub verb: Verb<Cow<'a, [u8]>>,
    /// A pinned value is to be measured as a text, for which the reply waits.
    pub wants_text: bool,
}

/// Commands that are answered together. They run in their order on each shard, and nothing runs
/// between two of them there; between shards there is no order.
#[derive(Debug, PartialEq)]
pub struct Batch<'a> {
    pub commands: Vec<Command<'a>>,
    /// Its answer holds values: about so many bytes at most. `None`: it holds none.
    pub reply_bytes_max: Option<usize>,
}

/// What came of one command of a batch.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    Reply {
        key: &'a [u8],
        reply: Reply<&'a [u8]>,
    },
    /// It was not executed: the replies before it were too long.
    LeftOut,
    /// It was not executed: too much waits at the owner of its key.
    Refused,
    /// Whether it was executed is not known.
    Lost,
}

/// What is left of a value that leaves in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest<S> {
    pub pin: Pin,
    /// Bytes of the value that are written.
    pub from: usize,
    /// Bytes of the value.
    pub bytes: usize,
    pub style: S,
}

impl<S> Rest<S> {
    /// What fetches the next piece.
    #[must_use]
    pub fn verb<B>(&self, bytes: usize) -> Verb<B> {
        Verb::Piece { pin: self.pin, from: self.from, bytes }
    }
}

/// A protocol. Its functions read what has arrived and write to `out`, which only grows.
pub trait Protocol: Sized {
    const NAME: metrics::ProtocolName;
    /// What is known of a connection between two reads.
    type Reader;
    /// What the connections of one core share to read with.
    type Scratch: Default;
    /// The wall's clock as answers hold it.
    type Date: From<SystemTime>;
    type Request<'a>;
    /// A request without its body.
    type Head<'a>;
    /// How an answer is written; kept while the answer is away.
    type Form: Copy;
    /// Why bytes cannot be a request.
    type Fault: Clone;
    /// What a request is refused with.
    type Refusal: From<Problem> + From<Self::Fault>;
    /// How a value that leaves in pieces is written.
    type Style: Copy;
    type Local;
    /// The answer to a batch while the replies come in, in any order.
    type Gather;
    /// Events on their way to a subscriber.
    type Stream;

    /// Takes the next request of `input`. After a fault nothing more may be asked.
    fn next<'a>(
        reader: &'a mut Self::Reader,
        scratch: &mut Self::Scratch,
        input: &'a mut Input<'_>,
        limits: &Limits,
    ) -> Result<Next<'a, Self>, Self::Fault>;

    fn claim(request: &Self::Request<'_>, about: &About<'_, Self>) -> Claim<Self>;

    /// What is to be judged of a whole request, where anything is.
    fn judge<'a>(request: &Self::Request<'a>) -> Judged<'a>;

    /// The same of one whose body is on its way.
    fn announce<'a>(head: &Self::Head<'a>, about: &About<'_, Self>) -> Announced<'a, Self>;

    /// Reads what an admitted request asks and settles the form of its answer.
    fn read<'a>(
        request: &Self::Request<'a>,
        form: &mut Self::Form,
        about: &About<'_, Self>,
    ) -> Result<Ask<'a, Self>, Self::Refusal>;

    /// What the client is to send next; `kept` is not read yet. The last request is done with.
    fn awaited(reader: &mut Self::Reader, kept: &[u8], limits: &Limits) -> Awaited;

    /// Bytes of memory that the reader holds.
    fn buffer_bytes(reader: &Self::Reader) -> usize;

    /// No further request is taken: gives up the reader's memory.
    fn reset(reader: &mut Self::Reader);

    /// Whether no request is taken after an answer in this form.
    fn ends(form: &Self::Form) -> bool;

    /// Whether no request is taken after it.
    fn closes(refusal: &Self::Refusal) -> bool;

    /// The same refusal, after which no request is taken.
    fn closing(refusal: Self::Refusal) -> Self::Refusal;

    /// Tells the client to send the body that it waits with.
    fn go_ahead(out: &mut Vec<u8>);

    /// `form` is `None` where the request was not read so far.
    fn refuse(
        out: &mut Vec<u8>,
        form: Option<&Self::Form>,
        about: &About<'_, Self>,
        refusal: &Self::Refusal,
    ) -> Outcome;

    /// Writes what a reply amounts to, or the beginning of it and then, in `rest`, what is left.
    /// `text` is the measure of a pinned value, where the command wanted it.
    fn reply(
        out: &mut Vec<u8>,
        form: &Self::Form,
        about: &About<'_, Self>,
        key: &[u8],
        reply: &Reply<&[u8]>,
        text: Option<Text>,
        rest: &mut Option<Rest<Self::Style>>,
    ) -> Outcome;

    /// Writes a piece of a value, or as much of it as about `room` bytes take. Returns what is left
    /// then.
    fn piece(
        out: &mut Vec<u8>,
        rest: Rest<Self::Style>,
        piece: &[u8],
        room: usize,
    ) -> Option<Rest<Self::Style>>;

    /// Begins the answer to a batch.
    fn gather(form: &Self::Form, batch: &Batch<'_>, about: &About<'_, Self>) -> Self::Gather;

    /// Takes what came of command number `index`. Returns whether it was the last to come.
    fn take(gather: &mut Self::Gather, index: usize, item: Item<'_>) -> bool;

    fn finish(
        out: &mut Vec<u8>,
        form: &Self::Form,
        about: &About<'_, Self>,
        gather: Self::Gather,
    ) -> Outcome;

    fn local(
        out: &mut Vec<u8>,
        form: &Self::Form,
        about: &About<'_, Self>,
        local: &Self::Local,
    ) -> Outcome;

    /// Writes what all shards have found.
    fn results(
        out: &mut Vec<u8>,
        form: &Self::Form,
        about: &About<'_, Self>,
        results: &[Share],
    ) -> Outcome;

    /// Begins a stream of events.
    fn subscribe(
        out: &mut Vec<u8>,
        form: &Self::Form,
        about: &About<'_, Self>,
        kinds: Kinds,
        past: &Past,
    ) -> Self::Stream;

    /// Whether there is something to write.
    fn is_due(stream: &Self::Stream, past: &Past, now: Millis) -> bool;

    /// Writes what the subscriber has not seen yet, to about `room` bytes.
    fn push(out: &mut Vec<u8>, stream: &mut Self::Stream, past: &Past, now: Millis, room: usize);

    fn end_stream(out: &mut Vec<u8>, stream: &Self::Stream);
}
