//! Steps that change one key: what is demanded first, and what must hold afterwards.

use super::super::held::{Held, tag_bytes};
use super::super::{ACCEPTED_BYTES, CONTENT_VERSION, If, READ_BYTES_MAX};
use super::{Run, number};
use kvcache::store::{
    CONTENT_TYPE_BYTES_MAX, Condition, Eviction, Extras, INLINE_BYTES_MAX, Read, Reply, Stats,
    TAGS_MAX, Verb, Versions, Write,
};
use std::num::NonZeroU64;

impl Run {
    pub(super) fn delete(&mut self, id: u32) {
        self.look(id);
        let evictions = self.store.stats().evictions;
        let reply = self.execute(id, Verb::delete());
        let held = self.model.remove(id).is_some();
        assert_eq!(reply, if held { Reply::Deleted } else { Reply::Absent });
        assert_eq!(self.store.stats().evictions, evictions);
    }

    pub(super) fn remove(&mut self, id: u32, only: If) {
        self.look(id);
        let listed = self.listed(id, only);
        let (condition, holds) = self.condition(id, only, listed.as_ref());
        let before = self.store.stats();
        let reply = self.execute(id, Verb::Delete { condition });
        if !self.model.held.contains_key(&id) {
            return assert_eq!(reply, Reply::Absent);
        }
        if !holds {
            assert_eq!(reply, Reply::Refused);
            return self.unchanged(id, &before);
        }
        self.model.remove(id);
        assert_eq!(reply, Reply::Deleted);
    }

    /// The version that a condition names, if the model knows one.
    pub(super) fn listed(&self, id: u32, only: If) -> Option<[u8; 8]> {
        let version = self.model.held.get(&id)?.version?;
        let other = u64::from(only == If::AnotherVersion);
        Some((version ^ other).to_le_bytes())
    }

