//! Which operation on which key comes next.
//!
//! A thread has a share of the keys to itself: those whose number leaves its own number when
//! divided by the number of threads. A choice among all keys is brought to the share by taking the
//! key of the share in the same run of so many, so each thread has its part of the distribution.

use super::{
    distribution::{Distribution, Zipf},
    mix::{LoadOperation, Mix},
    settings::LoadSettings,
};
use fastrand::Rng;
use std::ops::RangeInclusive;

/// The choices of one thread.
#[derive(Clone, Debug)]
pub(super) struct Workload {
    mix: Mix,
    distribution: Distribution,
    zipf: Zipf,
    /// Keys of all threads.
    count: u64,
    threads: u64,
    thread: u64,
    /// The next place in the share, where keys come one after another.
    next: u64,
    pub(super) random: Rng,
}

impl Workload {
    pub(super) fn new(settings: &LoadSettings, thread: usize) -> Self {
        let count = settings.keys.count;
        let power = if let Distribution::Zipf(power) = settings.distribution { power } else { 1.0 };
        Self {
            mix: settings.mix.clone(),
            distribution: settings.distribution,
            zipf: Zipf::new(count, power),
            count,
            threads: settings.threads as u64,
            thread: thread as u64,
            next: 0,
            random: Rng::with_seed(settings.seed.wrapping_add((thread as u64) << 32)),
        }
    }

    /// Keys of this thread.
    pub(super) fn share(&self) -> u64 {
        (self.count - self.thread).div_ceil(self.threads)
    }

    /// The number of the key at a place of the share.
    #[expect(clippy::cast_possible_truncation, reason = "settings bound the number of keys")]
    pub(super) fn key(&self, place: u64) -> u32 {
        (place * self.threads + self.thread) as u32
    }

    /// The place of one of its keys.
    pub(super) fn place(&self, key: u32) -> usize {
        usize::try_from(u64::from(key) / self.threads).expect("a key that is held in memory")
    }

    pub(super) fn choose_operation(&mut self) -> LoadOperation {
        self.mix.choose(&mut self.random)
    }

    /// A place of the share.
    pub(super) fn choose_place(&mut self) -> u64 {
        let share = self.share();
        let chosen = match self.distribution {
            Distribution::Uniform => return self.random.u64(..share),
            Distribution::Sequential => {
                self.next = (self.next + 1) % share;
                return (self.next + share - 1) % share;
            }
            Distribution::Zipf(_) => self.zipf.draw(&mut self.random),
        };
        (chosen / self.threads).min(share - 1)
    }

    /// One of a range, each as likely.
    pub(super) fn choose_from(&mut self, range: &RangeInclusive<u64>) -> u64 {
        if range.start() == range.end() { *range.start() } else { self.random.u64(range.clone()) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Distribution, LoadSettings, Workload};
    use crate::tools::load::keys::Keys;

    #[test]
    fn threads_share_all_keys_and_no_key_is_of_two() {
        let keys = Keys { count: 11, bytes: 8 };
        let settings = LoadSettings { keys, threads: 3, ..LoadSettings::default() };
        let mut all = Vec::new();
        for thread in 0..3 {
            let workload = Workload::new(&settings, thread);
            for place in 0..workload.share() {
                let key = workload.key(place);
                assert_eq!(workload.place(key) as u64, place);
                all.push(key);
            }
        }
        all.sort_unstable();
        assert_eq!(all, (0..11).collect::<Vec<u32>>());
    }

    #[test]
    fn choices_stay_in_the_share_and_sequences_go_round() {
        let keys = Keys { count: 11, bytes: 8 };
        for (distribution, threads) in [
            (Distribution::Uniform, 3),
            (Distribution::Zipf(0.99), 3),
            (Distribution::Zipf(2.0), 1),
        ] {
            let settings = LoadSettings { threads, distribution, keys, ..LoadSettings::default() };
            let mut workload = Workload::new(&settings, 0);
            let share = workload.share();
            let mut found = vec![0; usize::try_from(share).unwrap()];
            for _ in 0..10_000 {
                found[usize::try_from(workload.choose_place()).unwrap()] += 1;
            }
            assert!(found.iter().all(|&times| times > 0), "{distribution:?}: {found:?}");
        }
        let distribution = Distribution::Sequential;
        let settings = LoadSettings { keys, threads: 3, distribution, ..LoadSettings::default() };
        let mut workload = Workload::new(&settings, 2);
        let places: Vec<u64> = (0..5).map(|_| workload.choose_place()).collect();
        assert_eq!(places, [0, 1, 2, 0, 1]);
    }
}
