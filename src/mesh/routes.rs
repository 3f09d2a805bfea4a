//! Calls, queries and letters go out to the shards, and what comes from them is taken in.

use super::{
    bounds::{BROADCASTS_MAX, LATES_MAX, MESSAGES_MAX},
    broadcast::Broadcasts,
    cargo::{Arrival, Called, Cargo},
    desk::Desk,
    late::{Groups, Return},
    message::{Asker, Incoming, Message},
    packed::Slot,
    peer::Peer,
    slot::owner,
};
use crate::{
    clock::Millis,
    config::Limits,
    counters::Hops,
    owner::{Call, Done, Owner},
    store::{Op, Pin, Reply, Verb},
};

/// One shard's end of the mesh.
pub struct Mesh<C: Cargo> {
    me: usize,
    /// By shard number; our own entry stays empty.
    pub(super) peers: Vec<Peer<C>>,
    pub(super) broadcasts: Broadcasts<C>,
    /// Of others, with calls that wait here.
    groups: Groups,
    hop_requests_max: usize,
    hop_bytes_max: usize,
    pub(super) hops: Hops,
}

/// The owner of a shard's own keys, which knows the way back to callers of every shard.
pub type Home<C> = Owner<Return<<C as Cargo>::Ticket>>;

impl<C: Cargo> Mesh<C> {
    /// Room that a channel in one direction needs for everything this module sends: calls, replies
    /// to the peer's calls, late replies to them and those that were taken, queries, results of
    /// the peer's, letters.
    pub const CHANNEL_MESSAGES_MAX: usize =
        2 * (MESSAGES_MAX + LATES_MAX + BROADCASTS_MAX) + C::LETTERS_MAX;

