//! The rules of eviction and what they are called.

/// The rules of eviction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eviction {
    /// Least recently used, exactly.
    #[default]
    Lru,
    /// First in, first out.
    Fifo,
    /// Least frequently used, with ageing.
    Lfu,
    Sieve,
    S3Fifo,
    /// Experimental: its window does not adapt.
    WTinyLfu,
    /// Nothing is evicted: what does not fit is refused.
    None,
}

impl Eviction {
    /// Every rule and what it is called in settings.
    pub const NAMES: [(&str, Self); 7] = [
        ("lru", Self::Lru),
        ("fifo", Self::Fifo),
        ("lfu", Self::Lfu),
        ("sieve", Self::Sieve),
        ("s3fifo", Self::S3Fifo),
        ("wtinylfu", Self::WTinyLfu),
        ("none", Self::None),
    ];

    /// What the rule is called in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, rule)| *rule == self).expect("each has a name").0
    }
}
