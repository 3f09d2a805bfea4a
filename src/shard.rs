//! One core without its sockets: its connections, its end of the mesh and its counters.
//!
//! Bytes and messages go in, bytes and messages come out. The driver feeds it from sockets and
//! channels; the simulation feeds it from a seeded scheduler.

mod letter;
mod listen;
mod overload;
mod queries;
mod restore;
mod save;
mod saving;
mod slow;

pub use letter::{CHANNEL_MESSAGES_MAX, Freight, Letter, Message};
pub use restore::Clocks;
pub use save::{Done, Job, Saved};
pub use saving::{Order, Part};
pub use slow::Slow;

use crate::{
    admin::{self, events::Reader},
    api::{
        self, Action, Command, Render, Rest, Route,
        batch::{Assembly, Batch, Kind},
        question::Form,
    },
    auth::Tokens,
    clock::Millis,
    config::{Config, Limits},
    http::{
        Connection, Intent, Next, Output, Overdue, Request, Responses, gzip,
        request::{Framing, Head, Method, RepeatedFields, Version},
        response::{CONTINUE, Date, Exchange, Persistence, Problem, write_problem},
    },
    latency::{Latency, Start},
    mesh::{Called, Incoming, Mesh},
    metrics::{Counters, Operation, Process, Report, Stage, Step, Usage},
    owner::{Call, Owner, Upstream},
    query::Query,
    store::{
        EXPIRE_STEPS_MAX, INLINE_BYTES_MAX, Key, KeyHasher, Op, Reply, SCAN_STEPS_MAX, Settings,
        Store, Verb, WAY_STEPS_MAX,
    },
};
use letter::{Arrival, ShardHome, ShardMesh};
use listen::Listeners;
use overload::{Cause, Overload};
use queries::Removals;
use save::Save;
use saving::Saving;
use slow::SlowLog;

/// A connection of this shard. The serial number is never used again, so what arrives late for a
/// closed connection finds nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    slot: u32,
    serial: u64,
}

impl ConnectionId {
    /// A small number, unique among the connections that are open.
    #[must_use]
    pub fn slot(self) -> usize {
        self.slot as usize
    }
}

/// Which listener a connection came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Data,
    Admin,
}

/// The way back from a call to the answer that is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    connection: ConnectionId,
    sequence: u64,
    /// The place of the call in its batch.
    item: u32,
}

/// What an answer that is away will need.
#[derive(Debug)]
struct Owing {
    exchange: Exchange,
    operation: Operation,
    answer: Answer,
}

#[derive(Debug)]
enum Answer {
    Reply(Render),
    Batch(Box<Assembly>),
    Results(Form),
    /// The next piece of the value of a key.
    Piece {
        key: Box<[u8]>,
        rest: Rest,
    },
    /// What was begun cannot be completed.
    Broken,
    /// A stream.
    Events(Reader),
}

#[derive(Debug)]
struct Slot {
    serial: u64,
    role: Role,
    /// Already among those to be looked at again.
    listed: bool,
    /// As it was counted last.
    buffered_bytes: u64,
    connection: Option<Connection<Owing>>,
}

/// The connections by slot; those that are to be looked at again are listed.
#[derive(Debug, Default)]
struct Connections {
    slots: Vec<Slot>,
    free: Vec<u32>,
    listed: Vec<ConnectionId>,
    serials: u64,
    /// Output buffers of connections that had nothing left to send.
    buffers: Vec<Output>,
}

/// Output buffers kept for reuse, and the largest that is kept.
const BUFFERS_MAX: usize = 256;
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// What any connection may hold of a body that is on its way.
const BODY_BYTES_FREE: usize = 8 << 10;

impl Connections {
    fn insert(&mut self, role: Role, now: Millis) -> ConnectionId {
        self.serials += 1;
        let entry = Slot {
            serial: self.serials,
            role,
            listed: false,
            buffered_bytes: 0,
            connection: Some(Connection::new(now)),
        };
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = entry;
            slot
        } else {
            self.slots.push(entry);
            u32::try_from(self.slots.len() - 1).expect("connections_max is far below 2^32")
        };
        ConnectionId { slot, serial: self.serials }
    }

    fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection<Owing>> {
        let slot = self.slots.get_mut(id.slot())?;
        if slot.serial == id.serial { slot.connection.as_mut() } else { None }
    }

    /// Counts in `total` what a connection holds of answers and of a body on its way, either if it
    /// is more than what any may.
    fn recount(&mut self, id: ConnectionId, total: &mut u64) {
        let Some(connection) = self.get_mut(id) else { return };
        let above = |max: usize, bytes: usize| if bytes > max { bytes as u64 } else { 0 };
        let bytes = above(BUFFER_BYTES_MAX, connection.responses.bytes())
            + above(BODY_BYTES_FREE, connection.requests.unfinished_bytes());
        let counted = std::mem::replace(&mut self.slots[id.slot()].buffered_bytes, bytes);
        *total = *total - counted + bytes;
    }

    /// `total` as in [`Connections::recount`].
    fn remove(&mut self, id: ConnectionId, total: &mut u64) -> Option<Role> {
        let buffer = std::mem::take(self.get_mut(id)?.responses.output());
        self.reuse(buffer);
        let slot = &mut self.slots[id.slot()];
        slot.connection = None;
        *total -= slot.buffered_bytes;
        self.free.push(id.slot);
        Some(slot.role)
    }

    /// Sees to it that answers are written to a buffer that was in use before.
    fn lend(&mut self, id: ConnectionId) {
        if let Some(buffer) = self.buffers.pop() {
            match self.get_mut(id).map(|connection| connection.responses.output()) {
                Some(output) if output.bytes.capacity() == 0 => *output = buffer,
                _ => self.buffers.push(buffer),
            }
        }
    }

    fn list(&mut self, id: ConnectionId) {
        let slot = &mut self.slots[id.slot()];
        if !std::mem::replace(&mut slot.listed, true) {
            self.listed.push(id);
        }
    }

    fn reuse(&mut self, mut buffer: Output) {
        let bytes = buffer.bytes.capacity();
        if self.buffers.len() < BUFFERS_MAX && (1..=BUFFER_BYTES_MAX).contains(&bytes) {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }

    fn ids(&self) -> impl Iterator<Item = ConnectionId> {
        self.slots.iter().enumerate().filter(|(_, entry)| entry.connection.is_some()).map(
            |(slot, entry)| ConnectionId {
                slot: u32::try_from(slot).expect("slots are numbered in u32"),
                serial: entry.serial,
            },
        )
    }
}

