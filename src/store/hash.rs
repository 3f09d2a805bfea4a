//! The keyed hash that places a key inside its shard; it shares no bits with the hash that picks
//! the shard.

use ahash::RandomState;

/// Hashes keys under a secret of this process, so that nobody outside can choose keys that
/// collide. Made once and copied to every core: a hash travels with its key.
#[derive(Clone, Debug)]
pub struct KeyHasher(RandomState);

impl KeyHasher {
    /// A hasher under a fresh secret from the operating system.
    #[must_use]
    pub fn random() -> Self {
        Self(RandomState::new())
    }

    /// A hasher whose hashes can be had again, for tests.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        Self(RandomState::with_seeds(seed, !seed, seed.rotate_left(32), 0x9e37_79b9_7f4a_7c15))
    }

    #[must_use]
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.0.hash_one(key)
    }

    /// The hash by which the store knows a tag. A key of the same bytes has another.
    #[must_use]
    pub fn tag(&self, tag: &[u8]) -> u64 {
        self.0.hash_one(("tag", tag))
    }
}
