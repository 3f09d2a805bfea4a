//! Who is served: the tokens that requests need, and what there is no room or no time for.

use super::{
    connections::BODY_BYTES_FREE,
    overload::{Cause, Overload},
};
use crate::{
    auth::{Access, Tokens},
    config::Limits,
    metrics::{Counters, Operation, Step},
    protocol::Problem,
};

#[derive(Default)]
pub(super) struct Admission {
    /// `None`: everybody may do everything.
    pub(super) tokens: Option<Tokens>,
    overload: Overload,
}

impl Admission {
    /// Whether everybody is served whatever they ask: then nothing need be judged.
    #[inline]
    pub(super) fn is_open(&self, counters: &Counters) -> bool {
        self.tokens.is_none() && counters.step <= Step::Closing
    }

    /// Whether a token gives what is needed.
    #[inline]
    pub(super) fn authorize(&self, needs: Access, token: Option<&[u8]>) -> Result<(), Problem> {
        let Some(tokens) = &self.tokens else { return Ok(()) };
        if needs == Access::Open {
            return Ok(());
        }
        match token.and_then(|token| tokens.judge(token)) {
            Some(given) if given >= needs => Ok(()),
            Some(_) => Err(Problem::ReadOnlyToken),
            None => Err(Problem::NoToken),
        }
    }

    /// Whether there is not too much to do for a request; else it is counted.
    #[inline]
    pub(super) fn shed(
        &self,
        operation: Operation,
        counters: &mut Counters,
    ) -> Result<(), Problem> {
        if counters.step <= Step::Closing {
            return Ok(());
        }
        match self.overload.refuses(operation) {
            None => return Ok(()),
            Some(Cause::Memory) => counters.overload.refused_memory += 1,
            Some(Cause::Delay) => counters.overload.refused_delay += 1,
        }
        Err(Problem::Shed)
    }

    /// Whether long requests and answers hold as much as they may; `own_bytes` are not counted.
    pub(super) fn are_buffers_full(
        counters: &mut Counters,
        limits: &Limits,
        own_bytes: u64,
    ) -> Result<(), Problem> {
        let held = counters.connections.buffered_bytes - own_bytes;
        if held < limits.buffered_bytes_max as u64 {
            return Ok(());
        }
        counters.overload.refused_memory += 1;
        Err(Problem::BuffersFull)
    }

    /// Whether a body on its way, for which so many bytes are held, may go on.
    pub(super) fn allow_body(
        counters: &mut Counters,
        limits: &Limits,
        counted_bytes: u64,
        unfinished_bytes: usize,
    ) -> Result<(), Problem> {
        if counted_bytes == 0 || unfinished_bytes <= BODY_BYTES_FREE {
            return Ok(());
        }
        Self::are_buffers_full(counters, limits, counted_bytes)
    }

    /// Notes what is held in buffers now.
    #[inline]
    pub(super) fn weigh(&mut self, counters: &mut Counters, limits: &Limits) {
        self.overload.weigh(counters.connections.buffered_bytes, limits);
        self.note_step(counters);
    }

    /// Notes for how long things have waited lately.
    pub(super) fn end_window(&mut self, counters: &mut Counters, limits: &Limits) {
        self.overload.end_window(limits);
        counters.overload.queue_delay_us = self.overload.standing_us();
        self.note_step(counters);
    }

    fn note_step(&mut self, counters: &mut Counters) {
        let step = self.overload.step();
        if step > counters.step {
            counters.overload.note(step);
        }
        counters.step = step;
    }

    /// What was ready has waited so long for its turn.
    pub(super) fn record_delay(&mut self, delay_us: u64) {
        self.overload.record_delay(delay_us);
    }

    /// What was ready so long ago still waits at this beat.
    pub(super) fn record_pending(&mut self, pending_us: u64) {
        self.overload.record_pending(pending_us);
    }
}