/// What answers requests: the store through the mesh, and what the answers look like.
struct Service {
    config: Config,
    hasher: KeyHasher,
    /// `None`: everybody may do everything.
    tokens: Option<Tokens>,
    mesh: ShardMesh,
    /// Of this shard's own keys.
    home: ShardHome,
    removals: Removals,
    save: Save,
    /// This shard's share of a snapshot.
    saving: Option<Saving>,
    listeners: Listeners,
    overload: Overload,
    counters: Counters,
    latency: Latency,
    slow: SlowLog,
    /// What the kernel says of the process, now.
    look_at_process: fn() -> Process,
    date: Date,
    /// Of this turn of the loop.
    now: Millis,
    /// The clock when it was read last, in microseconds since the start.
    now_us: u64,
    /// When the request that is being answered began.
    begun_micros: u32,
    draining: bool,
}

impl Service {
    /// When the request that is being answered began.
    fn start(&self, operation: Operation) -> Start {
        Start { operation, micros: self.begun_micros }
    }

    /// Answers a request or notes that its answer is owed. Returns whether the connection takes
    /// further requests.
    fn answer(
        &mut self,
        request: &Request<'_>,
        role: Role,
        connection: ConnectionId,
        responses: &mut Responses<Owing>,
    ) -> bool {
        let last = request.is_last && self.closes(role);
        let mut exchange = exchange(&request.head, last);
        let route = route(role, request.head.path);
        let operation = operation(route, &request.head);
        let start = self.start(operation);
        let read = self
            .admit(request, route, role)
            .and_then(|()| api::read(request, route, &self.config, &self.hasher));
        // By reference: to move what was read costs more than to use it.
        match &read {
            Err(problem) => {
                if problem.closes {
                    exchange.persistence = Persistence::Close;
                }
                self.refuse(responses, operation, exchange, problem);
            }
            Ok(Action::Call { key, verb, render }) => {
                let key = Key { bytes: &**key, hash: self.hasher.hash(key) };
                let op = Op { key, verb: verb.as_deref() };
                self.answer_call(op, *render, (exchange, operation), connection, responses);
            }
            Ok(Action::Batch(batch)) => {
                self.answer_batch(batch, connection, responses, operation, exchange);
            }
            Ok(Action::Health) => {
                responses.write(start, |out| api::write_health(out, exchange, &self.date));
                self.counters.answers.count(operation, 200);
            }
            Ok(Action::Describe) => {
                responses.write(start, |out| api::write_openapi(out, exchange, &self.date));
                self.counters.answers.count(operation, 200);
            }
            Ok(Action::Page) => {
                responses.write(start, |out| admin::page::write(out, exchange, &self.date));
                self.counters.answers.count(operation, 200);
            }
            Ok(Action::Listen(kinds)) => {
                let (version, exchange) = (request.head.version, (&mut exchange, operation));
                self.answer_events(*kinds, version, connection, responses, exchange);
            }
            Ok(Action::Snapshot) => {
                self.answer_snapshot(connection, responses, operation, exchange);
            }
            Ok(Action::Options { allow }) => {
                responses.write(start, |out| api::write_options(out, exchange, &self.date, allow));
                self.counters.answers.count(operation, 204);
            }
            Ok(Action::Config) => {
                responses.write(start, |out| {
                    admin::write_config(out, exchange, &self.date, &self.config);
                });
                self.counters.answers.count(operation, 200);
            }
            Ok(Action::Ask(_, Form::Ready)) if self.counters.stage != Stage::Serving => {
                self.refuse(responses, operation, exchange, &admin::not_ready(self.counters.stage));
            }
            Ok(Action::Ask(query, form)) if self.mesh.can_ask() => {
                self.answer_broadcast(query, *form, connection, responses, (exchange, operation));
            }
            Ok(Action::Ask(..)) => {
                self.refuse(responses, operation, exchange, &api::overloaded());
            }
        }
        exchange.persistence != Persistence::Close && request.head.method != Method::Connect
    }

    /// Whether a connection ends with the next answer that has nothing behind it.
    fn closes(&self, role: Role) -> bool {
        self.draining || (role == Role::Data && self.counters.step > Step::Calm)
    }

