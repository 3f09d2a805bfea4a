//! Which of so many keys is chosen how often.

use fastrand::Rng;

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
pub(super) struct Zipf {
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
    pub(super) fn new(count: u64, power: f64) -> Self {
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
    pub(super) fn draw(&self, random: &mut Rng) -> u64 {
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

#[cfg(test)]
mod tests {
    use super::Zipf;
    use fastrand::Rng;

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
}
