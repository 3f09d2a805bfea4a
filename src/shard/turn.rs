//! One core's share of the server, turn by turn: what the owner of its sockets and channels calls.

use super::{
    admission::Admission,
    arrivals::Desk,
    connections::{Connection, ConnectionId, Connections},
    letter::Message,
    removals::Removals,
    save::Save,
    service::{Facts, Service, UnderWay},
    slow::{Slow, SlowLog},
    spoken::{Dates, Reader, Role, Scratch, Spoken},
    subscribers::Subscribers,
};
use crate::{
    auth::Tokens,
    clock::Millis,
    config::{Config, Limits},
    http::Http,
    latency::Latency,
    mesh::{Incoming, Mesh},
    metrics::{Counters, Process, Report, Step, Usage},
    owner::{Owner, Upstream},
    protocol::{Next, Problem},
    store::{Bounds, EXPIRE_STEPS_MAX, KeyHasher, ROOM_STEPS_MAX, SCAN_STEPS_MAX, Store},
    wire::{Intent, Overdue},
};
use std::time::SystemTime;

/// One core's share of the server.
pub struct Shard {
    pub(super) facts: Facts,
    pub(super) service: Service,
    pub(super) connections: Connections,
    scratch: Scratch,
    /// Time as deadlines see it: it moves by at most [`BEAT_MAX_MS`] a beat, so that a process
    /// that was stopped for a while does not find all its clients late.
    beat: Millis,
    last_beat: Millis,
    /// When a snapshot got its last slice.
    pub(super) last_save: Millis,
    /// The first slot whose deadline was not looked at since the last beat.
    unswept: usize,
    /// What the connections before it hold.
    swept: Usage,
}

/// Slots whose deadlines are looked at in one turn, and late connections that it takes on: when
/// thousands are late at once, the others do not wait for all of them.
const SWEPT_MAX: usize = 1024;
const LATE_MAX: usize = 16;

/// The shard that writes snapshots; the admin listener is its own.
pub const WRITER: usize = 0;

/// Milliseconds between two beats, and the most that one counts for.
pub const BEAT_MS: u64 = 250;
pub const BEAT_MAX_MS: u64 = 2 * BEAT_MS;

impl Shard {
    /// Shard `me` of `config.shards`, at an instant and the time on the wall then. All shards of a
    /// process have the same hasher.
    #[must_use]
    pub fn new(
        me: usize,
        config: Config,
        hasher: KeyHasher,
        now: Millis,
        wall: SystemTime,
    ) -> Self {
        let bounds = Bounds {
            memory_bytes_max: config.memory_bytes / config.shards,
            key_bytes_max: config.limits.key_bytes_max,
            value_bytes_max: config.limits.value_bytes_max,
            entries_max: config.entries_max.div_ceil(config.shards),
        };
        let mut store = Store::with_eviction(&bounds, config.eviction);
        if config.prefault {
            store.prefault();
        }
        let interval = config.snapshot_interval;
        let interval_ms = interval.and_then(|interval| u64::try_from(interval.as_millis()).ok());
        let service = Service {
            mesh: Mesh::new(me, config.shards, &config.limits),
            home: Owner::new(store, &config.limits),
            removals: Removals::default(),
            saving: None,
            save: Save::new(me == WRITER && config.snapshot_path.is_some(), interval_ms, now),
            subscribers: Subscribers::new(&config.limits, config.shards),
            admission: Admission::default(),
            counters: Counters::default(),
            latency: Latency::default(),
            slow: SlowLog::new(config.slow_log),
            look_at_process: Process::default,
        };
        let now_us = now.0 * 1000;
        let facts = Facts { config, hasher, dates: wall.into(), now, now_us, draining: false };
        Self {
            facts,
            service,
            connections: Connections::default(),
            scratch: Scratch::default(),
            beat: now,
            last_beat: now,
            last_save: now,
            unswept: 0,
            swept: Usage::default(),
        }
    }

    /// From here on a request needs one of these tokens.
    pub fn set_tokens(&mut self, tokens: Tokens) {
        self.service.admission.tokens = Some(tokens);
    }