    /// Whether a request that is complete may be looked at.
    fn admit(
        &mut self,
        request: &Request<'_>,
        route: Option<Route>,
        role: Role,
    ) -> Result<(), Problem> {
        self.authorize(&request.head, route, role)?;
        // A longer one was taken on with its head.
        if request.body.len() <= LONG_BODY_BYTES_MIN {
            self.take_on(&request.head, route)?;
        }
        Ok(())
    }

    /// Whether the body of a request is to come. Of a short one that is not waited with, it is seen
    /// when it is there whether it is taken on.
    fn admit_body(
        &mut self,
        head: &Head<'_>,
        route: Option<Route>,
        role: Role,
        waits: bool,
    ) -> Result<Route, Problem> {
        self.authorize(head, route, role)?;
        let known = api::admit(head, route, &self.config)?;
        let is_short = matches!(head.framing, Framing::Length(..=LONG_BODY_BYTES_MIN));
        if waits || !is_short {
            self.take_on(head, route).map_err(Problem::closing)?;
        }
        Ok(known)
    }

    /// Whether there is not too much to do for a request; else it is counted.
    #[inline]
    fn take_on(&mut self, head: &Head<'_>, route: Option<Route>) -> Result<(), Problem> {
        if self.counters.step <= Step::Closing || head.method == Method::Options {
            return Ok(());
        }
        let counters = &mut self.counters.overload;
        match self.overload.refuses(operation(route, head)) {
            None => return Ok(()),
            Some(Cause::Memory) => counters.refused_memory += 1,
            Some(Cause::Delay) => counters.refused_delay += 1,
        }
        Err(api::not_taken_on())
    }

    /// Notes what is held in buffers now.
    fn weigh(&mut self) {
        let bytes = self.counters.connections.buffered_bytes;
        self.overload.weigh(bytes, &self.config.limits);
        self.note_step();
    }

    /// Notes for how long things have waited lately.
    fn end_window(&mut self) {
        self.overload.end_window(&self.config.limits);
        self.counters.overload.queue_delay_us = self.overload.standing_us();
        self.note_step();
    }

    fn note_step(&mut self) {
        let step = self.overload.step();
        if step > self.counters.step {
            self.counters.overload.note(step);
        }
        self.counters.step = step;
    }

    /// Runs one operation.
    #[inline]
    fn answer_call(
        &mut self,
        mut op: Op<&[u8]>,
        render: Render,
        (exchange, operation): (Exchange, Operation),
        connection: ConnectionId,
        responses: &mut Responses<Owing>,
    ) {
        if let Verb::Lend { above } | Verb::Read { above, .. } = &mut op.verb
            && *above < usize::MAX
            && responses.owes()
        {
            *above = 0;
        }
        let limits = &self.config.limits;
        let bytes_max = match op.verb {
            Verb::Read { above, .. } => limits.value_bytes_max.min(above.max(INLINE_BYTES_MAX)),
            _ => limits.answer_bytes_max(),
        };
        // Short values are not counted, and long ones mostly lent.
        if bytes_max > BUFFER_BYTES_MAX && self.is_congested(0) {
            return self.refuse_congested(responses, operation, exchange);
        }
        let start = self.start(operation);
        let ticket = Ticket { connection, sequence: responses.next_sequence(), item: 0 };
        let mut unused = None;
        // The reply is read where the store wrote it: to move it costs more than to use it.
        let call = Call { op: &op, wants_text: render == Render::Get };
        let called = self.mesh.call(&mut self.home, call, self.now, ticket, |reply| {
            let is_kept = responses.begin(start, |out| {
                let (date, key) = (&self.date, op.key.bytes);
                let mut rest = None;
                let reply = (reply, None);
                let status = api::write_reply(out, exchange, date, render, key, reply, &mut rest);
                self.counters.answers.count(operation, status);
                rest.map(|rest| {
                    let answer = Answer::Piece { key: key.into(), rest };
                    Owing { exchange, operation, answer }
                })
            });
            unused = reply.loan().filter(|_| !is_kept);
        });
        match called {
            Called::Here => {
                if let Some(loan) = unused {
                    self.home.store_mut().give_back(loan);
                }
            }
            Called::Away => {
                let answer = Answer::Reply(render);
                responses.owe(Owing { exchange, operation, answer }, start, bytes_max);
            }
            Called::Refused => self.refuse(responses, operation, exchange, &api::overloaded()),
        }
    }

    /// Whether the head of a request brings what is asked for on its port.
    fn authorize(&self, head: &Head<'_>, route: Option<Route>, role: Role) -> Result<(), Problem> {
        let Some(tokens) = &self.tokens else { return Ok(()) };
        let needed = match role {
            Role::Data => Route::access(route, head.method),
            Role::Admin => admin::access(route, head.method),
        };
        tokens.admit(head.lines, needed).map_err(|problem| match head.framing {
            Framing::Length(0) => problem,
            // Nobody is let to fill our memory who may not.
            _ => problem.closing(),
        })
    }

