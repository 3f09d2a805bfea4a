//! One thread: its connections in an epoll set, and when they send what.

use super::{
    session::{Due, Over, Session, ThreadShare},
    settings::LoadSettings,
    tally::{ErrorKind, Tally},
};
use crate::clock::Clock;
use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
    io::Errno,
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create,
        timerfd_settime,
    },
};
use socket2::{Domain, Socket, Type};
use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    num::NonZeroU64,
    os::fd::OwnedFd,
    sync::mpsc::Sender,
};

const SECOND_US: u64 = 1_000_000;
/// Between two looks at what takes too long, and before a lost connection is made again.
const BEAT_US: u64 = 100_000;
const EVENTS_MAX: usize = 256;
const READ_BYTES_MAX: usize = 256 << 10;
/// The data of the timer's events; the others have a connection's number.
const TIMER: u64 = u64::MAX;
/// Requests in flight on one connection while every key is put.
const FILL_DEPTH: usize = 16;

/// What to do until when; times are microseconds since the start.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    /// Put every key once.
    Fill { start_us: u64 },
    /// Load from `start_us` on; it counts from `from_us` to `end_us`.
    Load { start_us: u64, from_us: u64, end_us: u64 },
}

/// What one thread did in one second or less.
#[derive(Debug)]
pub(super) struct SecondReport {
    pub(super) second: PhaseSecond,
    pub(super) tally: Tally,
}

/// Where a run is. Seconds count from the beginning of each phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PhaseSecond {
    Fill(u64),
    Warmup(u64),
    Load(u64),
}

#[derive(Debug)]
enum Link {
    Closed { retry_us: u64 },
    Connecting { since_us: u64, stream: TcpStream },
    Open(TcpStream),
}

impl Link {
    const CLOSED: Self = Self::Closed { retry_us: 0 };
}

#[derive(Debug)]
struct LoadConnection {
    session: Session,
    link: Link,
    /// The kernel took no more; it tells when it does.
    is_full: bool,
    /// Stands in the queue of those that may send.
    is_queued: bool,
}

#[derive(Debug)]
pub(super) struct Worker {
    share: ThreadShare,
    connections: Vec<LoadConnection>,
    /// Open connections with room for a request, in the order in which they get the next ones.
    queue: VecDeque<usize>,
    epoll: OwnedFd,
    /// Strikes when the schedule has a request due: epoll itself counts whole milliseconds.
    timer: OwnedFd,
    clock: Clock,
    address: SocketAddr,
    depth: usize,
    timeout_us: u64,
    schedule: Option<Schedule>,
    scratch: Box<[u8]>,
    /// Connections that were given a request and not yet sent it.
    touched: Vec<usize>,
    /// Requests of this phase so far, where they are counted: from the schedule, or to fill.
    asked: u64,
    /// Times that a socket had something.
    answers: u64,
    cpu_us: u64,
}

/// When the requests of one thread are due.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    first_us: f64,
    step_us: f64,
}

impl Schedule {
    /// The thread's first requests are spread over the time in which each thread has one.
    #[expect(clippy::cast_precision_loss, reason = "bounded numbers")]
    fn new(rate: u64, threads: usize, thread: usize) -> Self {
        let each_us = 1e6 / rate as f64;
        Self { first_us: each_us * thread as f64, step_us: each_us * threads as f64 }
    }

    /// Microseconds from the start to when a request is due.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time of some days to the microsecond"
    )]
    fn due_us(self, number: u64) -> u64 {
        (self.first_us + self.step_us * number as f64) as u64
    }
}

impl Phase {
    fn start_us(self) -> u64 {
        match self {
            Self::Fill { start_us } | Self::Load { start_us, .. } => start_us,
        }
    }

    fn end_us(self) -> u64 {
        match self {
            Self::Fill { .. } => u64::MAX,
            Self::Load { end_us, .. } => end_us,
        }
    }

    /// The second that begins or goes on at this time.
    fn second(self, at_us: u64) -> PhaseSecond {
        match self {
            Self::Fill { start_us } => PhaseSecond::Fill((at_us - start_us) / SECOND_US),
            Self::Load { start_us, from_us, .. } if at_us < from_us => {
                PhaseSecond::Warmup((at_us - start_us) / SECOND_US)
            }
            Self::Load { from_us, .. } => PhaseSecond::Load((at_us - from_us) / SECOND_US),
        }
    }

    /// The end of the second that begins at this time.
    fn next_report(self, at_us: u64) -> u64 {
        match self {
            Self::Load { from_us, .. } if at_us < from_us => from_us.min(at_us + SECOND_US),
            // The last second goes on until the last answer.
            Self::Load { end_us, .. } if at_us + SECOND_US >= end_us => u64::MAX,
            _ => at_us + SECOND_US,
        }
    }

