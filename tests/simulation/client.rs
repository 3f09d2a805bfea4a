//! One simulated connection as its client sees it, and all that must hold for what it sees.

use crate::{
    answer::{Outcome, bits, put_call, read},
    coverage::Coverage,
    history::{Call, If, NEVER, Operation, Said, What},
    response::{Response, Responses},
    script::{Demand, Ending, Fate, Request, Script, TAG_BLANK, Value, Visit, Want},
};
use kvcache::{config::Limits, shard::ConnectionId};
use std::{collections::HashMap, time::Duration};

/// What is known of the world at one step.
#[derive(Clone, Copy)]
pub(crate) struct Moment<'a> {
    pub(crate) step: u64,
    /// Every shard's time.
    pub(crate) clocks: &'a [u64],
    pub(crate) keys: &'a [&'static str],
    /// Each key's shard.
    pub(crate) owners: &'a [usize],
    pub(crate) values: &'a [Value],
    /// Of the connection's shard: time as deadlines see it.
    pub(crate) beat_ms: u64,
    pub(crate) draining: bool,
    /// Messages between shards may be lost.
    pub(crate) lossy: bool,
    /// Owners may ask an upstream first, which may refuse and fail.
    pub(crate) has_upstream: bool,
}

/// An entity tag as it was seen, and the value that it came with.
#[derive(Clone, Debug)]
pub(crate) struct Sighting {
    pub(crate) tag: String,
    pub(crate) key: usize,
    pub(crate) value: usize,
}

#[derive(Clone, Debug)]
struct Answer {
    step: u64,
    clocks: Box<[u64]>,
    tag: Option<String>,
    outcome: Outcome,
}

/// Deadlines that were passed at some beat.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each deadline is passed or not")]
struct Late {
    read: bool,
    write: bool,
    idle: bool,
    linger: bool,
}

/// What the client has done with its side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnSide {
    Open,
    Fin,
    /// The server knows.
    FinRead,
    Reset,
}

