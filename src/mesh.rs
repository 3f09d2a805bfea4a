//! The store's verbs over all shards: a local call, or a hop to the shard that owns the key.
//!
//! A mesh is one shard's end of it: its own store, and for each peer the calls that wait to leave.
//! It is a plain object; whoever drives it carries its messages.
//!
//! The contract of the channel between two shards, which the driver and the simulation both keep:
//!
//! - Order. Messages from one shard to another arrive in the order they were sent. So calls to one
//!   peer run in the order they were made, and their replies come back in that order. Nothing is
//!   promised between different pairs.
//! - Batching. All calls made between two flushes leave as one message per peer, and the replies
//!   to one message come back as one message.
//! - Addressing. A call carries its caller's ticket to the owner and back. There is no table of
//!   calls in flight and no reply number that could be used twice.
//! - Bounds. At most `hop_requests_max` calls and `hop_bytes_max` bytes of keys and values may be
//!   under way to one peer; beyond that a call is refused and nothing is queued, and so are all
//!   calls of a group of which one would be. The replies to the calls of one group that go to one
//!   peer pass the group's bound by at most one value: what is read after that is left out. At most
//!   `MESSAGES_MAX` messages of calls are in flight to one peer; while they are, new calls gather
//!   in the next one. A channel with room for `CHANNEL_MESSAGES_MAX` messages is therefore never
//!   full, nobody waits for space, and two full directions cannot wait for each other.
//! - Questions. A question goes to every shard, the asking one included, and stands in the order of
//!   the calls: it comes after those that were made before it and before those made after it. At
//!   most `GATHERS_MAX` questions of one shard are open. Work that takes long is done in slices
//!   between turns; the answer is told when all of it is done.
//! - Way. Word of a large value that is on its way to some shard rides with the calls, merged into
//!   one number for each peer.
//! - Loans. A reply that names a loan hands it over. Loans go back with the calls and are never
//!   refused; there are no more than there were replies. Nor is a call for the next piece of a
//!   value on loan, of which a connection makes one at a time.
//! - Snapshots. The shard that writes one orders blocks from every shard and has at most
//!   `PARTS_MAX` under way from each; they are not calls and nobody waits for them.
//! - Events. A shard that listens asks every shard for what it noted, one question at a time, and
//!   tells it when it listens no more; nobody waits for either.
//! - Loss. A message that cannot be sent, because the peer is gone, is handed back and each of its
//!   calls resolves as lost, or the question that it asks. The loans in it are given back in the
//!   next one.

mod saving;

pub use saving::{Order, Part};

use crate::{
    clock::Millis,
    config::Limits,
    events::{Kind, Note},
    latency::{Latencies, Latency, Since},
    metrics::{Counters, Hops, Report},
    snapshot::{Failure, Summary},
    store::{Key, Op, Pin, Reply, Scan, Store, Verb},
    text::Text,
};
use crc::{CRC_16_XMODEM, Crc, Table};
use saving::Saving;
use std::{collections::VecDeque, ops::Range};

/// The public hash space: `slot = CRC16/XMODEM(key) mod 16384`, as in Redis Cluster.
pub const SLOTS: usize = 16_384;

/// Messages of calls in flight to one peer.
pub const MESSAGES_MAX: usize = 64;

/// Questions of one shard that are open at a time.
pub const GATHERS_MAX: usize = 16;

/// Blocks of a snapshot under way from one shard, and orders for them to it.
pub const PARTS_MAX: usize = 4;

/// Orders to begin or to stop that may be under way beside those for blocks: a snapshot begins no
/// earlier than its file is made, which takes longer than a message.
const ORDERS_MAX: usize = 8;

/// Word that a shard listens, or does not, that may be under way, and of what it is told.
const LISTENS_MAX: usize = 4;

/// Room that a channel in one direction needs for everything this module sends: calls, replies
/// to the peer's calls, questions, what there is to tell about the peer's, orders, blocks, events.
pub const CHANNEL_MESSAGES_MAX: usize =
    2 * (MESSAGES_MAX + GATHERS_MAX + PARTS_MAX) + ORDERS_MAX + LISTENS_MAX;

const CRC: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&CRC_16_XMODEM);

/// Buffers of answered batches kept for the next ones, per peer, and the largest that is kept.
const SPARES_MAX: usize = 4;
const SPARE_BYTES_MAX: usize = 256 << 10;

/// The slot of a key: over the part between the first `{` and the next `}` if that is not empty,
/// else over the whole key.
#[must_use]
pub fn slot(key: &[u8]) -> usize {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        rest.iter().position(|&byte| byte == b'}').filter(|&length| length > 0).map(|n| &rest[..n])
    });
    usize::from(CRC.checksum(tag.unwrap_or(key))) % SLOTS
}

