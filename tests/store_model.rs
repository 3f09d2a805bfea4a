//! The store beside a plain map and a plain queue, under random operations.
//!
//! The model knows nothing of what an entry costs: it is told how many entries were evicted and
//! knows which ones they must have been. `KVCACHE_SEED=<n>` replays a failure.

use kvcache::clock::Millis;
use kvcache::store::{
    Condition, Eviction, Extras, Key, KeyHasher, Lease, Op, Reply, Scan, Settings, Stats, Store,
    Verb, Versions,
};
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;

const SEEDS: u64 = if cfg!(miri) { 3 } else { 24 };
const STEPS: u32 = if cfg!(miri) { 400 } else { 20_000 };
/// Later instants are not reached: 2^39 milliseconds are 17 years.
const NEVER: u64 = 1 << 39;
const KIB: usize = 1 << 10;
const TAG_IDS: u64 = 40;
/// Leases that the store holds at once, whatever their keys.
const LEASES_HELD: usize = 4;

#[derive(Clone, Debug, Default)]
struct Held {
    value: Vec<u8>,
    content_type: Vec<u8>,
    /// Eight bytes each.
    tags: Vec<u8>,
    /// The end of its time to live, and of the time for which it may be read after that.
    expires: u64,
    gone: u64,
    /// When it was last used: its place in `Model::queue`.
    used: u64,
    /// The version, once it was read.
    version: Option<u64>,
}

impl Held {
    fn is_stale(&self, now: u64) -> bool {
        self.expires <= now
    }

    /// A time that the store cannot count to is no time at all.
    fn live(&mut self, now: u64, ttl_ms: Option<NonZeroU64>, stale_ms: u64) {
        let expires = ttl_ms.map_or(u64::MAX, |ttl| now.saturating_add(ttl.get()));
        self.expires = if expires < NEVER - 1 { expires } else { u64::MAX };
        self.gone = self.expires;
        if self.expires != u64::MAX && stale_ms > 0 {
            self.gone = self.expires.saturating_add(stale_ms).min(NEVER - 2);
        }
    }
}

/// What the store must hold. `queue` runs from the coldest entry to the hottest.
#[derive(Default)]
struct Model {
    held: HashMap<u32, Held>,
    queue: BTreeMap<u64, u32>,
    uses: u64,
    /// Until when somebody has the lease on a hash.
    leases: HashMap<u64, u64>,
}

impl Model {
    fn remove(&mut self, id: u32) -> Option<Held> {
        let held = self.held.remove(&id)?;
        self.queue.remove(&held.used);
        Some(held)
    }

    /// Puts in as the hottest.
    fn insert(&mut self, id: u32, held: Held) {
        self.uses += 1;
        self.queue.insert(self.uses, id);
        let old = self.held.insert(id, Held { used: self.uses, ..held });
        assert!(old.is_none());
    }

    fn touch(&mut self, id: u32) {
        let held = self.remove(id).expect("the caller saw it");
        self.insert(id, held);
    }

    fn remove_where(&mut self, is_over: impl Fn(&u32, &Held) -> bool) -> usize {
        let over: Vec<u32> =
            self.held.iter().filter(|(id, held)| is_over(id, held)).map(|(id, _)| *id).collect();
        for &id in &over {
            self.remove(id);
        }
        over.len()
    }

    fn evict_coldest(&mut self) -> u32 {
        let (_, &id) = self.queue.first_key_value().expect("more evictions than entries");
        self.remove(id);
        id
    }
}