    /// The settings that can change have these values from here on. All others are as they were.
    pub fn set_config(&mut self, config: Config) {
        self.service.slow = SlowLog::new(config.slow_log);
        self.facts.config = config;
    }

    /// The slowest request since the last call that took longer than `--slow-log-us`.
    pub fn take_slow(&mut self) -> Option<Slow> {
        self.service.slow.take()
    }

    /// The clock was read: microseconds since the start. What is received from here on begins now,
    /// and what is sent ends now.
    pub fn tick(&mut self, now_us: u64) {
        self.facts.now_us = now_us;
    }

    /// What is seen and counted outside of the shard.
    pub fn counters_mut(&mut self) -> &mut Counters {
        &mut self.service.counters
    }

    /// Where to look when somebody wants to know of the process.
    pub fn set_process(&mut self, look_at_process: fn() -> Process) {
        self.service.look_at_process = look_at_process;
    }

    /// A turn of the loop came so late.
    pub fn record_loop_delay(&mut self, late_us: u64) {
        self.service.latency.record_loop_delay(late_us);
    }

    /// What was ready has waited so long for its turn.
    pub fn record_queue_delay(&mut self, delay_us: u64) {
        self.service.admission.record_delay(delay_us);
    }

    /// What was ready so long ago still waits at this beat.
    pub fn record_pending_delay(&mut self, pending_us: u64) {
        self.service.admission.record_pending(pending_us);
    }

    /// For how long what was ready at `ready_us` has waited, as far as this turn has come.
    #[must_use]
    pub fn waited_us(&self, ready_us: u64) -> u64 {
        self.facts.now_us.saturating_sub(ready_us)
    }

    /// How much load the shard sheds.
    #[must_use]
    pub fn step(&self) -> Step {
        self.service.counters.step
    }

    /// This shard's number.
    #[must_use]
    pub fn me(&self) -> usize {
        self.service.mesh.me()
    }

    #[must_use]
    pub fn report(&self) -> Report {
        self.service.report()
    }

    fn limits(&self) -> &Limits {
        &self.facts.config.limits
    }

    /// Begins a turn of the loop at `now`: lists some connections that are late, gives back the
    /// memory of some entries that nobody may read any more, makes room for a large value on its
    /// way, and goes on with what was asked of all shards. Returns whether there may be more to do.
    pub fn begin_turn(&mut self, now: Millis) -> bool {
        self.facts.now = now;
        let limits = &self.facts.config.limits;
        self.service.admission.weigh(&mut self.service.counters, limits);
        self.sweep();
        let Service { mesh, home, removals, counters, .. } = &mut self.service;
        let connections = &mut self.connections;
        let mut desk = Desk { facts: &self.facts, counters, connections };
        // First of all: what may not outlive the turn before goes.
        let mut has_more = mesh.work(home, now, |arrival| desk.arrive(&arrival));
        has_more |= home.store_mut().expire(now, EXPIRE_STEPS_MAX);
        has_more |= home.make_room(now, ROOM_STEPS_MAX);
        has_more |= home.store_mut().sweep(SCAN_STEPS_MAX);
        if let Some((asker, share)) = removals.work(home.store_mut(), now, SCAN_STEPS_MAX)
            && let Some(results) = mesh.tell(asker, share)
        {
            desk.arrive(&results);
        }
        has_more | !removals.is_empty()
    }

    /// A new connection.
    pub fn open(&mut self, role: Role) -> ConnectionId {
        let counters = &mut self.service.counters.connections;
        match role {
            Role::Data => {
                counters.open += 1;
                counters.accepted += 1;
            }
            Role::Admin => {}
            Role::Refused => counters.refused += 1,
        }
        let id = self.connections.insert(role, self.beat);
        if role == Role::Refused {
            let limit = self.limits().connections_max;
            self.refuse(id, Problem::TooManyConnections(limit));
        }
        id
    }

