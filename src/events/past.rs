//! The events of late, and where in them each subscriber is.
//!
//! The past is one for all subscribers, who hold no event of their own. Whoever reads so slowly
//! that the past goes on without it can tell how many of its events it has missed.

use super::{Kind, Kinds, PerKind};
use std::{collections::VecDeque, iter::zip};

/// Events as they are sent, the oldest first.
#[derive(Debug)]
pub struct Past {
    events: VecDeque<(Kind, Box<[u8]>)>,
    bytes: usize,
    bytes_max: usize,
    /// Events that there were, and those of them that are held no more.
    seen: PerKind,
    dropped: PerKind,
}

impl Past {
    /// It holds events of `bytes_max` bytes and drops the oldest beyond that.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        let none = PerKind::default();
        Self { events: VecDeque::new(), bytes: 0, bytes_max, seen: none, dropped: none }
    }

    /// Something happened; `event` is how it is sent.
    pub fn push(&mut self, kind: Kind, event: Vec<u8>) {
        self.seen[kind as usize] += 1;
        self.bytes += event.len();
        self.events.push_back((kind, event.into()));
        while self.bytes > self.bytes_max
            && let Some((kind, event)) = self.events.pop_front()
        {
            self.dropped[kind as usize] += 1;
            self.bytes -= event.len();
        }
    }
}

/// Where a subscriber is.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    kinds: Kinds,
    /// Events that it was sent, does not want, or has missed.
    passed: PerKind,
}

impl Position {
    /// From here on it wants `kinds`.
    #[must_use]
    pub fn new(kinds: Kinds, past: &Past) -> Self {
        Self { kinds, passed: past.seen }
    }

    /// Whether there are events that it has not passed.
    #[must_use]
    pub fn is_behind(&self, past: &Past) -> bool {
        self.passed != past.seen
    }

    /// Passes the events that are held no more. Returns how many of them it wanted.
    pub fn pass_dropped(&mut self, past: &Past) -> u64 {
        let mut lost = 0;
        for ((kind, _), (passed, dropped)) in zip(Kind::ALL, zip(&mut self.passed, past.dropped)) {
            if *passed < dropped {
                lost += if self.kinds.include(kind) { dropped - *passed } else { 0 };
                *passed = dropped;
            }
        }
        lost
    }

    /// Appends the events that it wants to `text` until that has `bytes_max` bytes or more. Only
    /// after [`Position::pass_dropped`].
    pub fn read(&mut self, past: &Past, bytes_max: usize, text: &mut Vec<u8>) {
        let held = self.passed.iter().sum::<u64>() - past.dropped.iter().sum::<u64>();
        let held = usize::try_from(held).expect("events are held in memory");
        for (kind, event) in past.events.range(held..) {
            if text.len() >= bytes_max {
                break;
            }
            self.passed[*kind as usize] += 1;
            if self.kinds.include(*kind) {
                text.extend_from_slice(event);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Kinds, Past, Position};

    #[test]
    fn the_past_is_bounded_and_counts_what_it_drops() {
        let mut past = Past::new(50);
        let mut all = Position::new(Kinds::ALL, &past);
        for number in 0..10_u8 {
            past.push(Kind::Evicted, vec![number; 20]);
            assert!(past.bytes <= 50 && past.events.len() <= 2);
        }
        assert!(all.is_behind(&past));
        assert_eq!(all.pass_dropped(&past), 8);
        let mut text = Vec::new();
        all.read(&past, 1, &mut text);
        assert_eq!(text, [8; 20]);
        all.read(&past, 100, &mut text);
        assert!(text.ends_with(&[9; 20]) && !all.is_behind(&past));
    }
}
