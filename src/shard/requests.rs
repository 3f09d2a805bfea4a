//! Requests: each is admitted, read, run through the mesh and answered, or its answer is noted as
//! owed.

use super::{
    admission::Admission,
    connections::BUFFER_BYTES_MAX,
    letter::Arrival,
    service::{Service, UnderWay},
    spoken::{Owing, Pending, Spoken, Waits},
};
use crate::{
    latency::{Since, Start},
    mesh::Called,
    metrics::{Operation, Process},
    owner::Call,
    protocol::{About, Announced, Ask, Batch, Command, Item, Judged, Problem},
    query::Query,
    store::{INLINE_BYTES_MAX, Key, Op, Read, Verb},
    wire::{Answers, Written},
};

/// A body of no more bytes is taken before anything is done for it: no room is made in advance, and
/// whether there is too much to do is seen when it is there.
const LONG_BODY_BYTES_MIN: usize = 64 << 10;

impl Service {
    /// Answers what was not read so far that it is known how to write to whoever sent it.
    pub(super) fn refuse_unread<P: Spoken>(
        &mut self,
        refusal: &P::Refusal,
        answers: &mut Answers<Owing>,
        about: &About<'_, P>,
        micros: u32,
    ) {
        let counters = &mut self.counters;
        let operation = Operation::Other;
        answers.write(Start { protocol: P::NAME, operation, micros }, |out| {
            let outcome = P::refuse(out, None, about, refusal);
            counters.answers.count(P::NAME, operation, outcome);
            Written::whole(outcome)
        });
    }

    /// Answers a whole request or notes that its answer is owed. Returns whether the connection
    /// takes further requests.
    #[inline]
    pub(super) fn answer<P: Spoken>(
        &mut self,
        request: &P::Request<'_>,
        under_way: &mut UnderWay<'_, P>,
    ) -> bool {
        // By reference: to move what was read costs more than to use it.
        let read = self
            .admit::<P>(request, under_way.operation)
            .and_then(|()| P::read(request, &mut under_way.form, under_way.about));
        match &read {
            Err(refusal) => {
                under_way.refuse(&mut self.counters, refusal);
                return !P::ends(&under_way.form) && !P::closes(refusal);
            }
            Ok(Ask::Call(command)) => self.call(command, under_way),
            Ok(ask) => self.carry_out(ask, under_way),
        }
        !P::ends(&under_way.form)
    }

    /// What is asked more rarely than a call.
    fn carry_out<P: Spoken>(&mut self, ask: &Ask<'_, P>, under_way: &mut UnderWay<'_, P>) {
        match ask {
            Ask::Call(command) => self.call(command, under_way),
            Ask::Batch(batch) => self.call_all(batch, under_way),
            Ask::Broadcast(query) => self.broadcast(query, under_way),
            Ask::Subscribe(kinds) => self.subscribe(*kinds, under_way),
            Ask::Snapshot => self.snapshot(under_way),
            Ask::Local(local) => under_way
                .write(&mut self.counters, |out, form, about| P::local(out, form, about, local)),
        }
    }

    /// Whether a whole request may be read.
    #[inline]
    fn admit<P: Spoken>(
        &mut self,
        request: &P::Request<'_>,
        operation: Operation,
    ) -> Result<(), P::Refusal> {
        if self.admission.is_open(&self.counters) {
            return Ok(());
        }
        let judged = P::judge(request);
        self.authorize::<P>(&judged)?;
        // A longer one was admitted with its head.
        if judged.body_bytes <= LONG_BODY_BYTES_MIN && judged.may_be_shed {
            self.admission.shed(operation, &mut self.counters)?;
        }
        Ok(())
    }

    fn authorize<P: Spoken>(&self, judged: &Judged<'_>) -> Result<(), P::Refusal> {
        self.admission.authorize(judged.needs, judged.token).map_err(|problem| {
            let refusal = P::Refusal::from(problem);
            // Who has no right to must not fill our memory.
            if judged.body_bytes > 0 { P::closing(refusal) } else { refusal }
        })
    }

    /// Decides whether the body of a request is to come, and says so. Of a short one that is not
    /// waited with, it is seen when it is there whether it is admitted. Returns whether the
    /// connection takes it, and how long a body is that the store is to make room ahead for.
    pub(super) fn answer_announced<P: Spoken>(
        &mut self,
        announced: Announced<'_, P>,
        under_way: &mut UnderWay<'_, P>,
    ) -> (bool, usize) {
        let Announced { claim, judged, refusal, waits, stores } = announced;
        let mut admitted = self.authorize::<P>(&judged).and(refusal.map_or(Ok(()), Err));
        let is_long = judged.body_bytes > LONG_BODY_BYTES_MIN;
        if admitted.is_ok() && (waits || is_long) && judged.may_be_shed {
            let shed = self.admission.shed(claim.operation, &mut self.counters);
            admitted = shed.map_err(|problem| P::closing(problem.into()));
        }
        let announce_above =
            if admitted.is_ok() && stores { LONG_BODY_BYTES_MIN } else { usize::MAX };
        match admitted {
            Err(refusal) if waits || P::closes(&refusal) => {
                under_way.refuse(&mut self.counters, &refusal);
                (false, announce_above)
            }
            _ => {
                if waits {
                    under_way.answers.write_interim(P::go_ahead);
                }
                (true, announce_above)
            }
        }
    }