/// The shard that owns a key.
#[must_use]
pub fn owner(key: &[u8], shards: usize) -> usize {
    if shards == 1 { 0 } else { slot(key) * shards / SLOTS }
}

/// A place in a batch's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u32,
    length: u32,
}

impl Span {
    fn push(bytes: &mut Vec<u8>, data: &[u8]) -> Self {
        let start = u32::try_from(bytes.len()).expect("hop_bytes_max is far below 4 GiB");
        bytes.extend_from_slice(data);
        Self { start, length: u32::try_from(data.len()).expect("a value is far below 4 GiB") }
    }

    fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..][..self.length as usize]
    }
}

/// Runs one operation. Who is to write a pinned value as JSON is told its measure as well: there
/// is one with each pinned value without details, and with no other reply.
#[inline]
fn execute<R>(
    store: &mut Store,
    op: &Op<&[u8]>,
    now: Millis,
    then: impl FnOnce(&Reply<&[u8]>, Option<&Text>) -> R,
) -> R {
    let mut reply = store.execute(op, now);
    let mut text = None;
    if let Reply::Pinned { pin, bytes, details: None } = reply {
        text = Some(measure(store, op.key, pin, now));
        reply = Reply::Pinned { pin, bytes, details: None };
    }
    then(&reply, text.as_ref())
}

#[cold]
fn measure(store: &mut Store, key: Key<&[u8]>, pin: Pin, now: Millis) -> Text {
    let verb = Verb::Piece { pin, from: 0, bytes: usize::MAX };
    match store.execute(&Op { key, verb }, now) {
        Reply::Piece { bytes, .. } => Text::of([bytes]),
        _ => unreachable!("what was pinned just now is there"),
    }
}

/// The calls of one group among those to one owner.
#[derive(Debug)]
struct Share {
    calls: Range<usize>,
    /// Of values in their replies.
    bytes_max: usize,
}

/// Calls to one owner, and after their return its replies, in the same order.
#[derive(Debug)]
pub struct Batch<T> {
    calls: Vec<(T, Op<Span>)>,
    called_bytes: Vec<u8>,
    /// In the order of their calls.
    shares: Vec<Share>,
    /// `None`: left out.
    replies: Vec<Option<Reply<Span>>>,
    replied_bytes: Vec<u8>,
    /// Of the values that are pinned without details, in the order of their replies.
    texts: Vec<Text>,
    /// The largest value that the owner should make room for; 0: none.
    way_bytes: usize,
    returned: Vec<Pin>,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self {
            calls: Vec::new(),
            called_bytes: Vec::new(),
            shares: Vec::new(),
            replies: Vec::new(),
            replied_bytes: Vec::new(),
            texts: Vec::new(),
            way_bytes: 0,
            returned: Vec::new(),
        }
    }
}

impl<T> Batch<T> {
    fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.way_bytes == 0 && self.returned.is_empty()
    }

    fn push(&mut self, ticket: T, op: Op<&[u8]>) {
        let op = op.map(|bytes| Span::push(&mut self.called_bytes, bytes));
        self.calls.push((ticket, op));
    }

    fn execute(&mut self, store: &mut Store, now: Millis) {
        self.replies.reserve(self.calls.len());
        let mut done = 0;
        for share in std::mem::take(&mut self.shares) {
            self.execute_some(done..share.calls.start, usize::MAX, store, now);
            done = share.calls.end;
            self.execute_some(share.calls, share.bytes_max, store, now);
        }
        self.execute_some(done..self.calls.len(), usize::MAX, store, now);
    }

    fn execute_some(
        &mut self,
        calls: Range<usize>,
        bytes_max: usize,
        store: &mut Store,
        now: Millis,
    ) {
        let end_max = self.replied_bytes.len().saturating_add(bytes_max);
        for (_, op) in &self.calls[calls] {
            let reply = (self.replied_bytes.len() <= end_max).then(|| {
                let op = op.map(|span| span.of(&self.called_bytes));
                execute(store, &op, now, |reply, text| {
                    self.texts.extend(text);
                    reply.map(|bytes| Span::push(&mut self.replied_bytes, bytes))
                })
            });
            self.replies.push(reply);
        }
        for pin in self.returned.drain(..) {
            store.unpin(pin);
        }
    }

    fn clear(&mut self) {
        self.calls.clear();
        self.called_bytes.clear();
        self.shares.clear();
        self.replies.clear();
        self.replied_bytes.clear();
        self.texts.clear();
        self.way_bytes = 0;
        self.returned.clear();
    }

    fn is_worth_keeping(&self) -> bool {
        self.called_bytes.capacity() + self.replied_bytes.capacity() <= SPARE_BYTES_MAX
    }
}

