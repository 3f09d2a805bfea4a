//! The answers of a connection, in the order of its requests.
//!
//! A long answer leaves in pieces: what comes next is asked for when what came before is sent.

use super::output::Output;
use crate::{
    clock::Millis,
    config::Limits,
    latency::{Start, Timing},
    metrics::Outcome,
};
use std::collections::VecDeque;

/// Places for answers owed that an idle connection may keep.
const OWED_KEPT_MAX: usize = 16;

/// The first piece of a long answer joins a head of fewer bytes in one send.
const HEAD_BYTES_JOINED_MAX: usize = 1 << 10;

/// What is ready before an answer that is away waits for it, for a little while, if it is shorter.
const SENT_AHEAD_BYTES_MAX: usize = 16 << 10;

/// What was written of an answer: how it went, and what is needed to go on where it is a long one.
#[derive(Debug)]
pub struct Written<T> {
    pub outcome: Outcome,
    pub rest: Option<T>,
}

impl<T> Written<T> {
    /// All of it was written.
    #[must_use]
    pub fn whole(outcome: Outcome) -> Self {
        Self { outcome, rest: None }
    }
}

/// `T` is what has to be known to write an answer that is still away.
#[derive(Debug)]
pub struct Answers<T> {
    output: Output,
    sent: usize,
    owed: VecDeque<Owed<T>>,
    /// Sequence number of the first answer owed.
    first: u64,
    /// The most that the answers that are away can bring.
    away_bytes_max: usize,
    /// Bytes of answers that are written but stand behind one that is not.
    held_bytes: usize,
    /// Since when the client has not taken a byte of what there is to send.
    stalled: Option<Millis>,
    /// Bytes of the next answer that were sent and are no longer in the output.
    gone_bytes: usize,
}

#[derive(Debug)]
enum Owed<T> {
    Away {
        owing: T,
        start: Start,
        bytes_max: usize,
    },
    /// So many answers to requests that began alike, and how the worst of them went.
    Ready {
        bytes: Vec<u8>,
        start: Start,
        answers: u32,
        outcome: Outcome,
    },
    /// A long answer of which a part is written; the rest comes in pieces, each of them away in
    /// turn. At the front, what is written is in the output.
    Begun {
        bytes: Vec<u8>,
        start: Start,
        rest: T,
    },
}

impl<T> Owed<T> {
    fn of(bytes: Vec<u8>, start: Start, written: Written<T>) -> Self {
        let Written { outcome, rest } = written;
        match rest {
            None => Self::Ready { bytes, start, answers: 1, outcome },
            Some(rest) => Self::Begun { bytes, start, rest },
        }
    }

    /// A place whose answer is being written.
    fn empty(start: Start) -> Self {
        Self::Ready { bytes: Vec::new(), start, answers: 0, outcome: Outcome::Ok }
    }

    fn start(&self) -> Start {
        match self {
            Self::Away { start, .. } | Self::Ready { start, .. } | Self::Begun { start, .. } => {
                *start
            }
        }
    }
}

impl<T> Default for Answers<T> {
    fn default() -> Self {
        Self {
            output: Output::default(),
            sent: 0,
            owed: VecDeque::new(),
            first: 0,
            away_bytes_max: 0,
            held_bytes: 0,
            stalled: None,
            gone_bytes: 0,
        }
    }
}

impl<T> Answers<T> {
    /// Writes what is no answer yet: the answer is still to come.
    pub fn write_interim(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        match self.owed.back_mut() {
            None => write(&mut self.output.bytes),
            Some(Owed::Ready { bytes, .. }) => {
                let before = bytes.len();
                write(bytes);
                self.held_bytes += bytes.len() - before;
            }
            Some(last) => {
                let start = last.start();
                let mut bytes = Vec::new();
                write(&mut bytes);
                self.held_bytes += bytes.len();
                let outcome = Outcome::Ok;
                self.owed.push_back(Owed::Ready { bytes, start, answers: 0, outcome });
            }
        }
    }

    /// Writes the answer to the request that was taken last and began at `start`. Returns whether
    /// it is a long one, of which more is to come.
    #[inline]
    pub fn write(&mut self, start: Start, write: impl FnOnce(&mut Vec<u8>) -> Written<T>) -> bool {
        if self.owed.is_empty() {
            let Written { outcome, rest } = write(&mut self.output.bytes);
            let is_long = rest.is_some();
            if let Some(rest) = rest {
                self.owed.push_back(Owed::Begun { bytes: Vec::new(), start, rest });
            } else {
                self.output.end(start, 1, outcome);
            }
            return is_long;
        }
        self.write_behind(start, write)
    }