    fn answer_batch(
        &mut self,
        batch: &Batch<'_>,
        connection: ConnectionId,
        responses: &mut Responses<Owing>,
        operation: Operation,
        exchange: Exchange,
    ) {
        if batch.kind == Kind::Get && self.is_congested(0) {
            return self.refuse_congested(responses, operation, exchange);
        }
        let ops: Vec<Op<&[u8]>> = batch
            .commands
            .iter()
            .map(|Command { key, verb }| Op {
                key: Key { bytes: &**key, hash: self.hasher.hash(key) },
                verb: verb.as_deref(),
            })
            .collect();
        let start = self.start(operation);
        let bytes_max = self.config.limits.reply_bytes_max;
        let mut assembly = Assembly::new(batch, bytes_max);
        let sequence = responses.next_sequence();
        let away = self.mesh.call_all(
            &mut self.home,
            &ops,
            self.now,
            bytes_max,
            |item| {
                let item = u32::try_from(item).expect("batch_items_max is far below 2^32");
                Ticket { connection, sequence, item }
            },
            |item, reply| match reply {
                Some(reply) => assembly.take(item, ops[item].key.bytes, *reply),
                None => assembly.lose(),
            },
        );
        match away {
            None => self.refuse(responses, operation, exchange, &api::overloaded()),
            Some(0) => responses.write(start, |out| {
                let status = assembly.write(out, exchange, &self.date);
                self.counters.answers.count(operation, status);
            }),
            Some(_) => {
                let answer = Answer::Batch(Box::new(assembly));
                let bytes_max = batch.reply_bytes(&self.config.limits);
                responses.owe(Owing { exchange, operation, answer }, start, bytes_max);
            }
        }
    }

    /// Asks every shard.
    fn answer_broadcast(
        &mut self,
        query: &Query,
        form: Form,
        connection: ConnectionId,
        responses: &mut Responses<Owing>,
        (exchange, operation): (Exchange, Operation),
    ) {
        if matches!(form, Form::Metrics { .. }) {
            let started_ms = self.counters.process.started_ms;
            self.counters.process = Process { started_ms, ..(self.look_at_process)() };
        }
        let answer = Answer::Results(form);
        let sequence =
            responses.owe(Owing { exchange, operation, answer }, self.start(operation), 0);
        let ticket = Ticket { connection, sequence, item: 0 };
        let asker = self.mesh.ask(query, ticket);
        if let Some(results) = self.answer_query(asker, query.clone()) {
            let (date, counters) = (&self.date, &mut self.counters);
            let room = self.config.limits.piece_bytes_max;
            responses.settle(ticket.sequence, |owing, out| {
                Self::complete((out, room), date, counters, owing, &results)
            });
        }
    }

    fn answer_snapshot(
        &mut self,
        connection: ConnectionId,
        responses: &mut Responses<Owing>,
        operation: Operation,
        exchange: Exchange,
    ) {
        match self.save.begin(self.now) {
            Ok(()) => {
                let owing = Owing { exchange, operation, answer: Answer::Results(Form::Snapshot) };
                let sequence = responses.owe(owing, self.start(operation), 0);
                self.save.waiting = Some(Ticket { connection, sequence, item: 0 });
            }
            Err(refusal) => self.refuse(responses, operation, exchange, &refusal.problem()),
        }
    }

    /// Whether long requests and answers hold as much as they may, but for so many bytes.
    fn is_congested(&self, bytes: u64) -> bool {
        let held = self.counters.connections.buffered_bytes - bytes;
        held >= self.config.limits.buffered_bytes_max as u64
    }

    fn refuse_congested(
        &mut self,
        responses: &mut Responses<Owing>,
        operation: Operation,
        exchange: Exchange,
    ) {
        self.counters.overload.refused_memory += 1;
        self.refuse(responses, operation, exchange, &api::congested());
    }

    fn refuse(
        &mut self,
        responses: &mut Responses<Owing>,
        operation: Operation,
        exchange: Exchange,
        problem: &Problem,
    ) {
        let start = self.start(operation);
        responses.write(start, |out| write_problem(out, exchange, &self.date, problem));
        self.counters.answers.count(operation, problem.status);
    }

    /// Writes the answer that was away, or the next piece of one. Returns whether the loan that
    /// came with it is kept.
    fn settle(
        date: &Date,
        counters: &mut Counters,
        connections: &mut Connections,
        piece_bytes_max: usize,
        arrival: &Arrival<'_>,
    ) -> bool {
        let ticket = arrival.ticket();
        let Some(connection) = connections.get_mut(ticket.connection) else { return false };
        if let Answer::Batch(assembly) = &mut connection.responses.owing(ticket.sequence).answer {
            let item = ticket.item as usize;
            match arrival {
                Arrival::Reply { key, reply, .. } => assembly.take(item, key, *reply),
                Arrival::LeftOut { .. } => assembly.leave_out(),
                _ => assembly.lose(),
            }
            if !assembly.is_complete() {
                return false;
            }
        }
        connections.lend(ticket.connection);
        let Some(connection) = connections.get_mut(ticket.connection) else { return false };
        let mut is_broken = false;
        let is_long = connection.responses.settle(ticket.sequence, |owing, out| {
            let rest = Self::complete((out, piece_bytes_max), date, counters, owing, arrival);
            is_broken = matches!(rest, Some(Owing { answer: Answer::Broken, .. }));
            rest
        });
        if is_broken {
            connection.kill();
        }
        connections.recount(ticket.connection, &mut counters.connections.buffered_bytes);
        is_long
    }

