//! How a store is written: what puts an entry, changes its life or its number, or deletes it.

use super::arena::Ref;
use super::entry::{self, Meta};
use super::extras::Extended;
use super::op::{Condition, Key, Reply, Write};
use super::place::Fresh;
use super::policy::Eviction;
use super::room::EXPIRE_STEPS;
use super::state::Store;
use crate::clock::Millis;
use std::num::NonZeroU64;

/// When an entry ends.
#[derive(Clone, Copy)]
struct Life {
    /// Nobody may read it from here on.
    expires: Option<u64>,
    /// It is stale from here on, where it may be read after its time to live.
    stale_at: Option<u64>,
}

impl Store {
    #[inline]
    pub(super) fn write(
        &mut self,
        key: Key<&[u8]>,
        write: &Write<&[u8]>,
        now: Millis,
    ) -> Reply<&[u8]> {
        let (value, extras) = (write.value, &write.extras);
        let found = self.find_live(key, now);
        if self.refuses(&write.condition, found) {
            return Reply::Refused;
        }
        let Life { expires, stale_at } = Life::new(now, write.ttl_ms, extras.stale_ms);
        let is_empty = |bytes: Option<&[u8]>| bytes.is_none_or(<[u8]>::is_empty);
        let is_plain = extras.are_none()
            || stale_at.is_none() && is_empty(extras.content_type) && is_empty(extras.tags);
        if is_plain && !self.needs_version(key.bytes, value) {
            return self.put(key, Fresh { value, expires, extended: None }, found, now);
        }
        let Some(extended) = Extended::new(self.next_version(), stale_at, *extras) else {
            self.stats.rejected += 1;
            return Reply::TooLarge;
        };
        self.put(key, Fresh { value, expires, extended: Some(&extended) }, found, now)
    }

    fn put(
        &mut self,
        key: Key<&[u8]>,
        fresh: Fresh<'_>,
        found: Option<(Ref, Meta)>,
        now: Millis,
    ) -> Reply<&[u8]> {
        let Some(shape) = self.shape(key, &fresh) else {
            self.stats.rejected += 1;
            return Reply::TooLarge;
        };
        let class = self.arena.class_for(shape.slot_bytes());
        if let Some((at, meta)) = found
            && self.arena.class_at(at) == class
            && shape.chunks == 0
            && !meta.is_chunked()
        {
            self.leases.end(key.hash, now);
            self.overwrite(at, meta, &shape, (key.bytes, fresh.value));
            self.policy.hit(&mut self.arena, at);
            self.stats.replaced += 1;
            return Reply::Replaced;
        }
        let is_more = usize::from(found.is_none());
        if self.eviction == Eviction::None
            && !self.policy.is_restoring()
            && (self.index.entries() + is_more > self.bounds.entries_max
                || !self.has_room_for_good(&shape, class))
        {
            self.stats.rejected += 1;
            self.stats.rejected_full += 1;
            return Reply::Full;
        }
        self.leases.end(key.hash, now);
        if let Some((at, meta)) = found {
            self.remove(at, meta);
        }
        self.expire(now, EXPIRE_STEPS);
        self.make_room(&shape, class, now);
        self.insert(&shape, class, key, fresh.value);
        if found.is_some() {
            self.stats.replaced += 1;
            Reply::Replaced
        } else {
            self.stats.created += 1;
            Reply::Created
        }
    }

