//! Which operation on which key comes next.
//!
//! A thread has a share of the keys to itself: those whose number leaves its own number when
//! divided by the number of threads. A choice among all keys is brought to the share by taking the
//! key of the share in the same run of so many, so each thread has its part of the distribution.

use fastrand::Rng;
use std::ops::RangeInclusive;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Get,
    Put,
    Delete,
    Mget,
}

impl Operation {
    pub(super) const NAMES: [(&'static str, Self); 4] =
        [("get", Self::Get), ("put", Self::Put), ("delete", Self::Delete), ("mget", Self::Mget)];

    pub(super) fn is_write(self) -> bool {
        matches!(self, Self::Put | Self::Delete)
    }
}

/// Parts of each operation, in the order of [`Operation::NAMES`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mix([u32; 4]);

const PART_MAX: usize = 1_000_000;

impl Mix {
    /// Reads `get=70,put=30`.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut mix = Self::default();
        for part in text.split(',') {
            let (name, part) = part
                .split_once('=')
                .ok_or_else(|| format!("{part:?} is not a part such as get=70"))?;
            let operation = crate::config::choice(name, &Operation::NAMES)?;
            let part = crate::config::count(part, 0, PART_MAX)?;
            mix.0[operation as usize] = u32::try_from(part).expect("at most a million");
        }
        if mix.sum() == 0 {
            return Err(format!("{text:?} has no part above 0"));
        }
        Ok(mix)
    }

    pub(super) fn has(&self, operation: Operation) -> bool {
        self.0[operation as usize] > 0
    }

    fn sum(&self) -> u32 {
        self.0.iter().sum()
    }

    fn choose(&self, random: &mut Rng) -> Operation {
        let mut at = random.u32(..self.sum());
        for (part, (_, operation)) in self.0.iter().zip(Operation::NAMES) {
            if at < *part {
                return operation;
            }
            at -= part;
        }
        unreachable!("the choice is below the sum of the parts")
    }
}

/// The texts of keys: `k`, then the number with as many zeros before it as the length wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) count: u64,
    pub(super) bytes: usize,
}

impl Keys {
    /// The shortest that so many keys fit into.
    pub(super) fn bytes_min(count: u64) -> usize {
        1 + count.saturating_sub(1).to_string().len()
    }

    pub(super) fn write(self, number: u32, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + self.bytes, b'0');
        out[start] = b'k';
        write_digits(u64::from(number), &mut out[start + 1..]);
    }

    /// The number of such a text.
    pub(super) fn number(self, text: &[u8]) -> Option<u32> {
        let digits = text.strip_prefix(b"k").filter(|_| text.len() == self.bytes)?;
        let number = digits.iter().try_fold(0_u64, |number, digit| {
            let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
            number.checked_mul(10)?.checked_add(digit)
        });
        u32::try_from(number.filter(|number| *number < self.count)?).ok()
    }
}