/// What shards say to each other.
#[derive(Debug)]
pub enum Message<T> {
    Calls(Box<Batch<T>>),
    Replies(Box<Batch<T>>),
    /// Asks the peer; `gather` is never used twice by the asking shard.
    Ask {
        gather: u64,
        question: Question,
    },
    Told {
        gather: u64,
        finding: Finding,
    },
    /// What the peer is to do for a snapshot.
    Order(Order),
    /// What came of an order for a block.
    Part(Box<Part>),
    /// The peer is to note events and to tell those that it has; or to note none any more.
    Listen(bool),
    Noted(Vec<Note>),
}

/// What every shard is asked to tell or to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// What the shard counts.
    Report,
    /// The same, and how long its requests took since then. `anew`: from here on that is now.
    Latency { since: Since, anew: bool },
    /// End every entry that carries the tag of this hash.
    Invalidate { tag: u64 },
    /// Forget every entry.
    Flush,
    /// Remove the live entries whose key begins like this, or count them in a dry run.
    DeletePrefix { prefix: Box<[u8]>, dry_run: bool },
}

/// One shard's answer to a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    Report(Box<Report>),
    Latency(Box<(Report, Latencies)>),
    /// It is done, to so many entries where they are counted.
    Done {
        entries: u64,
    },
    /// It cannot be done for now.
    Full,
    /// How a snapshot ended; told by the shard that writes it, and asked by no question.
    Saved(Result<Summary, Failure>),
}

/// What a shard keeps above the mesh, should it be asked.
pub struct Books<'a> {
    pub counters: &'a Counters,
    pub latency: &'a mut Latency,
    /// Microseconds since the start.
    pub now_us: u64,
}

/// A question of shard `from`, to be answered by [`Mesh::heed`].
#[derive(Debug)]
pub struct Asked {
    from: usize,
    gather: u64,
    question: Question,
}

/// What came of a call, at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// The key is ours: the answer was told.
    Here,
    /// The key is another shard's: the answer comes as an [`Arrival::Reply`].
    Away,
    /// Too much is under way to that shard already. Nothing was done.
    Refused,
}

/// What a delivered message brings for this shard's callers.
#[derive(Debug)]
pub enum Arrival<'a, T> {
    /// The answer to a call for `key`.
    Reply {
        ticket: T,
        key: &'a [u8],
        reply: Reply<&'a [u8]>,
        /// The measure of a value that is pinned without details.
        text: Option<&'a Text>,
    },
    /// The call was not executed: the replies to its group have passed their bound.
    LeftOut { ticket: T },
    /// The call was lost: whether it was executed is not known.
    Lost { ticket: T },
    /// Every shard's answer to a question, by shard number.
    Findings { ticket: T, findings: Vec<Finding> },
}

impl<T: Copy> Arrival<'_, T> {
    /// Whom it is for.
    #[must_use]
    pub fn ticket(&self) -> T {
        let (Self::Reply { ticket, .. }
        | Self::LeftOut { ticket }
        | Self::Lost { ticket }
        | Self::Findings { ticket, .. }) = *self;
        ticket
    }
}

#[derive(Debug)]
struct Peer<T> {
    /// Calls that were made before a question, and the question.
    questions: VecDeque<Message<T>>,
    outbox: Box<Batch<T>>,
    answers: Vec<Message<T>>,
    /// Calls and their bytes, waiting to leave or in flight.
    calls: usize,
    bytes: usize,
    messages_in_flight: usize,
    /// It was told to note events; it has not told any since.
    is_listened_to: bool,
    owes_notes: bool,
    #[expect(
        clippy::vec_box,
        reason = "a batch travels boxed, and goes out again as it came home"
    )]
    spares: Vec<Box<Batch<T>>>,
}

impl<T> Peer<T> {
    fn new() -> Self {
        Self {
            questions: VecDeque::new(),
            outbox: Box::default(),
            answers: Vec::new(),
            calls: 0,
            bytes: 0,
            messages_in_flight: 0,
            is_listened_to: false,
            owes_notes: false,
            spares: Vec::new(),
        }
    }

    /// The calls made so far, as one message.
    fn seal(&mut self) -> Message<T> {
        let next = self.spares.pop().unwrap_or_default();
        Message::Calls(std::mem::replace(&mut self.outbox, next))
    }

    fn ask(&mut self, gather: u64, question: Question) {
        if !self.outbox.is_empty() {
            let calls = self.seal();
            self.questions.push_back(calls);
        }
        self.questions.push_back(Message::Ask { gather, question });
    }

