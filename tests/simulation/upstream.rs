//! An invented upstream behind each shard: parks, refuses, and tells values, nothing or failures
//! when the scheduler lets it, once for all that wait for a key.

use crate::{
    answer::put_call,
    client::Moment,
    history::{Call, If, NEVER, Operation, Said},
};
use fastrand::Rng;
use kvcache::{
    owner::{Decision, Delivery, Fetched, Upstream},
    store::Op,
};
use std::{cell::RefCell, collections::VecDeque, num::NonZeroU64, rc::Rc};

/// What one shard asks.
#[derive(Clone)]
pub(crate) struct Invented(Rc<RefCell<Behind>>);

struct Behind {
    random: Rng,
    keys: Vec<&'static str>,
    /// The numbers of values that nobody has put yet, by key.
    values: Vec<Vec<usize>>,
    /// Keys that it was asked for and has not told.
    asked: Vec<usize>,
    told: VecDeque<(usize, Option<Fill>, Delivery)>,
    /// What the shard has taken in this turn.
    taken: Vec<Fill>,
    /// Values that go when the turn ends, and the step of their fill.
    leaving: Vec<(Fill, u64, u64)>,
    /// It is asked no more.
    is_silent: bool,
    /// Not all that is to wait may.
    is_narrow: bool,
    operations: Vec<(usize, Operation)>,
    refused: u64,
}

#[derive(Clone, Copy)]
struct Fill {
    key: usize,
    value: usize,
    stays: bool,
}

impl Upstream for Invented {
    fn decide(&mut self, op: &Op<&[u8]>, is_held: bool) -> Decision {
        let mut behind = self.0.borrow_mut();
        let Some(key) = behind.keys.iter().position(|key| key.as_bytes() == op.key.bytes) else {
            return Decision::Run;
        };
        let chance = behind.random.u8(..16);
        match chance {
            _ if behind.is_silent => Decision::Run,
            0 => {
                behind.refused += 1;
                Decision::Refuse
            }
            1..=3 => Decision::Run,
            _ if is_held && chance > 6 => Decision::Run,
            _ => {
                if !behind.asked.contains(&key) {
                    behind.asked.push(key);
                }
                Decision::Park
            }
        }
    }

    fn next(&mut self) -> Option<Delivery> {
        let mut behind = self.0.borrow_mut();
        let (key, fill, delivery) = behind.told.pop_front()?;
        // All that wait for the key are told now.
        behind.asked.retain(|asked| *asked != key);
        behind.told.retain(|(told, ..)| *told != key);
        behind.taken.extend(fill);
        Some(delivery)
    }
}

/// What was told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Value,
    Nothing,
    Failure,
}

impl Invented {
    pub(crate) fn new(
        random: Rng,
        keys: Vec<&'static str>,
        values: Vec<Vec<usize>>,
        is_narrow: bool,
    ) -> Self {
        Self(Rc::new(RefCell::new(Behind {
            random,
            keys,
            values,
            asked: Vec::new(),
            told: VecDeque::new(),
            taken: Vec::new(),
            leaving: Vec::new(),
            is_silent: false,
            is_narrow,
            operations: Vec::new(),
            refused: 0,
        })))
    }

    /// Whether there is something to tell.
    pub(crate) fn is_asked(&self) -> bool {
        !self.0.borrow().asked.is_empty()
    }

    pub(crate) fn fall_silent(&self) {
        self.0.borrow_mut().is_silent = true;
    }

    pub(crate) fn has_refused(&self) -> bool {
        self.0.borrow().refused > 0
    }

    /// Tells of a key that it was asked for.
    pub(crate) fn tell(&self, now: &Moment<'_>) -> Told {
        let Behind { random, asked, told, values, .. } = &mut *self.0.borrow_mut();
        let key = asked.swap_remove(random.usize(..asked.len()));
        let value = if random.u8(..3) == 0 { None } else { values[key].pop() };
        let is_failed = random.bool();
        let (fill, fetched, what) = match value {
            Some(value) => {
                let stays = random.bool();
                let known = &now.values[value];
                let fetched = Fetched::Value {
                    value: known.text.clone().into_bytes(),
                    ttl_ms: known.life.ttl_ms.and_then(NonZeroU64::new),
                    stays,
                };
                (Some(Fill { key, value, stays }), fetched, Told::Value)
            }
            None if is_failed => (None, Fetched::Failed, Told::Failure),
            None => (None, Fetched::Nothing, Told::Nothing),
        };
        told.push_back((key, fill, Delivery { key: now.keys[key].into(), fetched }));
        what
    }

    /// A turn has begun: what was taken is put, and what may not stay of the turn before is gone.
    pub(crate) fn begin_turn(&self, clock_ms: u64, now: &Moment<'_>) {
        let behind = &mut *self.0.borrow_mut();
        let certainly = |is_narrow| if is_narrow { NEVER } else { now.step };
        let ended = certainly(behind.is_narrow);
        let operation = |fill: Fill, call, condition, began| Operation {
            call,
            condition,
            said: Said::Nothing,
            // A fill, and its end.
            connection: usize::MAX / 2 + fill.value,
            began,
            ended,
            earliest_ms: clock_ms,
            latest_ms: if ended == NEVER { NEVER } else { clock_ms },
        };
        for (fill, began, began_ms) in behind.leaving.drain(..) {
            let gone = operation(fill, Call::Delete, If::Is(fill.value), began);
            behind.operations.push((fill.key, Operation { earliest_ms: began_ms, ..gone }));
        }
        for fill in behind.taken.drain(..) {
            let put = operation(fill, put_call(fill.value, now).1, If::Always, now.step);
            behind.operations.push((fill.key, put));
            if !fill.stays {
                behind.leaving.push((fill, now.step, clock_ms));
            }
        }
    }

    /// What it did to keys, or may have done, by key.
    pub(crate) fn operations(&self) -> Vec<(usize, Operation)> {
        self.0.borrow().operations.clone()
    }
}