    pub(super) fn touch(
        &mut self,
        key: Key<&[u8]>,
        condition: Condition<&[u8]>,
        ttl_ms: Option<NonZeroU64>,
        now: Millis,
    ) -> Reply<&[u8]> {
        let Some((at, meta)) = self.find_live(key, now) else { return Reply::Absent };
        if self.refuses(&condition, Some((at, meta))) {
            return Reply::Refused;
        }
        let old_end = entry::expires(&self.arena, at, meta).unwrap_or(0);
        let stale_ms = self.stale_at(at, meta).map(|stale_at| old_end - stale_at);
        let Life { expires, stale_at } = Life::new(now, ttl_ms, stale_ms.and_then(NonZeroU64::new));
        match expires {
            Some(expires) if meta.has_ttl() && stale_at.is_some() == stale_ms.is_some() => {
                self.wheel.remove(&mut self.arena, at);
                entry::set_expires(&mut self.arena, at, expires);
                if let Some(stale_at) = stale_at {
                    entry::set_stale_at(&mut self.arena, at, meta, stale_at);
                }
                self.wheel.insert(&mut self.arena, at, expires);
                self.policy.hit(&mut self.arena, at);
            }
            None if !meta.has_ttl() => self.policy.hit(&mut self.arena, at),
            expires => {
                // The entry changes its size: it is written again.
                let mut value = std::mem::take(&mut self.scratch);
                entry::gather(&self.arena, at, meta, &mut value);
                let extended = entry::extended_bytes(&self.arena, at, meta).to_vec();
                let extended =
                    meta.is_extended().then(|| Extended { stale_at, ..Extended::read(&extended) });
                let fresh = Fresh { value: &value, expires, extended: extended.as_ref() };
                let replaced = self.stats.replaced;
                let is_done =
                    matches!(self.put(key, fresh, Some((at, meta)), now), Reply::Replaced);
                self.stats.replaced = replaced;
                self.scratch = value;
                if !is_done {
                    return Reply::Full;
                }
            }
        }
        self.leases.end(key.hash, now);
        Reply::Touched
    }

    pub(super) fn add(
        &mut self,
        key: Key<&[u8]>,
        condition: Condition<&[u8]>,
        by: i64,
        now: Millis,
    ) -> Reply<&[u8]> {
        let found = self.find_live(key, now);
        if self.refuses(&condition, found) {
            return Reply::Refused;
        }
        let (mut number, mut expires, mut extras) = (0, None, Vec::new());
        // What is stale counts for nothing.
        if let Some((at, meta)) = found.filter(|&(at, meta)| !self.is_stale(at, meta, now)) {
            let Some(held) = parse_number(self.value(at, meta)) else { return Reply::NotANumber };
            number = held;
            expires = entry::expires(&self.arena, at, meta);
            extras.extend_from_slice(entry::extended_bytes(&self.arena, at, meta));
        }
        let Some(sum) = number.checked_add(by) else { return Reply::Overflow };
        let text = sum.to_string();
        let extended = (!extras.is_empty())
            .then(|| Extended { version: self.next_version(), ..Extended::read(&extras) });
        let fresh = Fresh { value: text.as_bytes(), expires, extended: extended.as_ref() };
        match self.put(key, fresh, found, now) {
            Reply::Created | Reply::Replaced => Reply::Number(sum),
            Reply::TooLarge => Reply::TooLarge,
            _ => Reply::Full,
        }
    }

    pub(super) fn delete(
        &mut self,
        key: Key<&[u8]>,
        condition: Condition<&[u8]>,
        now: Millis,
    ) -> Reply<&[u8]> {
        let Some((at, meta)) = self.find_live(key, now) else { return Reply::Absent };
        if self.refuses(&condition, Some((at, meta))) {
            return Reply::Refused;
        }
        self.remove(at, meta);
        self.stats.deleted += 1;
        Reply::Deleted
    }
}

impl Life {
    /// Of an entry that is written now. What would end later than an entry can say never ends.
    fn new(now: Millis, ttl_ms: Option<NonZeroU64>, stale_ms: Option<NonZeroU64>) -> Self {
        let end = ttl_ms.map(|ttl| now.0.saturating_add(ttl.get()));
        let end = end.filter(|&end| end < entry::EXPIRES_MAX);
        let last = end.zip(stale_ms).map(|(end, stale)| end.saturating_add(stale.get()));
        let last =
            last.map(|last| last.min(entry::EXPIRES_MAX - 1)).filter(|&last| Some(last) > end);
        Self { expires: last.or(end), stale_at: last.and(end) }
    }
}

/// Reads an integer that is written as it would be printed.
fn parse_number(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse().ok().filter(|number: &i64| number.to_string() == text)
}
