//! The turn: what is ready is served, messages and time are taken in, and all answers leave.

use super::{
    control::{ASK, BLOCK, DriverEvent, FINISH, FORGET, RELOADED, RESTORED, Reloaded, SAVE, START},
    disk::Disk,
    handover::{Handover, PLACER, Placed},
    listeners::{ADMIN_LISTENER, DATA_LISTENER, Listeners},
    message::{DRIVER_MESSAGES_MAX, DriverMessage, send_mesh},
    parts::DriverParts,
    report::Reporter,
    sockets::{READ_AHEAD_MAX, Sockets},
    timer::BeatTimer,
};
use crate::{
    clock::{Clock, Millis},
    config::Config,
    link::Links,
    metrics, process,
    shard::{BEAT_MAX_MS, BEAT_MS, Clocks, Role, Saved, Shard},
    snapshot::Block,
};
use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
};
use std::{
    collections::VecDeque,
    io::{self, PipeReader, Read},
    net::TcpStream,
    os::fd::OwnedFd,
    sync::{Arc, mpsc::Receiver},
    time::{Duration, UNIX_EPOCH},
};

/// Events taken in one turn, so that messages and other work get theirs.
const EVENTS_MAX: usize = 128;
/// Connections accepted in one turn.
const ACCEPTS_MAX: usize = 16;
/// Admin connections, and connections being told that there is no room, at once.
const ADMIN_CONNECTIONS_MAX: usize = 64;
const REFUSED_MAX: usize = 256;
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

/// The data of an epoll event: these, a listener, or a connection's slot.
const CONTROL: u64 = u64::MAX - 2;
const WAKER: u64 = u64::MAX - 3;
const TIMER: u64 = u64::MAX - 4;

/// The sockets of one core.
pub struct Driver {
    shard: Shard,
    clock: Clock,
    events: Vec<epoll::Event>,
    sockets: Sockets,
    listeners: Listeners,
    control: PipeReader,
    reloads: Receiver<Reloaded>,
    links: Links<DriverMessage>,
    handover: Handover,
    phase: DriverPhase,
    /// Shards that make no further calls, this one included.
    finished: usize,
    drain_ms: u64,
    spin_us: u64,
    to_main: VecDeque<DriverEvent>,
    blocks: Receiver<(Arc<Block>, Clocks)>,
    /// Where this shard writes snapshots.
    disk: Option<Disk>,
    /// The end waits for the last snapshot.
    waits_for_last: bool,
    reporter: Reporter,
    timer: BeatTimer,
    /// The last turn has left work that needs no event.
    has_work: bool,
    /// Since the last beat.
    was_busy: bool,
    /// When more was ready than a turn takes and the waker was put behind it, in microseconds since
    /// the start. For how long the waker waits, everything else does.
    signaled_us: Option<u64>,
    last_beat: Millis,
    /// When the timer strikes next, in microseconds since the start.
    beat_due_us: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum DriverPhase {
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

impl Driver {
    /// A driver that does nothing yet but follow its control pipe.
    pub fn new(parts: DriverParts, config: &Config) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(CONTROL);
        epoll::add(&epoll, &parts.control, data, epoll::EventFlags::IN)?;
        let data = epoll::EventData::new_u64(WAKER);
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, parts.links.waker(), data, edge)?;
        let timer = BeatTimer::new(BEAT_MAX_MS)?;
        let data = epoll::EventData::new_u64(TIMER);
        epoll::add(&epoll, &timer, data, edge)?;
        let me = parts.shard.me();
        let listeners = Listeners::new(parts.data, parts.admin, &epoll);
        let mut shard = parts.shard;
        let counters = shard.counters_mut();
        counters.stage = metrics::Stage::Starting;
        if me == PLACER {
            // One shard reports on the process as a whole.
            let since_start = Duration::from_micros(parts.clock.micros());
            let started = Clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
            counters.process.started_ms = millis(started.saturating_sub(since_start));
            shard.set_process(process::look);
        }
        let now_us = parts.clock.micros();
        Ok(Self {
            shard,
            clock: parts.clock,
            events: Vec::with_capacity(EVENTS_MAX),
            sockets: Sockets::new(epoll, parts.clock, config.limits.read_bytes_max),
            listeners,
            control: parts.control,
            reloads: parts.reloads,
            links: parts.links,
            handover: Handover::new(me, config.shards, config.limits.connections_max),
            phase: DriverPhase::Starting,
            finished: 0,
            drain_ms: millis(config.drain_timeout),
            spin_us: u64::try_from(config.spin.as_micros()).unwrap_or(u64::MAX),
            timer,
            to_main: VecDeque::new(),
            blocks: parts.blocks,
            disk: parts.disk,
            waits_for_last: config.snapshot_path.is_some(),
            reporter: Reporter::new(config.log, me),
            has_work: false,
            was_busy: false,
            signaled_us: None,
            last_beat: Millis(now_us / 1000),
            beat_due_us: now_us + BEAT_MAX_MS * 1000,
        })
    }