    /// What the condition is to the store, and whether it holds.
    pub(super) fn condition<'a>(
        &self,
        id: u32,
        only: If,
        listed: Option<&'a [u8; 8]>,
    ) -> (Condition<&'a [u8]>, bool) {
        let is_there = self.model.held.contains_key(&id);
        let listed = listed.map(|listed| Some(Versions::Listed(&listed[..])));
        match (only, listed) {
            (If::Always, _) => (Condition::NONE, true),
            (If::Absent, _) => (Condition::ABSENT, !is_there),
            (If::ItsVersion, Some(matches)) => (Condition { matches, none_match: None }, true),
            (If::AnotherVersion, Some(matches)) => (Condition { matches, none_match: None }, false),
            (If::NotItsVersion, Some(none_match)) => {
                (Condition { matches: None, none_match }, false)
            }
            _ => (Condition::PRESENT, is_there),
        }
    }

    pub(super) fn read(&mut self, id: u32, only: If, lease_ms: u64, how: Read<&[u8]>) {
        self.look(id);
        let version = self.model.held.get(&id).and_then(|held| held.version);
        if version.is_some_and(|version| version >= CONTENT_VERSION) {
            // There may be room for another by now.
            self.read_now(id, If::Always, 0, Read { is_use: false, ..Read::ENTRY });
        }
        self.read_now(id, only, lease_ms, how);
    }

    pub(super) fn read_now(&mut self, id: u32, only: If, lease_ms: u64, how: Read<&[u8]>) {
        let listed = self.listed(id, only);
        let (condition, holds) = self.condition(id, only, listed.as_ref());
        let before = self.store.stats();
        let lease = NonZeroU64::new(lease_ms);
        let read = Read { condition, lease_ms: lease, pin_above: READ_BYTES_MAX, ..how };
        let reply = self.execute(id, Verb::Read(read));
        let after = self.store.stats();
        if how.is_use && self.model.held.contains_key(&id) {
            self.model.touch(id);
        }
        // A version may have needed room, and this very entry have been the one to go.
        self.evicted_since(before.evictions);
        self.look(id);
        let Some(held) = self.model.held.get(&id) else {
            return match reply {
                Reply::Missing(lease) if lease_ms > 0 => self.lease(id, lease_ms, lease),
                reply => assert_eq!((reply, lease_ms), (Reply::Absent, 0)),
            };
        };
        if !how.details && condition.is_none() {
            let written = |stats: Stats| (stats.payload_bytes, stats.evictions, stats.relocations);
            assert_eq!(written(after), written(before), "a read of the value alone wrote");
        }
        let is_stale = held.is_stale(self.now);
        let has_details = how.details || is_stale;
        let left = held.expires().and_then(|at| NonZeroU64::new(at.saturating_sub(self.now)));
        let (version, ttl_ms, stale) = match reply {
            Reply::Pinned { pin, bytes, details } if holds => {
                assert_eq!((bytes, details.is_some()), (held.value.len(), how.details));
                assert!(bytes > READ_BYTES_MAX);
                let (value, content_type) = (held.value.clone(), held.content_type.clone());
                self.keep(pin, id, value);
                let Some(details) = details else { return assert!(!is_stale) };
                assert_eq!(details.content_type.unwrap_or_default(), content_type);
                (details.version, details.ttl_ms, details.stale)
            }
            Reply::Value(value) if holds && !has_details => {
                return assert_eq!(value, held.value);
            }
            Reply::Entry { value, details } if holds && has_details => {
                assert!(!how.details || value.len() <= READ_BYTES_MAX.max(INLINE_BYTES_MAX));
                assert_eq!(value, held.value);
                assert_eq!(details.content_type.unwrap_or_default(), held.content_type);
                (details.version, details.ttl_ms, details.stale)
            }
            Reply::Unchanged { version, ttl_ms, stale }
                if !holds && condition.none_match.is_some() =>
            {
                (version, ttl_ms, stale)
            }
            Reply::Refused if !holds && condition.matches.is_some() => return,
            reply => panic!("{reply:?}"),
        };
        assert_eq!((ttl_ms, stale.is_some()), (left, is_stale));
        assert_eq!(after.stale - before.stale, u64::from(is_stale));
        self.show(id, version);
        if let Some(lease) = stale {
            self.lease(id, lease_ms, lease);
        }
    }

    pub(super) fn put(&mut self, id: u32, held: Held, ttl_ms: u64) {
        self.look(id);
        let before = self.store.stats();
        let verb = Verb::put(&held.value[..], NonZeroU64::new(ttl_ms));
        let reply = self.execute(id, verb);
        if self.is_refused(&reply, held.value.len()) {
            assert_eq!(self.store.stats().rejected, before.rejected + 1);
            return self.unchanged(id, &before);
        }
        let is_there = self.model.held.contains_key(&id);
        assert_eq!(reply, if is_there { Reply::Replaced } else { Reply::Created });
        self.written(id, held, &before);
    }

    pub(super) fn write(&mut self, id: u32, held: Held, (ttl_ms, stale_ms): (u64, u64), only: If) {
        self.look(id);
        let is_there = self.model.held.contains_key(&id);
        let listed = self.listed(id, only);
        let (condition, holds) = self.condition(id, only, listed.as_ref());
        let tags = tag_bytes(held.tags);
        let extras = Extras {
            content_type: Some(&held.content_type[..]),
            tags: Some(&tags[..]),
            stale_ms: NonZeroU64::new(stale_ms),
        };
        let ttl_ms = NonZeroU64::new(ttl_ms);
        let before = self.store.stats();
        let reply = self
            .execute(id, Verb::Write(Write { value: &held.value[..], extras, ttl_ms, condition }));
        if !holds {
            assert_eq!(reply, Reply::Refused);
            return self.unchanged(id, &before);
        }
        let may_be = held.content_type.len() <= CONTENT_TYPE_BYTES_MAX
            && held.tags.count_ones() as usize <= TAGS_MAX;
        if !may_be {
            assert_eq!(reply, Reply::TooLarge);
        }
        if !may_be || self.is_refused(&reply, held.value.len()) {
            assert_eq!(self.store.stats().rejected, before.rejected + 1);
            return self.unchanged(id, &before);
        }
        assert_eq!(reply, if is_there { Reply::Replaced } else { Reply::Created });
        self.written(id, held, &before);
    }

    pub(super) fn touch(&mut self, id: u32, ttl_ms: u64, only: If) {
        self.look(id);
        let listed = self.listed(id, only);
        let (condition, holds) = self.condition(id, only, listed.as_ref());
        let before = self.store.stats();
        let reply = self.execute(id, Verb::Touch { ttl_ms: NonZeroU64::new(ttl_ms), condition });
        let Some(held) = self.model.held.get(&id).cloned() else {
            return assert_eq!(reply, Reply::Absent);
        };
        if !holds {
            assert_eq!(reply, Reply::Refused);
            return self.unchanged(id, &before);
        }
        if self.is_refused(&reply, held.value.len()) {
            return self.unchanged(id, &before);
        }
        assert_eq!(reply, Reply::Touched);
        let stale_ms = held.gone - held.expires;
        self.written(id, held.lasting(self.now, ttl_ms, stale_ms), &before);
    }

    pub(super) fn add(&mut self, id: u32, by: i64, only: If) {
        self.look(id);
        let listed = self.listed(id, only);
        let (condition, holds) = self.condition(id, only, listed.as_ref());
        let before = self.store.stats();
        let reply = self.execute(id, Verb::Add { by, condition });
        if !holds {
            assert_eq!(reply, Reply::Refused);
            return self.unchanged(id, &before);
        }
        let live = self.model.held.get(&id).filter(|held| !held.is_stale(self.now));
        let held = live.cloned().unwrap_or_else(|| Held::plain(b"0".to_vec()));
        let Some(number) = number(&held.value) else {
            assert_eq!(reply, Reply::NotANumber);
            return self.unchanged(id, &before);
        };
        let Some(sum) = number.checked_add(by) else {
            assert_eq!(reply, Reply::Overflow);
            return self.unchanged(id, &before);
        };
        let value = sum.to_string().into_bytes();
        if self.is_refused(&reply, value.len()) {
            return self.unchanged(id, &before);
        }
        assert_eq!(reply, Reply::Number(sum));
        self.written(id, Held { value, version: None, ..held }, &before);
    }

    /// Whether an entry found no place, as only large ones may where entries are evicted.
    pub(super) fn is_refused(&self, reply: &Reply<Vec<u8>>, len: usize) -> bool {
        let is_refused = matches!(reply, Reply::TooLarge | Reply::Full);
        let may_be =
            len > ACCEPTED_BYTES || self.eviction == Eviction::None && *reply == Reply::Full;
        assert!(may_be || !is_refused, "{reply:?} to {len} bytes");
        is_refused
    }

    /// What must hold after an operation that changed nothing.
    pub(super) fn unchanged(&mut self, id: u32, before: &Stats) {
        assert_eq!(self.store.stats().evictions, before.evictions);
        self.check_one(id);
    }

    /// What must hold after the key was written: others made room, the coldest if the rule is LRU.
    pub(super) fn written(&mut self, id: u32, held: Held, before: &Stats) {
        self.model.remove(id);
        let evicted = self.evicted_since(before.evictions);
        if evicted > 0 && self.entries_max == 0 {
            let full = before.used_bytes + held.value.len() as u64;
            assert!(full * 10 >= self.budget * 7, "evicted at {full} of {}", self.budget);
        }
        self.model.leases.remove(&self.hash(&self.key(id)));
        self.model.insert(id, held);
        self.check_one(id);
        if self.eviction == Eviction::Lru
            && let Some((_, &coldest)) = self.model.queue.first_key_value()
        {
            self.check_one(coldest);
        }
    }
}
