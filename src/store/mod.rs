//! One shard's data: a single-threaded key-value store with eviction and a byte budget.
//!
//! No I/O, no clock, no knowledge of cores: `execute(op, now)` is the whole protocol, and both the
//! local path and the far side of a hop call it.
//!
//! Entries lie in the size-class pages of an arena and are found through an index of buckets; the
//! queue of the eviction policy and the wheel of expiry run through them. The arena takes the whole
//! budget at the start and index, queue and wheel live in it, so the bound holds by construction.
//! A value too large for a slot lies in chunks and can be lent: read piece by piece, as it was.

mod arena;
#[cfg(any(test, debug_assertions))]
mod check;
mod entry;
mod extras;
mod hash;
mod index;
mod lease;
mod loan;
mod op;
mod policy;
mod room;
mod scan;
mod stats;
mod tags;
mod version;
mod walk;
mod wheel;
mod words;

pub use hash::{KeyHasher, TagKey};
pub use loan::Loan;
pub use op::{
    CONTENT_TYPE_BYTES_MAX, Condition, Extras, Key, Lease, Op, Reply, TAGS_MAX, Verb, Versions,
};
pub use policy::Eviction;
pub use room::{EXPIRE_STEPS_MAX, WAY_STEPS_MAX};
pub use scan::{SCAN_STEPS_MAX, Scan};
pub use stats::Stats;
pub use walk::Item;

use crate::clock::Millis;
use crate::events::{Kind, Note, Samples};
use arena::{Arena, Class, Moved, NIL, Ref};
use entry::{Meta, Shape};
use extras::Extended;
use index::Index;
use lease::Leases;
use loan::Loans;
use policy::Policy;
use std::num::NonZeroU64;
use tags::Tags;
use walk::Walk;
use wheel::Wheel;

/// The bounds of one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Everything the store owns fits in this; at least 1 MiB.
    pub memory_bytes_max: usize,
    pub key_bytes_max: usize,
    pub value_bytes_max: usize,
    /// 0: no bound but the memory.
    pub entries_max: usize,
}

/// The least memory of one store.
pub const MEMORY_BYTES_MIN: usize = 1 << 20;

/// A longer value lies in chunks.
pub const INLINE_BYTES_MAX: usize = arena::SLOT_BYTES_MAX;

/// One shard's entries.
pub struct Store {
    arena: Arena,
    index: Index,
    policy: Policy,
    eviction: Eviction,
    walk: Option<Walk>,
    wheel: Wheel,
    leases: Leases,
    tags: Tags,
    /// The entry of each chunk, or its loan.
    owners: Vec<Ref>,
    loans: Loans,
    /// Where a chunked value is put together for a reader.
    scratch: Vec<u8>,
    /// The chunks of the value that is being put.
    chunks: Vec<Ref>,
    /// Counts what `version` is taken from.
    writes: u64,
    versions: KeyHasher,
    limits: Limits,
    stats: Stats,
    /// While somebody listens.
    samples: Option<Box<Samples>>,
    /// Operations since the last check.
    #[cfg(any(test, debug_assertions))]
    operations: u64,
}

/// What is to be written under a key.
#[derive(Clone, Copy)]
struct Fresh<'a> {
    value: &'a [u8],
    expires: Option<u64>,
    extended: Option<&'a Extended<'a>>,
}

/// When an entry ends.
#[derive(Clone, Copy)]
struct Life {
    /// Nobody may read it from here on.
    expires: Option<u64>,
    /// It is stale from here on, where it may be read after its time to live.
    stale_at: Option<u64>,
}

/// Why nobody may read an entry any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Expired,
    Invalidated,
}

/// What `Settings` comes to.
#[expect(clippy::struct_field_names, reason = "each is the most of something")]
struct Limits {
    key_bytes_max: usize,
    value_bytes_max: usize,
    entries_max: usize,
    /// Pages that one entry may take.
    pages_max: usize,
}

