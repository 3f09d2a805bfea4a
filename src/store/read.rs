//! How a store is read: the value alone, or everything about an entry.
//!
//! Most reads want the value alone and do nothing but look it up. The version of an entry is asked
//! for by those that want the details and by those with a condition: they may have to write one.

use super::arena::Ref;
use super::entry::{self, Meta};
use super::op::{Details, Key, Lease, Read, Reply};
use super::state::Store;
use crate::clock::Millis;
use std::num::NonZeroU64;

impl Store {
    #[inline]
    pub(super) fn read(
        &mut self,
        key: Key<&[u8]>,
        read: &Read<&[u8]>,
        now: Millis,
    ) -> Reply<&[u8]> {
        let Some((at, meta)) = self.look_up(key, now, read.is_use) else {
            return self.missing(key, read.lease_ms, now);
        };
        if read.asks_for_version() || self.is_stale(at, meta, now) {
            return self.read_entry(key, (at, meta), read, now);
        }
        if self.is_to_pin(at, meta, read.pin_above) {
            return self.pinned(at, meta, None);
        }
        Reply::Value(self.value(at, meta))
    }

    fn missing(
        &mut self,
        key: Key<&[u8]>,
        lease_ms: Option<NonZeroU64>,
        now: Millis,
    ) -> Reply<&[u8]> {
        match lease_ms {
            Some(lease_ms) => Reply::Missing(self.leases.ask(key.hash, lease_ms, now)),
            None => Reply::Absent,
        }
    }

    /// Reads an entry whose version is asked for, or that is stale.
    #[inline(never)]
    fn read_entry(
        &mut self,
        key: Key<&[u8]>,
        (mut at, mut meta): (Ref, Meta),
        read: &Read<&[u8]>,
        now: Millis,
    ) -> Reply<&[u8]> {
        let &Read { condition, lease_ms, .. } = read;
        if !meta.is_extended() {
            let Some(extended) = self.extend(key, (at, meta), now) else {
                return self.missing(key, lease_ms, now);
            };
            (at, meta) = extended;
        }
        let version = self.version(at, meta);
        if condition.matches.is_some_and(|versions| !versions.include(version)) {
            return Reply::Refused;
        }
        let (mut ttl_ms, mut stale) = (None, None);
        if meta.has_ttl() {
            let end = self.stale_at(at, meta).or_else(|| entry::expires(&self.arena, at, meta));
            ttl_ms = end.and_then(|end| NonZeroU64::new(end.saturating_sub(now.0)));
            stale = ttl_ms.is_none().then(|| {
                self.stats.stale += 1;
                lease_ms.map_or(Lease::NotAsked, |time| self.leases.ask(key.hash, time, now))
            });
        }
        if condition.none_match.is_some_and(|versions| versions.include(version)) {
            return Reply::Unchanged { version, ttl_ms, stale };
        }
        let has_details = read.details || stale.is_some();
        let details = Details { content_type: None, version, ttl_ms, stale };
        // A stale value comes with its details even where the value alone was asked for.
        if self.is_to_pin(at, meta, read.pin_above) && read.details == has_details {
            return self.pinned(at, meta, has_details.then_some(details));
        }
        self.gather(at, meta);
        let value = self.gathered(at, meta);
        if !has_details {
            return Reply::Value(value);
        }
        Reply::Entry { value, details: self.with_content_type(at, meta, details) }
    }

    /// Pins a value for the one who reads it.
    fn pinned(
        &mut self,
        at: Ref,
        meta: Meta,
        details: Option<Details<&'static [u8]>>,
    ) -> Reply<&[u8]> {
        let (pin, bytes) = (self.pin(at, meta), entry::value_len(&self.arena, at, meta));
        let details = details.map(|details| self.with_content_type(at, meta, details));
        Reply::Pinned { pin, bytes, details }
    }

    fn with_content_type<'a>(
        &'a self,
        at: Ref,
        meta: Meta,
        details: Details<&'a [u8]>,
    ) -> Details<&'a [u8]> {
        let extended = entry::extended(&self.arena, at, meta);
        let content_type = extended.and_then(|extended| extended.content_type());
        Details { content_type, ..details }
    }

    #[inline]
    fn is_to_pin(&self, at: Ref, meta: Meta, above: usize) -> bool {
        meta.is_chunked() && entry::value_len(&self.arena, at, meta) > above
    }

    /// `find_live`, counted as a read.
    #[inline]
    fn look_up(&mut self, key: Key<&[u8]>, now: Millis, is_use: bool) -> Option<(Ref, Meta)> {
        let expirations = self.stats.expirations;
        let Some((at, meta)) = self.find_live(key, now) else {
            self.stats.misses += 1;
            self.stats.expired += self.stats.expirations - expirations;
            return None;
        };
        self.stats.hits += 1;
        if is_use {
            self.policy.hit(&mut self.arena, at);
            if !meta.was_read() {
                entry::set_read(&mut self.arena, at);
            }
        }
        Some((at, meta))
    }

    #[inline]
    pub(super) fn value(&mut self, at: Ref, meta: Meta) -> &[u8] {
        self.gather(at, meta);
        self.gathered(at, meta)
    }

    /// Puts a chunked value together.
    #[inline]
    fn gather(&mut self, at: Ref, meta: Meta) {
        if meta.is_chunked() {
            entry::gather(&self.arena, at, meta, &mut self.scratch);
        }
    }

    /// The value of an entry for which `gather` was called.
    #[inline]
    fn gathered(&self, at: Ref, meta: Meta) -> &[u8] {
        if meta.is_chunked() { &self.scratch } else { entry::inline_value(&self.arena, at, meta) }
    }

    pub(super) fn stale_at(&self, at: Ref, meta: Meta) -> Option<u64> {
        entry::extended(&self.arena, at, meta).and_then(|extended| extended.stale_at)
    }

    /// Whether the time to live is over of an entry that may be read all the same.
    #[inline]
    pub(super) fn is_stale(&self, at: Ref, meta: Meta, now: Millis) -> bool {
        meta.is_extended()
            && meta.has_ttl()
            && self.stale_at(at, meta).is_some_and(|stale_at| stale_at <= now.0)
    }
}
