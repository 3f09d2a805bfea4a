//! Events on their way to subscribers.

use super::{
    connections::{ConnectionId, Connections},
    letter::Letter,
    save::Saved,
    service::{Facts, Service, UnderWay},
    spoken::{Pending, Spoken, Waits},
    subscribers::Subscribers,
};
use crate::{
    events::{Kind, Kinds},
    http::admin::events,
    metrics::Outcome,
    protocol::Problem,
    wire::Written,
};
use serde_json::{Value, json};

impl Service {
    /// Begins a stream of events, which ends with the connection or the server.
    pub(super) fn subscribe<P: Spoken>(&mut self, kinds: Kinds, under_way: &mut UnderWay<'_, P>) {
        let limit = under_way.about.config.limits.event_readers_max;
        if self.subscribers.ids.len() >= limit {
            let problem = Problem::TooManySubscribers(limit);
            return under_way.refuse_for(&mut self.counters, problem);
        }
        let past = &self.subscribers.past;
        under_way.begin(&mut self.counters, |out, form, about| {
            (Outcome::Ok, Waits::Stream(P::subscribe(out, form, about, kinds, past)))
        });
        self.subscribers.ids.push(under_way.connection);
        self.collect_notes(true);
    }

    /// Goes on with the stream of a connection that wants more to send.
    pub(super) fn continue_stream<P: Spoken>(
        &mut self,
        facts: &Facts,
        connections: &mut Connections,
        id: ConnectionId,
    ) {
        let Some(connection) = connections.get_mut(id) else { return };
        let answers = &mut connection.wire.answers;
        let past = &self.subscribers.past;
        let room = facts.config.limits.piece_bytes_max;
        let is_due = |stream: &P::Stream| facts.draining || P::is_due(stream, past, facts.now);
        let front = answers.front_begun().map(|owing| &P::pending(owing).waits);
        if !matches!(front, Some(Waits::Stream(stream)) if is_due(stream)) {
            return;
        }
        let (sequence, _) = answers.ask_on();
        answers.settle(sequence, |mut owing, out| {
            let Pending { waits: Waits::Stream(stream), .. } = P::pending(&mut owing) else {
                unreachable!("seen above")
            };
            P::push(out, stream, past, facts.now, room);
            if facts.draining {
                P::end_stream(out, stream);
                return Written::whole(Outcome::Ok);
            }
            Written { outcome: Outcome::Ok, rest: Some(owing) }
        });
        if facts.draining {
            self.unsubscribe(id);
        }
    }

    /// The streams of a connection are over.
    pub(super) fn unsubscribe(&mut self, id: ConnectionId) {
        let ids = &mut self.subscribers.ids;
        if ids.is_empty() {
            return;
        }
        ids.retain(|subscriber| *subscriber != id);
        if ids.is_empty() {
            self.collect_notes(false);
        }
    }

    /// Takes in what was collected since the last beat, has the subscribers' connections looked
    /// at, and collects anew.
    pub(super) fn collect_events(&mut self, connections: &mut Connections) {
        self.report_begun_snapshot();
        if self.subscribers.ids.is_empty() {
            return;
        }
        for (shard, notes) in std::mem::take(&mut self.subscribers.notes) {
            for note in &notes {
                self.subscribers.past.push(note.kind, events::note_text(shard, note));
            }
        }
        for id in &self.subscribers.ids {
            connections.list(*id);
        }
        self.collect_notes(true);
    }

    /// Collects the events that every shard has noted since the last time, and has it note those to
    /// come; or has it note none any more.
    fn collect_notes(&mut self, is_on: bool) {
        let (me, store) = (self.mesh.me(), self.home.store_mut());
        let Subscribers { sources, notes, .. } = &mut self.subscribers;
        store.subscribe(is_on);
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

    fn report_begun_snapshot(&mut self) {
        let number = self.save.number();
        if std::mem::replace(&mut self.subscribers.snapshot, number) != number {
            self.report_snapshot(&json!({ "state": "begun" }));
        }
    }

    /// A snapshot came to its end.
    pub(super) fn report_ended_snapshot(&mut self, saved: &Saved) {
        self.report_begun_snapshot();
        self.report_snapshot(&match &saved.outcome {
            Ok(summary) => json!({
                "state": "done",
                "entries": summary.entries,
                "bytes": summary.bytes,
                "duration_ms": summary.duration_ms,
            }),
            Err(failure) => json!({ "state": "failed", "reason": failure.reason }),
        });
    }

    fn report_snapshot(&mut self, data: &Value) {
        if !self.subscribers.ids.is_empty() {
            self.subscribers.past.push(Kind::Snapshot, events::text(Kind::Snapshot, data));
        }
    }
}