struct Run {
    random: fastrand::Rng,
    hasher: KeyHasher,
    /// Keeps this many bits of each hash, so that some runs are full of collisions.
    hash_mask: u64,
    key_ids: u32,
    key_bytes_max: usize,
    now: u64,
    store: Store,
    budget: u64,
    entries_max: usize,
    model: Model,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let collide = random.u8(..4) == 0;
        let entries_max = if collide || random.bool() { random.usize(1..400) } else { 0 };
        let key_bytes_max = [16, 256, KIB][random.usize(..3)];
        let budget = random.usize(KIB..4 * KIB) * KIB;
        let settings = Settings {
            memory_bytes_max: budget,
            key_bytes_max,
            value_bytes_max: 1 << 20,
            entries_max,
        };
        Self {
            hasher: KeyHasher::with_seed(seed),
            hash_mask: if collide { [0, 3, !0xffff_ffff][random.usize(..3)] } else { !0 },
            key_ids: [300, 3_000, 60_000][random.usize(..3)],
            key_bytes_max,
            now: random.u64(..1 << 38),
            store: Store::new(&settings),
            budget: budget as u64,
            entries_max,
            model: Model::default(),
            random,
        }
    }

    /// The same id always gives the same key; different ids differ.
    fn key(&self, id: u32) -> Vec<u8> {
        let mut key = id.to_le_bytes().to_vec();
        key.resize(4 + id as usize * 7 % (self.key_bytes_max - 3), 0xa5);
        key
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash(key) & self.hash_mask
    }

    fn execute(&mut self, id: u32, verb: Verb<&[u8]>) -> Reply<Vec<u8>> {
        let bytes = self.key(id);
        let key = Key { bytes: &bytes[..], hash: self.hash(&bytes) };
        let reply = self.store.execute(Op { key, verb }, Millis(self.now));
        reply.map(<[u8]>::to_vec)
    }

    fn id(&mut self) -> u32 {
        let (one, other) = (self.random.u32(..self.key_ids), self.random.u32(..self.key_ids));
        one.min(other)
    }

    fn value(&mut self, step: u32) -> Vec<u8> {
        // The usual size drifts through the run.
        let usual = 16 << (step / (STEPS / 8 + 1));
        let len = match self.random.u32(..1000) {
            0 => self.random.usize(..=1 << 20),
            1..10 => self.random.usize(..100 * KIB),
            10..200 => self.random.usize(..2 * KIB),
            _ => self.random.usize(..=usual),
        };
        let fill = self.random.u8(..);
        let mut value = vec![fill; len];
        for byte in value.iter_mut().step_by(13) {
            *byte = self.random.u8(..);
        }
        value
    }

    fn step(&mut self, step: u32) {
        if self.random.u8(..4) == 0 {
            self.now += self.random.u64(..200);
            let now = self.now;
            self.model.remove_where(|_, held| held.gone <= now);
            self.model.leases.retain(|_, ends| *ends > now);
        }
        let id = self.id();
        match self.random.u32(..1_000) {
            0 => return self.invalidate(),
            1 => return self.delete_prefix(id),
            2..20 => drop(self.store.sweep(self.random.u32(..50))),
            _ => {}
        }
        match self.random.u32(..100) {
            0..30 => self.put(id, step),
            30..40 => self.write(id, step),
            40..45 => self.touch(id),
            45..50 => self.add(id),
            50..70 => self.get(id, Verb::Get),
            70..80 => self.get(id, Verb::Peek),
            80..90 => self.read(id),
            _ => self.delete(id),
        }
        let stats = self.store.stats();
        assert!(stats.used_bytes <= stats.budget_bytes && stats.budget_bytes <= self.budget);
        assert!(stats.entries >= self.model.held.len() as u64);
        if self.entries_max > 0 {
            assert!(stats.entries <= self.entries_max as u64);
        }
    }

    fn get(&mut self, id: u32, verb: Verb<&[u8]>) {
        let before = self.store.stats();
        let reply = self.execute(id, verb);
        let after = self.store.stats();
        assert_eq!(after.evictions, before.evictions);
        self.expect(id, &reply);
        let is_held = self.model.held.contains_key(&id);
        assert_eq!(after.hits, before.hits + u64::from(is_held));
        assert_eq!(after.misses, before.misses + u64::from(!is_held));
        if is_held && verb == Verb::Get {
            self.model.touch(id);
        }
    }

    /// Checks the reply to a `Get` or `Peek`.
    fn expect(&self, id: u32, reply: &Reply<Vec<u8>>) {
        match (self.model.held.get(&id), reply) {
            (None, Reply::Absent) => {}
            (Some(held), Reply::Value(value)) => {
                assert!(*value == held.value && !held.is_stale(self.now), "key {id}");
            }
            (
                Some(held),
                Reply::Entry { value, content_type, version, ttl_ms: None, stale: Some(lease) },
            ) => {
                assert!(*value == held.value && held.is_stale(self.now), "key {id}");
                assert_eq!(content_type.as_deref().unwrap_or_default(), held.content_type);
                assert_eq!(held.version.unwrap_or(*version), *version);
                assert_eq!(*lease, Lease::NotAsked);
            }
            other => panic!("key {id}: {other:?}"),
        }
    }

    /// Checks what was answered to a reader who asked for the lease of a key.
    fn lease(&mut self, id: u32, asked: Option<NonZeroU64>, lease: Lease) {
        let hash = self.hash(&self.key(id));
        let ends = self.model.leases.get(&hash).copied();
        match (asked, lease) {
            (None, Lease::NotAsked) => {}
            (Some(_), Lease::Taken { left_ms }) => assert_eq!(ends, Some(self.now + left_ms.get())),
            (Some(asked), Lease::Granted) => {
                assert!(ends.is_none() || self.model.leases.len() > LEASES_HELD);
                self.model.leases.insert(hash, self.now + asked.get());
            }
            other => panic!("{other:?}"),
        }
    }

    fn invalidate(&mut self) {
        let tag = self.random.u64(..TAG_IDS);
        if self.store.invalidate(tag) {
            let has_it = |held: &Held| held.tags.as_chunks().0.contains(&tag.to_le_bytes());
            self.model.remove_where(|_, held| has_it(held));
        }
    }

    fn delete_prefix(&mut self, id: u32) {
        // Keys begin with their id.
        let prefix = &id.to_le_bytes()[..self.random.usize(1..4)];
        let is_match = |id: &u32| id.to_le_bytes().starts_with(prefix);
        for dry_run in [true, false] {
            let mut scan = Scan::START;
            let steps = self.random.u32(1..100);
            let now = Millis(self.now);
            while !self.store.delete_prefix(&mut scan, prefix, dry_run, now, steps) {}
            assert_eq!(
                scan.matched,
                self.model.held.keys().filter(|id| is_match(id)).count() as u64
            );
        }
        self.model.remove_where(|id, _| is_match(id));
    }

    fn delete(&mut self, id: u32) {
        let evictions = self.store.stats().evictions;
        let reply = self.execute(id, Verb::Delete);
        let held = self.model.remove(id).is_some();
        assert_eq!(reply, if held { Reply::Deleted } else { Reply::Absent });
        assert_eq!(self.store.stats().evictions, evictions);
    }

    fn read(&mut self, id: u32) {
        let lease_ms = NonZeroU64::new(self.random.u64(..400).saturating_sub(200));
        let is_use = self.random.bool();
        let before = self.store.stats();
        let read = Verb::Read { condition: Condition::NONE, lease_ms, is_use };
        let reply = self.execute(id, read);
        if is_use && self.model.held.contains_key(&id) {
            self.model.touch(id);
        }
        // A version may have needed room, and the reader's entry have been the coldest.
        self.evicted(&before);
        let Some(held) = self.model.held.get(&id).cloned() else {
            match reply {
                Reply::Missing(lease) => self.lease(id, lease_ms, lease),
                other => assert_eq!((other, lease_ms), (Reply::Absent, None)),
            }
            return;
        };
        let Reply::Entry { value, content_type, version, ttl_ms, stale } = reply else {
            panic!("{reply:?}")
        };
        assert_eq!(value, held.value);
        assert_eq!(content_type.unwrap_or_default(), held.content_type);
        assert_eq!(held.version.unwrap_or(version), version);
        let left = held.expires.saturating_sub(self.now);
        assert_eq!(ttl_ms, NonZeroU64::new(left).filter(|_| held.expires < NEVER));
        assert_eq!(stale.is_some(), held.is_stale(self.now));
        if let Some(lease) = stale {
            self.lease(id, lease_ms, lease);
        }
        self.model.held.get_mut(&id).expect("just read").version = Some(version);
    }

    /// The key was written: its version is another than any that was shown before.
    fn changed(&mut self, id: u32, version: Option<u64>) {
        if version.is_some() && self.model.held.contains_key(&id) {
            self.read(id);
            let held = self.model.held.get(&id);
            assert!(held.is_none_or(|held| held.version != version));
        }
    }

    fn ttl_ms(&mut self) -> Option<NonZeroU64> {
        NonZeroU64::new(match self.random.u8(..8) {
            0 => self.random.u64(1..5_000),
            1 => self.random.u64(1..100_000_000_000),
            2 => u64::MAX,
            _ => 0,
        })
    }

    fn put(&mut self, id: u32, step: u32) {
        let (value, ttl_ms) = (self.value(step), self.ttl_ms());
        let before = self.store.stats();
        let reply = self.execute(id, Verb::Put { value: &value, ttl_ms });
        if reply == Reply::TooLarge {
            assert!(value.len() > 64 * KIB, "{} bytes are too large", value.len());
            assert_eq!(self.store.stats().rejected, before.rejected + 1);
            return self.unchanged(id, &before);
        }
        let old = self.model.held.get(&id);
        assert_eq!(reply, if old.is_some() { Reply::Replaced } else { Reply::Created });
        let version = old.and_then(|held| held.version);
        let mut held = Held { value, ..Held::default() };
        held.live(self.now, ttl_ms, 0);
        self.written(id, held, &before);
        self.changed(id, version);
    }

    /// Extras, and the time for which a stale entry may be read.
    fn extras(&mut self) -> (Held, u64) {
        let mut held = Held::default();
        if self.random.bool() {
            held.content_type = vec![b't'; self.random.usize(..256)];
        }
        for _ in 0..self.random.usize(..30).saturating_sub(21) {
            held.tags.extend(self.random.u64(..TAG_IDS).to_le_bytes());
        }
        let stale_ms = [0, 0, self.random.u64(1..5_000), u64::MAX][self.random.usize(..4)];
        (held, stale_ms)
    }

    fn write(&mut self, id: u32, step: u32) {
        let held = self.model.held.get(&id);
        let (is_there, version) = (held.is_some(), held.and_then(|held| held.version));
        let listed = version.map(|version| (version ^ self.random.u64(..2)).to_le_bytes());
        let is_listed = version.map(u64::to_le_bytes) == listed;
        let (condition, holds) = match (self.random.u8(..5), &listed) {
            (0, _) => (Condition::NONE, true),
            (1, _) => (Condition::ABSENT, !is_there),
            (2, Some(listed)) => {
                let matches = Some(Versions::Listed(&listed[..]));
                (Condition { matches, none_match: None }, is_listed)
            }
            (3, Some(listed)) => {
                let none_match = Some(Versions::Listed(&listed[..]));
                (Condition { matches: None, none_match }, !is_listed)
            }
            _ => (Condition::PRESENT, is_there),
        };
        let (value, ttl_ms) = (self.value(step), self.ttl_ms());
        let (mut held, stale_ms) = self.extras();
        let extras = Extras {
            content_type: Some(&held.content_type[..]),
            tags: Some(&held.tags[..]),
            stale_ms: NonZeroU64::new(stale_ms),
        };
        let before = self.store.stats();
        let reply = self.execute(id, Verb::Write { value: &value, extras, ttl_ms, condition });
        let expected = match (holds, is_there) {
            (false, _) => Reply::Refused,
            (true, false) => Reply::Created,
            (true, true) => Reply::Replaced,
        };
        if reply == Reply::Refused || reply == Reply::TooLarge {
            assert!(reply == expected || value.len() > 64 * KIB);
            return self.unchanged(id, &before);
        }
        assert_eq!(reply, expected);
        held.value = value;
        held.live(self.now, ttl_ms, stale_ms);
        self.written(id, held, &before);
        self.changed(id, version);
    }

    fn touch(&mut self, id: u32) {
        let ttl_ms = self.ttl_ms();
        let before = self.store.stats();
        let reply = self.execute(id, Verb::Touch { ttl_ms, condition: Condition::NONE });
        let Some(mut held) = self.model.held.get(&id).cloned() else {
            assert_eq!(reply, Reply::Absent);
            return;
        };
        assert_eq!(reply, Reply::Touched);
        held.live(self.now, ttl_ms, held.gone - held.expires);
        self.written(id, held, &before);
    }

    fn add(&mut self, id: u32) {
        let by = self.random.i64(-1_000..1_000);
        let before = self.store.stats();
        let reply = self.execute(id, Verb::Add { by, condition: Condition::NONE });
        let old = self.model.held.get(&id).cloned();
        let version = old.as_ref().and_then(|held| held.version);
        let (number, mut held) = match old {
            Some(held) if !held.is_stale(self.now) => (number(&held.value), held),
            _ => (Some(0), Held { expires: u64::MAX, gone: u64::MAX, ..Held::default() }),
        };
        let Some(number) = number else {
            assert_eq!(reply, Reply::NotANumber);
            return self.unchanged(id, &before);
        };
        let Some(sum) = number.checked_add(by) else {
            assert_eq!(reply, Reply::Overflow);
            return self.unchanged(id, &before);
        };
        assert_eq!(reply, Reply::Number(sum));
        (held.value, held.version) = (sum.to_string().into_bytes(), None);
        self.written(id, held, &before);
        self.changed(id, version);
    }

    /// What must hold after an operation that changed nothing.
    fn unchanged(&mut self, id: u32, before: &Stats) {
        assert_eq!(self.store.stats().evictions, before.evictions);
        self.check_one(id);
    }

    /// What must hold after the key was written: the coldest of the others made room.
    fn written(&mut self, id: u32, held: Held, before: &Stats) {
        self.model.remove(id);
        let evicted = self.evicted(before);
        if evicted > 0 && self.entries_max == 0 {
            let full = before.used_bytes + held.value.len() as u64;
            assert!(full * 10 >= self.budget * 7, "evicted at {full} of {}", self.budget);
        }
        self.model.leases.remove(&self.hash(&self.key(id)));
        self.model.insert(id, held);
        self.check_one(id);
        if let Some((_, &coldest)) = self.model.queue.first_key_value() {
            self.check_one(coldest);
        }
    }

    /// The coldest are gone, as many as were evicted since.
    fn evicted(&mut self, before: &Stats) -> u64 {
        let evicted = self.store.stats().evictions - before.evictions;
        for _ in 0..evicted {
            let victim = self.model.evict_coldest();
            assert_eq!(self.execute(victim, Verb::Peek), Reply::Absent, "{victim} not evicted");
        }
        evicted
    }

    /// A put under a rule that the model does not follow: only the value is checked.
    fn put_anywhere(&mut self, id: u32, step: u32) {
        let value = self.value(step);
        let reply = self.execute(id, Verb::Put { value: &value, ttl_ms: None });
        if !matches!(reply, Reply::TooLarge | Reply::Full) {
            assert_eq!(self.execute(id, Verb::Peek), Reply::Value(value));
        }
    }

    fn check_one(&mut self, id: u32) {
        let reply = self.execute(id, Verb::Peek);
        self.expect(id, &reply);
    }

    fn check_all(&mut self) {
        let ids: Vec<u32> = self.model.held.keys().copied().collect();
        for id in ids {
            self.check_one(id);
        }
    }
}