    /// Since when requests count that are answered from this time on.
    fn counted_from(self, at_us: u64) -> u64 {
        match self {
            Self::Load { from_us, .. } if at_us >= from_us => from_us,
            _ => 0,
        }
    }
}

impl Worker {
    pub(super) fn new(
        settings: &LoadSettings,
        thread: usize,
        run: u32,
        clock: Clock,
    ) -> io::Result<Self> {
        let connections = (0..settings.connections).skip(thread).step_by(settings.threads);
        let connection = |(id, _)| LoadConnection {
            session: Session::new(u16::try_from(id).expect("settings bound them")),
            link: Link::CLOSED,
            is_full: false,
            is_queued: false,
        };
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let data = epoll::EventData::new_u64(TIMER);
        epoll::add(&epoll, &timer, data, epoll::EventFlags::IN | epoll::EventFlags::ET)?;
        let schedule = |rate| Schedule::new(rate, settings.threads, thread);
        Ok(Self {
            share: ThreadShare::new(settings, thread, run),
            connections: connections.enumerate().map(connection).collect(),
            queue: VecDeque::new(),
            epoll,
            timer,
            clock,
            address: settings.address,
            depth: settings.depth,
            timeout_us: u64::try_from(settings.timeout.as_micros()).unwrap_or(u64::MAX),
            schedule: settings.rate.map(schedule),
            scratch: vec![0; READ_BYTES_MAX].into_boxed_slice(),
            touched: Vec::new(),
            asked: 0,
            answers: 0,
            cpu_us: 0,
        })
    }

    /// Works until the phase is over and every answer has come or is given up.
    pub(super) fn run(&mut self, phase: Phase, reports: &Sender<SecondReport>) {
        // A schedule needs a clock that strikes in time; without, it is late by 50 us.
        let _kept = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let mut reported_us = phase.start_us();
        let (mut beat_us, mut answers, mut answered_us) = (0, 0, reported_us);
        let mut was_asking = true;
        let mut events = Vec::with_capacity(EVENTS_MAX);
        self.asked = 0;
        self.cpu_us = Clock::thread_cpu_micros();
        self.queue.clear();
        for at in 0..self.connections.len() {
            self.connections[at].is_queued = false;
            self.top_up(at, phase, reported_us);
        }
        loop {
            let now_us = self.clock.micros();
            if now_us >= beat_us {
                beat_us = now_us + BEAT_US;
                self.beat(now_us);
                if self.answers != answers {
                    (answers, answered_us) = (self.answers, now_us);
                }
            }
            let report_us = phase.next_report(reported_us);
            if now_us >= report_us {
                self.report(phase.second(reported_us), reports);
                reported_us = report_us;
                self.share.tally.from_us = phase.counted_from(reported_us);
                continue;
            }
            let is_asking = match phase {
                Phase::Fill { .. } => {
                    let is_stuck = now_us.saturating_sub(answered_us) > self.timeout_us;
                    self.asked < self.share.workload.share() && !is_stuck
                }
                Phase::Load { end_us, .. } => now_us < end_us,
            };
            // What came due just before the end is still sent, if there is room.
            let due_us = if was_asking { self.send_due(phase, now_us) } else { u64::MAX };
            was_asking = is_asking;
            if !is_asking && self.connections.iter().all(|each| each.session.owed() == 0) {
                break;
            }
            let end_us = if is_asking { phase.end_us() } else { u64::MAX };
            let until_us = due_us.min(beat_us).min(report_us).min(end_us);
            self.wait(until_us.saturating_sub(now_us), &mut events);
            for event in events.iter().filter(|event| event.data.u64() != TIMER) {
                let at = usize::try_from(event.data.u64()).expect("a connection's number");
                self.serve(at, event.flags, phase);
            }
        }
        self.count_unsent(phase);
        self.report(phase.second(reported_us), reports);
    }

