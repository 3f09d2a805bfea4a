//! What a shard still takes on when too much is under way: a ladder that it climbs by itself and
//! comes down again by itself.
//!
//! Two loads are weighed, each against a limit: the bytes of long answers and of bodies on their
//! way that connections hold (`buffered_bytes_max`), and for how long what is ready waits for its
//! turn (`queue_delay_max`).
//!
//! ```text
//!   load of the limit   step       from there on
//!   1/2                 Closing    connections close after their answers
//!   3/4                 NoWrites   and writes are refused
//!   all                 NoReads    and so are reads, where it is the delay; where it is buffers,
//!                                  request by request what would fill them
//! ```
//!
//! A step is left when the load is below half of what led to it. Probes, invalidations and what the
//! admin listener offers are served on every step.
//!
//! Buffers count at once. A delay counts when it stands: in each of the last [`WINDOWS`] windows
//! not even the shortest was below the step, as in `CoDel`. So a turn that takes long, or a process
//! that was stopped, is no overload. It leads up one step in so many windows, so that each step has
//! the time to help.

use crate::{
    config::Limits,
    metrics::{Operation, Step},
};
use std::time::Duration;

/// Windows in a row, each from one beat to the next.
const WINDOWS: usize = 4;

/// Each step and the load that leads to it, in quarters of the limit.
const STEPS: [(Step, u64); 3] = [(Step::Closing, 2), (Step::NoWrites, 3), (Step::NoReads, 4)];

/// What the load is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Memory,
    Delay,
}

#[derive(Debug, Default)]
pub(super) struct Overload {
    by_memory: Step,
    by_delay: Step,
    /// The shortest delay of this window; none where nothing was ready.
    shortest_us: Option<u64>,
    /// Those of the windows before, in no order that matters.
    windows_us: [u64; WINDOWS],
    /// The oldest of them.
    oldest: usize,
    /// Windows since a delay led up.
    since_climb: usize,
}

impl Overload {
    #[inline]
    pub(super) fn step(&self) -> Step {
        self.by_memory.max(self.by_delay)
    }

    /// For how long, in microseconds, everything has waited at least for a while.
    pub(super) fn standing_us(&self) -> u64 {
        self.windows_us.into_iter().min().expect("there are some windows")
    }

    /// So many bytes are held.
    #[inline]
    pub(super) fn weigh(&mut self, bytes: u64, limits: &Limits) {
        let step = next(self.by_memory, bytes, bytes, limits.buffered_bytes_max as u64);
        self.by_memory = step.min(Step::NoWrites);
    }

    /// What was ready waited so long for its turn.
    #[inline]
    pub(super) fn record_delay(&mut self, delay_us: u64) {
        self.shortest_us = Some(self.shortest_us.map_or(delay_us, |least| least.min(delay_us)));
    }

    /// What was ready so long ago still waits for its turn: that counts where nothing has come to
    /// its turn in this window.
    pub(super) fn record_pending(&mut self, pending_us: u64) {
        self.shortest_us.get_or_insert(pending_us);
    }

    /// The window is over.
    pub(super) fn end_window(&mut self, limits: &Limits) {
        self.windows_us[self.oldest] = self.shortest_us.take().unwrap_or(0);
        self.oldest = (self.oldest + 1) % WINDOWS;
        let longest = self.windows_us.into_iter().max().expect("there are some windows");
        let limit = micros(limits.queue_delay_max);
        let step = next(self.by_delay, self.standing_us(), longest, limit);
        self.since_climb += 1;
        if step <= self.by_delay {
            self.by_delay = step;
        } else if self.since_climb >= WINDOWS {
            self.by_delay = self.by_delay.above();
            self.since_climb = 0;
        }
    }

    /// Why something is not taken on, if so.
    pub(super) fn refuses(&self, operation: Operation) -> Option<Cause> {
        let from = if operation.is_write() {
            Step::NoWrites
        } else if operation.is_read() {
            Step::NoReads
        } else {
            return None;
        };
        if self.by_memory >= from {
            Some(Cause::Memory)
        } else {
            (self.by_delay >= from).then_some(Cause::Delay)
        }
    }
}

