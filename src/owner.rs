//! The owner of keys: one shard's store, and what stands behind it. A command is answered now, or
//! later when what it waits for is known.
//!
//! Two things are waited for:
//!
//! - The measure of a pinned value. Who answers in JSON needs the length of its string before the
//!   first byte of the head, and says so beside the operation. The value is pinned at once, which
//!   is when the command counts as run, and measured in slices between turns.
//! - What an upstream has of a key. A command that the upstream wants to be asked for is parked
//!   before it runs. All parked commands of a key are one list, so the upstream is asked once, and
//!   each further command for that key stands in line behind them, whatever it is: commands of one
//!   key run in the order they came. When the upstream has told, what it has is put into the store
//!   and the list runs against it, in that same turn. An entry that may not stay is removed when
//!   the turn ends, unless somebody has changed it; readers keep what they have pinned.
//!
//! What waits is bounded in number and bytes. A command beyond that is refused and nothing is done.

mod measure;
mod parked;
mod span;
#[cfg(test)]
mod tests;

pub(crate) use span::Span;

use crate::{
    clock::Millis,
    config::Limits,
    store::{Key, Op, Pin, Reply, Store, Verb},
    text::Text,
};
use measure::Measuring;
use parked::{Fill, Parked, Waiting};
use std::{collections::VecDeque, num::NonZeroU64};

/// Keys that are taken from upstream in one turn, so that others get theirs.
const DELIVERIES_MAX: usize = 64;

/// One operation and what its caller wants beside the reply.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Where it was made: to copy it costs more than to use it.
    pub op: &'a Op<&'a [u8]>,
    /// A pinned value is to be measured as a text: the reply then comes late, with its measure.
    pub wants_text: bool,
}

impl<'a> From<&'a Op<&'a [u8]>> for Call<'a> {
    fn from(op: &'a Op<&'a [u8]>) -> Self {
        Self { op, wants_text: false }
    }
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done<R> {
    /// It ran, and this is what was made of the reply.
    Now(R),
    /// Its caller is told later, by [`Owner::work`].
    Later,
    /// Too much waits here already. Nothing was done.
    Refused,
}

/// What a caller is told later.
#[derive(Clone, Copy, Debug)]
pub enum Late<'a> {
    /// `text` is the measure of a pinned value whose caller wanted it.
    Reply { reply: Reply<&'a [u8]>, text: Option<Text> },
    /// Its caller wants no reply any more: the command did not run.
    LeftOut,
    /// The upstream has failed: the command did not run.
    Failed,
}

/// Those who wait. `A` finds the way back to one of them.
pub trait Callers<A> {
    /// Whether a command may run still, asked right before it does.
    fn may_run(&mut self, caller: &A) -> bool;

    /// Returns whether the pin that the reply names is kept.
    fn tell(&mut self, caller: A, key: &[u8], late: Late<'_>) -> bool;
}

/// What is to become of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It runs against the store as it is.
    Run,
    /// It waits for what the upstream has of its key.
    Park,
    /// There is too much to do upstream.
    Refuse,
}

/// What the upstream has of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// `stays`: beyond the turn in which it came.
    Value {
        value: Vec<u8>,
        ttl_ms: Option<NonZeroU64>,
        stays: bool,
    },
    Nothing,
    /// It is not known.
    Failed,
}

/// That something is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub key: Vec<u8>,
    pub fetched: Fetched,
}

/// What stands behind the store. It may not answer at once.
pub trait Upstream {
    /// Decides about a command, which has not run yet; `is_held`: the store has an entry of the
    /// key, fresh or stale. For a key with a parked command [`Upstream::next`] tells once.
    fn decide(&mut self, op: &Op<&[u8]>, is_held: bool) -> Decision;

    /// The next key that something is known of.
    fn next(&mut self) -> Option<Delivery>;
}

/// The same, with its place in the list of its key.
enum Fate {
    Run,
    Wait { is_for_upstream: bool },
    Refused,
}

/// One shard's store and what stands behind it.
pub struct Owner<A> {
    store: Store,
    upstream: Option<Box<dyn Upstream>>,
    parked: Parked<A>,
    measuring: VecDeque<Measuring<A>>,
    /// Entries that go when this turn ends.
    fills: Vec<Fill>,
    /// The largest value that room is made ahead for; 0: none.
    expected_bytes: usize,
}

impl<A: Copy> Owner<A> {
    #[must_use]
    pub fn new(store: Store, limits: &Limits) -> Self {
        Self {
            store,
            upstream: None,
            parked: Parked::new(limits),
            measuring: VecDeque::new(),
            fills: Vec::new(),
            expected_bytes: 0,
        }
    }

    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    pub fn store_mut(&mut self) -> &mut Store {
        &mut self.store
    }

    pub fn set_upstream(&mut self, upstream: Box<dyn Upstream>) {
        self.upstream = Some(upstream);
    }