    /// The same where it comes from another shard: the connection is to be looked at again.
    fn arrive(
        date: &Date,
        counters: &mut Counters,
        connections: &mut Connections,
        piece_bytes_max: usize,
        arrival: &Arrival<'_>,
    ) -> bool {
        let ticket = arrival.ticket();
        let is_kept = Self::settle(date, counters, connections, piece_bytes_max, arrival);
        if connections.get_mut(ticket.connection).is_some() {
            connections.list(ticket.connection);
        }
        is_kept
    }

    /// Fetches the next piece of a long answer once the one before is sent.
    fn continue_answer(&mut self, connections: &mut Connections, id: ConnectionId) {
        let wants_piece = |connection: &mut Connection<Owing>| {
            connection.responses.wants_piece() && !connection.is_dead()
        };
        if !connections.get_mut(id).is_some_and(wants_piece) {
            return;
        }
        if self.continue_events(connections, id) {
            return;
        }
        connections.lend(id);
        let Some(connection) = connections.get_mut(id) else { return };
        let (sequence, owing) = connection.responses.ask_on();
        let Answer::Piece { key, rest } = &owing.answer else {
            unreachable!("a connection with a broken answer is dead")
        };
        let bytes = self.config.limits.piece_bytes_max;
        let (key, verb) = (key.clone(), rest.verb(bytes));
        let op = Op { key: Key { bytes: &*key, hash: 0 }, verb };
        let ticket = Ticket { connection: id, sequence, item: 0 };
        let (date, counters) = (&self.date, &mut self.counters);
        let mut unused = None;
        self.mesh.call(&mut self.home, (&op).into(), self.now, ticket, |reply| {
            let arrival = Arrival::Reply { ticket, key: &[], reply: *reply, text: None };
            let is_kept = Self::settle(date, counters, connections, bytes, &arrival);
            unused = reply.loan().filter(|_| !is_kept);
        });
        if let Some(loan) = unused {
            self.home.store_mut().give_back(loan);
        }
    }

    /// Returns what is left where this is not all.
    fn complete(
        (out, room): (&mut Vec<u8>, usize),
        date: &Date,
        counters: &mut Counters,
        owing: Owing,
        arrival: &Arrival<'_>,
    ) -> Option<Owing> {
        let Owing { exchange, operation, answer } = owing;
        let (status, rest) = match (arrival, answer) {
            (
                Arrival::Reply { reply: Reply::Piece { bytes, .. }, .. },
                Answer::Piece { key, rest },
            ) => {
                let rest = api::write_piece(out, rest, bytes, room)?;
                return Some(Owing { exchange, operation, answer: Answer::Piece { key, rest } });
            }
            (_, Answer::Piece { .. }) => {
                return Some(Owing { exchange, operation, answer: Answer::Broken });
            }
            (&Arrival::Reply { key, ref reply, text, .. }, Answer::Reply(render)) => {
                let (mut rest, reply) = (None, (reply, text));
                let status = api::write_reply(out, exchange, date, render, key, reply, &mut rest);
                (status, rest.map(|rest| Answer::Piece { key: key.into(), rest }))
            }
            (_, Answer::Batch(assembly)) => (assembly.write(out, exchange, date), None),
            (Arrival::Results { results, .. }, Answer::Results(form)) => {
                (admin::write_results(out, exchange, date, form, results), None)
            }
            (Arrival::Refused { .. }, _) => {
                let problem = api::overloaded();
                write_problem(out, exchange, date, &problem);
                (problem.status, None)
            }
            _ => {
                let problem = api::unavailable();
                write_problem(out, exchange, date, &problem);
                (problem.status, None)
            }
        };
        counters.answers.count(operation, status);
        rest.map(|answer| Owing { exchange, operation, answer })
    }
}

/// As the start of a request is noted.
#[expect(clippy::cast_possible_truncation, reason = "they count on from zero after an hour")]
fn micros_of(now_us: u64) -> u32 {
    now_us as u32
}

fn route(role: Role, path: &[u8]) -> Option<Route> {
    match role {
        Role::Data => Route::of(path),
        Role::Admin => admin::route(path),
    }
}

/// `last`: the connection will be closed after this answer whatever the client wishes.
fn exchange(head: &Head<'_>, last: bool) -> Exchange {
    let persistence =
        match (head.keep_alive && !last && head.method != Method::Connect, head.version) {
            (false, _) => Persistence::Close,
            (true, Version::Http10) => Persistence::KeepAlive,
            (true, Version::Http11) => Persistence::Implicit,
        };
    let accepts_gzip = gzip::is_accepted(head.lines);
    Exchange { head_only: head.method == Method::Head, accepts_gzip, persistence }
}

fn operation(route: Option<Route>, head: &Head<'_>) -> Operation {
    route.map_or(Operation::Other, |route| route.operation(head.method))
}

/// One core's share of the server.
pub struct Shard {
    service: Service,
    connections: Connections,
    fields: RepeatedFields,
    /// Time as deadlines see it: it moves by at most [`BEAT_MAX_MS`] a beat, so that a process
    /// that was stopped for a while does not find all its clients late.
    beat: Millis,
    last_beat: Millis,
    /// When a snapshot got its last slice.
    last_save: Millis,
    /// The first slot whose deadline was not looked at since the last beat.
    unswept: usize,
    /// What the connections before it hold.
    swept: Usage,
}

