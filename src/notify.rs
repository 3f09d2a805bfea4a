//! What the service manager is told: ready, stopping, and that every shard still takes its turns.
//!
//! Where no manager listens (`NOTIFY_SOCKET` is not set) nothing is sent.

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

/// The manager is fed this many times in the time that it allows.
const FEEDS: u32 = 3;

/// The server serves; `status` is for people.
pub fn ready(status: &str) {
    tell(&format!("READY=1\nSTATUS={status}\n"));
}

/// The settings are read again, from this microsecond of the monotonic clock on; to be followed by
/// [`ready`].
pub fn reloading(monotonic_micros: u64) {
    tell(&format!("RELOADING=1\nMONOTONIC_USEC={monotonic_micros}\n"));
}

/// What the start is at, for people; it may take so much longer.
pub fn starting(status: &str) {
    tell(&format!("STATUS={status}\nEXTEND_TIMEOUT_USEC={EXTENSION_MICROS}\n"));
}

/// The last snapshot is being written; the stop may take so much longer.
pub fn saving() {
    tell(&format!("STATUS=Writing a snapshot\nEXTEND_TIMEOUT_USEC={EXTENSION_MICROS}\n"));
}

/// Microseconds without a message after which the manager may lose patience.
const EXTENSION_MICROS: u64 = 30_000_000;

/// The server drains.
pub fn stopping() {
    tell("STOPPING=1\nSTATUS=Draining\n");
}

/// As `sd_notify(3)` has it. A manager that went away is no reason to stop serving.
fn tell(states: &str) {
    let Some(name) = env::var_os("NOTIFY_SOCKET") else { return };
    let send = || -> io::Result<usize> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(&name)?,
        };
        UnixDatagram::unbound()?.send_to_addr(states.as_bytes(), &address)
    };
    drop(send());
}

/// Feeds the manager's watchdog, but only while every shard answers.
#[derive(Debug)]
pub struct Watchdog {
    interval: Duration,
    /// By shard: has answered since it was asked last.
    alive: Vec<bool>,
}

impl Watchdog {
    /// `None` where the manager has no watchdog for this process.
    #[must_use]
    pub fn from_environment(shards: usize) -> Option<Self> {
        let number = |name| env::var(name).ok()?.parse::<u64>().ok();
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let micros = number("WATCHDOG_USEC").filter(|_| is_ours)?;
        Some(Self::new(Duration::from_micros(micros) / FEEDS, shards))
    }

    fn new(interval: Duration, shards: usize) -> Self {
        Self { interval, alive: vec![false; shards] }
    }

    /// After this time [`Watchdog::feed`] is to be called and every shard to be asked again.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.interval
    }

    pub fn is_alive(&mut self, shard: usize) {
        self.alive[shard] = true;
    }

    /// Tells the manager that all is well, if all have answered since the last call.
    pub fn feed(&mut self) {
        if self.is_well() {
            tell("WATCHDOG=1\n");
        }
    }

    fn is_well(&mut self) -> bool {
        let is_well = self.alive.iter().all(|alive| *alive);
        self.alive.fill(false);
        is_well
    }
}

#[cfg(test)]
mod tests {
    use super::Watchdog;
    use std::time::Duration;

    #[test]
    fn one_silent_shard_is_not_well() {
        let mut watchdog = Watchdog::new(Duration::from_secs(1), 2);
        assert!(!watchdog.is_well());
        watchdog.is_alive(0);
        assert!(!watchdog.is_well());
        for _ in 0..2 {
            watchdog.is_alive(1);
            watchdog.is_alive(0);
            assert!(watchdog.is_well());
        }
        watchdog.is_alive(1);
        watchdog.is_alive(1);
        assert!(!watchdog.is_well());
    }
}