    /// The descriptor that is readable when there is something to do.
    pub fn pollable(&self) -> io::Result<OwnedFd> {
        self.sockets.epoll().try_clone()
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
        if self.has_work || self.spin_us > 0 || !self.to_main.is_empty() {
            Some(NONE)
        } else if self.is_ending() || self.shard.is_saving() {
            Some(PATIENCE)
        } else {
            None
        }
    }

    /// Makes the descriptor of [`Driver::pollable`] readable.
    fn wake(&self) {
        self.links.waker().signal();
    }

    /// The next thing that the main thread is told.
    pub fn take_event(&mut self) -> Option<DriverEvent> {
        self.to_main.pop_front()
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
        let _found =
            epoll::wait(self.sockets.epoll(), spare_capacity(&mut events), patience.as_ref());
        self.links.waker().set_awake();
        let now_us = self.clock.micros();
        let now = Millis(now_us / 1000);
        self.shard.tick(now_us);
        self.has_work = self.shard.begin_turn(now);
        self.sockets.list_held(&mut self.shard);
        let mut busy = self.has_work;
        busy |= self.take_messages();
        busy |= self.take_done();
        let is_idle = !busy && events.is_empty() && patience != Some(NONE);
        for some in events.chunks(READ_AHEAD_MAX) {
            for event in some {
                match event.data.u64() {
                    DATA_LISTENER => self.accept_data(),
                    ADMIN_LISTENER => self.accept_admin(),
                    CONTROL => self.read_control(),
                    WAKER => {
                        if let Some(signaled_us) = self.signaled_us.take() {
                            self.shard.record_queue_delay(now_us - signaled_us);
                        }
                        continue;
                    }
                    TIMER => continue,
                    slot => self.serve(usize::try_from(slot).unwrap_or(usize::MAX), event.flags),
                }
                busy = true;
            }
            busy |= self.take_messages();
            self.send();
        }
        self.note_wait(events.len(), now_us);
        self.events = events;
        self.was_busy |= busy;
        if now.since(self.last_beat) >= if self.is_ending() { ENDING_BEAT_MS } else { BEAT_MS } {
            self.beat(now_us);
        }
        let counters = &self.shard.report().counters;
        self.reporter.load_shedding(self.shard.step(), counters, self.last_beat);
        busy |= self.shard.save_on(now, is_idle);
        self.submit_jobs();
        self.send();
        self.report_closed();
        self.has_work |= self.shard.has_unswept() || self.sockets.has_held();
        busy || self.has_work
    }

    /// Notes for how long what was ready at `ready_us` has waited: until the end of this turn, or
    /// where there was more of it than `events`, until the waker comes back from behind it all.
    fn note_wait(&mut self, events: usize, ready_us: u64) {
        if events >= EVENTS_MAX {
            if self.signaled_us.is_none() {
                self.signaled_us = Some(ready_us);
                self.links.waker().signal();
            }
            // New connections, probes among them, do not wait for all that is ready.
            self.accept_more();
        } else if events > 0 {
            self.shard.record_queue_delay(self.shard.waited_us(ready_us));
        }
    }