    /// What is to leave next, if it may leave now.
    fn next(&mut self) -> Option<Message<T>> {
        let is_held = self.messages_in_flight == MESSAGES_MAX;
        match self.questions.front() {
            Some(Message::Calls(_)) if is_held => None,
            Some(_) => self.questions.pop_front(),
            None if is_held || self.outbox.is_empty() => None,
            None => Some(self.seal()),
        }
    }

    /// A batch is home: its room is free again.
    fn settle(&mut self, mut batch: Box<Batch<T>>, calls: usize) {
        self.calls -= calls;
        self.bytes -= batch.called_bytes.len();
        if self.spares.len() < SPARES_MAX && batch.is_worth_keeping() {
            batch.clear();
            self.spares.push(batch);
        }
    }
}

#[derive(Debug)]
struct Gather<T> {
    id: u64,
    ticket: T,
    findings: Vec<Option<Finding>>,
}

/// A removal by prefix that shard `from` has asked for.
#[derive(Debug)]
struct Removal {
    from: usize,
    gather: u64,
    prefix: Box<[u8]>,
    dry_run: bool,
    scan: Scan,
}

/// One shard's end of the mesh. `T` finds the way back to whoever made a call.
pub struct Mesh<T> {
    me: usize,
    store: Store,
    /// The value that this shard makes room for; 0: none.
    way_bytes: usize,
    /// By shard number; our own entry stays empty.
    peers: Vec<Peer<T>>,
    gathers: Vec<Gather<T>>,
    gathers_begun: u64,
    /// One is worked on at a time. At most `GATHERS_MAX` are of one shard.
    removals: VecDeque<Removal>,
    /// This shard's share of a snapshot.
    saving: Option<Saving>,
    /// Parts that were ordered here, and the shards that they are from.
    parts: VecDeque<(usize, Box<Part>)>,
    /// Events that were noted for this shard, and the shards that noted them.
    notes: Vec<(usize, Vec<Note>)>,
    hop_requests_max: usize,
    hop_bytes_max: usize,
    hops: Hops,
}

impl<T> Mesh<T> {
    /// Shard `me` of `shards`, with its own store.
    #[must_use]
    pub fn new(me: usize, shards: usize, store: Store, limits: &Limits) -> Self {
        assert!(me < shards, "shard {me} of {shards}");
        Self {
            me,
            store,
            way_bytes: 0,
            peers: (0..shards).map(|_| Peer::new()).collect(),
            gathers: Vec::new(),
            gathers_begun: 0,
            removals: VecDeque::new(),
            saving: None,
            parts: VecDeque::new(),
            notes: Vec::new(),
            hop_requests_max: limits.hop_requests_max,
            hop_bytes_max: limits.hop_bytes_max,
            hops: Hops::default(),
        }
    }

    #[must_use]
    pub fn shards(&self) -> usize {
        self.peers.len()
    }

    #[must_use]
    pub fn me(&self) -> usize {
        self.me
    }

    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Gives back the memory of entries of this shard whose time is over, in at most `steps` steps.
    /// Returns whether there may be more.
    pub fn expire(&mut self, now: Millis, steps: u32) -> bool {
        self.store.expire(now, steps)
    }

    /// Says that a value of at most `bytes` is on its way. Its owner is not known before its key
    /// is, so every shard makes room: where it was for nothing, the puts to come use it up before
    /// they evict again. It costs a standing reserve and, in the long run, no eviction.
    pub fn expect(&mut self, bytes: usize) {
        self.way_bytes = self.way_bytes.max(bytes);
        for (_, peer) in self.peers.iter_mut().enumerate().filter(|(shard, _)| *shard != self.me) {
            peer.outbox.way_bytes = peer.outbox.way_bytes.max(bytes);
        }
    }

    /// The shard of a key.
    #[must_use]
    pub fn owner(&self, key: &[u8]) -> usize {
        owner(key, self.peers.len())
    }

    /// Gives a loan back to the shard that it is from.
    pub fn give_back(&mut self, shard: usize, pin: Pin) {
        if shard == self.me {
            self.store.unpin(pin);
        } else {
            self.peers[shard].outbox.returned.push(pin);
        }
    }

    /// Takes at most `steps` steps to make room for what is expected. Returns whether
    /// there is more to do.
    pub fn make_way(&mut self, now: Millis, steps: u32) -> bool {
        if self.way_bytes > 0 && self.store.make_room_ahead(self.way_bytes, now, steps) {
            self.way_bytes = 0;
        }
        self.way_bytes > 0
    }