    /// The same behind others that are owed.
    fn write_behind(
        &mut self,
        start: Start,
        write: impl FnOnce(&mut Vec<u8>) -> Written<T>,
    ) -> bool {
        if let Some(Owed::Ready { bytes, start: began, answers, outcome: worst }) =
            self.owed.back_mut()
            && *began == start
        {
            let before = bytes.len();
            let Written { outcome, rest } = write(bytes);
            self.held_bytes += bytes.len() - before;
            let Some(rest) = rest else {
                *answers += 1;
                *worst = outcome.max(*worst);
                return false;
            };
            let bytes = bytes.split_off(before);
            self.owed.push_back(Owed::Begun { bytes, start, rest });
            return true;
        }
        let mut bytes = self.output.take_spare();
        let written = write(&mut bytes);
        let is_long = written.rest.is_some();
        self.held_bytes += bytes.len();
        self.owed.push_back(Owed::of(bytes, start, written));
        is_long
    }

    /// Reserves the place of an answer that is away and brings about `bytes_max` bytes at most. Its
    /// number, which [`Answers::next_sequence`] tells before, is never used again.
    pub fn owe(&mut self, owing: T, start: Start, bytes_max: usize) -> u64 {
        let sequence = self.next_sequence();
        self.away_bytes_max += bytes_max;
        self.owed.push_back(Owed::Away { owing, start, bytes_max });
        sequence
    }

    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.first + self.owed.len() as u64
    }

    /// What an answer that is away will need.
    pub fn owing(&mut self, sequence: u64) -> &mut T {
        let at = usize::try_from(sequence - self.first).expect("few answers are owed");
        match &mut self.owed[at] {
            Owed::Away { owing, .. } => owing,
            Owed::Ready { .. } | Owed::Begun { .. } => unreachable!("an answer comes once"),
        }
    }

    /// Writes the answer that was away, or a part of it, in its place. Returns whether there is
    /// more to come.
    pub fn settle(
        &mut self,
        sequence: u64,
        write: impl FnOnce(T, &mut Vec<u8>) -> Written<T>,
    ) -> bool {
        let at = usize::try_from(sequence - self.first).expect("few answers are owed");
        let start = self.owed[at].start();
        let place = std::mem::replace(&mut self.owed[at], Owed::empty(start));
        let Owed::Away { owing, bytes_max, .. } = place else {
            unreachable!("an answer comes once")
        };
        self.away_bytes_max -= bytes_max;
        if at > 0 {
            let mut bytes = self.output.take_spare();
            let written = write(owing, &mut bytes);
            let is_long = written.rest.is_some();
            self.held_bytes += bytes.len();
            self.owed[at] = Owed::of(bytes, start, written);
            return is_long;
        }
        let written = write(owing, &mut self.output.bytes);
        let is_long = written.rest.is_some();
        self.owed[0] = Owed::of(Vec::new(), start, written);
        if !is_long {
            self.bring_forward();
        }
        is_long
    }

    /// Moves the answers at the front that are ready to the output.
    fn bring_forward(&mut self) {
        while let Some(Owed::Ready { bytes, start, answers, outcome }) =
            self.owed.pop_front_if(|next| matches!(next, Owed::Ready { .. }))
        {
            self.first += 1;
            self.held_bytes -= bytes.len();
            self.output.bytes.extend_from_slice(&bytes);
            self.output.keep_spare(bytes);
            self.output.end(start, answers, outcome);
        }
        if let Some(Owed::Begun { bytes, .. }) = self.owed.front_mut() {
            self.held_bytes -= bytes.len();
            self.output.bytes.append(bytes);
        }
    }

    /// Whether the next piece of a long answer is to be asked for: the one before is sent, or
    /// little more than the head is there.
    #[must_use]
    pub fn wants_piece(&self) -> bool {
        let is_free = self.sent == 0 && self.output.bytes.len() < HEAD_BYTES_JOINED_MAX;
        is_free && matches!(self.owed.front(), Some(Owed::Begun { .. }))
    }

    /// Where [`Answers::wants_piece`], counts the answer as away again. Returns its number and
    /// what is needed to go on with it.
    pub fn ask_on(&mut self) -> (u64, &mut T) {
        let front = self.owed.front_mut().expect("a long answer is owed");
        let start = front.start();
        let Owed::Begun { rest, .. } = std::mem::replace(front, Owed::empty(start)) else {
            unreachable!("the caller saw that it was begun")
        };
        // One piece is away at a time, and it finds the output empty.
        *front = Owed::Away { owing: rest, start, bytes_max: 0 };
        let Owed::Away { owing, .. } = front else { unreachable!("it was put there") };
        (self.first, owing)
    }

    /// What is needed to go on with the first answer that is owed, where that is a long one whose
    /// next piece is not asked for.
    pub fn front_begun(&mut self) -> Option<&mut T> {
        match self.owed.front_mut() {
            Some(Owed::Begun { rest, .. }) => Some(rest),
            _ => None,
        }
    }

    /// What was to go on with the long answers that are not away.
    pub fn unfinished(&self) -> impl Iterator<Item = &T> {
        self.owed.iter().filter_map(|owed| match owed {
            Owed::Begun { rest, .. } => Some(rest),
            _ => None,
        })
    }

    #[must_use]
    pub fn unsent(&self) -> &[u8] {
        &self.output.bytes[self.sent..]
    }

    /// Notes that the kernel took `bytes` of [`Answers::unsent`], and reports which answers end in
    /// them, with the bytes that they had in all.
    pub fn sent(&mut self, bytes: usize, now: Millis, mut ended: impl FnMut(&Timing, usize)) {
        self.sent += bytes;
        let gone_bytes = &mut self.gone_bytes;
        let report =
            |timing: &Timing, bytes: usize| ended(timing, std::mem::take(gone_bytes) + bytes);
        let output = &mut self.output;
        if self.sent == output.bytes.len() {
            output.report(output.timings.len(), report);
            self.gone_bytes += output.bytes.len() - output.reported;
            output.clear();
            self.sent = 0;
            self.stalled = None;
        } else if bytes > 0 || self.stalled.is_none() {
            self.stalled = Some(now);
            let whole = output.timings.partition_point(|timing| timing.end <= self.sent);
            output.report(whole, report);
        }
    }

    /// Since when the client has not taken a byte of what there is to send.
    #[must_use]
    pub(super) fn stalled(&self) -> Option<Millis> {
        self.stalled
    }

    /// Nothing owed, nothing unsent.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.owed.is_empty() && self.output.bytes.is_empty()
    }

    /// Whether the next answer is away. Then the memory for answers stays where it is: others are
    /// held behind it, and it is soon needed.
    #[must_use]
    pub fn is_next_away(&self) -> bool {
        matches!(self.owed.front(), Some(Owed::Away { .. }))
    }

    /// Whether there is little to send before an answer that is away.
    #[must_use]
    pub fn awaits_more(&self) -> bool {
        let is_little = (1..SENT_AHEAD_BYTES_MAX).contains(&self.output.bytes.len());
        is_little && self.sent == 0 && self.is_next_away()
    }

    /// Whether any answer is owed.
    #[must_use]
    pub fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Whether another request may be taken.
    #[must_use]
    pub fn has_room(&self, limits: &Limits) -> bool {
        self.owed.len() < limits.pipeline_depth_max
            && self.away_bytes_max < limits.output_bytes_max
            && self.unsent().len() + self.held_bytes < limits.output_bytes_max
    }

    /// Bytes of answers that are here or may come from elsewhere.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.output.bytes.len() + self.held_bytes + self.away_bytes_max
    }

    /// What answers are written to, for lending one that has its memory already.
    pub fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    /// Requests whose answers are not wholly sent.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        let owed = self.owed.iter().map(|owed| match owed {
            Owed::Ready { answers, .. } => *answers,
            Owed::Away { .. } | Owed::Begun { .. } => 1,
        });
        let unsent = self.output.timings.iter().map(|timing| timing.answers);
        owed.chain(unsent).map(u64::from).sum()
    }

    /// Bytes of memory held for answers.
    #[must_use]
    pub fn buffer_bytes(&self) -> usize {
        let owed = self.owed.iter().map(|owed| match owed {
            Owed::Ready { bytes, .. } | Owed::Begun { bytes, .. } => bytes.capacity(),
            Owed::Away { .. } => 0,
        });
        let places = self.owed.capacity() * size_of::<Owed<T>>();
        owed.sum::<usize>() + places + self.output.buffer_bytes()
    }

    /// Gives up the memory of a connection that has nothing to send.
    pub fn release(&mut self) -> Output {
        debug_assert!(self.output.bytes.is_empty(), "all was sent");
        if self.owed.is_empty() && self.owed.capacity() > OWED_KEPT_MAX {
            self.owed = VecDeque::new();
        }
        std::mem::take(&mut self.output)
    }
}