/// An integer that is written as it would be printed.
fn number(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse().ok().filter(|number: &i64| number.to_string() == text)
}

/// Entries that have left, each for one reason.
fn gone(stats: &Stats) -> u64 {
    let by_request = stats.deleted + stats.prefix_deleted + stats.invalidated;
    by_request + stats.evictions + stats.expirations
}

fn run(seed: u64) {
    eprintln!("KVCACHE_SEED={seed}");
    let mut run = Run::new(seed);
    for step in 0..STEPS {
        run.step(step);
        if step % 500 == 0 {
            run.check_all();
        }
    }
    run.check_all();
    let stats = run.store.stats();
    assert_eq!(stats.created, stats.entries + gone(&stats));
}

#[test]
fn agrees_with_a_map_and_a_queue() {
    if let Ok(seed) = std::env::var("KVCACHE_SEED") {
        return run(seed.parse().expect("KVCACHE_SEED is a number"));
    }
    for seed in 0..SEEDS / 2 {
        run(seed);
    }
    for _ in 0..SEEDS.div_ceil(2) {
        run(fastrand::u64(..));
    }
}

/// Whichever entries a rule evicts: as many are gone as it says, and the others are whole.
#[test]
fn every_rule_loses_exactly_what_it_evicts() {
    for (seed, (name, eviction)) in (1..).zip(Eviction::NAMES) {
        eprintln!("{name}");
        let mut run = Run::new(seed);
        if cfg!(miri) {
            run.key_ids = 100;
        }
        let settings = Settings {
            memory_bytes_max: usize::try_from(run.budget).expect("a few MiB"),
            key_bytes_max: run.key_bytes_max,
            value_bytes_max: 1 << 20,
            entries_max: 0,
        };
        run.store = Store::with_eviction(&settings, eviction);
        for step in 0..STEPS {
            let id = run.id();
            match run.random.u8(..4) {
                0 => run.put_anywhere(id, step),
                1 => drop(run.execute(id, Verb::Delete)),
                _ => drop(run.execute(id, Verb::Get)),
            }
            assert!(run.store.stats().used_bytes <= run.budget);
        }
        let stats = run.store.stats();
        assert_eq!(stats.created, stats.entries + gone(&stats));
        let held = (0..run.key_ids).filter(|&id| run.execute(id, Verb::Peek) != Reply::Absent);
        assert_eq!(held.count() as u64, stats.entries);
        run.store.flush();
        assert_eq!((run.store.stats().entries, run.store.stats().payload_bytes), (0, 0));
        run.put_anywhere(1, 0);
    }
}
