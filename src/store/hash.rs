//! The keyed hashes: one places a key inside its shard and shares no bits with the hash that picks
//! the shard, the other stands for a tag.

use ahash::RandomState;
use siphasher::sip::SipHasher24;

/// Hashes keys under a secret of this process, so that nobody outside can choose keys that
/// collide. Made once and copied to every core: a hash travels with its key.
#[derive(Clone, Debug)]
pub struct KeyHasher {
    keys: RandomState,
    tags: TagKey,
}

/// The secret under which tags are hashed. Entries keep the hashes of their tags and not the tags,
/// so a snapshot carries it: whoever restores one goes on with its secret, and tags mean the same
/// as before. Hence a hash whose results are the same everywhere; under a secret, because in
/// a public one somebody who may name a tag could find one that invalidates another's entries, or
/// many that fall on one row of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagKey(pub [u8; 16]);

impl TagKey {
    fn random() -> Self {
        let words = [0, 1].map(|word: u64| RandomState::new().hash_one(word));
        let mut key = [0; 16];
        for (bytes, word) in key.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *bytes = word.to_le_bytes();
        }
        Self(key)
    }
}

impl KeyHasher {
    /// A hasher under a fresh secret from the operating system.
    #[must_use]
    pub fn random() -> Self {
        Self { keys: RandomState::new(), tags: TagKey::random() }
    }

    /// The same for keys, but tags are hashed as they were under this secret.
    #[must_use]
    pub fn with_tag_key(self, tags: TagKey) -> Self {
        Self { tags, ..self }
    }

    #[must_use]
    pub fn tag_key(&self) -> TagKey {
        self.tags
    }

    /// A hasher whose hashes can be had again, for tests.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        let keys =
            RandomState::with_seeds(seed, !seed, seed.rotate_left(32), 0x9e37_79b9_7f4a_7c15);
        Self { keys, tags: TagKey(u128::from(seed).to_le_bytes()) }
    }

    #[must_use]
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.keys.hash_one(key)
    }

    /// The hash by which the store knows a tag. A key of the same bytes has another.
    #[must_use]
    pub fn tag(&self, tag: &[u8]) -> u64 {
        SipHasher24::new_with_key(&self.tags.0).hash(tag)
    }
}