    /// Gives back the memory of entries of this shard whose tag was invalidated, in about `steps`
    /// steps. Returns whether there is more to do.
    pub fn sweep(&mut self, steps: u32) -> bool {
        self.store.sweep(steps)
    }

    /// Tells a shard what to do for a snapshot.
    pub fn order(&mut self, shard: usize, order: Order) {
        if shard == self.me {
            self.obey(self.me, order);
        } else {
            self.peers[shard].answers.push(Message::Order(order));
        }
    }

    fn obey(&mut self, writer: usize, order: Order) {
        match (order, &mut self.saving) {
            (Order::Begin { snapshot, offset }, _) => {
                self.saving = Some(Saving::begin(writer, snapshot, offset, &mut self.store));
            }
            (Order::Next, Some(saving)) => saving.want(),
            (Order::Next, None) => {}
            (Order::Stop, _) => {
                self.store.stop_walk();
                self.saving = None;
            }
        }
    }

    /// Whether a snapshot has not got this shard's whole share yet.
    #[must_use]
    pub fn is_saving(&self) -> bool {
        self.saving.is_some()
    }

    /// Goes on with this shard's share of a snapshot, for about `steps` steps. Returns whether more
    /// of it is wanted.
    pub fn save(&mut self, now: Millis, steps: u32) -> bool {
        let Some(saving) = &mut self.saving else { return false };
        let part = saving.work(&mut self.store, now, steps);
        let (writer, is_wanted) = (saving.writer, saving.is_wanted());
        if let Some(part) = part {
            if part.is_last {
                self.saving = None;
            }
            let part = Box::new(part);
            if writer == self.me {
                self.parts.push_back((self.me, part));
            } else {
                self.peers[writer].answers.push(Message::Part(part));
            }
        }
        is_wanted && self.saving.is_some()
    }

    /// The next part of a snapshot that was ordered here, and the shard that it is from.
    pub fn take_part(&mut self) -> Option<(usize, Box<Part>)> {
        self.parts.pop_front()
    }

    /// Collects the events that every shard has noted since the last time, and has it note those to
    /// come; or has it note none any more.
    pub fn listen(&mut self, is_on: bool) {
        self.store.subscribe(is_on);
        if is_on {
            self.notes.push((self.me, self.store.take_notes()));
        } else {
            self.notes.clear();
        }
        for (_, peer) in self.peers.iter_mut().enumerate().filter(|(shard, _)| *shard != self.me) {
            let is_news = if is_on { !peer.owes_notes } else { peer.is_listened_to };
            if is_news {
                peer.answers.push(Message::Listen(is_on));
                peer.is_listened_to = is_on;
                peer.owes_notes |= is_on;
            }
        }
    }

    /// What was collected since the last time, and the shards that it is from.
    pub fn take_notes(&mut self) -> Vec<(usize, Vec<Note>)> {
        std::mem::take(&mut self.notes)
    }

    /// From here on entries come from a snapshot, the ones used longest ago first, until
    /// [`Mesh::finish_restore`].
    pub fn start_restore(&mut self) {
        self.store.start_restore();
    }

    /// Puts an entry of a snapshot. `None`: its key is another shard's.
    pub fn restore(
        &mut self,
        key: &[u8],
        hash: impl FnOnce() -> u64,
        verb: Verb<&[u8]>,
        now: Millis,
    ) -> Option<Reply<&[u8]>> {
        if self.owner(key) != self.me {
            return None;
        }
        Some(self.store.execute(&Op { key: Key { bytes: key, hash: hash() }, verb }, now))
    }

    /// Returns how many entries went to make room for those after them.
    pub fn finish_restore(&mut self) -> u64 {
        let evictions = self.store.stats().evictions;
        self.store.finish_restore();
        evictions
    }

    /// Forgets what was restored.
    pub fn forget_restored(&mut self) {
        self.store.flush();
        self.store.finish_restore();
    }

    /// Everything that this shard counts.
    #[must_use]
    pub fn report(&self, counters: &Counters) -> Report {
        Report { counters: *counters, hops: self.hops, store: self.store.stats() }
    }

    /// Runs `op` here if the key is ours and tells `here` the reply, else queues it for its owner
    /// under the ticket.
    #[inline]
    pub fn call(
        &mut self,
        op: &Op<&[u8]>,
        now: Millis,
        ticket: T,
        here: impl FnOnce(&Reply<&[u8]>, Option<&Text>),
    ) -> Called {
        let owner = self.owner(op.key.bytes);
        if owner == self.me {
            execute(&mut self.store, op, now, here);
            return Called::Here;
        }
        let peer = &mut self.peers[owner];
        let bytes = op.bytes();
        let is_full =
            peer.calls >= self.hop_requests_max || peer.bytes + bytes > self.hop_bytes_max;
        if is_full && !matches!(op.verb, Verb::Piece { .. }) {
            self.hops.refused += 1;
            return Called::Refused;
        }
        peer.calls += 1;
        peer.bytes += bytes;
        peer.outbox.push(ticket, *op);
        self.hops.calls += 1;
        Called::Away
    }