    /// Runs a command and returns what `read` makes of the reply, which it reads where the store
    /// wrote it; or notes its caller.
    #[inline]
    pub fn run<R>(
        &mut self,
        call: Call<'_>,
        now: Millis,
        caller: impl FnOnce() -> A,
        read: impl FnOnce(&Reply<&[u8]>) -> R,
    ) -> Done<R> {
        let has_upstream = self.upstream.is_some();
        if has_upstream {
            match self.decide(call, now) {
                Fate::Run => {}
                Fate::Wait { is_for_upstream } => {
                    let is_parked = self.parked.push(call, caller(), is_for_upstream);
                    return if is_parked { Done::Later } else { Done::Refused };
                }
                Fate::Refused => return Done::Refused,
            }
        }
        let reply = self.store.execute(call.op, now);
        if has_upstream {
            parked::forget_changed(&mut self.fills, call.op.key.bytes, &reply);
        }
        match reply {
            Reply::Pinned { pin, .. } if call.wants_text => self.measure(call, pin, caller()),
            reply => Done::Now(read(&reply)),
        }
    }

    #[cold]
    fn decide(&mut self, call: Call<'_>, now: Millis) -> Fate {
        if matches!(call.op.verb, Verb::Piece { .. }) {
            return Fate::Run;
        }
        let is_held = self.store.holds(call.op.key, now);
        let upstream = self.upstream.as_mut().expect("the caller saw that there is one");
        match upstream.decide(call.op, is_held) {
            Decision::Run if self.parked.has(call.op.key.bytes) => {
                Fate::Wait { is_for_upstream: false }
            }
            Decision::Run => Fate::Run,
            Decision::Park => Fate::Wait { is_for_upstream: true },
            Decision::Refuse => Fate::Refused,
        }
    }

    #[cold]
    fn measure<R>(&mut self, call: Call<'_>, pin: Pin, caller: A) -> Done<R> {
        if let Some(waiting) = self.parked.admit(call, caller, false) {
            self.measuring.push_back(Measuring::new(waiting, pin));
            return Done::Later;
        }
        self.store.unpin(pin);
        Done::Refused
    }

    /// Begins a turn: what may not stay goes, what has come from upstream is put and told, and a
    /// slice of pinned values is measured. Returns whether there may be more to do at once.
    pub fn work(&mut self, now: Millis, callers: &mut impl Callers<A>) -> bool {
        for fill in self.fills.drain(..) {
            let key = Key { bytes: &fill.key[..], hash: fill.hash };
            self.store.execute(&Op { key, verb: Verb::delete() }, now);
        }
        let mut has_more = false;
        if let Some(mut upstream) = self.upstream.take() {
            let deliveries = (0..DELIVERIES_MAX).map_while(|_| upstream.next());
            let taken = deliveries.map(|delivery| self.deliver(delivery, now, callers));
            has_more = taken.count() == DELIVERIES_MAX;
            self.upstream = Some(upstream);
        }
        self.measure_on(now, callers) | has_more
    }

    /// Runs what is parked for a key, in order.
    fn deliver(&mut self, delivery: Delivery, now: Millis, callers: &mut impl Callers<A>) {
        let Delivery { key, fetched } = delivery;
        let Some(list) = self.parked.take(&key) else { return };
        let key = list[0].op().key;
        let is_failed = fetched == Fetched::Failed;
        if let Fetched::Value { value, ttl_ms, stays } = fetched {
            let put = Op { key, verb: Verb::put(&value[..], ttl_ms) };
            let is_put = matches!(self.store.execute(&put, now), Reply::Created | Reply::Replaced);
            if is_put && !stays {
                self.fills.push(Fill { key: key.bytes.into(), hash: key.hash });
            }
        }
        for waiting in list {
            let is_without =
                is_failed && waiting.is_for_upstream && !self.store.holds(waiting.op().key, now);
            if !callers.may_run(&waiting.caller) {
                self.tell(&waiting, Late::LeftOut, callers);
            } else if is_without {
                self.tell(&waiting, Late::Failed, callers);
            } else {
                self.run_waiting(waiting, now, callers);
            }
        }
    }

    fn tell(
        &mut self,
        waiting: &Waiting<A>,
        late: Late<'_>,
        callers: &mut impl Callers<A>,
    ) -> bool {
        self.parked.release(waiting);
        callers.tell(waiting.caller, waiting.key(), late)
    }

    fn run_waiting(&mut self, waiting: Waiting<A>, now: Millis, callers: &mut impl Callers<A>) {
        let op = waiting.op();
        let reply = self.store.execute(&op, now);
        parked::forget_changed(&mut self.fills, op.key.bytes, &reply);
        if let Reply::Pinned { pin, .. } = reply
            && waiting.wants_text
        {
            self.measuring.push_back(Measuring::new(waiting, pin));
            return;
        }
        self.parked.release(&waiting);
        let pin = reply.pin();
        let late = Late::Reply { reply, text: None };
        let is_kept = callers.tell(waiting.caller, op.key.bytes, late);
        if let Some(pin) = pin.filter(|_| !is_kept) {
            self.store.unpin(pin);
        }
    }

    /// Commands that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.parked.commands()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting() == 0
    }

    /// A value of at most `bytes` is on its way to this shard, or may be. Where it was for nothing,
    /// the puts to come use the room up before they evict again: it costs a standing reserve and,
    /// in the long run, no eviction.
    pub fn expect(&mut self, bytes: usize) {
        self.expected_bytes = self.expected_bytes.max(bytes);
    }

    /// Takes at most `steps` steps to make room ahead for what is expected. Returns whether there
    /// is more to do.
    pub fn make_room(&mut self, now: Millis, steps: u32) -> bool {
        if self.expected_bytes > 0 && self.store.make_room_ahead(self.expected_bytes, now, steps) {
            self.expected_bytes = 0;
        }
        self.expected_bytes > 0
    }
}
