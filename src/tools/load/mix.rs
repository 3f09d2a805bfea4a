//! Operations, and which part of the load each of them is.

use fastrand::Rng;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoadOperation {
    Get,
    Put,
    Delete,
    Mget,
}

impl LoadOperation {
    pub(super) const NAMES: [(&'static str, Self); 4] =
        [("get", Self::Get), ("put", Self::Put), ("delete", Self::Delete), ("mget", Self::Mget)];

    pub(super) fn is_write(self) -> bool {
        matches!(self, Self::Put | Self::Delete)
    }
}

/// Parts of each operation, in the order of [`LoadOperation::NAMES`].
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
            let operation = crate::config::choice(name, &LoadOperation::NAMES)?;
            let part = crate::config::count(part, 0, PART_MAX)?;
            mix.0[operation as usize] = u32::try_from(part).expect("at most a million");
        }
        if mix.sum() == 0 {
            return Err(format!("{text:?} has no part above 0"));
        }
        Ok(mix)
    }

    pub(super) fn has(&self, operation: LoadOperation) -> bool {
        self.0[operation as usize] > 0
    }

    fn sum(&self) -> u32 {
        self.0.iter().sum()
    }

    pub(super) fn choose(&self, random: &mut Rng) -> LoadOperation {
        let mut at = random.u32(..self.sum());
        for (part, (_, operation)) in self.0.iter().zip(LoadOperation::NAMES) {
            if at < *part {
                return operation;
            }
            at -= part;
        }
        unreachable!("the choice is below the sum of the parts")
    }
}

#[cfg(test)]
mod tests {
    use super::{LoadOperation, Mix};
    use fastrand::Rng;

    #[test]
    fn a_mix_is_kept() {
        let mix = Mix::read("get=3,delete=1").unwrap();
        let mut random = Rng::with_seed(3);
        let mut found = [0; 4];
        for _ in 0..40_000 {
            found[mix.choose(&mut random) as usize] += 1;
        }
        assert_eq!(
            (found[LoadOperation::Put as usize], found[LoadOperation::Mget as usize]),
            (0, 0)
        );
        assert!((29_000..31_000).contains(&found[LoadOperation::Get as usize]), "{found:?}");
    }
}