    fn wait(&self, span_us: u64, events: &mut Vec<epoll::Event>) {
        let (seconds, micros) = (span_us / SECOND_US, span_us % SECOND_US);
        let span = Timespec {
            tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(micros * 1000).expect("less than a second"),
        };
        if self.schedule.is_some() {
            let zero = Timespec::default();
            // A time of nothing would stop the timer.
            let it_value = if span_us == 0 { Timespec { tv_nsec: 1, ..zero } } else { span };
            let once = Itimerspec { it_interval: zero, it_value };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)
                .expect("a timer and a time of less than a year");
        }
        events.clear();
        // An interrupted call finds nothing this time.
        let _found = epoll::wait(&self.epoll, spare_capacity(events), Some(&span));
    }

    fn report(&mut self, second: PhaseSecond, reports: &Sender<SecondReport>) {
        let cpu_us = Clock::thread_cpu_micros();
        let mut tally = std::mem::take(&mut self.share.tally);
        self.share.tally.from_us = tally.from_us;
        tally.cpu_us = cpu_us - self.cpu_us;
        self.cpu_us = cpu_us;
        // Whoever no longer listens has no use for it.
        drop(reports.send(SecondReport { second, tally }));
    }

    /// Sends what the schedule has due, over the connections that have room. Returns when more
    /// will be.
    fn send_due(&mut self, phase: Phase, now_us: u64) -> u64 {
        let Phase::Load { start_us, end_us, .. } = phase else { return u64::MAX };
        let Some(schedule) = self.schedule else { return u64::MAX };
        let mut touched = std::mem::take(&mut self.touched);
        let next_us = loop {
            let due_us = start_us + schedule.due_us(self.asked);
            if due_us > now_us || due_us >= end_us {
                break due_us;
            }
            // Without room, the next answer makes some.
            let Some(at) = self.queue.pop_front() else { break u64::MAX };
            let connection = &mut self.connections[at];
            connection.is_queued = false;
            if !matches!(connection.link, Link::Open(_)) {
                continue;
            }
            connection.session.ask(&mut self.share, Due { due_us, asked_us: now_us });
            self.asked += 1;
            touched.push(at);
            self.enqueue(at);
        };
        for at in touched.drain(..) {
            self.flush(at, now_us);
        }
        self.touched = touched;
        if next_us >= end_us { u64::MAX } else { next_us }
    }

    /// Lines up a connection for the requests of the schedule, if it has room for one.
    fn enqueue(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        if !connection.is_queued && connection.session.owed() < self.depth {
            connection.is_queued = true;
            self.queue.push_back(at);
        }
    }

    /// What the schedule had due but no connection had room for has waited until now.
    fn count_unsent(&mut self, phase: Phase) {
        let Phase::Load { start_us, end_us, .. } = phase else { return };
        let Some(schedule) = self.schedule else { return };
        loop {
            let due_us = start_us + schedule.due_us(self.asked);
            if due_us >= end_us {
                break;
            }
            self.asked += 1;
            self.share.tally.count_unsent(due_us, end_us);
        }
    }

    /// Sends requests over a connection that may have room for some.
    fn top_up(&mut self, at: usize, phase: Phase, now_us: u64) {
        let connection = &mut self.connections[at];
        if !matches!(connection.link, Link::Open(_)) {
            return;
        }
        let (session, share) = (&mut connection.session, &mut self.share);
        let due = Due { due_us: now_us, asked_us: now_us };
        match phase {
            Phase::Fill { .. } => {
                while session.owed() < FILL_DEPTH && self.asked < share.workload.share() {
                    session.ask_put(share, self.asked, due);
                    self.asked += 1;
                }
            }
            Phase::Load { .. } if self.schedule.is_some() => return self.enqueue(at),
            Phase::Load { end_us, .. } => {
                while session.owed() < self.depth && now_us < end_us {
                    session.ask(share, due);
                }
            }
        }
        self.flush(at, now_us);
    }

    /// Does what is to be done about a socket that epoll names.
    fn serve(&mut self, at: usize, flags: epoll::EventFlags, phase: Phase) {
        let now_us = self.clock.micros();
        let connection = &mut self.connections[at];
        match &mut connection.link {
            Link::Closed { .. } => {}
            Link::Connecting { stream, .. } => {
                let data = epoll::EventData::new_u64(at as u64);
                let interest = epoll::EventFlags::IN;
                let is_open = matches!(stream.take_error(), Ok(None))
                    && stream.set_nodelay(true).is_ok()
                    && epoll::modify(&self.epoll, &*stream, data, interest).is_ok();
                if !is_open {
                    return self.disconnect(at, ErrorKind::Connect, now_us);
                }
                let connecting = std::mem::replace(&mut connection.link, Link::CLOSED);
                if let Link::Connecting { stream, .. } = connecting {
                    connection.link = Link::Open(stream);
                }
                self.top_up(at, phase, now_us);
            }
            Link::Open(stream) => {
                if flags.contains(epoll::EventFlags::OUT) {
                    self.flush(at, now_us);
                    return;
                }
                let received = match stream.read(&mut self.scratch) {
                    Ok(0) => Err(Over),
                    Ok(bytes) => {
                        let bytes = &self.scratch[..bytes];
                        connection.session.receive(bytes, &mut self.share, now_us)
                    }
                    Err(error) if is_passing(&error) => Ok(()),
                    Err(_) => Err(Over),
                };
                self.answers += 1;
                match received {
                    Ok(()) => self.top_up(at, phase, now_us),
                    Err(Over) => self.disconnect(at, ErrorKind::Closed, now_us),
                }
            }
        }
    }

    /// Sends what the kernel takes.
    fn flush(&mut self, at: usize, now_us: u64) {
        let connection = &mut self.connections[at];
        let Link::Open(stream) = &mut connection.link else { return };
        let is_full = loop {
            let unsent = connection.session.unsent();
            if unsent.is_empty() {
                break false;
            }
            match stream.write(unsent) {
                Ok(bytes) => connection.session.sent(bytes),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break true,
                Err(_) => return self.disconnect(at, ErrorKind::Closed, now_us),
            }
        };
        if is_full != connection.is_full {
            connection.is_full = is_full;
            let mut interest = epoll::EventFlags::IN;
            interest.set(epoll::EventFlags::OUT, is_full);
            let data = epoll::EventData::new_u64(at as u64);
            epoll::modify(&self.epoll, &*stream, data, interest).expect("it is in the set");
        }
    }

    /// Looks at what takes too long, and makes lost connections again.
    fn beat(&mut self, now_us: u64) {
        for at in 0..self.connections.len() {
            let is_late = |since_us: u64| now_us.saturating_sub(since_us) > self.timeout_us;
            let connection = &self.connections[at];
            match &connection.link {
                Link::Closed { retry_us } if *retry_us <= now_us => self.connect(at, now_us),
                Link::Connecting { since_us, .. } if is_late(*since_us) => {
                    self.disconnect(at, ErrorKind::Connect, now_us);
                }
                Link::Open(_) if connection.session.oldest_us().is_some_and(is_late) => {
                    self.disconnect(at, ErrorKind::Timeout, now_us);
                }
                _ => {}
            }
        }
    }

    fn connect(&mut self, at: usize, now_us: u64) {
        let begin = || {
            let domain = Domain::for_address(self.address);
            let socket = Socket::new(domain, Type::STREAM.nonblocking(), None)?;
            match socket.connect(&self.address.into()) {
                Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => {
                    return Err(error);
                }
                _ => {}
            }
            let data = epoll::EventData::new_u64(at as u64);
            epoll::add(&self.epoll, &socket, data, epoll::EventFlags::OUT)?;
            Ok(TcpStream::from(socket))
        };
        match begin() {
            Ok(stream) => {
                self.connections[at].link = Link::Connecting { since_us: now_us, stream };
            }
            Err(_) => self.disconnect(at, ErrorKind::Connect, now_us),
        }
    }

    /// Gives up a connection until a later beat; each answer that it owes is an error of this kind.
    fn disconnect(&mut self, at: usize, reason: ErrorKind, now_us: u64) {
        let connection = &mut self.connections[at];
        if reason == ErrorKind::Connect {
            self.share.tally.count_error(reason);
        }
        connection.session.lose(&mut self.share, reason);
        connection.link = Link::Closed { retry_us: now_us + BEAT_US };
        connection.is_full = false;
    }
}

/// Whether a socket is as good as before.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::{Phase, PhaseSecond, Schedule};

    #[test]
    fn threads_take_turns_at_an_even_pace() {
        let due = |thread| (0..3).map(move |n| Schedule::new(8, 2, thread).due_us(n));
        assert_eq!(due(0).collect::<Vec<_>>(), [0, 250_000, 500_000]);
        assert_eq!(due(1).collect::<Vec<_>>(), [125_000, 375_000, 625_000]);
    }

    #[test]
    fn reports_end_with_each_second_and_where_it_begins_to_count() {
        let phase = Phase::Load { start_us: 7, from_us: 1_500_007, end_us: 3_700_007 };
        let mut found = vec![];
        let mut at_us = phase.start_us();
        while at_us != u64::MAX {
            found.push((phase.second(at_us), phase.counted_from(at_us)));
            at_us = phase.next_report(at_us);
        }
        assert_eq!(
            found,
            [
                (PhaseSecond::Warmup(0), 0),
                (PhaseSecond::Warmup(1), 0),
                (PhaseSecond::Load(0), 1_500_007),
                (PhaseSecond::Load(1), 1_500_007),
                (PhaseSecond::Load(2), 1_500_007),
            ]
        );
    }
}
