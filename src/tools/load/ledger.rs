//! What is known of each key's writes, and so what a read of it may find.
//!
//! The rule: one connection at a time writes a key, so that the writes of a key are done in the
//! order in which they were asked for. A read must not find a value older than the newest write
//! that was acknowledged before the read was asked for, nor one that was never written. To find
//! nothing is always right: a cache may forget. What an earlier run left may be found until a write
//! of this run is acknowledged.
//!
//! A write whose answer never came may still be done, even later; from then on its key may have any
//! value that was written to it.

use super::value::Stamp;

/// What a read must not find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A value of another key, one that is not whole, or one that was never written.
    Wrong,
    /// One that was overwritten before the read was asked for.
    Stale,
}

/// Sequence numbers of one key's writes.
#[derive(Clone, Copy, Debug, Default)]
struct Writes {
    /// The newest that was asked for.
    asked: u32,
    /// The newest that was answered.
    answered: u32,
    /// The newest that was acknowledged.
    done: u32,
    writer: u16,
    is_unordered: bool,
}

const _: () = assert!(size_of::<Writes>() == 16);

/// The keys of one thread, by their place in its share.
#[derive(Debug)]
pub(super) struct Ledger {
    run: u32,
    keys: Vec<Writes>,
}

impl Ledger {
    pub(super) fn new(run: u32, keys: usize) -> Self {
        Self { run, keys: vec![Writes::default(); keys] }
    }

    /// Whether a connection may write the key now.
    pub(super) fn may_write(&self, place: usize, connection: u16) -> bool {
        let key = &self.keys[place];
        key.asked == key.answered || key.writer == connection
    }

    /// The sequence number of a write that is asked for now.
    pub(super) fn begin_write(&mut self, place: usize, connection: u16) -> u32 {
        let key = &mut self.keys[place];
        key.writer = connection;
        key.asked += 1;
        key.asked
    }

    pub(super) fn stamp(&self, key: u32, sequence: u32) -> Stamp {
        Stamp { key, run: self.run, sequence }
    }

    /// The answer to a write came; it may not have been done.
    pub(super) fn end_write(&mut self, place: usize, sequence: u32, is_done: bool) {
        let key = &mut self.keys[place];
        // Not so once an earlier one was lost.
        key.answered = key.answered.max(sequence);
        if is_done {
            key.done = sequence;
        }
    }

    /// The answer to a write will not come.
    pub(super) fn lose_write(&mut self, place: usize) {
        let key = &mut self.keys[place];
        key.answered = key.asked;
        key.is_unordered = true;
    }

    /// The sequence number of the oldest write that a read asked for now may find.
    pub(super) fn begin_read(&self, place: usize) -> u32 {
        let key = &self.keys[place];
        if key.is_unordered { 0 } else { key.done }
    }

    /// Judges what a read of `key` found that was asked for when `oldest` was.
    pub(super) fn check(
        &self,
        key: u32,
        place: usize,
        oldest: u32,
        value: &[u8],
    ) -> Result<(), Fault> {
        let stamp = Stamp::read(value).filter(|stamp| stamp.key == key).ok_or(Fault::Wrong)?;
        // A run that was before this one counts as before its first write.
        let sequence = if stamp.run == self.run { stamp.sequence } else { 0 };
        if sequence > self.keys[place].asked || stamp.sequence == 0 {
            Err(Fault::Wrong)
        } else if sequence < oldest {
            Err(Fault::Stale)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, Ledger};
    use crate::tools::load::value::Stamp;

    const RUN: u32 = 5;

    fn check(ledger: &Ledger, oldest: u32, run: u32, sequence: u32) -> Result<(), Fault> {
        let mut value = Vec::new();
        Stamp { key: 3, run, sequence }.write(64, &mut value);
        ledger.check(3, 0, oldest, &value)
    }

    #[test]
    fn a_read_finds_nothing_older_than_what_was_done_when_it_began() {
        let mut ledger = Ledger::new(RUN, 1);
        let before = ledger.begin_read(0);
        let first = ledger.begin_write(0, 0);
        let second = ledger.begin_write(0, 0);
        ledger.end_write(0, first, true);
        let between = ledger.begin_read(0);
        ledger.end_write(0, second, true);
        let after = ledger.begin_read(0);
        assert_eq!(check(&ledger, before, RUN, first), Ok(()));
        assert_eq!(check(&ledger, between, RUN, first), Ok(()));
        assert_eq!(check(&ledger, between, RUN, second), Ok(()));
        assert_eq!(check(&ledger, after, RUN, first), Err(Fault::Stale));
        assert_eq!(check(&ledger, after, RUN, second), Ok(()));
        assert_eq!(check(&ledger, after, RUN, second + 1), Err(Fault::Wrong));
        assert_eq!(check(&ledger, before, RUN, 0), Err(Fault::Wrong));
    }

    #[test]
    fn another_run_s_value_is_right_until_this_run_has_written() {
        let mut ledger = Ledger::new(RUN, 1);
        let before = ledger.begin_read(0);
        assert_eq!(check(&ledger, before, 4, 900), Ok(()));
        let sequence = ledger.begin_write(0, 0);
        ledger.end_write(0, sequence, true);
        assert_eq!(check(&ledger, before, 4, 900), Ok(()));
        assert_eq!(check(&ledger, ledger.begin_read(0), 4, 900), Err(Fault::Stale));
    }

    #[test]
    fn another_key_s_value_is_wrong() {
        let ledger = Ledger::new(RUN, 1);
        let mut value = Vec::new();
        Stamp { key: 4, run: 1, sequence: 1 }.write(64, &mut value);
        assert_eq!(ledger.check(3, 0, 0, &value), Err(Fault::Wrong));
        assert_eq!(ledger.check(4, 0, 0, &value), Ok(()));
        value[40] ^= 1;
        assert_eq!(ledger.check(4, 0, 0, &value), Err(Fault::Wrong));
    }

    #[test]
    fn one_connection_at_a_time_writes_a_key() {
        let mut ledger = Ledger::new(RUN, 1);
        assert!(ledger.may_write(0, 1) && ledger.may_write(0, 2));
        let sequence = ledger.begin_write(0, 1);
        assert!(ledger.may_write(0, 1) && !ledger.may_write(0, 2));
        ledger.end_write(0, sequence, true);
        assert!(ledger.may_write(0, 2));
    }

    #[test]
    fn a_write_that_was_refused_or_lost_binds_nobody() {
        let mut ledger = Ledger::new(RUN, 1);
        let first = ledger.begin_write(0, 1);
        ledger.end_write(0, first, true);
        let second = ledger.begin_write(0, 1);
        ledger.end_write(0, second, false);
        assert_eq!(check(&ledger, ledger.begin_read(0), RUN, first), Ok(()));
        assert_eq!(check(&ledger, ledger.begin_read(0), RUN, second), Ok(()));
        let lost = ledger.begin_write(0, 1);
        ledger.lose_write(0);
        assert!(ledger.may_write(0, 2));
        let next = ledger.begin_write(0, 2);
        ledger.end_write(0, next, true);
        for sequence in [first, second, lost, next] {
            assert_eq!(check(&ledger, ledger.begin_read(0), RUN, sequence), Ok(()));
        }
        assert_eq!(check(&ledger, ledger.begin_read(0), RUN, next + 1), Err(Fault::Wrong));
    }
}
