//! A command runs against the store, waits, or is refused.

use super::{
    callers::{Call, Callers, Done, Late},
    parked::{Fill, Measuring, Parked, Waiting, forget_changed},
    upstream::{Decision, Upstream},
};
use crate::{
    clock::Millis,
    config::Limits,
    store::{Pin, Reply, Store, Verb},
};
use std::collections::VecDeque;

/// What the upstream decides, with the place of a command in the list of its key.
enum Fate {
    Run,
    Wait { is_for_upstream: bool },
    Refused,
}

/// One shard's store and what stands behind it.
pub struct Owner<A> {
    pub(super) store: Store,
    pub(super) upstream: Option<Box<dyn Upstream>>,
    pub(super) parked: Parked<A>,
    pub(super) measuring: VecDeque<Measuring<A>>,
    /// Entries that go when this turn ends.
    pub(super) fills: Vec<Fill>,
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
            forget_changed(&mut self.fills, call.op.key.bytes, &reply);
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

    pub(super) fn tell(
        &mut self,
        waiting: &Waiting<A>,
        late: Late<'_>,
        callers: &mut impl Callers<A>,
    ) -> bool {
        self.parked.release(waiting);
        callers.tell(waiting.caller, waiting.key(), late)
    }

    pub(super) fn run_waiting(
        &mut self,
        waiting: Waiting<A>,
        now: Millis,
        callers: &mut impl Callers<A>,
    ) {
        let op = waiting.op();
        let reply = self.store.execute(&op, now);
        forget_changed(&mut self.fills, op.key.bytes, &reply);
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
