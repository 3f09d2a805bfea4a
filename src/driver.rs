//! One core's sockets: an epoll set that the executor awaits, and the bytes between them and the
//! shard.
//!
//! A connection costs a slab entry and a descriptor: no task, no timer and no buffer of its own.
//! One pass over what epoll reports, or over one batch of messages from another shard, is a turn;
//! at its end all answers are sent and all calls to other shards leave. In a long turn this is so
//! after every few connections: not after each, as the code of either way through the network stack
//! is more than the nearest cache holds; and not once, so that other shards do not run out of work.

use crate::{
    auth::Tokens,
    clock::{Clock, Millis},
    config::Config,
    disk::Disk,
    http::{Intent, response::Date},
    link::Links,
    log::{self, Level, Log, Repeats},
    metrics::{self, Reload, Snapshots, Step},
    placement::Placement,
    process,
    shard::{
        BEAT_MAX_MS, BEAT_MS, CHANNEL_MESSAGES_MAX, Clocks, ConnectionId, Message, Role, Saved,
        Shard, Slow,
    },
    snapshot::{Block, Summary},
};
use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
    io::Errno,
    net::SocketFlags,
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create,
        timerfd_settime,
    },
};
use std::{
    collections::VecDeque,
    io::{self, PipeReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, mpsc::Receiver},
    time::{Duration, UNIX_EPOCH},
};

/// Events taken in one turn, so that messages and other work get theirs.
const EVENTS_MAX: usize = 128;
/// Connections accepted in one turn.
const ACCEPTS_MAX: usize = 16;
/// Connections, and bytes of theirs, that are read before the first of them is sent its answers.
const READ_AHEAD_MAX: usize = 16;
const READ_AHEAD_BYTES_MAX: usize = 16 << 10;
/// Sends to one socket in a row, so that a fast reader of long answers leaves others theirs.
const SENDS_MAX: usize = 8;
/// Admin connections, and connections being told that there is no room, at once.
const ADMIN_CONNECTIONS_MAX: usize = 64;
const REFUSED_MAX: usize = 256;
/// Turns for which little that is ready waits for an answer of another shard, to leave with it: to
/// send it alone costs us and the client more than so many turns, and mostly the answer is there.
const HOLDS_MAX: u8 = 3;
/// Turns without a look at the runtime's own events.
const TURNS_MAX: usize = 32;
/// How long a turn waits for more where the one before found something and the runtime has work of
/// its own, a file to write. Where it has none, the next event or beat ends the wait: either comes
/// through the same set, and a limit costs a timer of the kernel each time. To wait here is one
/// system call; to sleep in the runtime and come back is about six.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
const NONE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
/// Milliseconds between two beats while the end is near.
const ENDING_BEAT_MS: u64 = 10;

/// What travels between shards.
#[derive(Debug)]
pub enum Parcel {
    Mesh(Message),
    /// A new connection, for the shard that places all connections.
    Accepted(TcpStream),
    /// A new connection, for the shard that is to serve it.
    Adopted(TcpStream),
    /// So many connections are gone, for the shard that places them.
    Closed(usize),
    /// The last parcel: the sender makes no further calls.
    Fin,
}

/// The first shard places all connections.
const PLACER: usize = 0;

/// Room that a channel keeps for what must never wait: what the mesh sends, and the last word.
const RESERVED_PARCELS: usize = CHANNEL_MESSAGES_MAX + 1;

/// Room that a channel between two shards needs: the above, and sockets on their way.
pub const PARCELS_MAX: usize = RESERVED_PARCELS + 256;

/// A word from the main thread, one byte each on the control pipe.
pub const START: u8 = b's';
pub const DRAIN: u8 = b'd';
/// The settings were read again; what came of it has been sent.
pub const RELOADED: u8 = b'r';
/// To be answered by [`News::Alive`].
pub const ASK: u8 = b'a';
/// A block of a snapshot has been sent, to be restored before [`START`].
pub const BLOCK: u8 = b'b';
/// All blocks have been; to be answered by [`News::Restored`].
pub const RESTORED: u8 = b'o';
/// The blocks were no good after all.
pub const FORGET: u8 = b'x';
/// Write a last snapshot; to be answered by [`News::Saved`].
pub const SAVE: u8 = b'p';
/// End, after [`News::Drained`].
pub const FINISH: u8 = b'f';

