//! One simulated connection as its client sees it, and all that must hold for what it sees.

use crate::{
    coverage::Coverage,
    history::{Action, NEVER, Operation},
    response::{Response, Responses},
    script::{Ending, Fate, Request, Script, Value, Visit, Want, json},
};
use kvcache::{config::Limits, shard::ConnectionId};
use std::time::Duration;

/// A body of more bytes tells a value that leaves in pieces.
const LONG_BYTES_MIN: usize = 3_000;

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
}

/// What an answer says about a key.
#[derive(Clone, Debug)]
enum Outcome {
    /// By key.
    Done(Vec<(usize, Action)>),
    /// Nothing was done.
    Refused,
    /// It is not known what was done.
    Lost,
    /// It was not about a key.
    Other,
}

#[derive(Clone, Debug)]
struct Answer {
    step: u64,
    clocks: Box<[u64]>,
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

    fn keys_of(&self, at: usize, values: &[Value]) -> Vec<usize> {
        match self.script.requests[at].want {
            Want::Put { value } => vec![values[value].key],
            Want::Get { key } | Want::Head { key } => vec![key],
            Want::Mput { first, count } => {
                values[first..first + count].iter().map(|value| value.key).collect()
            }
            Want::Mget { keys } => bits(keys).collect(),
            _ => Vec::new(),
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
        self.answers.push(Answer { step: now.step, clocks: now.clocks.into(), outcome });
    }

    /// Checks an answer against its request and reads what it says.
    fn outcome(
        &self,
        request: &Request,
        response: &Response,
        now: &Moment<'_>,
        coverage: &mut Coverage,
    ) -> Outcome {
        let context = || format!("{request:?} got {response:?}");
        let body = || std::str::from_utf8(&response.body).expect("all bodies are text");
        if response.status == 503 && !matches!(request.want, Want::Problem(..)) {
            return self.unserved(request, response, now, coverage);
        }
        match request.want {
            Want::Put { value } => {
                const BODY: &str =
                    r#"{"status":"OK","message":"Key inserted/updated successfully."}"#;
                assert_eq!((response.status, body()), (200, BODY), "{}", context());
                if request.is_chunked {
                    coverage.reach("chunked put");
                }
                Outcome::Done(vec![put_action(value, now)])
            }
            Want::Mput { .. } | Want::Mget { .. } => {
                let told = (response.status, body());
                batch_outcome(request.want, told, now, coverage)
            }
            Want::Get { key } if response.status == 200 => {
                if response.length > LONG_BYTES_MIN {
                    coverage.reach("long value");
                }
                Outcome::Done(vec![(key, Action::Get(Some(read_value(key, body(), now))))])
            }
            Want::Get { key } => {
                const BODY: &str =
                    r#"{"status":"ERROR","message":"Key not found.","code":"not_found"}"#;
                assert_eq!((response.status, body()), (404, BODY), "{}", context());
                Outcome::Done(vec![(key, Action::Get(None))])
            }
            Want::Head { key } => {
                assert!(matches!(response.status, 200 | 404), "{}", context());
                let found = response.status == 200;
                if found {
                    coverage.reach("head told a length");
                }
                Outcome::Done(vec![(key, Action::Head(found.then_some(response.length)))])
            }
            Want::Health => {
                assert_eq!((response.status, body()), (200, r#"{"status":"OK"}"#), "{}", context());
                Outcome::Other
            }
            Want::Options => {
                assert_eq!((response.status, body()), (204, ""), "{}", context());
                Outcome::Other
            }
            Want::Stats => {
                assert_eq!(response.status, 200, "{}", context());
                let stats: serde_json::Value = serde_json::from_str(body()).expect("JSON");
                assert_eq!(stats["shards"].as_array().map(Vec::len), Some(now.clocks.len()));
                coverage.reach("stats told");
                Outcome::Other
            }
            Want::Done(expected) => {
                assert_eq!((response.status, body()), (200, expected), "{}", context());
                coverage.reach("all shards did it");
                Outcome::Other
            }
            Want::Problem(status, code) => {
                assert_eq!(response.status, status, "{}", context());
                assert!(body().contains(&format!("\"code\":\"{code}\"")), "{}", context());
                Outcome::Other
            }
        }
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
        let keys = self.keys_of(self.answers.len(), now.values);
        let is_question = matches!(request.want, Want::Stats | Want::Done(_));
        assert!(is_question || keys.iter().any(is_foreign), "a shard refused its own key");
        if is_question {
            coverage.reach("gather refused");
        } else if matches!(request.want, Want::Mget { .. } | Want::Mput { .. }) {
            coverage.reach("batch refused");
        }
        if request.head_only {
            // There is no body to tell the reason: it may be either.
            return if now.lossy { Outcome::Lost } else { Outcome::Refused };
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
        missing.iter().any(|request| matches!(request.want, Want::Get { .. }))
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
    pub(crate) fn operations(&self, number: usize, now: &Moment<'_>) -> Vec<(usize, Operation)> {
        let mut operations = Vec::new();
        if self.script.visit != Visit::Data {
            return operations;
        }
        for (at, (began, earliest)) in self.arrivals.iter().enumerate() {
            let answer = self.answers.get(at);
            let want = self.script.requests[at].want;
            let (actions, ended, latest) = match answer {
                // What stands behind the last answer must have had no effect.
                None if self.last_said => break,
                Some(Answer { outcome: Outcome::Done(actions), step, clocks }) => {
                    (actions.clone(), *step, Some(clocks))
                }
                None | Some(Answer { outcome: Outcome::Lost, .. }) => {
                    let values = match want {
                        Want::Put { value } => value..value + 1,
                        Want::Mput { first, count } => first..first + count,
                        _ => continue,
                    };
                    (values.map(|value| put_action(value, now)).collect(), NEVER, None)
                }
                _ => continue,
            };
            for (key, action) in actions {
                let owner = now.owners[key];
                let operation = Operation {
                    action,
                    connection: number,
                    began: *began,
                    ended,
                    earliest_ms: earliest[owner],
                    latest_ms: latest.map_or(NEVER, |clocks| clocks[owner]),
                };
                operations.push((key, operation));
            }
        }
        operations
    }
}

/// Checks the answer to a batch and reads what it says.
fn batch_outcome(
    want: Want,
    (status, body): (u16, &str),
    now: &Moment<'_>,
    coverage: &mut Coverage,
) -> Outcome {
    match want {
        Want::Mput { first, count } => {
            let expected = format!("{{\"status\":\"OK\",\"stored\":{count}}}");
            assert_eq!((status, body), (200, &*expected));
            coverage.reach("batch put");
            Outcome::Done((first..first + count).map(|value| put_action(value, now)).collect())
        }
        Want::Mget { .. } if status == 413 => {
            assert!(body.contains("reply_too_large"), "{body}");
            coverage.reach("reply too large");
            Outcome::Refused
        }
        Want::Mget { keys } => {
            assert_eq!(status, 200, "{body}");
            let found: serde_json::Value = serde_json::from_str(body).expect("JSON");
            let values = found["values"].as_object().expect("an object");
            assert_eq!(values.len(), keys.count_ones() as usize, "{body}");
            let read = |key: usize| {
                let text = values[now.keys[key]].as_str();
                (key, Action::Get(text.map(|text| value_number(key, text, now))))
            };
            coverage.reach("batch get");
            Outcome::Done(bits(keys).map(read).collect())
        }
        _ => unreachable!("only batches come here"),
    }
}

/// The places of the bits that are set.
fn bits(set: u8) -> impl Iterator<Item = usize> {
    (0..8).filter(move |at| set >> at & 1 == 1)
}

/// The key of a value, and that it is put.
fn put_action(value: usize, now: &Moment<'_>) -> (usize, Action) {
    let Value { key, text, ttl_ms } = &now.values[value];
    let length = found_body(now.keys[*key], text).len();
    (*key, Action::Put { value, length, ttl_ms: *ttl_ms })
}

fn found_body(key: &str, value: &str) -> String {
    format!("{{\"status\":\"OK\",\"key\":{},\"value\":{}}}", json(key), json(value))
}

/// Which value the body of a hit tells.
fn read_value(key: usize, body: &str, now: &Moment<'_>) -> usize {
    let found: serde_json::Value = serde_json::from_str(body).expect("the body is JSON");
    let text = found["value"].as_str().expect("a value is a string");
    assert_eq!(body, found_body(now.keys[key], text));
    value_number(key, text, now)
}

/// Which value this is.
fn value_number(key: usize, text: &str, now: &Moment<'_>) -> usize {
    let number = text.split_once('|').and_then(|(number, _)| number.parse().ok());
    let value: usize = number.unwrap_or_else(|| panic!("{text:?} was never sent"));
    assert_eq!(now.values[value].key, key, "the value of another key");
    assert_eq!(text, now.values[value].text);
    value
}