/// The step after `step`: up to what `load` leads to, or down past what `peak` no longer holds.
fn next(step: Step, load: u64, peak: u64, limit: u64) -> Step {
    let highest = |holds: &dyn Fn(u64) -> bool| {
        let held = STEPS.into_iter().rev().find(|(_, quarters)| holds(limit / 4 * quarters));
        held.map_or(Step::Calm, |(step, _)| step)
    };
    let risen = highest(&|bound| load >= bound);
    risen.max(step.min(highest(&|bound| peak >= bound / 2)))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Cause, Overload, Step, WINDOWS};
    use crate::{config::Limits, metrics::Operation};
    use std::time::Duration;

    const LIMITS: Limits = Limits {
        buffered_bytes_max: 1000,
        queue_delay_max: Duration::from_millis(1),
        ..Limits::DEFAULT
    };

    /// Windows of these delays pass, one after another; the steps after each.
    fn pass<const DELAYS: usize, const COUNT: usize>(
        overload: &mut Overload,
        windows: [[u64; DELAYS]; COUNT],
    ) -> [Step; COUNT] {
        windows.map(|delays| {
            for delay in delays {
                overload.record_delay(delay);
            }
            overload.end_window(&LIMITS);
            overload.step()
        })
    }

    #[test]
    fn buffers_lead_up_at_once_and_down_at_half_of_what_led_up() {
        use Step::{Calm, Closing, NoWrites};
        let mut overload = Overload::default();
        let told = [
            (499, Calm),
            (500, Closing),
            (749, Closing),
            (250, Closing),
            (249, Calm),
            (750, NoWrites),
            (u64::MAX, NoWrites),
            (375, NoWrites),
            (374, Closing),
            (250, Closing),
            (500, Closing),
            (5000, NoWrites),
            (0, Calm),
        ];
        for (bytes, step) in told {
            overload.weigh(bytes, &LIMITS);
            assert_eq!(overload.step(), step, "at {bytes}");
        }
    }

    #[test]
    fn a_delay_counts_when_it_stands_and_leaves_step_by_step() {
        use Step::{Calm, Closing, NoReads, NoWrites};
        let mut overload = Overload::default();
        let steps = pass(&mut overload, [[900, 600, 5000]; WINDOWS]);
        assert_eq!(steps, [Calm, Calm, Calm, Closing]);
        assert_eq!(overload.standing_us(), 600);
        assert_eq!(pass(&mut overload, [[800]; WINDOWS]), [Closing, Closing, Closing, NoWrites]);
        assert_eq!(pass(&mut overload, [[1000]; WINDOWS])[WINDOWS - 1], NoReads);
        // What holds each step is half of what led to it.
        assert_eq!(pass(&mut overload, [[500]; WINDOWS]), [NoReads; WINDOWS]);
        assert_eq!(pass(&mut overload, [[499]; WINDOWS]), [NoReads, NoReads, NoReads, NoWrites]);
        let steps = pass(&mut overload, [[374]; WINDOWS]);
        assert_eq!(steps, [NoWrites, NoWrites, NoWrites, Closing]);
        let steps = pass(&mut overload, [[249]; WINDOWS]);
        assert_eq!(steps, [Closing, Closing, Closing, Calm]);
    }

    #[test]
    fn a_delay_of_any_length_leads_up_one_step_at_a_time() {
        use Step::{Calm, Closing, NoReads, NoWrites};
        let mut overload = Overload::default();
        let steps = pass(&mut overload, [[9999]; 3 * WINDOWS]);
        assert_eq!(steps[..WINDOWS], [Calm, Calm, Calm, Closing]);
        assert_eq!(steps[WINDOWS..2 * WINDOWS], [Closing, Closing, Closing, NoWrites]);
        assert_eq!(steps[2 * WINDOWS..], [NoWrites, NoWrites, NoWrites, NoReads]);
    }

    #[test]
    fn a_long_turn_or_a_queue_that_empties_is_no_overload() {
        let mut overload = Overload::default();
        let once = [u64::MAX, 3, 3, u64::MAX, u64::MAX, u64::MAX].map(|delay| [delay]);
        assert_eq!(pass(&mut overload, once), [Step::Calm; 6]);
        assert_eq!(pass(&mut overload, [[5000, 5000, 20, 5000]; 8]), [Step::Calm; 8]);
    }

    #[test]
    fn windows_in_which_nothing_was_ready_lead_down() {
        let mut overload = Overload::default();
        pass(&mut overload, [[9999]; 3 * WINDOWS]);
        assert_eq!(overload.step(), Step::NoReads);
        let steps = pass(&mut overload, [[]; WINDOWS]);
        assert_eq!(steps[WINDOWS - 2..], [Step::NoReads, Step::Calm]);
    }

    #[test]
    fn what_still_waits_counts_where_nothing_has_come_to_its_turn() {
        let mut overload = Overload::default();
        for pending_us in [600, 850, 1100, 1350] {
            assert_eq!(overload.step(), Step::Calm);
            overload.record_pending(pending_us);
            overload.end_window(&LIMITS);
        }
        assert_eq!((overload.step(), overload.standing_us()), (Step::Closing, 600));
        overload.record_delay(3);
        overload.record_pending(1600);
        overload.end_window(&LIMITS);
        assert_eq!(overload.standing_us(), 3);
    }

    #[test]
    fn the_two_loads_are_weighed_apart_and_the_higher_step_counts() {
        let mut overload = Overload::default();
        pass(&mut overload, [[600]; WINDOWS]);
        overload.weigh(800, &LIMITS);
        assert_eq!((overload.step(), overload.by_delay), (Step::NoWrites, Step::Closing));
        overload.weigh(0, &LIMITS);
        assert_eq!(overload.step(), Step::Closing);
    }

    #[test]
    fn writes_go_first_reads_last_and_some_things_never() {
        let mut overload = Overload::default();
        let refused = |overload: &Overload| {
            let all = Operation::ALL.into_iter();
            let refused = all.filter(|(operation, _)| overload.refuses(*operation).is_some());
            refused.map(|(_, name)| name).collect::<Vec<_>>()
        };
        overload.weigh(600, &LIMITS);
        assert_eq!((overload.step(), refused(&overload)), (Step::Closing, vec![]));
        overload.weigh(u64::MAX, &LIMITS);
        let writes = ["put", "delete", "incr", "touch", "mput", "mdelete"];
        assert_eq!(refused(&overload), writes);
        assert_eq!(overload.refuses(Operation::Put), Some(Cause::Memory));
        overload.weigh(0, &LIMITS);
        pass(&mut overload, [[9999]; 3 * WINDOWS]);
        assert_eq!(overload.refuses(Operation::Put), Some(Cause::Delay));
        let served = ["invalidate", "health", "admin", "other"];
        let all = Operation::ALL.map(|(_, name)| name);
        let rest: Vec<_> = all.into_iter().filter(|name| !served.contains(name)).collect();
        assert_eq!(refused(&overload), rest);
    }
}