    /// Runs one command.
    #[inline]
    fn call<P: Spoken>(&mut self, command: &Command<'_>, under_way: &mut UnderWay<'_, P>) {
        let about = under_way.about;
        let key = Key { bytes: &*command.key, hash: about.hasher.hash(&command.key) };
        let mut op = Op { key, verb: command.verb.as_deref() };
        let limits = &about.config.limits;
        let mut bytes_max = limits.answer_bytes_max();
        if let Verb::Read(Read { pin_above, details, lease_ms, .. }) = &mut op.verb {
            if *pin_above < usize::MAX && under_way.answers.owes() {
                *pin_above = 0;
            }
            if *details || lease_ms.is_some() {
                bytes_max = limits.value_bytes_max.min((*pin_above).max(INLINE_BYTES_MAX));
            }
        }
        // Short values are not counted, and long ones mostly pinned.
        if bytes_max > BUFFER_BYTES_MAX
            && let Err(problem) = Admission::are_buffers_full(&mut self.counters, limits, 0)
        {
            return under_way.refuse_for(&mut self.counters, problem);
        }
        let (ticket, start) = (under_way.ticket(0), under_way.start());
        let operation = under_way.operation;
        // Not copied: the form was written byte by byte just now.
        let UnderWay { answers, form, .. } = &mut *under_way;
        let counters = &mut self.counters;
        let mut unused = None;
        // The reply is read where the store wrote it: to move it costs more than to use it.
        let call = Call { op: &op, wants_text: command.wants_text };
        let called = self.mesh.call(&mut self.home, call, about.now, ticket, |reply| {
            let is_kept = answers.write(start, |out| {
                let mut rest = None;
                let outcome = P::reply(out, form, about, op.key.bytes, reply, None, &mut rest);
                counters.answers.count(P::NAME, operation, outcome);
                let rest = rest.map(|rest| {
                    let waits = Waits::Piece { key: op.key.bytes.into(), rest };
                    P::owing(Pending { form: *form, operation, waits })
                });
                Written { outcome, rest }
            });
            unused = reply.pin().filter(|_| !is_kept);
        });
        match called {
            Called::Here => {
                if let Some(pin) = unused {
                    self.home.store_mut().unpin(pin);
                }
            }
            Called::Away => {
                under_way.owe(Waits::Reply, bytes_max);
            }
            Called::Refused => under_way.refuse_for(&mut self.counters, Problem::HopFull),
        }
    }

    fn call_all<P: Spoken>(&mut self, batch: &Batch<'_>, under_way: &mut UnderWay<'_, P>) {
        let about = under_way.about;
        let limits = &about.config.limits;
        if batch.reply_bytes_max.is_some()
            && let Err(problem) = Admission::are_buffers_full(&mut self.counters, limits, 0)
        {
            return under_way.refuse_for(&mut self.counters, problem);
        }
        let ops: Vec<Op<&[u8]>> = batch
            .commands
            .iter()
            .map(|Command { key, verb, .. }| Op {
                key: Key { bytes: &**key, hash: about.hasher.hash(key) },
                verb: verb.as_deref(),
            })
            .collect();
        let mut gather = P::gather(&under_way.form, batch, about);
        let away = self.mesh.call_all(
            &mut self.home,
            &ops,
            about.now,
            limits.reply_bytes_max,
            |item| {
                let item = u32::try_from(item).expect("batch_items_max is far below 2^32");
                under_way.ticket(item)
            },
            |item, reply| {
                let key = ops[item].key.bytes;
                let reply = reply.map_or(Item::Refused, |reply| Item::Reply { key, reply: *reply });
                P::take(&mut gather, item, reply);
            },
        );
        match away {
            None => under_way.refuse_for(&mut self.counters, Problem::HopFull),
            Some(0) => under_way
                .write(&mut self.counters, |out, form, about| P::finish(out, form, about, gather)),
            Some(_) => {
                let bytes_max = batch.reply_bytes_max.unwrap_or(0);
                under_way.owe(Waits::Gather(Box::new(gather)), bytes_max);
            }
        }
    }

    /// Asks every shard.
    fn broadcast<P: Spoken>(&mut self, query: &Query, under_way: &mut UnderWay<'_, P>) {
        if !self.mesh.can_ask() {
            return under_way.refuse_for(&mut self.counters, Problem::HopFull);
        }
        if matches!(query, Query::Latency { since: Since::Ever, .. }) {
            let started_ms = self.counters.process.started_ms;
            self.counters.process = Process { started_ms, ..(self.look_at_process)() };
        }
        let ticket = under_way.owe(Waits::Results, 0);
        let asker = self.mesh.ask(query, ticket);
        let now_us = under_way.about.now_us;
        let answered = self.answer_query(asker, query.clone(), now_us);
        if let Some(Arrival::Results { results, .. }) = answered {
            let (about, counters) = (under_way.about, &mut self.counters);
            under_way.answers.settle(ticket.sequence, |mut owing, out| {
                let Pending { form, operation, .. } = P::pending(&mut owing);
                let outcome = P::results(out, form, about, &results);
                counters.answers.count(P::NAME, *operation, outcome);
                Written::whole(outcome)
            });
        }
    }

    fn snapshot<P: Spoken>(&mut self, under_way: &mut UnderWay<'_, P>) {
        match self.save.begin(under_way.about.now) {
            Ok(()) => self.save.waiting = Some(under_way.owe(Waits::Results, 0)),
            Err(problem) => under_way.refuse_for(&mut self.counters, problem),
        }
    }
}