    /// Runs or queues a group of operations in their order, or none of them: `None` where some of
    /// them find the way full. Tells `here` each reply to one whose key is ours, by its place in
    /// the group, and returns how many are away. `replied_bytes_max` bounds the values that come
    /// from each peer.
    pub fn call_all(
        &mut self,
        ops: &[Op<&[u8]>],
        now: Millis,
        replied_bytes_max: usize,
        ticket: impl Fn(usize) -> T,
        mut here: impl FnMut(usize, Reply<&[u8]>),
    ) -> Option<usize> {
        let shards = self.peers.len();
        let owners: Vec<usize> = ops.iter().map(|op| owner(op.key.bytes, shards)).collect();
        let mut added = vec![(0, 0); shards];
        for (op, &owner) in ops.iter().zip(&owners) {
            let (calls, bytes) = &mut added[owner];
            *calls += 1;
            *bytes += op.bytes();
        }
        added[self.me] = (0, 0);
        let fits = |(peer, &(calls, bytes)): (&Peer<T>, &(usize, usize))| {
            peer.calls + calls <= self.hop_requests_max && peer.bytes + bytes <= self.hop_bytes_max
        };
        if !self.peers.iter().zip(&added).all(fits) {
            self.hops.refused += 1;
            return None;
        }
        for (at, (op, &owner)) in ops.iter().zip(&owners).enumerate() {
            if owner == self.me {
                execute(&mut self.store, op, now, |reply, _| here(at, *reply));
            } else {
                self.peers[owner].outbox.push(ticket(at), *op);
            }
        }
        let mut away = 0;
        for (peer, (calls, bytes)) in self.peers.iter_mut().zip(added) {
            if calls > 0 {
                let end = peer.outbox.calls.len();
                let share = Share { calls: end - calls..end, bytes_max: replied_bytes_max };
                peer.outbox.shares.push(share);
                peer.calls += calls;
                peer.bytes += bytes;
                away += calls;
            }
        }
        self.hops.calls += away as u64;
        Some(away)
    }

