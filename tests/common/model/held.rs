//! What a store must hold: a plain map and a plain queue.

use super::{NEVER, TAGS};
use kvcache::clock::Millis;
use kvcache::store::Item;
use std::collections::{BTreeMap, HashMap};

#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) value: Vec<u8>,
    pub(super) content_type: Vec<u8>,
    pub(super) tags: u64,
    /// The end of its time to live, and of the time for which it may be read after that.
    pub(super) expires: u64,
    pub(super) gone: u64,
    /// When it was last used: its place in `Model::queue`.
    pub(super) used: u64,
    /// The version, once it was read.
    pub(super) version: Option<u64>,
}

impl Held {
    /// A value with nothing else, for ever.
    pub(super) fn plain(value: Vec<u8>) -> Self {
        let (expires, gone) = (u64::MAX, u64::MAX);
        Self { value, content_type: Vec::new(), tags: 0, expires, gone, used: 0, version: None }
    }

    /// The same for a time. One that the store cannot count to is no time at all.
    pub(super) fn lasting(mut self, now: u64, ttl_ms: u64, stale_ms: u64) -> Self {
        let expires = if ttl_ms == 0 { u64::MAX } else { now.saturating_add(ttl_ms) };
        let is_never = expires >= NEVER;
        self.expires = if is_never { u64::MAX } else { expires };
        self.gone =
            if is_never { u64::MAX } else { expires.saturating_add(stale_ms).min(NEVER - 1) };
        self
    }

    pub(super) fn is_stale(&self, now: u64) -> bool {
        self.expires <= now
    }

    pub(super) fn expires(&self) -> Option<u64> {
        (self.expires < NEVER).then_some(self.expires)
    }

    pub(super) fn stale_until(&self) -> Option<u64> {
        (self.expires < self.gone).then_some(self.gone)
    }
}

/// A lease that somebody has.
pub(super) struct Leased {
    pub(super) ends: u64,
    /// It may have given way to others.
    pub(super) may_be_lost: bool,
}

/// What the store must hold. `queue` runs from the entry that was used longest ago to the last.
#[derive(Default)]
pub(super) struct Model {
    pub(super) held: HashMap<u32, Held>,
    pub(super) queue: BTreeMap<u64, u32>,
    pub(super) uses: u64,
    /// By the hash of the key.
    pub(super) leases: HashMap<u64, Leased>,
    /// The tags that may still wait for their sweep.
    pub(super) waiting: u64,
}

impl Model {
    pub(super) fn remove(&mut self, id: u32) -> Option<Held> {
        let held = self.held.remove(&id)?;
        self.queue.remove(&held.used);
        Some(held)
    }

    pub(super) fn insert(&mut self, id: u32, held: Held) {
        self.uses += 1;
        self.queue.insert(self.uses, id);
        let old = self.held.insert(id, Held { used: self.uses, ..held });
        assert!(old.is_none());
    }

    pub(super) fn touch(&mut self, id: u32) {
        let held = self.remove(id).expect("the caller saw it");
        self.insert(id, held);
    }

    pub(super) fn remove_where(&mut self, is_over: impl Fn(u32, &Held) -> bool) {
        let over: Vec<u32> =
            self.held.iter().filter(|(id, held)| is_over(**id, held)).map(|(id, _)| *id).collect();
        for id in over {
            self.remove(id);
        }
    }

    pub(super) fn drop_expired(&mut self, now: u64) {
        self.remove_where(|_, held| held.gone <= now);
        self.leases.retain(|_, lease| lease.ends > now);
    }

    pub(super) fn check_item(&self, item: Item<'_>) -> u32 {
        let id = u32::from_le_bytes(*item.key.first_chunk().expect("a key has four bytes"));
        let held = self.held.get(&id).unwrap_or_else(|| panic!("walked over {id}, which is gone"));
        let tags = tag_bytes(held.tags);
        let expected = Item {
            key: item.key,
            value: &held.value,
            content_type: Some(&held.content_type[..]).filter(|bytes| !bytes.is_empty()),
            tags: Some(&tags[..]).filter(|bytes| !bytes.is_empty()),
            expires: held.expires().map(Millis),
            stale_until: held.stale_until().map(Millis),
        };
        assert_eq!(item, expected);
        id
    }
}

/// The bytes of a value. With a `fill` of 0 they are digits.
pub(super) fn value(len: usize, fill: u8) -> Vec<u8> {
    if fill == 0 {
        return vec![b'9'; len.min(20)];
    }
    let mut value = vec![fill; len];
    // Where the fill is ASCII, all of it is text.
    let most = if fill.is_ascii() { 0x7f } else { 0xff };
    for (byte, index) in value.iter_mut().step_by(61).zip((0..=u8::MAX).cycle()) {
        *byte = fill.wrapping_add(index) & most;
    }
    value
}

/// The hash of a tag. All begin their search for a row of a table at one of a few.
pub(super) fn tag_hash(tag: u8) -> u64 {
    u64::from(tag) << 4
}

pub(super) fn tag_bytes(tags: u64) -> Vec<u8> {
    let tags = (0..TAGS).filter(|tag| tags >> tag & 1 != 0);
    tags.flat_map(|tag| tag_hash(tag).to_le_bytes()).collect()
}
