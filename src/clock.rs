//! The one place that reads the operating system's clocks.

use std::time::{Duration, Instant, SystemTime};

/// Milliseconds on the process's monotonic clock. Every core counts from the same origin, so an
/// instant may travel between cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl Millis {
    /// This instant plus `span`, rounded up to whole milliseconds and clamped at the end of time.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        let millis = span.as_nanos().div_ceil(1_000_000);
        Self(self.0.saturating_add(u64::try_from(millis).unwrap_or(u64::MAX)))
    }

    /// Milliseconds from `earlier` to this instant; 0 when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Reads time. Copies share one origin.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

#[expect(clippy::disallowed_methods, reason = "this is the place")]
impl Clock {
    /// A clock whose monotonic origin is this call.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Time since the origin: never jumps, neither with the wall clock nor between cores.
    #[must_use]
    pub fn now(&self) -> Millis {
        Millis(u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Microseconds since the origin.
    #[must_use]
    pub fn micros(&self) -> u64 {
        let elapsed = self.origin.elapsed();
        elapsed.as_secs() * 1_000_000 + u64::from(elapsed.subsec_micros())
    }

    /// Microseconds of the system's monotonic clock, as a service manager counts them.
    #[must_use]
    pub fn monotonic_micros() -> u64 {
        micros(rustix::time::clock_gettime(rustix::time::ClockId::Monotonic))
    }

    /// Microseconds of CPU time that this thread has used.
    #[must_use]
    pub fn thread_cpu_micros() -> u64 {
        micros(rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime))
    }

    /// Microseconds of CPU time that the process has used.
    #[must_use]
    pub fn process_cpu_micros() -> u64 {
        micros(rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime))
    }

    /// The wall clock.
    #[must_use]
    pub fn wall() -> SystemTime {
        SystemTime::now()
    }

    /// The wall clock in milliseconds of Unix time; 0 before that began.
    #[must_use]
    pub fn wall_millis() -> u64 {
        let since = Self::wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

fn micros(time: rustix::time::Timespec) -> u64 {
    let micros = time.tv_sec * 1_000_000 + time.tv_nsec / 1_000;
    u64::try_from(micros).expect("none of these clocks starts below zero")
}

#[cfg(test)]
mod tests {
    use super::Millis;
    use std::time::Duration;

    #[test]
    fn a_span_shorter_than_a_millisecond_still_lasts_one() {
        assert_eq!(Millis(5).after(Duration::from_nanos(1)), Millis(6));
        assert_eq!(Millis(5).after(Duration::from_millis(2)), Millis(7));
        assert_eq!(Millis(5).after(Duration::MAX), Millis(u64::MAX));
    }
}
