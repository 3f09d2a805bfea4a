//! Strikes when the next beat is due.
//!
//! Not a timer of the runtime, which ends the process when a system call that sets one is
//! interrupted.

use rustix::{
    event::Timespec,
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create,
        timerfd_settime,
    },
};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// A timer whose descriptor reports an edge at each strike.
pub(super) struct BeatTimer(OwnedFd);

impl BeatTimer {
    /// Strikes every so many milliseconds.
    pub(super) fn new(every_ms: u64) -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = Self(timerfd_create(TimerfdClockId::Monotonic, flags)?);
        timer.set(every_ms);
        Ok(timer)
    }

    /// Strikes every so many milliseconds from now on.
    pub(super) fn set(&self, every_ms: u64) {
        let nanoseconds = i64::try_from(every_ms).expect("less than a second") * 1_000_000;
        let every = Timespec { tv_sec: 0, tv_nsec: nanoseconds };
        let times = Itimerspec { it_interval: every, it_value: every };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &times).expect("less than a second");
    }
}

impl AsFd for BeatTimer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