    /// Takes in what came of the jobs for the disk.
    fn take_done(&mut self) -> bool {
        let mut any = false;
        while let Some(done) = self.disk.as_ref().and_then(Disk::take_done) {
            any = true;
            let saved = self.shard.job_done(done);
            if self.is_ending() {
                self.to_main.push_back(DriverEvent::Saving);
            }
            let Some(Saved { outcome, is_last }) = saved else { continue };
            self.reporter.saved(&outcome, self.last_beat);
            if is_last {
                self.to_main.push_back(DriverEvent::Saved);
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
    fn take_messages(&mut self) -> bool {
        let mut any = false;
        for from in 0..self.links.shards() {
            for _ in 0..DRIVER_MESSAGES_MAX {
                let Some(message) = self.links.receive(from) else { break };
                any = true;
                match message {
                    DriverMessage::Mesh(message) => self.shard.deliver(from, message),
                    DriverMessage::Accepted(stream) => self.place(from, stream),
                    DriverMessage::Adopted(stream) => self.adopt(stream),
                    DriverMessage::Closed(connections) => {
                        self.handover.note_closed(from, connections);
                    }
                    DriverMessage::Fin => self.finished += 1,
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
            self.shard.flush(|shard, message| send_mesh(links, shard, message));
            if !self.shard.has_listed() {
                break;
            }
            self.sockets.attend_listed(&mut self.shard);
        }
    }

    /// Serves a connection, wherever it was accepted.
    fn adopt(&mut self, stream: TcpStream) {
        self.register(Role::Data, stream);
    }

    /// Moves time on.
    fn beat(&mut self, now_us: u64) {
        let now = Millis(now_us / 1000);
        self.last_beat = now;
        self.shard.record_loop_delay(now_us.saturating_sub(self.beat_due_us));
        // A core that has nothing to do takes fewer.
        let next = if std::mem::take(&mut self.was_busy) { BEAT_MS } else { BEAT_MAX_MS };
        let next = if self.is_ending() { ENDING_BEAT_MS } else { next };
        self.timer.set(next);
        self.beat_due_us = now_us + next * 1000;
        self.shard.counters_mut().usage.busy_us = Clock::thread_cpu_micros();
        if let Some(signaled_us) = self.signaled_us {
            self.shard.record_pending_delay(now_us - signaled_us);
        }
        self.shard.beat(now, Clock::wall());
        if let Some(slow) = self.shard.take_slow() {
            self.reporter.slow(&slow);
        }
        self.resume_accepting();
        if self.is_ending() {
            self.read_on();
        }
        if let DriverPhase::Draining { since } = self.phase {
            let late = now.since(since) >= self.drain_ms;
            if late || self.shard.is_quiet() {
                if self.waits_for_last {
                    self.phase = DriverPhase::Drained;
                    self.to_main.push_back(DriverEvent::Drained);
                } else {
                    self.finish();
                }
            }
        }
    }

    /// These settings are in force from here on.
    fn set_config(&mut self, config: Config) {
        self.reporter.log = config.log;
        self.drain_ms = millis(config.drain_timeout);
        self.handover.set_connections_max(config.limits.connections_max);
        self.shard.set_config(config);
    }

    /// Nothing of our own is left to do, and no other shard will ask for anything.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.phase == DriverPhase::Finished && self.finished == self.links.shards()
    }

    /// Whether no connection is accepted any more.
    fn is_ending(&self) -> bool {
        !matches!(self.phase, DriverPhase::Starting | DriverPhase::Serving)
    }

    fn finish(&mut self) {
        self.phase = DriverPhase::Finished;
        self.finished += 1;
        for shard in (0..self.links.shards()).filter(|&shard| shard != self.shard.me()) {
            // A shard that is gone needs none.
            drop(self.links.send(shard, DriverMessage::Fin));
        }
    }

    fn read_control(&mut self) {
        let mut byte = [0];
        match self.control.read(&mut byte) {
            Ok(1) if byte[0] == START => self.start(),
            Ok(1) if byte[0] == RELOADED => {
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
            Ok(1) if byte[0] == ASK => self.to_main.push_back(DriverEvent::Alive),
            Ok(1) if byte[0] == BLOCK => {
                self.shard.counters_mut().stage = metrics::Stage::Restoring;
                if let Ok((block, clocks)) = self.blocks.try_recv() {
                    self.shard.restore(&block, clocks);
                }
            }
            Ok(1) if byte[0] == RESTORED => {
                self.shard.finish_restore();
                let tally = self.shard.report().counters.snapshots;
                self.to_main.push_back(DriverEvent::Restored(Box::new(tally)));
            }
            Ok(1) if byte[0] == FORGET => self.shard.forget_restored(),
            Ok(1) if byte[0] == SAVE => {
                if !self.shard.save_last() {
                    self.to_main.push_back(DriverEvent::Saved);
                }
            }
            Ok(1) if byte[0] == FINISH => self.finish(),
            _ => self.drain(),
        }
    }

    fn start(&mut self) {
        self.phase = DriverPhase::Serving;
        self.shard.serve();
        self.shard.counters_mut().stage = metrics::Stage::Serving;
        self.listeners.start(self.sockets.epoll());
    }

    /// Stops accepting and closes every connection once it owes nothing. What has arrived but was
    /// not read yet is read first. The admin listener goes on until the end.
    fn drain(&mut self) {
        if self.is_ending() {
            return;
        }
        self.phase = DriverPhase::Draining { since: self.clock.now() };
        self.shard.counters_mut().stage = metrics::Stage::Draining;
        self.timer.set(ENDING_BEAT_MS);
        self.shard.drain();
        let mut late = self.handover.take_waiting();
        while let Some(stream) = self.listeners.accept_data(self.sockets.epoll()) {
            late.push_back(stream);
        }
        self.listeners.close_data();
        for stream in late {
            self.adopt(stream);
        }
        for slot in 0..self.sockets.slot_count() {
            self.serve(slot, epoll::EventFlags::IN);
        }
    }

    /// Reads on where bytes may be left that arrived before the drain.
    fn read_on(&mut self) {
        for slot in 0..self.sockets.slot_count() {
            if self.sockets.has_unread(&mut self.shard, slot) {
                self.serve(slot, epoll::EventFlags::IN);
            }
        }
    }

    /// Reads what has arrived and answers it; the answers are sent later in the turn.
    fn serve(&mut self, slot: usize, flags: epoll::EventFlags) {
        if self.sockets.read(&mut self.shard, slot, flags) {
            self.send();
        }
    }

    fn register(&mut self, role: Role, stream: TcpStream) {
        let Some(id) = self.sockets.open(&mut self.shard, role, stream) else { return };
        if role == Role::Refused {
            self.sockets.attend(&mut self.shard, id);
        } else if self.is_ending() {
            self.serve(id.slot(), epoll::EventFlags::IN);
        }
    }

    fn accept_data(&mut self) {
        for _ in 0..ACCEPTS_MAX {
            if self.handover.waiting() > 0 {
                break;
            }
            let Some(stream) = self.listeners.accept_data(self.sockets.epoll()) else { break };
            self.place(self.shard.me(), stream);
        }
    }

    fn accept_admin(&mut self) {
        while let Some(stream) = self.listeners.accept_admin(self.sockets.epoll()) {
            if self.sockets.admin_open < ADMIN_CONNECTIONS_MAX {
                self.register(Role::Admin, stream);
            } else {
                self.turn_away(stream);
            }
        }
    }

    fn accept_more(&mut self) {
        if self.phase == DriverPhase::Serving && self.listeners.is_data_open() {
            self.accept_data();
        }
        if self.listeners.is_admin_open() {
            self.accept_admin();
        }
    }

    /// Gives an accepted connection to the shard that has the fewest.
    fn place(&mut self, source: usize, stream: TcpStream) {
        match self.handover.place(&mut self.links, source, stream) {
            Placed::Here(stream) => self.adopt(stream),
            Placed::Refused(stream) => self.turn_away(stream),
            Placed::Away => {}
            Placed::Waits => self.listeners.pause_data(self.sockets.epoll()),
        }
    }

    fn turn_away(&mut self, stream: TcpStream) {
        if self.sockets.refused_open < REFUSED_MAX {
            self.register(Role::Refused, stream);
        }
    }

    fn resume_accepting(&mut self) {
        while self.phase == DriverPhase::Serving
            && let Some(stream) = self.handover.next_waiting()
        {
            let waiting = self.handover.waiting();
            self.place(self.shard.me(), stream);
            if self.handover.waiting() > waiting {
                return;
            }
        }
        for _ in 0..self.listeners.resume(self.sockets.epoll()) {
            self.reporter.no_descriptors(self.last_beat);
        }
    }

    fn report_closed(&mut self) {
        if self.sockets.closed_unreported == 0 || self.is_ending() {
            return;
        }
        let closed = std::mem::take(&mut self.sockets.closed_unreported);
        self.sockets.closed_unreported = self.handover.report_closed(&mut self.links, closed);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