/// Writes a number to the end of `room`, which is filled with zeros.
pub(super) fn write_digits(mut number: u64, room: &mut [u8]) {
    for digit in room.iter_mut().rev() {
        if number == 0 {
            break;
        }
        *digit += u8::try_from(number % 10).expect("one digit");
        number /= 10;
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Distribution {
    Uniform,
    /// The key of number n is chosen in proportion to (n + 1) to the power of minus this.
    Zipf(f64),
    /// One after another.
    Sequential,
}

impl Distribution {
    pub(super) fn read(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None => crate::config::choice(
                text,
                &[
                    ("uniform", Self::Uniform),
                    ("zipf", Self::Zipf(0.99)),
                    ("sequential", Self::Sequential),
                ],
            ),
            Some(("zipf", exponent)) => match exponent.parse() {
                Ok(power) if (0.01..=10.0).contains(&power) => Ok(Self::Zipf(power)),
                _ => Err(format!("{exponent:?} is not an exponent from 0.01 to 10")),
            },
            Some(_) => Err(format!("{text:?} is none of uniform, zipf, sequential")),
        }
    }
}

/// Draws from a Zipf distribution by rejection-inversion (W. Hörmann and G. Derflinger, 1996): in
/// constant time and room, however many keys there are.
#[derive(Clone, Debug)]
struct Zipf {
    count: f64,
    power: f64,
    /// The integral at the two ends of the range.
    low: f64,
    high: f64,
    /// A draw so close to its whole number is taken without a further look.
    close: f64,
}

impl Zipf {
    #[expect(clippy::cast_precision_loss, reason = "a number of keys is small enough")]
    fn new(count: u64, power: f64) -> Self {
        let mut zipf = Self { count: count as f64, power, low: 0.0, high: 0.0, close: 0.0 };
        zipf.low = zipf.integral(1.5) - 1.0;
        zipf.high = zipf.integral(zipf.count + 0.5);
        zipf.close = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.weight(2.0));
        zipf
    }

    fn weight(&self, x: f64) -> f64 {
        (-self.power * x.ln()).exp()
    }

    /// The integral of the weight from 1 to `x`.
    fn integral(&self, x: f64) -> f64 {
        let (log, rest) = (x.ln(), 1.0 - self.power);
        // Where the exponent is 1 the formula divides nothing by nothing.
        if (rest * log).abs() < 1e-9 { log } else { (rest * log).exp_m1() / rest }
    }

    fn inverse(&self, y: f64) -> f64 {
        let rest = 1.0 - self.power;
        if (rest * y).abs() < 1e-9 { y.exp() } else { ((rest * y).ln_1p() / rest).exp() }
    }

    /// A number from 0 to below the count.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to a number of keys"
    )]
    fn draw(&self, random: &mut Rng) -> u64 {
        loop {
            let y = self.high + random.f64() * (self.low - self.high);
            let x = self.inverse(y);
            let rank = x.round().clamp(1.0, self.count);
            if rank - x <= self.close || y >= self.integral(rank + 0.5) - self.weight(rank) {
                return rank as u64 - 1;
            }
        }
    }
}

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
    pub(super) fn new(settings: &super::settings::Settings, thread: usize) -> Self {
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

    pub(super) fn choose_operation(&mut self) -> Operation {
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
    use super::{Distribution, Keys, Mix, Operation, Workload, Zipf};
    use crate::load::settings::Settings;
    use fastrand::Rng;

    #[test]
    fn keys_are_texts_of_one_length_and_back() {
        let keys = Keys { count: 1000, bytes: 8 };
        let mut text = Vec::new();
        keys.write(42, &mut text);
        assert_eq!(text, b"k0000042");
        assert_eq!(keys.number(&text), Some(42));
        for other in [&b"k0001000"[..], b"k00042", b"x0000042", b"k00000x2", b""] {
            assert_eq!(keys.number(other), None);
        }
        assert_eq!((Keys::bytes_min(1000), Keys::bytes_min(1001)), (4, 5));
    }

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn zipf_draws_each_rank_in_proportion() {
        const DRAWS: u32 = 1_000_000;
        for power in [0.5, 0.99, 1.0, 1.5] {
            let zipf = Zipf::new(100, power);
            let mut random = Rng::with_seed(7);
            let mut found = [0_u32; 100];
            for _ in 0..DRAWS {
                found[usize::try_from(zipf.draw(&mut random)).unwrap()] += 1;
            }
            let weight = |rank: usize| (rank as f64 + 1.0).powf(-power);
            let sum: f64 = (0..100).map(weight).sum();
            for (rank, &found) in found.iter().enumerate() {
                let expected = weight(rank) / sum * f64::from(DRAWS);
                let distance = (f64::from(found) - expected).abs();
                assert!(distance < 5.0 * expected.sqrt(), "{power} {rank}: {found} {expected}");
            }
        }
        assert_eq!(Zipf::new(1, 0.99).draw(&mut Rng::with_seed(1)), 0);
    }

    #[test]
    fn threads_share_all_keys_and_no_key_is_of_two() {
        let keys = Keys { count: 11, bytes: 8 };
        let settings = Settings { keys, threads: 3, ..Settings::default() };
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
            let settings = Settings { threads, distribution, keys, ..Settings::default() };
            let mut workload = Workload::new(&settings, 0);
            let share = workload.share();
            let mut found = vec![0; usize::try_from(share).unwrap()];
            for _ in 0..10_000 {
                found[usize::try_from(workload.choose_place()).unwrap()] += 1;
            }
            assert!(found.iter().all(|&times| times > 0), "{distribution:?}: {found:?}");
        }
        let distribution = Distribution::Sequential;
        let settings = Settings { keys, threads: 3, distribution, ..Settings::default() };
        let mut workload = Workload::new(&settings, 2);
        let places: Vec<u64> = (0..5).map(|_| workload.choose_place()).collect();
        assert_eq!(places, [0, 1, 2, 0, 1]);
    }

    #[test]
    fn a_mix_is_kept() {
        let mix = Mix::read("get=3,delete=1").unwrap();
        let mut random = Rng::with_seed(3);
        let mut found = [0; 4];
        for _ in 0..40_000 {
            found[mix.choose(&mut random) as usize] += 1;
        }
        assert_eq!((found[Operation::Put as usize], found[Operation::Mget as usize]), (0, 0));
        assert!((29_000..31_000).contains(&found[Operation::Get as usize]), "{found:?}");
    }
}