    /// Asks every shard; the answer comes as [`Arrival::Findings`], at once where there is one
    /// shard and the work is short. Only where [`Mesh::can_ask`].
    #[must_use = "with one shard the findings may be here at once"]
    pub fn ask(
        &mut self,
        question: &Question,
        ticket: T,
        books: &mut Books<'_>,
    ) -> Option<Arrival<'static, T>> {
        debug_assert!(self.can_ask(), "the caller asked first");
        self.gathers_begun += 1;
        let id = self.gathers_begun;
        self.gathers.push(Gather { id, ticket, findings: vec![None; self.peers.len()] });
        for (shard, peer) in self.peers.iter_mut().enumerate() {
            if shard != self.me {
                peer.ask(id, question.clone());
            }
        }
        self.heed(Asked { from: self.me, gather: id, question: question.clone() }, books);
        self.finish_gather(id)
    }

    /// Whether another question may be asked.
    #[must_use]
    pub fn can_ask(&self) -> bool {
        self.gathers.len() < GATHERS_MAX
    }

    /// Does what shard `from` asks for, or begins to.
    pub fn heed(&mut self, asked: Asked, books: &mut Books<'_>) {
        let Asked { from, gather, question } = asked;
        let finding = match question {
            Question::Report => Finding::Report(Box::new(self.report(books.counters))),
            Question::Latency { since, anew } => {
                let latencies = books.latency.read(since, anew, books.now_us);
                Finding::Latency(Box::new((self.report(books.counters), latencies)))
            }
            Question::Invalidate { tag } if self.store.invalidate(tag) => {
                Finding::Done { entries: 0 }
            }
            Question::Invalidate { .. } => Finding::Full,
            Question::Flush => {
                let entries = self.store.stats().entries;
                self.store.flush();
                Finding::Done { entries }
            }
            Question::DeletePrefix { prefix, dry_run } => {
                let scan = Scan::START;
                self.removals.push_back(Removal { from, gather, prefix, dry_run, scan });
                return;
            }
        };
        self.tell(from, gather, finding);
    }

    /// Goes on with what takes long, for about `steps` steps. Returns whether there is more to do.
    pub fn work(
        &mut self,
        now: Millis,
        steps: u32,
        mut arrived: impl FnMut(Arrival<'_, T>),
    ) -> bool {
        let Some(removal) = self.removals.front_mut() else { return false };
        let Removal { from, gather, prefix, dry_run, scan } = removal;
        if self.store.delete_prefix(scan, prefix, *dry_run, now, steps) {
            let (from, gather, entries) = (*from, *gather, scan.matched);
            if !*dry_run {
                self.store.note(Kind::PrefixDeleted, prefix, entries);
            }
            self.removals.pop_front();
            self.tell(from, gather, Finding::Done { entries });
            if from == self.me
                && let Some(findings) = self.finish_gather(gather)
            {
                arrived(findings);
            }
        }
        !self.removals.is_empty()
    }

    fn tell(&mut self, to: usize, gather: u64, finding: Finding) {
        if to == self.me {
            self.note(to, gather, finding);
        } else {
            self.peers[to].answers.push(Message::Told { gather, finding });
        }
    }

    /// Notes what a shard found, unless another was lost before.
    fn note(&mut self, shard: usize, gather: u64, finding: Finding) {
        if let Some(open) = self.gathers.iter_mut().find(|open| open.id == gather) {
            open.findings[shard] = Some(finding);
        }
    }

    fn finish_gather(&mut self, id: u64) -> Option<Arrival<'static, T>> {
        let at = self.gathers.iter().position(|gather| gather.id == id)?;
        if self.gathers[at].findings.iter().any(Option::is_none) {
            return None;
        }
        let gather = self.gathers.swap_remove(at);
        let findings = gather.findings.into_iter().flatten().collect();
        Some(Arrival::Findings { ticket: gather.ticket, findings })
    }

    /// Takes in one message from a peer. `arrived` returns whether it keeps the loan that a reply
    /// names. A question is handed on.
    #[must_use = "the peer waits for the answer"]
    pub fn deliver(
        &mut self,
        from: usize,
        message: Message<T>,
        now: Millis,
        mut arrived: impl FnMut(Arrival<'_, T>) -> bool,
    ) -> Option<Asked> {
        match message {
            Message::Calls(mut batch) => {
                self.way_bytes = self.way_bytes.max(batch.way_bytes);
                batch.execute(&mut self.store, now);
                self.peers[from].answers.push(Message::Replies(batch));
            }
            Message::Replies(mut batch) => {
                let calls = batch.calls.len();
                let mut texts = batch.texts.iter();
                for ((ticket, op), reply) in batch.calls.drain(..).zip(&batch.replies) {
                    let key = op.key.bytes.of(&batch.called_bytes);
                    let Some(reply) = reply else {
                        arrived(Arrival::LeftOut { ticket });
                        continue;
                    };
                    let reply = reply.map(|span| span.of(&batch.replied_bytes));
                    let is_measured = matches!(reply, Reply::Pinned { details: None, .. });
                    let text = if is_measured { texts.next() } else { None };
                    let is_kept = arrived(Arrival::Reply { ticket, key, reply, text });
                    let pin = reply.pin().filter(|_| !is_kept);
                    self.peers[from].outbox.returned.extend(pin);
                }
                self.peers[from].messages_in_flight -= 1;
                self.peers[from].settle(batch, calls);
            }
            Message::Ask { gather, question } => return Some(Asked { from, gather, question }),
            Message::Order(order) => self.obey(from, order),
            Message::Part(part) => self.parts.push_back((from, part)),
            Message::Listen(is_on) => {
                self.store.subscribe(is_on);
                if is_on {
                    let notes = self.store.take_notes();
                    self.peers[from].answers.push(Message::Noted(notes));
                }
            }
            Message::Noted(notes) => {
                self.peers[from].owes_notes = false;
                self.notes.push((from, notes));
            }
            Message::Told { gather, finding } => {
                self.note(from, gather, finding);
                if let Some(findings) = self.finish_gather(gather) {
                    arrived(findings);
                }
            }
        }
        None
    }

    /// Sends what has gathered since the last flush. `send` hands a message back when the peer is
    /// gone; the calls in it are then lost, and so is everything else that was meant for it.
    pub fn flush(
        &mut self,
        mut send: impl FnMut(usize, Message<T>) -> Result<(), Message<T>>,
        mut arrived: impl FnMut(Arrival<'_, T>) -> bool,
    ) {
        for (shard, peer) in self.peers.iter_mut().enumerate() {
            for answer in peer.answers.drain(..) {
                // A reply that cannot be delivered has nobody left to miss it.
                drop(send(shard, answer));
            }
            while let Some(message) = peer.next() {
                let is_calls = matches!(message, Message::Calls(_));
                match send(shard, message) {
                    Ok(()) if is_calls => {
                        peer.messages_in_flight += 1;
                        self.hops.messages += 1;
                    }
                    Ok(()) => {}
                    Err(Message::Calls(mut batch)) => {
                        let calls = batch.calls.len();
                        peer.outbox.returned.append(&mut batch.returned);
                        for (ticket, op) in batch.calls.drain(..) {
                            if let Verb::Piece { pin, .. } = op.verb {
                                peer.outbox.returned.push(pin);
                            }
                            arrived(Arrival::Lost { ticket });
                        }
                        peer.settle(batch, calls);
                    }
                    Err(Message::Ask { gather, .. }) => {
                        let open = self.gathers.iter().position(|open| open.id == gather);
                        if let Some(at) = open {
                            let ticket = self.gathers.swap_remove(at).ticket;
                            arrived(Arrival::Lost { ticket });
                        }
                    }
                    Err(_) => unreachable!("a refused message comes back as it was"),
                }
            }
        }
    }

    /// Nothing queued, nothing in flight, no question open.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let is_quiet = |peer: &Peer<T>| peer.outbox.is_empty() && peer.answers.is_empty();
        self.gathers.is_empty() && self.peers.iter().all(|peer| peer.calls == 0 && is_quiet(peer))
    }
}