    /// Shard `me` of `shards`.
    #[must_use]
    pub fn new(me: usize, shards: usize, limits: &Limits) -> Self {
        assert!(me < shards, "shard {me} of {shards}");
        Self {
            me,
            peers: (0..shards).map(|_| Peer::new()).collect(),
            broadcasts: Broadcasts::new(),
            groups: Groups::default(),
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
    pub fn hops(&self) -> Hops {
        self.hops
    }

    /// The shard of a key.
    #[must_use]
    pub fn owner(&self, key: &[u8]) -> usize {
        owner(key, self.peers.len())
    }

    /// Says to every shard that a value of at most `bytes` is on its way.
    pub fn expect(&mut self, home: &mut Home<C>, bytes: usize) {
        home.expect(bytes);
        for (_, peer) in self.peers.iter_mut().enumerate().filter(|(shard, _)| *shard != self.me) {
            peer.outbox.expected_bytes = peer.outbox.expected_bytes.max(bytes);
        }
    }

    /// Gives a pin back to the shard that it is from.
    pub fn give_back(&mut self, home: &mut Home<C>, shard: usize, pin: Pin) {
        if shard == self.me {
            home.store_mut().unpin(pin);
        } else {
            self.peers[shard].outbox.returned.push(pin);
        }
    }

    /// Runs a command here if the key is ours and tells `here` the reply, else queues it for its
    /// owner under the ticket.
    #[inline]
    pub fn call(
        &mut self,
        home: &mut Home<C>,
        call: Call<'_>,
        now: Millis,
        ticket: C::Ticket,
        here: impl FnOnce(&Reply<&[u8]>),
    ) -> Called {
        let shard = self.owner(call.op.key.bytes);
        if shard == self.me {
            let caller = || Return { shard, ticket, group: 0 };
            return match home.run(call, now, caller, here) {
                Done::Now(()) => Called::Here,
                Done::Later => Called::Away,
                Done::Refused => {
                    self.hops.refused += 1;
                    Called::Refused
                }
            };
        }
        let peer = &mut self.peers[shard];
        let bytes = call.op.bytes();
        let is_full =
            peer.calls >= self.hop_requests_max || peer.bytes + bytes > self.hop_bytes_max;
        if is_full && !matches!(call.op.verb, Verb::Piece { .. }) {
            self.hops.refused += 1;
            return Called::Refused;
        }
        peer.calls += 1;
        peer.bytes += bytes;
        peer.outbox.push(ticket, call);
        self.hops.calls += 1;
        Called::Away
    }

    /// Runs or queues a group of commands in their order, or none of them: `None` where there is no
    /// room for some of them. Tells `here` each reply to one whose key is ours, by its place in the
    /// group, or that too much waits here; and returns how many are away. `replied_bytes_max`
    /// bounds the values that come from each peer.
    pub fn call_all(
        &mut self,
        home: &mut Home<C>,
        ops: &[Op<&[u8]>],
        now: Millis,
        replied_bytes_max: usize,
        ticket: impl Fn(usize) -> C::Ticket,
        mut here: impl FnMut(usize, Option<&Reply<&[u8]>>),
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
        let fits = |(peer, &(calls, bytes)): (&Peer<C>, &(usize, usize))| {
            peer.calls + calls <= self.hop_requests_max && peer.bytes + bytes <= self.hop_bytes_max
        };
        if !self.peers.iter().zip(&added).all(fits) {
            self.hops.refused += 1;
            return None;
        }
        let mut away = 0;
        for (at, (op, &shard)) in ops.iter().zip(&owners).enumerate() {
            if shard != self.me {
                self.peers[shard].outbox.push(ticket(at), op.into());
                continue;
            }
            let caller = || Return { shard, ticket: ticket(at), group: 0 };
            match home.run(op.into(), now, caller, |reply| here(at, Some(reply))) {
                Done::Now(()) => {}
                Done::Later => away += 1,
                Done::Refused => here(at, None),
            }
        }
        for (peer, (calls, bytes)) in self.peers.iter_mut().zip(added) {
            if calls > 0 {
                peer.outbox.group(calls, replied_bytes_max);
                peer.calls += calls;
                peer.bytes += bytes;
                away += calls;
                self.hops.calls += calls as u64;
            }
        }
        Some(away)
    }

    /// Asks every other shard; this one is to answer to the asker that is returned. The answer
    /// comes as [`Arrival::Results`]. Only where [`Mesh::can_ask`].
    #[must_use = "this shard has its share of the answer"]
    pub fn ask(&mut self, query: &C::Query, ticket: C::Ticket) -> Asker {
        debug_assert!(self.can_ask(), "the caller asked first");
        let broadcast = self.broadcasts.begin(ticket, self.peers.len());
        for (shard, peer) in self.peers.iter_mut().enumerate() {
            if shard != self.me {
                peer.ask(broadcast, query.clone());
            }
        }
        Asker { shard: self.me, broadcast }
    }

    /// Whether another query may be asked.
    #[must_use]
    pub fn can_ask(&self) -> bool {
        self.broadcasts.has_room()
    }

    /// Tells who asked what came of it here. Where that was this shard and the others have told
    /// already, all results are returned.
    #[must_use = "it may be the last result"]
    pub fn tell(&mut self, asker: Asker, result: C::Result) -> Option<Arrival<'static, C>> {
        let Asker { shard, broadcast } = asker;
        if shard == self.me {
            return self.broadcasts.take(shard, broadcast, result);
        }
        self.peers[shard].answers.push(Message::Told { broadcast, result });
        None
    }

    /// Sends a letter to another shard.
    pub fn send(&mut self, shard: usize, letter: C::Letter) {
        debug_assert_ne!(shard, self.me, "nobody writes to himself");
        self.peers[shard].answers.push(Message::Letter(letter));
    }

    /// Begins a turn of this shard's owner, see [`Owner::work`]. `arrived` returns whether it keeps
    /// the pin that a reply names.
    pub fn work(
        &mut self,
        home: &mut Home<C>,
        now: Millis,
        arrived: impl FnMut(Arrival<'_, C>) -> bool,
    ) -> bool {
        let Self { me, peers, groups, .. } = self;
        home.work(now, &mut Desk { me: *me, peers, groups, arrived })
    }

    /// Takes in one message from a peer. `arrived` returns whether it keeps the pin that a reply
    /// names. What is for this shard itself is handed on.
    #[must_use = "a query is to be answered, and a letter to be read"]
    pub fn deliver(
        &mut self,
        home: &mut Home<C>,
        from: usize,
        message: Message<C>,
        now: Millis,
        mut arrived: impl FnMut(Arrival<'_, C>) -> bool,
    ) -> Option<Incoming<C>> {
        let peer = &mut self.peers[from];
        match message {
            Message::Calls(mut batch) => {
                home.expect(batch.expected_bytes);
                batch.execute(from, home, &mut self.groups, now);
                peer.answers.push(Message::Replies(batch));
            }
            Message::Replies(batch) => {
                let mut has_later = false;
                for (ticket, key, outcome) in batch.outcomes() {
                    match outcome {
                        Ok(reply) => {
                            let pin = reply.pin();
                            let is_kept =
                                arrived(Arrival::Reply { ticket, key, reply, text: None });
                            peer.outbox.returned.extend(pin.filter(|_| !is_kept));
                        }
                        Err(Slot::Later) => has_later = true,
                        Err(Slot::Refused) => drop(arrived(Arrival::Refused { ticket })),
                        Err(_) => drop(arrived(Arrival::LeftOut { ticket })),
                    }
                }
                if has_later {
                    batch.later().for_each(|(ticket, bytes)| peer.park(ticket, bytes));
                }
                peer.messages_in_flight -= 1;
                peer.settle(batch);
            }
            Message::Late(mut late) => {
                for arrival in late.arrivals() {
                    let is_awaited = peer.unpark(arrival.ticket());
                    let pin = match &arrival {
                        Arrival::Reply { reply, .. } => reply.pin(),
                        _ => None,
                    };
                    let is_kept = is_awaited && arrived(arrival);
                    peer.outbox.returned.extend(pin.filter(|_| !is_kept));
                }
                late.clear();
                peer.answers.push(Message::LateTaken(late));
            }
            Message::LateTaken(late) => peer.late_taken(late),
            Message::Ask { broadcast, query } => {
                return Some(Incoming::Query { asker: Asker { shard: from, broadcast }, query });
            }
            Message::Told { broadcast, result } => {
                if let Some(results) = self.broadcasts.take(from, broadcast, result) {
                    arrived(results);
                }
            }
            Message::Letter(letter) => return Some(Incoming::Letter { from, letter }),
        }
        None
    }

    /// Nothing queued, nothing in flight, no query open; and nobody elsewhere waits for our owner.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.broadcasts.is_empty()
            && self.groups.is_empty()
            && self.peers.iter().all(Peer::is_quiet)
    }
}