/// What the server has done with its side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerSide {
    Open,
    Lingering,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interest {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

/// A connection. The bytes of its script from `received` to `written` are on their way.
pub(crate) struct Client {
    pub(crate) script: Script,
    pub(crate) core: usize,
    pub(crate) id: ConnectionId,
    pub(crate) written: usize,
    pub(crate) received: usize,
    pub(crate) own_side: OwnSide,
    pub(crate) server_side: ServerSide,
    /// What the server waits for.
    pub(crate) interest: Interest,
    /// The client takes no answers for now.
    pub(crate) stalled: bool,
    responses: Responses,
    /// Step and every shard's time at which each complete request had arrived.
    arrivals: Vec<(u64, Box<[u64]>)>,
    answers: Vec<Answer>,
    /// Entity tags that nobody has looked at.
    pub(crate) sightings: Vec<Sighting>,
    /// The value that each request's entity tag stands for.
    knows: Vec<Option<usize>>,
    /// The request that is answered next got its `100 Continue`.
    continued: bool,
    /// An answer said that it is the last.
    last_said: bool,
    late: Late,
    /// Since when a request has been incomplete.
    partial_since_ms: Option<u64>,
    received_ms: u64,
    sent_ms: u64,
    half_closed_ms: u64,
}

impl Client {
    pub(crate) fn new(script: Script, core: usize, id: ConnectionId, now: &Moment<'_>) -> Self {
        let knows = vec![None; script.requests.len()];
        let mut client = Self {
            script,
            core,
            id,
            written: 0,
            received: 0,
            own_side: OwnSide::Open,
            server_side: ServerSide::Open,
            interest: Interest { read: true, write: false },
            stalled: false,
            responses: Responses::default(),
            arrivals: Vec::new(),
            answers: Vec::new(),
            sightings: Vec::new(),
            knows,
            continued: false,
            last_said: false,
            late: Late::default(),
            partial_since_ms: None,
            received_ms: now.beat_ms,
            sent_ms: now.beat_ms,
            half_closed_ms: 0,
        };
        client.receive(0, now);
        client
    }

    pub(crate) fn in_transit(&self) -> usize {
        self.written - self.received
    }

    pub(crate) fn is_readable(&self) -> bool {
        self.in_transit() > 0 || matches!(self.own_side, OwnSide::Fin | OwnSide::Reset)
    }

    /// Whether every request was carried out.
    pub(crate) fn was_served(&self) -> bool {
        let is_done = |answer: &Answer| matches!(answer.outcome, Outcome::Done(_));
        self.answers.len() == self.script.requests.len() && self.answers.iter().all(is_done)
    }

    /// Whether the client has nothing more to do of its own accord.
    pub(crate) fn is_closed(&self) -> bool {
        self.server_side == ServerSide::Closed
    }

    pub(crate) fn has_sent_all(&self) -> bool {
        self.written == self.script.bytes.len()
            && (self.own_side != OwnSide::Open || self.script.ending != Ending::Fin)
    }

    pub(crate) fn may_reset(&self) -> bool {
        matches!(self.script.ending, Ending::Reset(at) if self.written >= at)
            && self.own_side == OwnSide::Open
    }

    /// Writes so many bytes more. `seen` is the last tag that anybody saw of each key.
    pub(crate) fn write(&mut self, bytes: usize, seen: &[Option<Sighting>]) {
        let fresh = self.written..self.written + bytes;
        self.written = fresh.end;
        for (request, knows) in self.script.requests.iter().zip(&mut self.knows) {
            let Some(at) = request.tag_at.filter(|at| fresh.contains(at)) else { continue };
            let Some(key) = request.want.key() else { continue };
            if let Some(Sighting { tag, value, .. }) = &seen[key] {
                self.script.bytes[at..at + TAG_BLANK.len()].copy_from_slice(tag.as_bytes());
                *knows = Some(*value);
            }
        }
    }

    /// What a request asks of each key.
    fn calls_of(&self, at: usize, now: &Moment<'_>) -> Vec<(usize, Call)> {
        let put = |value| put_call(value, now);
        let all = |keys, call| bits(keys).map(move |key| (key, call)).collect();
        match self.script.requests[at].want {
            Want::Put { value } | Want::Write { value, .. } => vec![put(value)],
            Want::Get { key, lease_ms } | Want::Read { key, lease_ms } => {
                vec![(key, Call::Read { lease_ms })]
            }
            Want::Head { key } | Want::Peek { key } => vec![(key, Call::Read { lease_ms: None })],
            Want::Delete { key } => vec![(key, Call::Delete)],
            Want::Add { key, by } => vec![(key, Call::Add { by })],
            Want::Touch { key, ttl_ms } => vec![(key, Call::Touch { ttl_ms })],
            Want::Mput { first, count } => (first..first + count).map(put).collect(),
            Want::Mget { keys } => all(keys, Call::Read { lease_ms: None }),
            Want::Mdelete { keys } | Want::DeletePrefix { keys, is_dry: false } => {
                all(keys, Call::Delete)
            }
            Want::Invalidate { tags } => {
                (0..now.keys.len()).map(|key| (key, Call::Invalidate { tags })).collect()
            }
            _ => Vec::new(),
        }
    }

    fn condition_of(&self, at: usize) -> If {
        let known = self.knows[at].unwrap_or(usize::MAX);
        match self.script.requests[at].demand {
            Demand::Nothing => If::Always,
            Demand::Present => If::Present,
            Demand::Absent => If::Absent,
            Demand::Match => If::Is(known),
            Demand::NoneMatch => If::IsNot(known),
        }
    }

    /// The end of the last request that has arrived as a whole.
    fn boundary(&self) -> usize {
        self.arrivals.len().checked_sub(1).map_or(0, |last| self.script.requests[last].end)
    }

    /// The server has read so many bytes more.
    pub(crate) fn receive(&mut self, bytes: usize, now: &Moment<'_>) {
        if self.server_side != ServerSide::Open {
            // Nothing of this may have any effect.
            self.received += bytes;
            return;
        }
        let boundary = self.boundary();
        let was_partial = self.received > boundary;
        self.received += bytes;
        self.received_ms = now.beat_ms;
        while let Some(next) = self.script.requests.get(self.arrivals.len())
            && next.end <= self.received
        {
            self.arrivals.push((now.step, now.clocks.into()));
        }
        if self.received == self.boundary() {
            self.partial_since_ms = None;
        } else if !was_partial || boundary != self.boundary() {
            self.partial_since_ms = Some(now.beat_ms);
        }
    }

    /// The server has sent these bytes.
    pub(crate) fn deliver(&mut self, bytes: &[u8], now: &Moment<'_>, coverage: &mut Coverage) {
        assert_eq!(self.server_side, ServerSide::Open, "bytes after the server closed its side");
        self.sent_ms = now.beat_ms;
        self.responses.push(bytes);
        loop {
            let at = self.answers.len();
            let next = self.script.requests.get(at).copied();
            let head_only = at < self.arrivals.len() && next.is_some_and(|next| next.head_only);
            let Some(response) = self.responses.next(head_only) else { break };
            assert!(!self.last_said, "an answer after the last: {response:?}");
            match (response.status, next) {
                (408, _) => self.time_out(&response, now, coverage),
                (100, Some(next)) => {
                    assert!(next.awaits_continue && !self.continued, "a 100 out of place");
                    assert!(self.received >= next.answerable, "a 100 for an incomplete head");
                    self.continued = true;
                    coverage.reach("continue");
                }
                (_, Some(next)) => self.answer(&next, &response, now, coverage),
                (_, None) => panic!("nothing was asked, but the answer is {response:?}"),
            }
        }
    }

    fn time_out(&mut self, response: &Response, now: &Moment<'_>, coverage: &mut Coverage) {
        assert!(self.late.read, "a request timed out before its time");
        // To drain means to read what is there, even where nothing more is answered.
        let is_in_order = self.answers.len() == self.arrivals.len() || now.draining;
        assert!(is_in_order, "408 in place of an answer");
        assert!(response.closes);
        self.last_said = true;
        coverage.reach("read timeout");
    }

    fn answer(
        &mut self,
        request: &Request,
        response: &Response,
        now: &Moment<'_>,
        coverage: &mut Coverage,
    ) {
        let at = self.answers.len();
        let is_complete = at < self.arrivals.len();
        assert!(self.received >= request.answerable, "an answer to an incomplete request");
        let may_close = request.fate != Fate::Stays
            || now.draining && is_complete && self.received == request.end;
        let must_close = request.fate == Fate::Closes || !is_complete;
        assert!(may_close || !response.closes, "request {at}: closes without need: {response:?}");
        assert!(response.closes || !must_close, "request {at}: stays open: {response:?}");
        match request.fate {
            Fate::Stays if response.closes => coverage.reach("drained with a word"),
            Fate::MayClose if response.closes => coverage.reach("early refusal"),
            _ => {}
        }
        if response.closes && self.script.bytes.len() > request.end {
            coverage.reach("unread bytes after a closing answer");
        }
        self.last_said = response.closes;
        self.continued = false;
        let outcome = self.outcome(request, response, now, coverage);
        let (clocks, tag) = (now.clocks.into(), response.tag.clone());
        self.answers.push(Answer { step: now.step, clocks, tag, outcome });
    }

    /// Checks an answer against its request and reads what it says.
    fn outcome(
        &mut self,
        request: &Request,
        response: &Response,
        now: &Moment<'_>,
        coverage: &mut Coverage,
    ) -> Outcome {
        if response.status == 503 && !matches!(request.want, Want::Problem(..)) {
            return self.unserved(request, response, now, coverage);
        }
        if request.is_chunked && matches!(request.want, Want::Put { .. }) {
            coverage.reach("chunked put");
        }
        let outcome = read(request.want, response, now, coverage);
        if let (Want::Read { key, .. }, Outcome::Done(said)) = (request.want, &outcome)
            && let (&[Said::Found { what: What::Value(value), .. }], Some(tag)) =
                (said.as_slice(), &response.tag)
        {
            self.sightings.push(Sighting { tag: tag.clone(), key, value });
        }
        outcome
    }

    fn unserved(
        &self,
        request: &Request,
        response: &Response,
        now: &Moment<'_>,
        coverage: &mut Coverage,
    ) -> Outcome {
        let text = std::str::from_utf8(&response.body).expect("all bodies are text");
        let is_foreign = |&key: &usize| now.owners[key] != self.core;
        let calls = self.calls_of(self.answers.len(), now);
        let is_question = matches!(
            request.want,
            Want::Stats | Want::Invalidate { .. } | Want::DeletePrefix { .. }
        );
        let is_any_foreign = calls.iter().any(|(key, _)| is_foreign(key));
        let may_refuse = is_question || is_any_foreign || now.has_upstream;
        assert!(may_refuse, "a shard refused its own key");
        if is_question {
            coverage.reach("gather refused");
            // Some shards may have done it.
            return Outcome::Lost;
        }
        if matches!(request.want, Want::Mget { .. } | Want::Mput { .. } | Want::Mdelete { .. }) {
            coverage.reach("batch refused");
        }
        if request.head_only {
            // There is no body to tell the reason: it may be either.
            let may_be_lost = now.lossy || now.has_upstream;
            return if may_be_lost { Outcome::Lost } else { Outcome::Refused };
        }
        if now.has_upstream && text.contains("\"code\":\"unavailable\"") {
            // Some of a batch may have been done.
            return Outcome::Lost;
        }
        if now.lossy && text.contains("\"code\":\"unavailable\"") {
            coverage.reach("lost");
            return Outcome::Lost;
        }
        assert!(text.contains("\"code\":\"overloaded\""), "{text}");
        coverage.reach("overloaded");
        Outcome::Refused
    }

    /// Notes which deadlines have passed, before the server acts on them.
    pub(crate) fn beat(&mut self, beat_ms: u64, limits: &Limits) {
        let late = |since: u64, allowed: Duration| {
            u128::from(beat_ms) > u128::from(since) + allowed.as_millis()
        };
        self.late.read |= self.partial_since_ms.is_some_and(|at| late(at, limits.read_timeout));
        self.late.write |= late(self.sent_ms, limits.write_timeout);
        self.late.idle |= late(self.received_ms, limits.idle_timeout);
        self.late.linger |= self.server_side == ServerSide::Lingering
            && late(self.half_closed_ms, limits.linger_timeout);
    }

    /// The server closes its side: all must be said.
    pub(crate) fn half_close(&mut self, now: &Moment<'_>, coverage: &mut Coverage) {
        self.assert_all_said();
        assert!(self.last_said || now.draining, "closed without a word");
        if !self.last_said {
            coverage.reach("drained without a word");
        }
        self.server_side = ServerSide::Lingering;
        self.half_closed_ms = now.beat_ms;
    }

    /// The server closes for good.
    pub(crate) fn close(&mut self, limits: &Limits, lossy: bool, coverage: &mut Coverage) {
        let before = std::mem::replace(&mut self.server_side, ServerSide::Closed);
        let fin_read = self.own_side == OwnSide::FinRead;
        if self.own_side == OwnSide::Reset {
            if self.answers.len() < self.arrivals.len() {
                coverage.reach("reset with answers away");
            }
        } else if before == ServerSide::Lingering {
            let is_flooded = self.received > limits.linger_bytes_max;
            assert!(fin_read || self.late.linger || is_flooded, "lingered too short");
            if !fin_read {
                coverage.reach("killed while lingering");
            }
        } else if self.late.write && (!self.has_all_said() || !fin_read) {
            coverage.reach("write timeout");
        } else if lossy && self.is_owed_a_value() {
            // The next piece of it was lost, and the length of the whole had been promised. What
            // stood before it in the output is lost with it.
            coverage.reach("broken off");
        } else {
            self.assert_all_said();
            assert!(fin_read || self.late.idle, "closed for no reason");
            if !fin_read {
                coverage.reach("closed while idle");
            }
        }
    }

    /// Every complete request has its answer, and there is nothing else.
    pub(crate) fn has_all_said(&self) -> bool {
        self.responses.is_empty() && (self.last_said || self.answers.len() == self.arrivals.len())
    }

    /// Whether an answer that is missing may tell a value.
    fn is_owed_a_value(&self) -> bool {
        let missing = &self.script.requests[self.answers.len()..self.arrivals.len()];
        missing.iter().any(|request| matches!(request.want, Want::Get { .. } | Want::Read { .. }))
    }

    fn assert_all_said(&self) {
        assert!(
            self.has_all_said(),
            "{} requests but {} answers",
            self.arrivals.len(),
            self.answers.len()
        );
    }

    /// What was done to keys, or may have been, by key.
    pub(crate) fn operations(
        &self,
        number: usize,
        tags: &HashMap<String, usize>,
        now: &Moment<'_>,
    ) -> Vec<(usize, Operation)> {
        let mut operations = Vec::new();
        if self.script.visit == Visit::Refused {
            return operations;
        }
        for (at, (began, earliest)) in self.arrivals.iter().enumerate() {
            let answer = self.answers.get(at);
            let want = self.script.requests[at].want;
            let calls = self.calls_of(at, now);
            let (all_said, ended, latest) = match answer {
                // What stands behind the last answer must have had no effect.
                None if self.last_said => break,
                Some(Answer { outcome: Outcome::Done(said), step, clocks, .. }) => {
                    (said.clone(), *step, Some(clocks))
                }
                None | Some(Answer { outcome: Outcome::Lost, .. }) => {
                    (vec![Said::Nothing; calls.len()], NEVER, None)
                }
                _ => continue,
            };
            assert_eq!(calls.len(), all_said.len(), "{want:?}");
            // A removal by prefix takes its time, and the connection does not wait for it.
            let is_slow = matches!(want, Want::DeletePrefix { .. });
            // What every shard is asked overtakes what waits for an upstream.
            let overtakes = now.has_upstream && matches!(want, Want::Invalidate { .. });
            let connection = match number {
                number if is_slow => usize::MAX - number,
                number if overtakes => usize::MAX / 4 + number,
                number => number,
            };
            for ((key, call), mut said) in calls.into_iter().zip(all_said) {
                let owner = now.owners[key];
                let condition = self.condition_of(at);
                if let (Said::Found { what: What::Any, is_stale, lease }, Some(tag)) =
                    (said, answer.and_then(|answer| answer.tag.as_ref()))
                    && let Some(&value) = tags.get(tag)
                {
                    said = Said::Found { what: What::Value(value), is_stale, lease };
                }
                let operation = Operation {
                    call,
                    condition,
                    said,
                    connection,
                    began: *began,
                    ended,
                    earliest_ms: earliest[owner],
                    latest_ms: latest.map_or(NEVER, |clocks| clocks[owner]),
                };
                let is_lost = ended == NEVER;
                if is_lost && call == (Call::Read { lease_ms: None }) {
                    continue;
                }
                operations.push((key, operation));
            }
        }
        operations
    }
}