    /// Answers a connection with what is wrong and takes no further request of it.
    fn refuse(&mut self, id: ConnectionId, problem: Problem) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let (facts, service) = (&self.facts, &mut self.service);
        match connection.reader {
            Reader::Http(_) => refuse_as::<Http>(facts, service, connection, problem),
        }
        connection.close_when_done();
    }

    /// The socket of a connection is gone. Answers that are still away will find nobody.
    pub fn forget(&mut self, id: ConnectionId) -> Option<Role> {
        self.service.unsubscribe(id);
        self.service.give_back_pins(&mut self.connections, id);
        let counters = &mut self.service.counters.connections;
        let role = self.connections.remove(id, counters);
        if role == Some(Role::Data) {
            counters.open -= 1;
        }
        role
    }

    /// Takes bytes that were read. `more`: the socket may hold further bytes already.
    pub fn receive(&mut self, id: ConnectionId, fresh: &[u8], more: bool) {
        self.connections.lend_buffer(id);
        let Some(connection) = self.connections.get_mut(id) else { return };
        self.service.counters.connections.received_bytes += fresh.len() as u64;
        if !connection.wire.is_open() {
            connection.wire.discard(fresh.len(), &self.facts.config.limits);
            return;
        }
        match connection.reader {
            Reader::Http(_) => self.receive_as::<Http>(id, fresh, more),
        }
        self.connections.recount(id, &mut self.service.counters.connections);
        self.bound_body(id);
    }

    /// Takes all requests of what was read, as long as there is room for their answers.
    fn receive_as<P: Spoken>(&mut self, id: ConnectionId, fresh: &[u8], more: bool) {
        let Self { facts, service, connections, scratch, .. } = self;
        let Some(connection) = connections.get_mut(id) else { return };
        let Connection { role, wire, reader, announce_above } = connection;
        let (reader, scratch) = (P::reader(reader), P::scratch(scratch));
        let about = facts.about::<P>(&service.counters, *role);
        let limits = &facts.config.limits;
        let now_micros = facts.now_micros();
        let mut micros = wire.begun(now_micros);
        let mut input = wire.take_input(fresh, more);
        let (mut progressed, mut is_open) = (false, true);
        while is_open {
            if !wire.answers.has_room(limits) {
                wire.block(&input);
                break;
            }
            let answers = &mut wire.answers;
            // By reference: to move what was framed costs more than to use it.
            is_open = match &P::next(reader, scratch, &mut input, limits) {
                Ok(Next::Partial) => break,
                Ok(Next::Request(request)) => {
                    progressed = true;
                    let claim = P::claim(request, &about);
                    let mut under_way = UnderWay::new(claim, id, answers, &about, micros);
                    micros = now_micros;
                    service.answer(request, &mut under_way)
                }
                Ok(Next::Head(head)) => {
                    let announced = P::announce(head, &about);
                    let mut under_way = UnderWay::new(announced.claim, id, answers, &about, micros);
                    let (is_taken, above) = service.answer_announced(announced, &mut under_way);
                    *announce_above = above;
                    is_taken
                }
                Err(fault) => {
                    let refusal = P::Refusal::from(fault.clone());
                    service.refuse_unread::<P>(&refusal, answers, &about, micros);
                    false
                }
            };
        }
        wire.keep(input, progressed, now_micros);
        if !is_open {
            connection.close_when_done();
        }
        let Connection { wire, reader, .. } = connection;
        let awaited = P::awaited(P::reader(reader), wire.kept(), limits);
        wire.wait_for(awaited, progressed, self.beat);
        if !wire.is_open() {
            P::reset(P::reader(reader));
        }
        if let Some(bytes) = connection.announce_body() {
            service.mesh.expect(&mut service.home, bytes.min(limits.value_bytes_max));
        }
    }

    /// Refuses a body on its way where the others hold as much as all may.
    fn bound_body(&mut self, id: ConnectionId) {
        let counted = self.connections.counted_bytes(id);
        if counted == 0 {
            return;
        }
        let Some(connection) = self.connections.get_mut(id) else { return };
        let unfinished = connection.unfinished_bytes();
        let (counters, limits) = (&mut self.service.counters, &self.facts.config.limits);
        if let Err(problem) = Admission::allow_body(counters, limits, counted, unfinished) {
            self.refuse(id, problem);
            self.connections.recount(id, &mut self.service.counters.connections);
        }
    }

    /// The socket was found empty.
    pub fn exhausted(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.wire.exhausted();
        }
    }

    /// Whether the last read of the socket may have left bytes in it.
    #[must_use]
    pub fn has_unread(&mut self, id: ConnectionId) -> bool {
        self.connections.get_mut(id).is_some_and(|connection| connection.wire.has_unread())
    }

    /// The client has closed its side.
    pub fn end_input(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.end_input();
        }
    }

    /// Whether there is little to send and the next answer is on its way from another shard.
    pub fn awaits_more(&mut self, id: ConnectionId) -> bool {
        let connection = self.connections.get_mut(id);
        connection.is_some_and(|it| it.wire.answers.awaits_more() && !it.wire.is_dead())
    }

    /// Bytes to send, in order. Goes on with a long answer, and takes up requests that waited for
    /// room, if there is room now.
    pub fn unsent(&mut self, id: ConnectionId) -> &[u8] {
        self.service.continue_answer(&self.facts, &mut self.connections, id);
        let limits = &self.facts.config.limits;
        if let Some(connection) = self.connections.get_mut(id)
            && connection.wire.can_go_on(limits)
        {
            let more = connection.wire.has_unread();
            self.receive(id, &[], more);
        }
        self.connections.get_mut(id).map_or(&[], |connection| connection.wire.answers.unsent())
    }

    /// The kernel took so many of the bytes of [`Shard::unsent`]; 0 where it took none.
    pub fn sent(&mut self, id: ConnectionId, bytes: usize) {
        let Service { latency, slow, counters, .. } = &mut self.service;
        counters.connections.sent_bytes += bytes as u64;
        let Some(connection) = self.connections.get_mut(id) else { return };
        let now_us = self.facts.now_us;
        let answers = &mut connection.wire.answers;
        answers.sent(bytes, self.beat, |timing, bytes| {
            slow.see(latency.record(timing, now_us), timing, bytes);
        });
        if answers.unsent().is_empty() {
            if !answers.is_next_away() {
                let buffer = answers.release();
                self.connections.reuse(buffer);
            }
            self.connections.recount(id, &mut counters.connections);
        }
    }

    /// What the socket of a connection is to wait for or do.
    pub fn intent(&mut self, id: ConnectionId) -> Intent {
        let Some(connection) = self.connections.get_mut(id) else { return Intent::Close };
        if self.facts.draining && connection.role == Role::Data && connection.wire.is_idle() {
            connection.close_when_done();
        }
        connection.wire.intent(&self.facts.config.limits)
    }

    /// The sending side of the socket was closed.
    pub fn linger(&mut self, id: ConnectionId) {
        let beat = self.beat;
        if let Some(connection) = self.connections.get_mut(id) {
            connection.wire.linger(beat);
        }
    }

    /// Takes in a message from another shard.
    pub fn deliver(&mut self, from: usize, message: Message) {
        let Service { mesh, home, counters, .. } = &mut self.service;
        let facts = &self.facts;
        let mut desk = Desk { facts, counters, connections: &mut self.connections };
        let incoming =
            mesh.deliver(home, from, message, facts.now, |arrival| desk.arrive(&arrival));
        match incoming {
            None => {}
            Some(Incoming::Query { asker, query }) => {
                let results = self.service.answer_query(asker, query, facts.now_us);
                debug_assert!(results.is_none(), "another shard asked");
            }
            Some(Incoming::Letter { from, letter }) => self.service.read_letter(from, letter),
        }
    }

    /// What stands behind this shard's store.
    pub fn set_upstream(&mut self, upstream: Box<dyn Upstream>) {
        self.service.home.set_upstream(upstream);
    }

    /// Sends what has gathered for other shards. `send` hands back what the peer will not see.
    pub fn flush(&mut self, send: impl FnMut(usize, Message) -> Result<(), Message>) {
        let Service { mesh, home, counters, .. } = &mut self.service;
        let connections = &mut self.connections;
        let mut desk = Desk { facts: &self.facts, counters, connections };
        mesh.flush(home, send, |arrival| desk.arrive(&arrival));
    }

    /// Sees to it that a connection is in what [`Shard::take_listed`] takes, once.
    pub fn list(&mut self, id: ConnectionId) {
        self.connections.list(id);
    }

    /// Moves the connections that are to be looked at again to `listed`: those that were named, and
    /// those whose state changed although their sockets said nothing.
    pub fn take_listed(&mut self, listed: &mut Vec<ConnectionId>) {
        self.connections.take_listed(listed);
    }

    #[must_use]
    pub fn has_listed(&self) -> bool {
        self.listed() > 0
    }

    #[must_use]
    pub fn listed(&self) -> usize {
        self.connections.listed.len()
    }

    /// Moves the deadlines on; every [`BEAT_MS`]. `wall` is the time on the wall. This and the next
    /// turns list the connections that are late.
    pub fn beat(&mut self, now: Millis, wall: SystemTime) {
        self.facts.dates = Dates::from(wall);
        self.beat.0 += now.since(self.last_beat).min(BEAT_MAX_MS);
        self.last_beat = now;
        let limits = &self.facts.config.limits;
        self.service.admission.end_window(&mut self.service.counters, limits);
        if self.service.save.is_due(now) {
            // Where it cannot begin now, it is still due at the next beat.
            let _is_begun = self.service.save.begin(now).is_ok();
        }
        self.service.collect_events(&mut self.connections);
        if !self.has_unswept() {
            self.unswept = 0;
            let pooled = self.connections.pooled_bytes();
            let usage = &mut self.service.counters.usage;
            usage.buffer_bytes = self.swept.buffer_bytes + pooled as u64;
            usage.requests_in_flight = self.swept.requests_in_flight;
            self.swept = Usage::default();
        }
        self.sweep();
    }

    /// Whether deadlines are left for the next turn to look at.
    #[must_use]
    pub fn has_unswept(&self) -> bool {
        self.unswept < self.connections.slots()
    }

    fn sweep(&mut self) {
        let limits = *self.limits();
        let mut late = 0;
        let end = self.connections.slots().min(self.unswept.saturating_add(SWEPT_MAX));
        while self.unswept < end && late < LATE_MAX {
            let slot = self.unswept;
            self.unswept += 1;
            let Some((id, connection)) = self.connections.at(slot) else { continue };
            self.swept.buffer_bytes += connection.buffer_bytes() as u64;
            self.swept.requests_in_flight += connection.wire.answers.in_flight();
            // Only the admin listener has idle connections then.
            if self.facts.draining && connection.wire.has_idled(limits.linger_timeout, self.beat) {
                late += 1;
                connection.close_when_done();
                self.connections.list(id);
                continue;
            }
            let Some(overdue) = connection.wire.overdue(self.beat, &limits) else { continue };
            late += 1;
            self.service.counters.connections.timed_out += 1;
            match overdue {
                Overdue::Request => self.refuse(id, Problem::TimedOut),
                Overdue::Silent => connection.wire.kill(),
            }
            self.connections.list(id);
        }
    }

    /// From here on connections close once they are idle, and answers say so. Whatever has arrived
    /// is to be read now, even where a connection has no room.
    pub fn drain(&mut self) {
        self.facts.draining = true;
        self.connections.list_all();
    }

    /// No connection is open, but for idle ones to the admin listener, and no call is under way.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.connections.are_quiet() && self.service.mesh.is_quiet() && self.service.home.is_idle()
    }
}

fn refuse_as<P: Spoken>(
    facts: &Facts,
    service: &mut Service,
    connection: &mut Connection,
    problem: Problem,
) {
    let micros = connection.wire.begun(facts.now_micros());
    let about = facts.about::<P>(&service.counters, connection.role);
    let answers = &mut connection.wire.answers;
    service.refuse_unread::<P>(&problem.into(), answers, &about, micros);
}