/// A word to the main thread.
#[derive(Debug)]
pub enum News {
    /// The shard takes its turns.
    Alive,
    Restored(Box<Snapshots>),
    /// Everything of the shard's own is answered; it waits for [`FINISH`].
    Drained,
    /// Some of the last snapshot is written.
    Saving,
    /// The last snapshot is written, or has failed.
    Saved,
}

/// The data of an epoll event: these, or a connection's slot.
const DATA_LISTENER: u64 = u64::MAX;
const ADMIN_LISTENER: u64 = u64::MAX - 1;
const CONTROL: u64 = u64::MAX - 2;
const BELL: u64 = u64::MAX - 3;
const TIMER: u64 = u64::MAX - 4;

struct Socket {
    id: ConnectionId,
    role: SocketRole,
    stream: TcpStream,
    interest: epoll::EventFlags,
    /// There was more to read or room to write than was used: no event tells of that again.
    has_more: bool,
    /// Turns in a row for which what was ready was held.
    holds: u8,
}

/// What a socket waits for. Edges are enough, as it is known when there was more to do, and spare
/// the kernel a second look at each socket that was ready.
fn interest(read: bool, write: bool) -> epoll::EventFlags {
    let mut interest = epoll::EventFlags::ET;
    interest.set(epoll::EventFlags::IN | epoll::EventFlags::RDHUP, read);
    interest.set(epoll::EventFlags::OUT, write);
    interest
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SocketRole {
    Data,
    Admin,
    Refused,
}

struct Listener {
    socket: TcpListener,
    /// Out of the epoll set until the next beat.
    paused: bool,
    /// There were no descriptors left.
    starved: bool,
}

/// The sockets of one core.
pub struct Driver {
    shard: Shard,
    clock: Clock,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    /// By the connection's slot.
    sockets: Vec<Option<Socket>>,
    scratch: Box<[u8]>,
    /// Since answers were sent last.
    read_bytes: usize,
    listed: Vec<ConnectionId>,
    /// Connections that are looked at again in the next turn, as answers of other shards are due.
    held: Vec<ConnectionId>,
    data: Option<Listener>,
    admin: Option<Listener>,
    control: PipeReader,
    reloads: Receiver<Reloaded>,
    links: Links<Parcel>,
    /// Where this shard places all connections.
    placement: Option<Placement>,
    /// Accepted, but the way to the shard that places connections is full.
    unplaced: VecDeque<TcpStream>,
    closed_untold: usize,
    admin_open: usize,
    refused_open: usize,
    stage: Stage,
    /// Shards that make no further calls, this one included.
    finished: usize,
    drain_ms: u64,
    spin_us: u64,
    news: VecDeque<News>,
    blocks: Receiver<(Arc<Block>, Clocks)>,
    /// Where this shard writes snapshots.
    disk: Option<Disk>,
    /// The end waits for the last snapshot.
    waits_for_last: bool,
    log: Log,
    repeats: Repeats,
    /// Strikes when the next beat is due. Not a timer of the runtime, which ends the process when
    /// a system call that sets one is interrupted.
    timer: OwnedFd,
    /// The last turn has left work that needs no event.
    has_work: bool,
    /// Since the last beat.
    was_busy: bool,
    /// When more was ready than a turn takes and the bell was put behind it, in microseconds since
    /// the start. For how long the bell waits, everything else does.
    struck_us: Option<u64>,
    /// As it was logged.
    step: Step,
    last_beat: Millis,
    /// When the timer strikes next, in microseconds since the start.
    beat_due_us: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Starting,
    Serving,
    /// Since then no connection is accepted.
    Draining {
        since: Millis,
    },
    /// Everything of our own is answered, and the last snapshot is to be written.
    Drained,
    /// Everything of our own is answered; other shards' calls still are.
    Finished,
}

/// What came of reading the settings that can change.
#[derive(Clone)]
pub struct Reloaded {
    pub state: Reload,
    /// `None`: what was in force stays, here and below.
    pub tokens: Option<Tokens>,
    pub config: Option<Box<Config>>,
}

/// What a driver is made of.
pub struct Parts {
    pub shard: Shard,
    pub clock: Clock,
    pub data: TcpListener,
    pub admin: Option<TcpListener>,
    pub control: PipeReader,
    /// Filled before [`RELOADED`] is said.
    pub reloads: Receiver<Reloaded>,
    /// Filled before [`BLOCK`] is said.
    pub blocks: Receiver<(Arc<Block>, Clocks)>,
    /// Of the shard that writes snapshots, where they are written.
    pub disk: Option<Disk>,
    pub links: Links<Parcel>,
}

impl Driver {
    /// A driver that does nothing yet but heed its control pipe.
    pub fn new(parts: Parts, config: &Config) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(CONTROL);
        epoll::add(&epoll, &parts.control, data, epoll::EventFlags::IN)?;
        let data = epoll::EventData::new_u64(BELL);
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, parts.links.bell(), data, edge)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let data = epoll::EventData::new_u64(TIMER);
        epoll::add(&epoll, &timer, data, edge)?;
        set_timer(&timer, BEAT_MAX_MS);
        let placement = (parts.shard.me() == PLACER)
            .then(|| Placement::new(config.shards, config.limits.connections_max));
        let listener = |socket| Listener { socket, paused: false, starved: false };
        let admin = parts.admin.map(listener);
        if let Some(admin) = &admin {
            watch(&epoll, admin, ADMIN_LISTENER);
        }
        let mut shard = parts.shard;
        let is_first = shard.me() == PLACER;
        let counters = shard.counters_mut();
        counters.stage = metrics::Stage::Starting;
        if is_first {
            // One shard tells of the process as a whole.
            let since_start = Duration::from_micros(parts.clock.micros());
            let started = Clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
            counters.process.started_ms = millis(started.saturating_sub(since_start));
            shard.set_process(process::look);
        }
        let now_us = parts.clock.micros();
        Ok(Self {
            shard,
            clock: parts.clock,
            epoll,
            events: Vec::with_capacity(EVENTS_MAX),
            sockets: Vec::new(),
            scratch: vec![0; config.limits.read_bytes_max].into_boxed_slice(),
            read_bytes: 0,
            listed: Vec::new(),
            held: Vec::new(),
            data: Some(listener(parts.data)),
            admin,
            control: parts.control,
            reloads: parts.reloads,
            links: parts.links,
            placement,
            unplaced: VecDeque::new(),
            closed_untold: 0,
            admin_open: 0,
            refused_open: 0,
            stage: Stage::Starting,
            finished: 0,
            drain_ms: millis(config.drain_timeout),
            spin_us: u64::try_from(config.spin.as_micros()).unwrap_or(u64::MAX),
            timer,
            news: VecDeque::new(),
            blocks: parts.blocks,
            disk: parts.disk,
            waits_for_last: config.snapshot_path.is_some(),
            log: config.log,
            repeats: Repeats::default(),
            has_work: false,
            was_busy: false,
            struck_us: None,
            step: Step::Calm,
            last_beat: Millis(now_us / 1000),
            beat_due_us: now_us + BEAT_MAX_MS * 1000,
        })
    }

    /// The descriptor that is readable when there is something to do.
    pub fn pollable(&self) -> io::Result<OwnedFd> {
        self.epoll.try_clone()
    }

    /// Takes turns until there is nothing to do and no waiting for it. Then the shard counts as
    /// asleep until the next call, and [`Driver::pollable`] tells when there is something again.
    /// After many turns it does so at once.
    pub fn work(&mut self) {
        let mut patience = Some(NONE);
        for _ in 0..TURNS_MAX {
            let busy = self.turn(patience) || self.spin();
            let nothing = self.links.doze();
            if nothing && !busy && patience.is_some() {
                return;
            }
            patience = if nothing { self.patience() } else { Some(NONE) };
        }
        self.wake();
    }

    /// How long the next turn may wait for events; `None`: until there is one.
    fn patience(&self) -> Option<Timespec> {
        if self.has_work || self.spin_us > 0 || !self.news.is_empty() {
            Some(NONE)
        } else if self.is_ending() || self.shard.is_saving() {
            Some(PATIENCE)
        } else {
            None
        }
    }

    /// Makes the descriptor of [`Driver::pollable`] readable.
    fn wake(&self) {
        self.links.bell().strike();
    }

    /// The next word to the main thread.
    pub fn take_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// The disk, when all is done.
    pub fn into_disk(self) -> Option<Disk> {
        self.disk
    }

    /// Looks for something to do for a while. Returns whether it came.
    fn spin(&mut self) -> bool {
        if self.spin_us == 0 {
            return false;
        }
        let start = self.clock.micros();
        while self.clock.micros() - start < self.spin_us {
            if self.turn(Some(NONE)) {
                return true;
            }
        }
        false
    }

    /// Serves what is ready, or becomes ready within `patience`: messages of other shards, sockets,
    /// and time. Returns whether anything was.
    fn turn(&mut self, patience: Option<Timespec>) -> bool {
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        // An interrupted call finds nothing this time.
        let _found = epoll::wait(&self.epoll, spare_capacity(&mut events), patience.as_ref());
        self.links.bell().rise();
        let now_us = self.clock.micros();
        let now = Millis(now_us / 1000);
        self.shard.tick(now_us);
        self.has_work = self.shard.begin_turn(now);
        for id in self.held.drain(..) {
            self.shard.list(id);
        }
        let mut busy = self.has_work;
        busy |= self.take_parcels();
        busy |= self.take_done();
        let is_idle = !busy && events.is_empty() && patience != Some(NONE);
        for some in events.chunks(READ_AHEAD_MAX) {
            for event in some {
                match event.data.u64() {
                    DATA_LISTENER => self.accept_data(),
                    ADMIN_LISTENER => self.accept_admin(),
                    CONTROL => self.heed(),
                    BELL => {
                        if let Some(struck_us) = self.struck_us.take() {
                            self.shard.record_queue_delay(now_us - struck_us);
                        }
                        continue;
                    }
                    TIMER => continue,
                    slot => self.serve(usize::try_from(slot).unwrap_or(usize::MAX), event.flags),
                }
                busy = true;
            }
            busy |= self.take_parcels();
            self.send();
        }
        self.note_wait(events.len(), now_us);
        self.events = events;
        self.was_busy |= busy;
        if now.since(self.last_beat) >= if self.is_ending() { ENDING_BEAT_MS } else { BEAT_MS } {
            self.beat(now_us);
        }
        if self.shard.step() != self.step {
            self.tell_step();
        }
        busy |= self.shard.save_on(now, is_idle);
        self.submit_jobs();
        self.send();
        self.tell_placer();
        self.has_work |= self.shard.has_unswept() || !self.held.is_empty();
        busy || self.has_work
    }

    /// Notes for how long what was ready at `ready_us` has waited: until the end of this turn, or
    /// where there was more of it than `events`, until the bell comes back from behind it all.
    fn note_wait(&mut self, events: usize, ready_us: u64) {
        if events >= EVENTS_MAX {
            if self.struck_us.is_none() {
                self.struck_us = Some(ready_us);
                self.links.bell().strike();
            }
            // New connections, probes among them, do not wait for all that is ready.
            self.accept_more();
        } else if events > 0 {
            self.shard.record_queue_delay(self.shard.waited_us(ready_us));
        }
    }

    /// Says that the shard takes on less than before, or more.
    fn tell_step(&mut self) {
        self.step = self.shard.step();
        let (level, message) = match self.step {
            Step::Calm => (Level::Info, "no longer overloaded"),
            Step::Closing => (Level::Warn, "overloaded; connections end after their answers"),
            Step::NoWrites => (Level::Warn, "overloaded; writes are refused"),
            Step::NoReads => (Level::Warn, "overloaded; writes and reads are refused"),
        };
        if let Some(left_out) = self.repeats.admit(message, self.last_beat) {
            let counters = &self.shard.report().counters;
            let fields: log::Fields<'_> = &[
                ("shard", &self.shard.me()),
                ("buffered_bytes", &counters.connections.buffered_bytes),
                ("queue_delay_us", &counters.overload.queue_delay_us),
                ("more", &left_out),
            ];
            self.log.line(level, message, fields);
        }
    }

    /// Takes in what came of the jobs for the disk.
    fn take_done(&mut self) -> bool {
        let mut any = false;
        while let Some(done) = self.disk.as_ref().and_then(Disk::take_done) {
            any = true;
            let saved = self.shard.job_done(done);
            if self.is_ending() {
                self.news.push_back(News::Saving);
            }
            let Some(Saved { outcome, is_last }) = saved else { continue };
            match outcome {
                Ok(Summary { entries, bytes, duration_ms }) => {
                    let fields: log::Fields<'_> =
                        &[("entries", &entries), ("bytes", &bytes), ("ms", &duration_ms)];
                    self.log.line(Level::Info, "snapshot written", fields);
                }
                Err(failure) => {
                    let message = "no snapshot was written; the one before stays";
                    if let Some(left_out) = self.repeats.admit(message, self.last_beat) {
                        let fields: log::Fields<'_> =
                            &[("reason", &failure.reason), ("more", &left_out)];
                        self.log.line(Level::Error, message, fields);
                    }
                }
            }
            if is_last {
                self.news.push_back(News::Saved);
            }
        }
        any
    }

    fn submit_jobs(&mut self) {
        let Some(disk) = &self.disk else { return };
        while let Some(job) = self.shard.take_job() {
            disk.submit(job);
        }
    }

    /// Takes in what other shards have sent.
    fn take_parcels(&mut self) -> bool {
        let mut any = false;
        for from in 0..self.links.shards() {
            for _ in 0..PARCELS_MAX {
                let Some(parcel) = self.links.receive(from) else { break };
                any = true;
                match parcel {
                    Parcel::Mesh(message) => self.shard.deliver(from, message),
                    Parcel::Accepted(stream) => self.place(from, stream),
                    Parcel::Adopted(stream) => self.adopt(stream),
                    Parcel::Closed(connections) => self.note_closed(from, connections),
                    Parcel::Fin => self.finished += 1,
                }
            }
        }
        if any {
            self.shard.tick(self.clock.micros());
        }
        any
    }

    /// Sends messages to shards and answers to clients. In this order, as a client that is woken
    /// may take the core, and no shard should wait for that.
    fn send(&mut self) {
        loop {
            let links = &mut self.links;
            self.shard.flush(|shard, message| send(links, shard, message));
            if !self.shard.has_listed() {
                break;
            }
            self.attend_listed();
        }
    }

    /// Serves a connection, wherever it was accepted.
    fn adopt(&mut self, stream: TcpStream) {
        let id = self.shard.open(Role::Data);
        self.register(id, SocketRole::Data, stream);
    }

    /// Moves time on.
    fn beat(&mut self, now_us: u64) {
        let now = Millis(now_us / 1000);
        self.last_beat = now;
        self.shard.record_loop_delay(now_us.saturating_sub(self.beat_due_us));
        // A core that has nothing to do takes fewer.
        let next = if std::mem::take(&mut self.was_busy) { BEAT_MS } else { BEAT_MAX_MS };
        let next = if self.is_ending() { ENDING_BEAT_MS } else { next };
        set_timer(&self.timer, next);
        self.beat_due_us = now_us + next * 1000;
        self.shard.counters_mut().usage.busy_us = Clock::thread_cpu_micros();
        if let Some(struck_us) = self.struck_us {
            self.shard.record_pending_delay(now_us - struck_us);
        }
        self.shard.beat(now, Date::of(Clock::wall()));
        self.tell_slow();
        self.resume_accepting();
        if self.is_ending() {
            self.read_on();
        }
        if let Stage::Draining { since } = self.stage {
            let late = now.since(since) >= self.drain_ms;
            if late || self.shard.is_quiet() {
                if self.waits_for_last {
                    self.stage = Stage::Drained;
                    self.news.push_back(News::Drained);
                } else {
                    self.finish();
                }
            }
        }
    }

    /// Tells of the slowest request since the last beat, if it was slow.
    fn tell_slow(&mut self) {
        if let Some(Slow { operation, micros, status, bytes, more }) = self.shard.take_slow() {
            let fields: log::Fields<'_> = &[
                ("operation", &operation.name()),
                ("us", &micros),
                ("status", &status),
                ("bytes", &bytes),
                ("shard", &self.shard.me()),
                ("more", &more),
            ];
            self.log.line(Level::Warn, "slow request", fields);
        }
    }

    /// These settings are in force from here on.
    fn set_config(&mut self, config: Config) {
        self.log = config.log;
        self.drain_ms = millis(config.drain_timeout);
        if let Some(placement) = &mut self.placement {
            placement.set_connections_max(config.limits.connections_max);
        }
        self.shard.set_config(config);
    }

    /// Nothing of our own is left to do, and no other shard will ask for anything.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.stage == Stage::Finished && self.finished == self.links.shards()
    }

    /// Whether no connection is accepted any more.
    fn is_ending(&self) -> bool {
        !matches!(self.stage, Stage::Starting | Stage::Serving)
    }

    fn finish(&mut self) {
        self.stage = Stage::Finished;
        self.finished += 1;
        for shard in (0..self.links.shards()).filter(|&shard| shard != self.shard.me()) {
            // A peer that is gone needs no farewell.
            drop(self.links.send(shard, Parcel::Fin));
        }
    }

    fn heed(&mut self) {
        let mut word = [0];
        match self.control.read(&mut word) {
            Ok(1) if word[0] == START => self.start(),
            Ok(1) if word[0] == RELOADED => {
                while let Ok(Reloaded { state, tokens, config }) = self.reloads.try_recv() {
                    self.shard.counters_mut().reload = state;
                    if let Some(tokens) = tokens {
                        self.shard.set_tokens(tokens);
                    }
                    if let Some(config) = config {
                        self.set_config(*config);
                    }
                }
            }
            Ok(1) if word[0] == ASK => self.news.push_back(News::Alive),
            Ok(1) if word[0] == BLOCK => {
                self.shard.counters_mut().stage = metrics::Stage::Restoring;
                if let Ok((block, clocks)) = self.blocks.try_recv() {
                    self.shard.restore(&block, clocks);
                }
            }
            Ok(1) if word[0] == RESTORED => {
                self.shard.finish_restore();
                let tally = self.shard.report().counters.snapshots;
                self.news.push_back(News::Restored(Box::new(tally)));
            }
            Ok(1) if word[0] == FORGET => self.shard.forget_restored(),
            Ok(1) if word[0] == SAVE => {
                if !self.shard.save_last() {
                    self.news.push_back(News::Saved);
                }
            }
            Ok(1) if word[0] == FINISH => self.finish(),
            _ => self.drain(),
        }
    }

    fn start(&mut self) {
        self.stage = Stage::Serving;
        self.shard.serve();
        self.shard.counters_mut().stage = metrics::Stage::Serving;
        if let Some(listener) = &self.data {
            watch(&self.epoll, listener, DATA_LISTENER);
        }
    }

    /// Stops accepting and closes every connection once it owes nothing. What has arrived but was
    /// not read yet is read first. The admin listener goes on until the end.
    fn drain(&mut self) {
        if self.is_ending() {
            return;
        }
        self.stage = Stage::Draining { since: self.clock.now() };
        self.shard.counters_mut().stage = metrics::Stage::Draining;
        set_timer(&self.timer, ENDING_BEAT_MS);
        self.shard.drain();
        let mut late = std::mem::take(&mut self.unplaced);
        while let Some(stream) = accept(self.data.as_mut(), &self.epoll) {
            late.push_back(stream);
        }
        self.data = None;
        for stream in late {
            self.adopt(stream);
        }
        for slot in 0..self.sockets.len() {
            self.serve(slot, epoll::EventFlags::IN);
        }
    }

    /// Reads on where bytes may be left that arrived before the drain.
    fn read_on(&mut self) {
        for slot in 0..self.sockets.len() {
            if let Some(Some(socket)) = self.sockets.get(slot)
                && socket.interest.contains(epoll::EventFlags::IN)
                && self.shard.has_unread(socket.id)
            {
                self.serve(slot, epoll::EventFlags::IN);
            }
        }
    }

    /// Reads what has arrived and answers it; the answers are sent later in the turn.
    fn serve(&mut self, slot: usize, flags: epoll::EventFlags) {
        use epoll::EventFlags as Flags;
        let Some(Some(socket)) = self.sockets.get_mut(slot) else { return };
        let id = socket.id;
        if flags.intersects(Flags::IN | Flags::HUP | Flags::ERR) {
            // The end of what is sent has no event of its own when it was seen with the last bytes.
            socket.has_more |= flags.contains(Flags::RDHUP);
            match socket.stream.read(&mut self.scratch) {
                Ok(0) if flags.intersects(Flags::HUP | Flags::ERR) => return self.close(id),
                Ok(0) => self.shard.end_input(id),
                Ok(bytes) => {
                    let more = bytes == self.scratch.len();
                    socket.has_more |= more;
                    self.read_bytes += bytes;
                    self.shard.receive(id, &self.scratch[..bytes], more);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.shard.exhausted(id);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => socket.has_more = true,
                Err(_) => return self.close(id),
            }
        }
        self.shard.list(id);
        if self.shard.listed() >= READ_AHEAD_MAX || self.read_bytes >= READ_AHEAD_BYTES_MAX {
            self.send();
        }
    }

    fn attend_listed(&mut self) {
        let mut listed = std::mem::take(&mut self.listed);
        self.shard.take_listed(&mut listed);
        for id in listed.drain(..) {
            self.attend(id);
        }
        self.listed = listed;
        self.read_bytes = 0;
    }

    /// Sends what can be sent and sets the socket to wait for what comes next.
    fn attend(&mut self, id: ConnectionId) {
        let Some(Some(socket)) = self.sockets.get_mut(id.slot()) else { return };
        if socket.id != id {
            return;
        }
        if socket.holds < HOLDS_MAX && self.shard.awaits_more(id) {
            socket.holds += 1;
            self.held.push(id);
            return;
        }
        socket.holds = 0;
        for sends in 0.. {
            let unsent = self.shard.unsent(id);
            if unsent.is_empty() {
                break;
            }
            if sends == SENDS_MAX {
                // Should the socket be full already, the deadline runs from here.
                self.shard.sent(id, 0);
                socket.has_more = true;
                break;
            }
            let all = unsent.len();
            match socket.stream.write(unsent) {
                Ok(bytes) => {
                    // The next socket of this turn is read at the same time.
                    self.shard.tick(self.clock.micros());
                    self.shard.sent(id, bytes);
                    if bytes < all {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_transient(&error) => {
                    self.shard.sent(id, 0);
                    break;
                }
                Err(_) => return self.close(id),
            }
        }
        let mut intent = self.shard.intent(id);
        if intent == Intent::CloseWrite {
            if socket.stream.shutdown(Shutdown::Write).is_err() {
                return self.close(id);
            }
            self.shard.linger(id);
            intent = self.shard.intent(id);
        }
        match intent {
            Intent::Wait { read, write } => {
                let interest = interest(read, write);
                let has_more = std::mem::take(&mut socket.has_more);
                if interest != socket.interest || has_more {
                    socket.interest = interest;
                    let data = epoll::EventData::new_u64(id.slot() as u64);
                    epoll::modify(&self.epoll, &socket.stream, data, interest)
                        .expect("the socket is in the set");
                }
            }
            Intent::CloseWrite | Intent::Close => self.close(id),
        }
    }

    fn close(&mut self, id: ConnectionId) {
        let Some(socket) = self.sockets[id.slot()].take_if(|socket| socket.id == id) else {
            return;
        };
        self.shard.forget(id);
        match socket.role {
            SocketRole::Data => self.closed_untold += 1,
            SocketRole::Admin => self.admin_open -= 1,
            SocketRole::Refused => self.refused_open -= 1,
        }
    }

    /// Watches a new connection. Where even that fails, it is closed.
    fn register(&mut self, id: ConnectionId, role: SocketRole, stream: TcpStream) {
        let interest = interest(true, false);
        let data = epoll::EventData::new_u64(id.slot() as u64);
        let watched = epoll::add(&self.epoll, &stream, data, interest).is_ok();
        if self.sockets.len() <= id.slot() {
            self.sockets.resize_with(id.slot() + 1, || None);
        }
        self.sockets[id.slot()] =
            Some(Socket { id, role, stream, interest, has_more: false, holds: 0 });
        match role {
            SocketRole::Data => {}
            SocketRole::Admin => self.admin_open += 1,
            SocketRole::Refused => self.refused_open += 1,
        }
        if !watched {
            self.close(id);
        } else if role == SocketRole::Refused {
            self.attend(id);
        } else if self.is_ending() {
            self.serve(id.slot(), epoll::EventFlags::IN);
        }
    }

    fn accept_data(&mut self) {
        for _ in 0..ACCEPTS_MAX {
            if !self.unplaced.is_empty() {
                break;
            }
            let Some(stream) = accept(self.data.as_mut(), &self.epoll) else { break };
            self.place(self.shard.me(), stream);
        }
    }

    fn accept_admin(&mut self) {
        while let Some(stream) = accept(self.admin.as_mut(), &self.epoll) {
            if self.admin_open < ADMIN_CONNECTIONS_MAX {
                let id = self.shard.open(Role::Admin);
                self.register(id, SocketRole::Admin, stream);
            } else {
                self.turn_away(stream);
            }
        }
    }

    fn accept_more(&mut self) {
        let waits = |listener: &Option<Listener>| listener.as_ref().is_some_and(|it| !it.paused);
        if self.stage == Stage::Serving && waits(&self.data) {
            self.accept_data();
        }
        if waits(&self.admin) {
            self.accept_admin();
        }
    }

    /// Gives an accepted connection to the shard that has the fewest.
    fn place(&mut self, source: usize, stream: TcpStream) {
        let Some(placement) = &mut self.placement else {
            if let Err(stream) = self.pass(PLACER, stream, Parcel::Accepted) {
                self.unplaced.push_back(stream);
                self.pause_accepting();
            }
            return;
        };
        match placement.place(source) {
            None => self.turn_away(stream),
            Some(target) if target == self.shard.me() => self.adopt(stream),
            Some(target) => {
                if self.pass(target, stream, Parcel::Adopted).is_err() {
                    // The way is full or the shard is gone: the client may try again.
                    self.note_closed(target, 1);
                }
            }
        }
    }

    /// Sends a socket to another shard, unless the room is kept for the mesh.
    fn pass(
        &mut self,
        shard: usize,
        stream: TcpStream,
        parcel: fn(TcpStream) -> Parcel,
    ) -> Result<(), TcpStream> {
        if self.links.room(shard) <= RESERVED_PARCELS {
            return Err(stream);
        }
        match self.links.send(shard, parcel(stream)) {
            Err(Parcel::Accepted(stream) | Parcel::Adopted(stream)) => Err(stream),
            _ => Ok(()),
        }
    }

    fn note_closed(&mut self, shard: usize, connections: usize) {
        if let Some(placement) = &mut self.placement {
            placement.closed(shard, connections);
        }
    }

    fn turn_away(&mut self, stream: TcpStream) {
        if self.refused_open < REFUSED_MAX {
            let id = self.shard.open_refused();
            self.register(id, SocketRole::Refused, stream);
        }
    }

    fn pause_accepting(&mut self) {
        if let Some(listener) = &mut self.data {
            pause(&self.epoll, listener);
        }
    }

    fn resume_accepting(&mut self) {
        while self.stage == Stage::Serving
            && let Some(stream) = self.unplaced.pop_front()
        {
            let waiting = self.unplaced.len();
            self.place(self.shard.me(), stream);
            if self.unplaced.len() > waiting {
                return;
            }
        }
        let listeners = [(&mut self.data, DATA_LISTENER), (&mut self.admin, ADMIN_LISTENER)];
        for (listener, data) in listeners {
            if let Some(listener) = listener
                && std::mem::take(&mut listener.paused)
            {
                watch(&self.epoll, listener, data);
                let message = "no file descriptors left; accepted no connection for a moment";
                if std::mem::take(&mut listener.starved)
                    && let Some(left_out) = self.repeats.admit(message, self.last_beat)
                {
                    let fields: log::Fields<'_> =
                        &[("shard", &self.shard.me()), ("more", &left_out)];
                    self.log.line(Level::Warn, message, fields);
                }
            }
        }
    }

    fn tell_placer(&mut self) {
        if self.closed_untold == 0 || self.is_ending() {
            return;
        }
        let closed = std::mem::take(&mut self.closed_untold);
        if self.placement.is_some() {
            self.note_closed(self.shard.me(), closed);
        } else if self.links.room(PLACER) <= RESERVED_PARCELS
            || self.links.send(PLACER, Parcel::Closed(closed)).is_err()
        {
            self.closed_untold = closed;
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn send(links: &mut Links<Parcel>, shard: usize, message: Message) -> Result<(), Message> {
    match links.send(shard, Parcel::Mesh(message)) {
        Err(Parcel::Mesh(message)) => Err(message),
        _ => Ok(()),
    }
}

/// Strikes every so many milliseconds from now on.
fn set_timer(timer: &OwnedFd, every_ms: u64) {
    let nanoseconds = i64::try_from(every_ms).expect("less than a second") * 1_000_000;
    let every = Timespec { tv_sec: 0, tv_nsec: nanoseconds };
    let times = Itimerspec { it_interval: every, it_value: every };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &times).expect("less than a second");
}

fn watch(epoll: &OwnedFd, listener: &Listener, data: u64) {
    let data = epoll::EventData::new_u64(data);
    epoll::add(epoll, &listener.socket, data, epoll::EventFlags::IN)
        .expect("a listener can be watched");
}

fn pause(epoll: &OwnedFd, listener: &mut Listener) {
    if !std::mem::replace(&mut listener.paused, true) {
        epoll::delete(epoll, &listener.socket).expect("the listener is in the set");
    }
}

/// The next connection that waits to be accepted, non-blocking. Where there are no descriptors
/// left, the listener pauses.
fn accept(listener: Option<&mut Listener>, epoll: &OwnedFd) -> Option<TcpStream> {
    let listener = listener?;
    loop {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        match rustix::net::accept_with(listener.socket.as_fd(), flags) {
            Ok(socket) => return Some(TcpStream::from(socket)),
            Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                listener.starved = true;
                pause(epoll, listener);
                return None;
            }
            Err(Errno::INTR | Errno::CONNABORTED | Errno::PROTO) => {}
            Err(_) => return None,
        }
    }
}
