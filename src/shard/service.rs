//! All that carries requests out, and what they are answered with.

use super::{
    admission::Admission,
    connections::{ConnectionId, Ticket},
    letter::{ShardHome, ShardMesh},
    removals::Removals,
    save::Save,
    saving::Saving,
    slow::SlowLog,
    spoken::{Dates, Owing, Pending, Role, Spoken, Waits},
    subscribers::Subscribers,
};
use crate::{
    clock::Millis,
    config::Config,
    latency::{Latency, Start},
    metrics::{Counters, Operation, Outcome, Process, Step},
    protocol::{About, Claim, Problem, Protocol},
    store::KeyHasher,
    wire::{Answers, Written},
};

/// What requests are read and answers written with. It changes between reads only.
pub(super) struct Facts {
    pub(super) config: Config,
    pub(super) hasher: KeyHasher,
    pub(super) dates: Dates,
    /// Of this turn of the loop.
    pub(super) now: Millis,
    /// The clock when it was read last, in microseconds since the start.
    pub(super) now_us: u64,
    pub(super) draining: bool,
}

impl Facts {
    #[inline]
    pub(super) fn about<P: Spoken>(&self, counters: &Counters, role: Role) -> About<'_, P> {
        About {
            config: &self.config,
            hasher: &self.hasher,
            date: P::date(&self.dates),
            stage: counters.stage,
            now: self.now,
            now_us: self.now_us,
            closes: self.draining || (role == Role::Data && counters.step > Step::Calm),
        }
    }

    /// As the start of a request is noted.
    #[expect(clippy::cast_possible_truncation, reason = "they count on from zero after an hour")]
    pub(super) fn now_micros(&self) -> u32 {
        self.now_us as u32
    }
}

/// A request that is being answered.
pub(super) struct UnderWay<'a, P: Protocol> {
    pub(super) connection: ConnectionId,
    pub(super) answers: &'a mut Answers<Owing>,
    pub(super) about: &'a About<'a, P>,
    pub(super) form: P::Form,
    pub(super) operation: Operation,
    /// When it began.
    pub(super) micros: u32,
}

impl<'a, P: Spoken> UnderWay<'a, P> {
    #[inline]
    pub(super) fn new(
        claim: Claim<P>,
        connection: ConnectionId,
        answers: &'a mut Answers<Owing>,
        about: &'a About<'a, P>,
        micros: u32,
    ) -> Self {
        let (form, operation) = (claim.form, claim.operation);
        Self { connection, answers, about, form, operation, micros }
    }

    pub(super) fn start(&self) -> Start {
        Start { protocol: P::NAME, operation: self.operation, micros: self.micros }
    }

    /// The way back to the answer.
    pub(super) fn ticket(&self, item: u32) -> Ticket {
        let (connection, sequence) = (self.connection, self.answers.next_sequence());
        Ticket { connection, sequence, item }
    }

    /// Writes the answer.
    pub(super) fn write(
        &mut self,
        counters: &mut Counters,
        write: impl FnOnce(&mut Vec<u8>, &P::Form, &About<'_, P>) -> Outcome,
    ) {
        let (start, form, about) = (self.start(), self.form, self.about);
        let operation = self.operation;
        self.answers.write(start, |out| {
            let outcome = write(out, &form, about);
            counters.answers.count(P::NAME, operation, outcome);
            Written::whole(outcome)
        });
    }

    /// Writes the beginning of an answer of which more is to come.
    pub(super) fn begin(
        &mut self,
        counters: &mut Counters,
        write: impl FnOnce(&mut Vec<u8>, &P::Form, &About<'_, P>) -> (Outcome, Waits<P>),
    ) {
        let (start, form, about) = (self.start(), self.form, self.about);
        let operation = self.operation;
        self.answers.write(start, |out| {
            let (outcome, waits) = write(out, &form, about);
            counters.answers.count(P::NAME, operation, outcome);
            Written { outcome, rest: Some(P::owing(Pending { form, operation, waits })) }
        });
    }

    pub(super) fn refuse(&mut self, counters: &mut Counters, refusal: &P::Refusal) {
        self.write(counters, |out, form, about| P::refuse(out, Some(form), about, refusal));
    }

    pub(super) fn refuse_for(&mut self, counters: &mut Counters, problem: Problem) {
        self.refuse(counters, &problem.into());
    }

    /// Reserves the place of the answer, which brings about `bytes_max` bytes at most.
    pub(super) fn owe(&mut self, waits: Waits<P>, bytes_max: usize) -> Ticket {
        let pending = Pending { form: self.form, operation: self.operation, waits };
        let ticket = self.ticket(0);
        self.answers.owe(P::owing(pending), self.start(), bytes_max);
        ticket
    }
}

pub(super) struct Service {
    pub(super) mesh: ShardMesh,
    /// Of this shard's own keys.
    pub(super) home: ShardHome,
    pub(super) removals: Removals,
    pub(super) save: Save,
    /// This shard's share of a snapshot.
    pub(super) saving: Option<Saving>,
    pub(super) subscribers: Subscribers,
    pub(super) admission: Admission,
    pub(super) counters: Counters,
    pub(super) latency: Latency,
    pub(super) slow: SlowLog,
    /// What the kernel says of the process, now.
    pub(super) look_at_process: fn() -> Process,
}