/// A body of no more bytes is taken before anything is done for it: no room is made in advance, and
/// whether there is too much to do is seen when it is there.
const LONG_BODY_BYTES_MIN: usize = 64 << 10;

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
    /// Shard `me` of `config.shards`. All shards of a process have the same hasher.
    #[must_use]
    pub fn new(me: usize, config: Config, hasher: KeyHasher, now: Millis, date: Date) -> Self {
        let settings = Settings {
            memory_bytes_max: config.memory_bytes / config.shards,
            key_bytes_max: config.limits.key_bytes_max,
            value_bytes_max: config.limits.value_bytes_max,
            entries_max: config.entries_max.div_ceil(config.shards),
        };
        let mut store = Store::with_eviction(&settings, config.eviction);
        if config.prefault {
            store.prefault();
        }
        let mesh = Mesh::new(me, config.shards, &config.limits);
        let home = Owner::new(store, &config.limits);
        let counters = Counters::default();
        let interval = config.snapshot_interval;
        let interval_ms = interval.and_then(|interval| u64::try_from(interval.as_millis()).ok());
        let listeners = Listeners::new(&config.limits, config.shards);
        let save = Save::new(me == WRITER && config.snapshot_path.is_some(), interval_ms, now);
        let slow = SlowLog::new(config.slow_log);
        let service = Service {
            config,
            hasher,
            tokens: None,
            mesh,
            home,
            removals: Removals::default(),
            save,
            saving: None,
            listeners,
            overload: Overload::default(),
            counters,
            latency: Latency::default(),
            slow,
            look_at_process: Process::default,
            date,
            now,
            now_us: now.0 * 1000,
            begun_micros: 0,
            draining: false,
        };
        let connections = Connections::default();
        Self {
            service,
            connections,
            fields: RepeatedFields::default(),
            beat: now,
            last_beat: now,
            last_save: now,
            unswept: 0,
            swept: Usage::default(),
        }
    }

    /// From here on a request needs one of these tokens.
    pub fn set_tokens(&mut self, tokens: Tokens) {
        self.service.tokens = Some(tokens);
    }

    /// The settings that can change have these values from here on. All others are as they were.
    pub fn set_config(&mut self, config: Config) {
        self.service.slow = SlowLog::new(config.slow_log);
        self.service.config = config;
    }

    /// The slowest request since the last call that took longer than `--slow-log-us`.
    pub fn take_slow(&mut self) -> Option<Slow> {
        self.service.slow.take()
    }

    /// The clock was read: microseconds since the start. What is received from here on begins now,
    /// and what is sent ends now.
    pub fn tick(&mut self, now_us: u64) {
        self.service.now_us = now_us;
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
        self.service.overload.record_delay(delay_us);
    }

    /// What was ready so long ago still waits at this beat.
    pub fn record_pending_delay(&mut self, pending_us: u64) {
        self.service.overload.record_pending(pending_us);
    }

    /// For how long what was ready at `ready_us` has waited, as far as this turn has come.
    #[must_use]
    pub fn waited_us(&self, ready_us: u64) -> u64 {
        self.service.now_us.saturating_sub(ready_us)
    }

    /// What the shard still takes on.
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
        &self.service.config.limits
    }

    /// Begins a turn of the loop at `now`: lists some connections that are late, gives back the
    /// memory of some entries that nobody may read any more, makes room for a large value on its
    /// way, and goes on with what was asked of all shards. Returns whether there may be more to do.
    pub fn begin_turn(&mut self, now: Millis) -> bool {
        self.service.now = now;
        self.service.weigh();
        self.sweep();
        let Service { mesh, home, removals, counters, date, config, .. } = &mut self.service;
        let (connections, room) = (&mut self.connections, config.limits.piece_bytes_max);
        let mut arrived =
            |arrival: Arrival<'_>| Service::arrive(date, counters, connections, room, &arrival);
        // First of all: what may not outlive the turn before goes.
        let mut has_more = mesh.work(home, now, &mut arrived);
        has_more |= home.store_mut().expire(now, EXPIRE_STEPS_MAX);
        has_more |= home.make_room(now, WAY_STEPS_MAX);
        has_more |= home.store_mut().sweep(SCAN_STEPS_MAX);
        if let Some((asker, share)) = removals.work(home.store_mut(), now, SCAN_STEPS_MAX)
            && let Some(results) = mesh.tell(asker, share)
        {
            arrived(results);
        }
        has_more | !removals.is_empty()
    }

    /// A new connection.
    pub fn open(&mut self, role: Role) -> ConnectionId {
        if role == Role::Data {
            self.service.counters.connections.open += 1;
            self.service.counters.connections.accepted += 1;
        }
        self.connections.insert(role, self.beat)
    }

    /// A new connection that is told to come back later.
    pub fn open_refused(&mut self) -> ConnectionId {
        self.service.counters.connections.refused += 1;
        let id = self.connections.insert(Role::Admin, self.beat);
        let limit = self.limits().connections_max;
        let message = format!("All {limit} connections are taken (--connections-max).");
        let problem = Problem::new(503, "too_many_connections", message).retry_after(1);
        let connection = self.connections.get_mut(id).expect("opened above");
        let date = &self.service.date;
        let start = self.service.start(Operation::Other);
        connection.responses.write(start, |out| write_problem(out, Exchange::LAST, date, &problem));
        connection.close_when_done();
        id
    }

    /// The socket of a connection is gone. Answers that are still away will find nobody.
    pub fn forget(&mut self, id: ConnectionId) {
        self.service.forget_listener(id);
        let Service { mesh, home, .. } = &mut self.service;
        if let Some(connection) = self.connections.get_mut(id) {
            for owing in connection.responses.unfinished() {
                if let Answer::Piece { key, rest } = &owing.answer {
                    mesh.give_back(home, mesh.owner(key), rest.loan);
                }
            }
        }
        let counters = &mut self.service.counters.connections;
        if self.connections.remove(id, &mut counters.buffered_bytes) == Some(Role::Data) {
            counters.open -= 1;
        }
    }

    /// Takes bytes that were read. `more`: the socket may hold further bytes already.
    pub fn receive(&mut self, id: ConnectionId, fresh: &[u8], more: bool) {
        self.connections.lend(id);
        let role = self.connections.slots[id.slot()].role;
        let Some(connection) = self.connections.get_mut(id) else { return };
        let service = &mut self.service;
        let limits = service.config.limits;
        service.counters.connections.received_bytes += fresh.len() as u64;
        if !connection.is_open() {
            connection.discard(fresh.len(), &limits);
            return;
        }
        let micros = micros_of(service.now_us);
        service.begun_micros = connection.begun(micros);
        let mut input = connection.requests.input(fresh, more);
        let mut progressed = false;
        connection.blocked = false;
        loop {
            if !connection.responses.has_room(&limits) {
                connection.blocked = !input.is_spent();
                break;
            }
            let responses = &mut connection.responses;
            let open = match connection.requests.next(&mut input, &mut self.fields, &limits) {
                Ok(Next::Partial) => break,
                Ok(Next::Request(request)) => {
                    progressed = true;
                    let open = service.answer(&request, role, id, responses);
                    service.begun_micros = micros;
                    open
                }
                Ok(Next::Body { head, waits }) => {
                    let route = route(role, head.path);
                    let admitted = service.admit_body(&head, route, role, waits);
                    connection.announce_above = match &admitted {
                        Ok(route) if route.stores() => LONG_BODY_BYTES_MIN,
                        _ => usize::MAX,
                    };
                    match admitted {
                        Err(problem) if waits || problem.closes => {
                            let operation = operation(route, &head);
                            let exchange = exchange(&head, true);
                            service.refuse(responses, operation, exchange, &problem);
                            false
                        }
                        _ => {
                            if waits {
                                responses.write_interim(CONTINUE);
                            }
                            true
                        }
                    }
                }
                Err(error) => {
                    let problem = Problem::new(error.status(), error.code(), error.message());
                    service.refuse(responses, Operation::Other, Exchange::LAST, &problem);
                    false
                }
            };
            if !open {
                connection.close_when_done();
                break;
            }
        }
        if let Some(bytes) = connection.announce_body(&limits) {
            service.mesh.expect(&mut service.home, bytes.min(limits.value_bytes_max));
        }
        connection.keep(input, progressed, self.beat, micros);
        let total = &mut service.counters.connections.buffered_bytes;
        self.connections.recount(id, total);
        self.bound_body(id);
    }

    /// Refuses a body on its way where the others hold as much as all may.
    fn bound_body(&mut self, id: ConnectionId) {
        let held = self.connections.slots[id.slot()].buffered_bytes;
        if held == 0 || !self.service.is_congested(held) {
            return;
        }
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.requests.unfinished_bytes() > BODY_BYTES_FREE {
            let responses = &mut connection.responses;
            self.service.refuse_congested(responses, Operation::Other, Exchange::LAST);
            connection.close_when_done();
            let total = &mut self.service.counters.connections.buffered_bytes;
            self.connections.recount(id, total);
        }
    }

    /// The socket was found empty.
    pub fn exhausted(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.has_unread = false;
        }
    }

    /// Whether the last read of the socket may have left bytes in it.
    #[must_use]
    pub fn has_unread(&mut self, id: ConnectionId) -> bool {
        self.connections.get_mut(id).is_some_and(|connection| connection.has_unread)
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
        connection.is_some_and(|it| it.responses.awaits_more() && !it.is_dead())
    }

    /// Bytes to send, in order. Goes on with a long answer, and takes up requests that waited for
    /// room, if there is room now.
    pub fn unsent(&mut self, id: ConnectionId) -> &[u8] {
        self.service.continue_answer(&mut self.connections, id);
        let limits = self.service.config.limits;
        if let Some(connection) = self.connections.get_mut(id)
            && connection.blocked
            && connection.responses.has_room(&limits)
        {
            let more = connection.has_unread;
            self.receive(id, &[], more);
        }
        self.connections.get_mut(id).map_or(&[], |connection| connection.responses.unsent())
    }

    /// The kernel took so many of the bytes of [`Shard::unsent`]; 0 where it took none.
    pub fn sent(&mut self, id: ConnectionId, bytes: usize) {
        let beat = self.beat;
        self.service.counters.connections.sent_bytes += bytes as u64;
        let Some(connection) = self.connections.get_mut(id) else { return };
        let Service { latency, slow, now_us, .. } = &mut self.service;
        connection.responses.sent(bytes, beat, |timing, answers, bytes| {
            slow.see(latency.record(timing, *now_us), timing, answers, bytes);
        });
        if connection.responses.unsent().is_empty() {
            let buffer = connection.responses.release();
            self.connections.reuse(buffer);
            let total = &mut self.service.counters.connections.buffered_bytes;
            self.connections.recount(id, total);
        }
    }

    /// What the socket of a connection is to wait for or do.
    pub fn intent(&mut self, id: ConnectionId) -> Intent {
        let limits = self.service.config.limits;
        let draining = self.service.draining;
        let role = self.connections.slots[id.slot()].role;
        let Some(connection) = self.connections.get_mut(id) else { return Intent::Close };
        if draining && role == Role::Data && connection.is_idle() {
            connection.close_when_done();
        }
        connection.intent(&limits)
    }

    /// The sending side of the socket was closed.
    pub fn linger(&mut self, id: ConnectionId) {
        let beat = self.beat;
        if let Some(connection) = self.connections.get_mut(id) {
            connection.linger(beat);
        }
    }

    /// Takes in a message from another shard.
    pub fn deliver(&mut self, from: usize, message: Message) {
        let Service { mesh, home, counters, date, now, config, .. } = &mut self.service;
        let room = config.limits.piece_bytes_max;
        let connections = &mut self.connections;
        let incoming = mesh.deliver(home, from, message, *now, |arrival| {
            Service::arrive(date, counters, connections, room, &arrival)
        });
        match incoming {
            None => {}
            Some(Incoming::Query { asker, query }) => {
                let results = self.service.answer_query(asker, query);
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
        let Service { mesh, home, counters, date, config, .. } = &mut self.service;
        let room = config.limits.piece_bytes_max;
        let connections = &mut self.connections;
        mesh.flush(home, send, |arrival| {
            Service::arrive(date, counters, connections, room, &arrival)
        });
    }

    /// Sees to it that a connection is in what [`Shard::take_listed`] takes, once.
    pub fn list(&mut self, id: ConnectionId) {
        if self.connections.get_mut(id).is_some() {
            self.connections.list(id);
        }
    }

    /// Moves the connections that are to be looked at again to `listed`: those that were named, and
    /// those whose state changed although their sockets said nothing.
    pub fn take_listed(&mut self, listed: &mut Vec<ConnectionId>) {
        listed.append(&mut self.connections.listed);
        for id in listed {
            self.connections.slots[id.slot()].listed = false;
        }
    }

    #[must_use]
    pub fn has_listed(&self) -> bool {
        self.listed() > 0
    }

    #[must_use]
    pub fn listed(&self) -> usize {
        self.connections.listed.len()
    }

    /// Moves the deadlines on; every [`BEAT_MS`]. This and the next turns list the connections that
    /// are late.
    pub fn beat(&mut self, now: Millis, date: Date) {
        self.service.date = date;
        self.beat.0 += now.since(self.last_beat).min(BEAT_MAX_MS);
        self.last_beat = now;
        self.service.end_window();
        if self.service.save.is_due(now) {
            // Where it cannot begin now, it is still due at the next beat.
            let _is_begun = self.service.save.begin(now).is_ok();
        }
        self.service.listen_on(&mut self.connections);
        if !self.has_unswept() {
            self.unswept = 0;
            let pooled: usize = self.connections.buffers.iter().map(Output::buffer_bytes).sum();
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
        self.unswept < self.connections.slots.len()
    }

    fn sweep(&mut self) {
        let limits = *self.limits();
        let draining = self.service.draining;
        let mut late = 0;
        let end = self.connections.slots.len().min(self.unswept.saturating_add(SWEPT_MAX));
        while self.unswept < end && late < LATE_MAX {
            let slot = self.unswept;
            self.unswept += 1;
            let entry = &mut self.connections.slots[slot];
            let Some(connection) = &mut entry.connection else { continue };
            let (requests, responses) = (&connection.requests, &connection.responses);
            let bytes = requests.buffer_bytes() + responses.buffer_bytes();
            self.swept.buffer_bytes += bytes as u64;
            self.swept.requests_in_flight += responses.in_flight();
            let slot = u32::try_from(slot).expect("slots are numbered in u32");
            let id = ConnectionId { slot, serial: entry.serial };
            // Only the admin listener has idle connections then.
            if draining && connection.has_idled(limits.linger_timeout, self.beat) {
                late += 1;
                connection.close_when_done();
                self.connections.list(id);
                continue;
            }
            let Some(overdue) = connection.overdue(self.beat, &limits) else { continue };
            late += 1;
            self.service.counters.connections.timed_out += 1;
            match overdue {
                Overdue::Request => {
                    let message = "The request did not arrive in time (--read-timeout).";
                    let problem = Problem::new(408, "request_timeout", message);
                    let micros = micros_of(self.service.now_us);
                    self.service.begun_micros = connection.begun(micros);
                    let responses = &mut connection.responses;
                    self.service.refuse(responses, Operation::Other, Exchange::LAST, &problem);
                    connection.close_when_done();
                }
                Overdue::Silent => connection.kill(),
            }
            self.connections.list(id);
        }
    }

    /// From here on connections close once they are idle, and answers say so. Whatever has arrived
    /// is to be read now, even where a connection has no room.
    pub fn drain(&mut self) {
        self.service.draining = true;
        let ids: Vec<_> = self.connections.ids().collect();
        for id in ids {
            self.connections.list(id);
        }
    }

    /// No connection is open, but for idle ones to the admin listener, and no call is under way.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let is_quiet = |slot: &Slot| match &slot.connection {
            None => true,
            Some(connection) => slot.role == Role::Admin && connection.is_idle(),
        };
        self.connections.slots.iter().all(is_quiet)
            && self.service.mesh.is_quiet()
            && self.service.home.is_idle()
    }
}
