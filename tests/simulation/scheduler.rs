//! Chooses what happens next, by weights that change from phase to phase: in some nothing is
//! delivered, in others nothing is sent, in others everything is prompt.

use crate::profile::Profile;
use fastrand::Rng;

/// What may happen next, to the machine, client, core or pair of this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Open(usize),
    Write(usize),
    Fin(usize),
    Reset(usize),
    Read(usize),
    Send(usize),
    Stall(usize),
    Attend(usize),
    Flush(usize),
    Deliver(usize, usize),
    Tell(usize),
    Drain(usize),
    Beat(usize),
    Tick,
}

impl Action {
    const KINDS: usize = 14;

    fn kind(self) -> usize {
        match self {
            Self::Open(_) => 0,
            Self::Write(_) => 1,
            Self::Fin(_) => 2,
            Self::Reset(_) => 3,
            Self::Read(_) => 4,
            Self::Send(_) => 5,
            Self::Stall(_) => 6,
            Self::Attend(_) => 7,
            Self::Flush(_) => 8,
            Self::Deliver(..) => 9,
            Self::Drain(_) => 10,
            Self::Beat(_) => 11,
            Self::Tick => 12,
            Self::Tell(_) => 13,
        }
    }

    /// Whether it brings anybody's work forward.
    pub(crate) fn is_work(self) -> bool {
        !matches!(self, Self::Stall(_) | Self::Drain(_) | Self::Beat(_) | Self::Tick)
    }
}

/// What hinders others or lets time pass.
const HINDRANCES: [Action; 3] = [Action::Stall(0), Action::Beat(0), Action::Tick];

pub(crate) struct Scheduler {
    /// By kind of action.
    weights: [u32; Action::KINDS],
    /// The step that begins the next phase.
    phase_ends: u64,
    phase_steps_max: u64,
}

impl Scheduler {
    pub(crate) fn new(profile: &Profile) -> Self {
        let phase_steps_max = profile.phase_steps_max;
        if !profile.is_flood {
            return Self { weights: [0; Action::KINDS], phase_ends: 0, phase_steps_max };
        }
        // Calls leave one by one and none is answered.
        let mut weights = [300; Action::KINDS];
        weights[Action::Flush(0).kind()] = 10_000;
        weights[Action::Deliver(0, 0).kind()] = 0;
        for hindrance in HINDRANCES {
            weights[hindrance.kind()] = 1;
        }
        Self { weights, phase_ends: 20_000, phase_steps_max }
    }

    /// One of the actions, of which at least one is work.
    pub(crate) fn choose(&mut self, actions: &[Action], step: u64, random: &mut Rng) -> Action {
        loop {
            if self.phase_ends <= step {
                self.begin_phase(step, random);
            }
            let weight = |action: &Action| self.weights[action.kind()];
            if actions.iter().any(|action| action.is_work() && weight(action) > 0) {
                let total: u32 = actions.iter().map(weight).sum();
                let mut left = random.u32(..total);
                for action in actions {
                    match left.checked_sub(weight(action)) {
                        Some(rest) => left = rest,
                        None => return *action,
                    }
                }
            }
            self.phase_ends = step;
        }
    }

    fn begin_phase(&mut self, step: u64, random: &mut Rng) {
        self.phase_ends = step + random.u64(1..self.phase_steps_max);
        for weight in &mut self.weights {
            *weight = [0, 10, 10, 50, 300][random.usize(..5)];
        }
        for hindrance in HINDRANCES {
            self.weights[hindrance.kind()] = random.u32(..4) * random.u32(..4);
        }
    }
}