impl Store {
    /// An empty store. Its memory is reserved here and becomes resident as it is used.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self::with_eviction(settings, Eviction::default())
    }

    /// The same with another rule of eviction.
    #[must_use]
    pub fn with_eviction(settings: &Settings, eviction: Eviction) -> Self {
        let budget = settings.memory_bytes_max.clamp(MEMORY_BYTES_MIN, arena::REGION_BYTES_MAX);
        let value_bytes_max = settings.value_bytes_max.min(budget / 4);
        let owners = budget / arena::chunk_bytes(budget);
        let entry_bytes_max = settings.key_bytes_max + value_bytes_max + entry::OVERHEAD_BYTES_MAX;
        let is_chunked = entry_bytes_max > arena::entry_bytes_max(budget);
        let loans_max = if is_chunked { owners } else { 0 };
        let extra = size_of::<Self>()
            + Loans::table_bytes(loans_max)
            + Index::table_bytes(budget)
            + Policy::table_bytes(eviction, budget)
            + Leases::table_bytes(budget)
            + Tags::table_bytes(budget)
            + owners * size_of::<Ref>()
            + value_bytes_max;
        let mut arena = Arena::new(budget, extra);
        let versions = KeyHasher::random();
        Self {
            index: Index::new(&mut arena),
            policy: Policy::new(eviction, budget),
            eviction,
            walk: None,
            wheel: Wheel::new(),
            leases: Leases::new(budget),
            tags: Tags::new(budget),
            owners: vec![NIL; owners],
            loans: Loans::new(loans_max, budget),
            scratch: Vec::with_capacity(value_bytes_max),
            chunks: Vec::new(),
            writes: version::first(&versions),
            versions,
            limits: Limits {
                key_bytes_max: settings.key_bytes_max.min(entry::KEY_BYTES_MAX),
                value_bytes_max,
                entries_max: match settings.entries_max {
                    0 => usize::MAX,
                    bound => bound,
                },
                pages_max: arena.pages() / 4,
            },
            stats: Stats { budget_bytes: budget as u64, ..Stats::default() },
            samples: None,
            arena,
            #[cfg(any(test, debug_assertions))]
            operations: 0,
        }
    }

    /// Runs one operation at the instant `now`, which never runs backwards.
    pub fn execute(&mut self, op: Op<&[u8]>, now: Millis) -> Reply<&[u8]> {
        self.run(&op, now)
    }

    /// The same where the caller still needs the operation: it is not copied.
    pub fn run(&mut self, op: &Op<&[u8]>, now: Millis) -> Reply<&[u8]> {
        #[cfg(any(test, debug_assertions))]
        self.check_now_and_then();
        self.policy.set_now(now);
        let key = op.key;
        match op.verb {
            Verb::Get | Verb::Peek => self.get(key, now, matches!(op.verb, Verb::Get)),
            Verb::Lend { above } => self.get_or_lend(key, above, now),
            Verb::Piece { loan, from, bytes } => self.piece(loan, from, bytes),
            Verb::Put { value, ttl_ms } => {
                let expires = Life::new(now, ttl_ms, None).expires;
                let found = self.find_live(key, now);
                let large = self.needs_version(key.bytes, value);
                let extended = large.then(|| Extended::version(self.next_version()));
                self.put(key, Fresh { value, expires, extended: extended.as_ref() }, found, now)
            }
            Verb::Delete => self.delete(key, Condition::NONE, now),
            Verb::Read { condition, lease_ms, is_use, above } => {
                self.read(key, condition, lease_ms, (is_use, above), now)
            }
            Verb::Write { value, extras, ttl_ms, condition } => {
                let found = self.find_live(key, now);
                if self.refuses(condition, found) {
                    return Reply::Refused;
                }
                let life = Life::new(now, ttl_ms, extras.stale_ms);
                let extended = Extended::new(self.next_version(), life.stale_at, extras);
                if extended.is_none() {
                    self.stats.rejected += 1;
                    return Reply::TooLarge;
                }
                let fresh = Fresh { value, expires: life.expires, extended: extended.as_ref() };
                self.put(key, fresh, found, now)
            }
            Verb::Remove { condition } => self.delete(key, condition, now),
            Verb::Touch { ttl_ms, condition } => self.touch(key, condition, ttl_ms, now),
            Verb::Add { by, condition } => self.add(key, condition, by, now),
        }
    }

    pub fn stats(&self) -> Stats {
        let bytes = |pages| (pages * self.arena.page_bytes()) as u64;
        Stats {
            entries: self.index.entries() as u64,
            entries_with_ttl: self.wheel.entries() as u64,
            used_bytes: self.stats.budget_bytes - bytes(self.arena.pool()),
            entry_page_bytes: bytes(self.arena.entry_pages(self.index.pages())),
            lent: self.loans.open() as u64,
            orphaned_bytes: self.loans.orphaned_bytes() as u64,
            ..self.stats
        }
    }

    #[inline]
    fn get(&mut self, key: Key<&[u8]>, now: Millis, is_use: bool) -> Reply<&[u8]> {
        let Some((at, meta)) = self.look_up(key, now, is_use) else { return Reply::Absent };
        if meta.is_extended() && meta.has_ttl() && self.is_stale(at, meta, now) {
            return self.get_stale(at, meta);
        }
        Reply::Value(self.value(at, meta))
    }

    #[cold]
    fn get_stale(&mut self, at: Ref, meta: Meta) -> Reply<&[u8]> {
        self.stats.stale += 1;
        let version = self.version(at, meta);
        self.entry(at, meta, (version, None, Some(Lease::NotAsked)))
    }

    fn get_or_lend(&mut self, key: Key<&[u8]>, above: usize, now: Millis) -> Reply<&[u8]> {
        let Some((at, meta)) = self.look_up(key, now, true) else { return Reply::Absent };
        if meta.is_extended() && meta.has_ttl() && self.is_stale(at, meta, now) {
            return self.get_stale(at, meta);
        }
        if !self.is_to_lend(at, meta, above) {
            return Reply::Value(self.value(at, meta));
        }
        let bytes = entry::value_len(&self.arena, at, meta);
        Reply::Lent { loan: self.lend(at, meta), bytes }
    }

    fn read(
        &mut self,
        key: Key<&[u8]>,
        condition: Condition<&[u8]>,
        lease_ms: Option<NonZeroU64>,
        (is_use, above): (bool, usize),
        now: Millis,
    ) -> Reply<&[u8]> {
        let mut found = self.look_up(key, now, is_use);
        if let Some((at, meta)) = found
            && !meta.is_extended()
        {
            found = self.extend(key, (at, meta), now);
        }
        let Some((at, meta)) = found else {
            return match lease_ms {
                Some(lease_ms) => Reply::Missing(self.leases.ask(key.hash, lease_ms, now)),
                None => Reply::Absent,
            };
        };
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
        if self.is_to_lend(at, meta, above) {
            let loan = self.lend(at, meta);
            let bytes = entry::value_len(&self.arena, at, meta);
            let content_type = self.content_type(at, meta);
            return Reply::LentEntry { loan, bytes, content_type, version, ttl_ms, stale };
        }
        self.entry(at, meta, (version, ttl_ms, stale))
    }

    /// Everything about an entry.
    fn entry(
        &mut self,
        at: Ref,
        meta: Meta,
        (version, ttl_ms, stale): (u64, Option<NonZeroU64>, Option<Lease>),
    ) -> Reply<&[u8]> {
        self.gather(at, meta);
        let content_type = self.content_type(at, meta);
        Reply::Entry { value: self.gathered(at, meta), content_type, version, ttl_ms, stale }
    }

    fn content_type(&self, at: Ref, meta: Meta) -> Option<&[u8]> {
        entry::extended(&self.arena, at, meta).and_then(|extended| extended.content_type())
    }

    fn is_to_lend(&self, at: Ref, meta: Meta, above: usize) -> bool {
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
    fn value(&mut self, at: Ref, meta: Meta) -> &[u8] {
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

    fn stale_at(&self, at: Ref, meta: Meta) -> Option<u64> {
        entry::extended(&self.arena, at, meta).and_then(|extended| extended.stale_at)
    }

    /// Whether the time to live is over of an entry that may be read all the same.
    fn is_stale(&self, at: Ref, meta: Meta, now: Millis) -> bool {
        self.stale_at(at, meta).is_some_and(|stale_at| stale_at <= now.0)
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
            && (self.index.entries() + is_more > self.limits.entries_max
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
        self.expire(now, room::EXPIRE_STEPS);
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

    fn touch(
        &mut self,
        key: Key<&[u8]>,
        condition: Condition<&[u8]>,
        ttl_ms: Option<NonZeroU64>,
        now: Millis,
    ) -> Reply<&[u8]> {
        let Some((at, meta)) = self.find_live(key, now) else { return Reply::Absent };
        if self.refuses(condition, Some((at, meta))) {
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

    fn add(
        &mut self,
        key: Key<&[u8]>,
        condition: Condition<&[u8]>,
        by: i64,
        now: Millis,
    ) -> Reply<&[u8]> {
        let found = self.find_live(key, now);
        if self.refuses(condition, found) {
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

    fn delete(
        &mut self,
        key: Key<&[u8]>,
        condition: Condition<&[u8]>,
        now: Millis,
    ) -> Reply<&[u8]> {
        let Some((at, meta)) = self.find_live(key, now) else { return Reply::Absent };
        if self.refuses(condition, Some((at, meta))) {
            return Reply::Refused;
        }
        self.remove(at, meta);
        self.stats.deleted += 1;
        Reply::Deleted
    }

    /// How an entry would lie, if it may be put at all.
    fn shape<'a>(&self, key: Key<&[u8]>, fresh: &Fresh<'a>) -> Option<Shape<'a>> {
        let lengths = (key.bytes.len(), fresh.value.len());
        if lengths.0 > self.limits.key_bytes_max || lengths.1 > self.limits.value_bytes_max {
            return None;
        }
        let chunk_class = self.arena.chunk_class();
        let shape = Shape::new(
            (index::bucket_bits(key.hash), lengths.0, lengths.1),
            (fresh.expires, fresh.extended),
            (self.arena.entry_bytes_max(), self.arena.slot_bytes(chunk_class)),
        )?;
        let pages = shape.chunks.div_ceil(self.arena.slots_per_page(chunk_class));
        (pages <= self.limits.pages_max).then_some(shape)
    }

    /// The entry of `key`, fresh or stale. One that nobody may read is dropped on the way.
    #[inline]
    fn find_live(&mut self, key: Key<&[u8]>, now: Millis) -> Option<(Ref, Meta)> {
        let hash = index::bucket_bits(key.hash);
        let arena = &self.arena;
        let at = self.index.find(arena, key.hash, |at| {
            let meta = entry::meta(arena, at);
            meta.may_be(hash, key.bytes.len()) && entry::key(arena, at, meta) == key.bytes
        })?;
        let meta = entry::meta(arena, at);
        if let Some(end) = self.end(at, meta, now) {
            self.drop_ended(at, meta, end);
            return None;
        }
        Some((at, meta))
    }

    /// Whether there is an entry of `key`, fresh or stale. It counts as no read.
    pub fn holds(&mut self, key: Key<&[u8]>, now: Millis) -> bool {
        self.find_live(key, now).is_some()
    }

    #[cold]
    fn drop_ended(&mut self, at: Ref, meta: Meta, end: End) {
        self.count(at, meta, end);
        self.remove(at, meta);
    }

    fn count(&mut self, at: Ref, meta: Meta, end: End) {
        match end {
            End::Expired => {
                self.stats.expirations += 1;
                self.note_entry(Kind::Expired, at, meta);
            }
            End::Invalidated => self.stats.invalidated += 1,
        }
    }

    /// Writes to the slot of an entry of the same key and class.
    fn overwrite(&mut self, at: Ref, meta: Meta, shape: &Shape<'_>, bytes: (&[u8], &[u8])) {
        if meta.has_ttl() {
            self.wheel.remove(&mut self.arena, at);
        }
        self.stats.payload_bytes -= entry::bytes_used(&self.arena, at, meta) as u64;
        self.stats.payload_bytes += shape.bytes() as u64;
        shape.write(&mut self.arena, at, bytes, meta.policy(), &[]);
        if let Some(expires) = shape.expires {
            self.wheel.insert(&mut self.arena, at, expires);
        }
    }

    /// Writes an entry that is not there, for which there is room.
    fn insert(&mut self, shape: &Shape<'_>, class: Class, key: Key<&[u8]>, value: &[u8]) {
        self.chunks.clear();
        for _ in 0..shape.chunks {
            self.chunks.push(self.arena.take_chunk().expect("room was made"));
        }
        let at = self.arena.place(class).expect("room was made");
        for &chunk in &self.chunks {
            self.owners[self.arena.chunk_number(chunk)] = at;
        }
        shape.write(&mut self.arena, at, (key.bytes, value), 0, &self.chunks);
        self.stats.payload_bytes += shape.bytes() as u64;
        self.policy.insert(&mut self.arena, at);
        if let Some(expires) = shape.expires {
            self.wheel.insert(&mut self.arena, at, expires);
        }
        self.index.insert(&mut self.arena, key.hash, at);
    }

    /// Makes all of the memory resident, so that no later operation waits for the kernel.
    pub fn prefault(&mut self) {
        self.arena.prefault();
        self.scratch.resize(self.scratch.capacity(), 0);
    }

    /// From here on what befalls entries is noted, or is not any more.
    pub fn listen(&mut self, is_on: bool) {
        if is_on {
            self.samples.get_or_insert_default();
        } else {
            self.samples = None;
        }
    }

    /// What was noted since the last time.
    pub fn take_notes(&mut self) -> Vec<Note> {
        self.samples.as_mut().map(|samples| samples.take()).unwrap_or_default()
    }

    /// Notes something that befell many entries, where somebody listens.
    pub fn note(&mut self, kind: Kind, subject: &[u8], entries: u64) {
        if let Some(samples) = &mut self.samples {
            samples.note(kind, subject, entries);
        }
    }

    /// The same of one entry.
    #[inline]
    fn note_entry(&mut self, kind: Kind, at: Ref, meta: Meta) {
        if let Some(samples) = &mut self.samples {
            samples.note(kind, entry::key(&self.arena, at, meta), 1);
        }
    }

    /// Forgets every entry, in a time that does not depend on their number. Memory that was touched
    /// stays resident for the entries to come.
    pub fn flush(&mut self) {
        let entries = self.index.entries() as u64;
        self.stats.flushed += entries;
        self.note(Kind::Flushed, b"", entries);
        self.stats.payload_bytes = 0;
        self.stats.revoked += self.loans.clear() as u64;
        self.arena.clear();
        self.index.clear(&mut self.arena);
        self.policy.clear();
        self.wheel = Wheel::new();
        self.walk = None;
        self.leases.clear();
        self.tags.clear();
    }

    /// Takes an entry out of everything and frees its place unless it is on loan. Other entries may
    /// move.
    fn remove(&mut self, at: Ref, meta: Meta) {
        self.stats.payload_bytes -= entry::bytes_used(&self.arena, at, meta) as u64;
        self.index.remove(&mut self.arena, meta.hash(), at);
        self.policy.remove(&mut self.arena, at);
        if meta.has_ttl() {
            self.wheel.remove(&mut self.arena, at);
        }
        if let Some(walk) = &mut self.walk {
            walk.removed(at);
        }
        match self.loan_of(at, meta) {
            Some(loan) => self.orphan(loan, at, meta),
            None => self.free(at, meta),
        }
    }

    /// Frees the place of an entry that is in nothing any more.
    fn free(&mut self, at: Ref, meta: Meta) {
        for index in 0..entry::chunk_count(&self.arena, at, meta) {
            let chunk = entry::chunk(&self.arena, at, meta, index);
            self.arena.free_chunk(chunk);
        }
        if let Some(moved) = self.arena.free(at) {
            self.entry_moved(moved);
        }
    }

    /// Mends every reference to an entry that moved.
    fn entry_moved(&mut self, moved: Moved) {
        let at = moved.to;
        let meta = entry::meta(&self.arena, at);
        self.stats.relocations += 1;
        match self.loan_of(at, meta) {
            Some(loan) if self.loan_moved(loan, at) => return,
            Some(_) => {}
            None => self.set_owner(at, meta, at),
        }
        self.index.entry_moved(&mut self.arena, meta.hash(), moved);
        self.policy.moved(&mut self.arena, moved.from, at);
        if let Some(walk) = &mut self.walk {
            walk.moved(moved);
        }
        if meta.has_ttl() {
            self.wheel.moved(&mut self.arena, at);
        }
    }

    fn chunk_moved(&mut self, moved: Moved) {
        let owner = self.owners[self.arena.chunk_number(moved.from)];
        self.owners[self.arena.chunk_number(moved.to)] = owner;
        let at = self.loans.entry(owner);
        let meta = entry::meta(&self.arena, at);
        let index = (0..entry::chunk_count(&self.arena, at, meta))
            .find(|&index| entry::chunk(&self.arena, at, meta, index) == moved.from)
            .expect("a chunk is in the list of its entry");
        entry::set_chunk(&mut self.arena, at, meta, index, moved.to);
        self.stats.relocations += 1;
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

#[cfg(test)]
mod tests;