#[cfg(test)]
mod tests {
    use super::{Arrival, Mesh, owner};
    use crate::{
        clock::Millis,
        config::Limits,
        store::{Bounds, Key, Op, Reply, Store, Verb},
    };

    const NOW: Millis = Millis(1);

    fn mesh(me: usize) -> Mesh<usize> {
        let bounds = Bounds {
            memory_bytes_max: 1 << 20,
            key_bytes_max: 10,
            value_bytes_max: 100,
            entries_max: 0,
        };
        Mesh::new(me, 2, Store::new(&bounds), &Limits::DEFAULT)
    }

    /// Of the second shard.
    fn op(verb: Verb<&[u8]>) -> Op<&[u8]> {
        assert_eq!(owner(b"a", 2), 1);
        Op { key: Key { bytes: b"a", hash: 7 }, verb }
    }

    /// What arrives at the first mesh from the second.
    fn exchange(one: &mut Mesh<usize>, two: &mut Mesh<usize>) -> Vec<(usize, bool)> {
        let mut mail = Vec::new();
        let mut post = |to, message| {
            mail.push((to, message));
            Ok(())
        };
        one.flush(&mut post, |_| false);
        assert_eq!(mail.len(), 1, "all calls of a turn are one message");
        let (_, message) = mail.remove(0);
        assert!(two.deliver(0, message, NOW, |_| false).is_none());
        two.flush(
            |to, message| {
                mail.push((to, message));
                Ok(())
            },
            |_| false,
        );
        let (_, message) = mail.remove(0);
        let mut arrived = Vec::new();
        let asked = one.deliver(1, message, NOW, |arrival| {
            match arrival {
                Arrival::Reply { ticket, reply, .. } => {
                    assert_eq!(reply, Reply::Value(&[b'v'; 100][..]));
                    arrived.push((ticket, true));
                }
                Arrival::LeftOut { ticket } => arrived.push((ticket, false)),
                _ => panic!("{arrival:?}"),
            }
            false
        });
        assert!(asked.is_none());
        arrived
    }

    #[test]
    fn the_replies_to_one_group_pass_their_bound_by_at_most_one() {
        let (mut one, mut two) = (mesh(0), mesh(1));
        let put = Verb::put(&[b'v'; 100][..], None);
        two.call(&op(put), NOW, 0, |reply, _| assert_eq!(*reply, Reply::Created));
        let group = [op(Verb::get()); 4];
        one.call(&op(Verb::get()), NOW, 0, |_, _| panic!("it is away"));
        let away = one.call_all(&group, NOW, 150, |at| 10 + at, |_, _| panic!("it is away"));
        assert_eq!(away, Some(4));
        one.call(&op(Verb::get()), NOW, 1, |_, _| panic!("it is away"));
        one.call_all(&group, NOW, 399, |at| 20 + at, |_, _| panic!("it is away"));
        one.call(&op(Verb::get()), NOW, 2, |_, _| panic!("it is away"));
        let arrived = exchange(&mut one, &mut two);
        let found = |(ticket, found): &(usize, bool)| found.then_some(*ticket);
        let found: Vec<usize> = arrived.iter().filter_map(found).collect();
        assert_eq!(found, [0, 10, 11, 1, 20, 21, 22, 23, 2]);
        assert_eq!(arrived.len(), 11);
        assert!(one.is_quiet());
    }
}
