//! Who listens for events, and how they come from all shards: collected at every beat while
//! somebody listens, and told at the next.

use super::{Answer, ConnectionId, Connections, Owing, Service, letter::Letter};
use crate::{
    admin::events::{Past, Reader},
    config::Limits,
    events::{Kind, Kinds, Note},
    http::{
        Responses,
        request::Version,
        response::{Exchange, Persistence, Problem},
    },
    metrics::Operation,
};
use serde_json::{Value, json};

#[derive(Debug)]
pub(super) struct Listeners {
    past: Past,
    /// One for each stream.
    ids: Vec<ConnectionId>,
    /// The snapshot whose begin was told last.
    snapshot: u64,
    /// By shard number; our own says nothing.
    sources: Vec<Source>,
    /// What shards have noted for this one since the last beat.
    notes: Vec<(usize, Vec<Note>)>,
}

/// How this shard stands with another that notes events for it.
#[derive(Clone, Debug, Default)]
struct Source {
    /// It was told to note events.
    is_subscribed: bool,
    /// It has not told any since.
    owes_notes: bool,
}

impl Listeners {
    pub(super) fn new(limits: &Limits, shards: usize) -> Self {
        Self {
            past: Past::new(limits.events_bytes_max),
            ids: Vec::new(),
            snapshot: 0,
            sources: vec![Source::default(); shards],
            notes: Vec::new(),
        }
    }
}

impl Service {
    /// Begins a stream of events, which ends with the connection or the server.
    pub(super) fn answer_events(
        &mut self,
        kinds: Kinds,
        version: Version,
        connection: ConnectionId,
        responses: &mut Responses<Owing>,
        (exchange, operation): (&mut Exchange, Operation),
    ) {
        if version == Version::Http10 {
            exchange.persistence = Persistence::Close;
        }
        let exchange = *exchange;
        let limit = self.config.limits.event_readers_max;
        if self.listeners.ids.len() >= limit && !exchange.head_only {
            let message = format!("{limit} clients listen already.");
            let problem = Problem::new(503, "too_many_readers", message).retry_after(1);
            return self.refuse(responses, operation, exchange, &problem);
        }
        let is_chunked = version == Version::Http11;
        let reader = Reader::new(kinds, is_chunked, &self.listeners.past, self.now);
        let is_begun = responses.begin(self.start(operation), |out| {
            reader.begin(out, exchange, &self.date);
            let answer = Answer::Events(reader);
            (!exchange.head_only).then_some(Owing { exchange, operation, answer })
        });
        self.counters.answers.count(operation, 200);
        if is_begun {
            self.listeners.ids.push(connection);
            self.subscribe(true);
        }
    }

    /// Goes on with the stream of a connection that wants more to send. False where what it is to
    /// go on with is none.
    pub(super) fn continue_events(
        &mut self,
        connections: &mut Connections,
        id: ConnectionId,
    ) -> bool {
        let Some(connection) = connections.get_mut(id) else { return false };
        let responses = &mut connection.responses;
        let past = &self.listeners.past;
        let front = responses.unfinished().next().map(|owing| &owing.answer);
        let Some(Answer::Events(reader)) = front else { return false };
        if !self.draining && !reader.is_due(past, self.now) {
            return true;
        }
        let (sequence, _) = responses.ask_on();
        let room = self.config.limits.piece_bytes_max;
        responses.settle(sequence, |mut owing, out| {
            let Answer::Events(reader) = &mut owing.answer else {
                unreachable!("the caller saw that it was a stream")
            };
            reader.write(past, self.now, room, out);
            if self.draining {
                reader.end(out);
                return None;
            }
            Some(owing)
        });
        if self.draining {
            self.forget_listener(id);
        }
        true
    }

    /// The streams of a connection are over.
    pub(super) fn forget_listener(&mut self, id: ConnectionId) {
        let ids = &mut self.listeners.ids;
        if ids.is_empty() {
            return;
        }
        ids.retain(|listener| *listener != id);
        if ids.is_empty() {
            self.subscribe(false);
        }
    }

    /// Takes in what was collected since the last beat, has those who listen looked at, and
    /// collects anew.
    pub(super) fn listen_on(&mut self, connections: &mut Connections) {
        self.tell_of_begun_snapshot();
        if self.listeners.ids.is_empty() {
            return;
        }
        for (shard, notes) in std::mem::take(&mut self.listeners.notes) {
            for note in &notes {
                self.listeners.past.push_note(shard, note);
            }
        }
        for id in &self.listeners.ids {
            connections.list(*id);
        }
        self.subscribe(true);
    }

    /// Collects the events that every shard has noted since the last time, and has it note those to
    /// come; or has it note none any more.
    fn subscribe(&mut self, is_on: bool) {
        let (me, store) = (self.mesh.me(), self.home.store_mut());
        let Listeners { sources, notes, .. } = &mut self.listeners;
        store.listen(is_on);
        if is_on {
            notes.push((me, store.take_notes()));
        } else {
            notes.clear();
        }
        for (shard, source) in sources.iter_mut().enumerate().filter(|(shard, _)| *shard != me) {
            let is_due = if is_on { !source.owes_notes } else { source.is_subscribed };
            if is_due {
                self.mesh.send(shard, Letter::Subscribe(is_on));
                source.is_subscribed = is_on;
                source.owes_notes |= is_on;
            }
        }
    }

    /// Does what another shard that subscribes asks for.
    pub(super) fn serve_subscriber(&mut self, shard: usize, is_on: bool) {
        let store = self.home.store_mut();
        store.listen(is_on);
        if is_on {
            self.mesh.send(shard, Letter::Notes(store.take_notes()));
        }
    }

    /// Takes in what another shard has noted.
    pub(super) fn take_notes(&mut self, shard: usize, notes: Vec<Note>) {
        self.listeners.sources[shard].owes_notes = false;
        self.listeners.notes.push((shard, notes));
    }

    fn tell_of_begun_snapshot(&mut self) {
        let number = self.save.number();
        if std::mem::replace(&mut self.listeners.snapshot, number) != number {
            self.tell_of_snapshot(&json!({ "state": "begun" }));
        }
    }

    /// A snapshot came to its end.
    pub(super) fn tell_of_ended_snapshot(&mut self, saved: &super::Saved) {
        self.tell_of_begun_snapshot();
        self.tell_of_snapshot(&match &saved.outcome {
            Ok(summary) => json!({
                "state": "done",
                "entries": summary.entries,
                "bytes": summary.bytes,
                "duration_ms": summary.duration_ms,
            }),
            Err(failure) => json!({ "state": "failed", "reason": failure.reason }),
        });
    }

    fn tell_of_snapshot(&mut self, data: &Value) {
        if !self.listeners.ids.is_empty() {
            self.listeners.past.push(Kind::Snapshot, data);
        }
    }
}
