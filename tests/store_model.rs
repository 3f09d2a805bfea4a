//! The store beside a plain map and a plain queue, under random operations.
//!
//! The model knows nothing of what an entry costs: it is told how many entries were evicted and
//! knows which ones they must have been. `KVCACHE_SEED=<n>` replays a failure.

use kvcache::clock::Millis;
use kvcache::store::{
    Condition, Eviction, Extras, INLINE_BYTES_MAX, Key, KeyHasher, Loan, Op, Reply, Settings,
    Stats, Store, Verb, Versions,
};
use kvcache::text::Text;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;

const SEEDS: u64 = if cfg!(miri) { 3 } else { 24 };
const STEPS: u32 = if cfg!(miri) { 400 } else { 20_000 };
/// Later instants are not reached: 2^39 milliseconds are 17 years.
const NEVER: u64 = 1 << 39;
const KIB: usize = 1 << 10;
const READ: Verb<&[u8]> = Verb::Read { condition: Condition::NONE, lease_ms: None, is_use: true };

#[derive(Debug)]
struct Held {
    value: Vec<u8>,
    expires: u64,
    /// When it was last used: its place in `Model::queue`.
    used: u64,
    /// The version, once it was read.
    version: Option<u64>,
}

/// What the store must hold. `queue` runs from the coldest entry to the hottest.
#[derive(Default)]
struct Model {
    held: HashMap<u32, Held>,
    queue: BTreeMap<u64, u32>,
    uses: u64,
}

impl Model {
    fn remove(&mut self, id: u32) -> Option<Held> {
        let held = self.held.remove(&id)?;
        self.queue.remove(&held.used);
        Some(held)
    }

    fn insert(&mut self, id: u32, value: Vec<u8>, expires: u64) {
        self.uses += 1;
        self.queue.insert(self.uses, id);
        let old = self.held.insert(id, Held { value, expires, used: self.uses, version: None });
        assert!(old.is_none());
    }

    fn touch(&mut self, id: u32) {
        let held = self.remove(id).expect("the caller saw it");
        self.insert(id, held.value, held.expires);
        self.held.get_mut(&id).expect("just put").version = held.version;
    }

    fn drop_expired(&mut self, now: u64) {
        let over: Vec<u32> =
            self.held.iter().filter(|(_, held)| held.expires <= now).map(|(id, _)| *id).collect();
        for id in over {
            self.remove(id);
        }
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
    /// Values on loan, and what they must be.
    loans: Vec<(Loan, u32, Vec<u8>)>,
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
            loans: Vec::new(),
            random,
        }
    }

    /// The same id always gives the same key; different ids differ.
    fn key(&self, id: u32) -> Vec<u8> {
        let mut key = id.to_le_bytes().to_vec();
        key.resize(4 + id as usize * 7 % (self.key_bytes_max - 3), 0xa5);
        key
    }

    fn execute(&mut self, id: u32, verb: Verb<&[u8]>) -> Reply<Vec<u8>> {
        let bytes = self.key(id);
        let key = Key { bytes: &bytes[..], hash: self.hasher.hash(&bytes) & self.hash_mask };
        let reply = self.store.execute(Op { key, verb }, Millis(self.now));
        reply.map(<[u8]>::to_vec)
    }

    /// Borrows the value of a key and keeps it for a while, whatever becomes of the key.
    fn lend(&mut self, id: u32) {
        let above = self.random.usize(..64 * KIB);
        let before = self.store.stats();
        let reply = self.execute(id, Verb::Lend { above });
        let Some(held) = self.model.held.get(&id) else { return assert_eq!(reply, Reply::Absent) };
        let value = held.value.clone();
        self.model.touch(id);
        assert_eq!(self.store.stats().hits, before.hits + 1);
        match reply {
            Reply::Lent { loan, text } => {
                assert!(value.len() > above && value.len() == text.bytes);
                let json = std::str::from_utf8(&value).map(|text| json_string(text).len());
                assert_eq!(text.json, json.map_err(|error| error.valid_up_to()));
                self.loans.push((loan, id, value));
            }
            whole => {
                assert!(value.len() <= above.max(INLINE_BYTES_MAX));
                assert_eq!(whole, Reply::Value(value));
            }
        }
        let held = self.model.held.get(&id).expect("it was just read");
        let json = std::str::from_utf8(&held.value).map(|text| json_string(text).len());
        let text =
            Text { bytes: held.value.len(), json: json.map_err(|error| error.valid_up_to()) };
        assert_eq!(self.execute(id, Verb::Measure), Reply::Measured(text));
    }

    /// Takes a piece of a value on loan, and at times gives the loan back.
    fn read_on(&mut self) {
        if self.loans.is_empty() {
            return;
        }
        let at = self.random.usize(..self.loans.len());
        let (loan, id, value) = &self.loans[at];
        let (loan, id, len) = (*loan, *id, value.len());
        let (from, bytes) = (self.random.usize(..len), self.random.usize(1..64 * KIB));
        let revoked = self.store.stats().revoked;
        match self.execute(id, Verb::Piece { loan, from, bytes }) {
            Reply::Piece { loan: same, bytes: piece } => {
                let value = &self.loans[at].2;
                assert_eq!((same, &piece[..]), (loan, &value[from..len.min(from + bytes)]));
            }
            reply => {
                assert_eq!(reply, Reply::Gone);
                assert!(revoked > 0);
            }
        }
        if self.loans.len() > 12 || self.random.u8(..4) == 0 {
            self.loans.swap_remove(at);
            self.store.give_back(loan);
        }
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
            *byte = self.random.u8(..=fill | 0x7f);
        }
        value
    }

    fn step(&mut self, step: u32) {
        if self.random.u8(..4) == 0 {
            self.now += self.random.u64(..200);
            self.model.drop_expired(self.now);
        }
        let id = self.id();
        match self.random.u32(..100) {
            0..30 => self.put(id, step),
            30..40 => self.write(id, step),
            40..45 => self.touch(id),
            45..50 => self.add(id),
            50..60 => self.get(id, Verb::Get),
            60..65 => self.lend(id),
            65..70 => self.read_on(),
            70..80 => self.get(id, Verb::Peek),
            80..90 => self.read(id),
            _ => self.delete(id),
        }
        let stats = self.store.stats();
        assert!(stats.used_bytes <= stats.budget_bytes && stats.budget_bytes <= self.budget);
        assert!(stats.orphaned_bytes <= stats.budget_bytes / 8);
        assert!(stats.lent <= self.loans.len() as u64);
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
        if let Some(held) = self.model.held.get(&id) {
            assert_eq!(reply, Reply::Value(held.value.clone()));
            assert_eq!(after.hits, before.hits + 1);
            if verb == Verb::Get {
                self.model.touch(id);
            }
        } else {
            assert_eq!(reply, Reply::Absent);
            assert_eq!(after.misses, before.misses + 1);
        }
    }

    fn delete(&mut self, id: u32) {
        let evictions = self.store.stats().evictions;
        let reply = self.execute(id, Verb::Delete);
        let held = self.model.remove(id).is_some();
        assert_eq!(reply, if held { Reply::Deleted } else { Reply::Absent });
        assert_eq!(self.store.stats().evictions, evictions);
    }

    fn read(&mut self, id: u32) {
        let (Some(held), now) = (self.model.held.get(&id), self.now) else {
            assert_eq!(self.execute(id, READ), Reply::Absent);
            return;
        };
        let (value, expires, known) = (held.value.clone(), held.expires, held.version);
        let reply = self.execute(id, READ);
        let Reply::Entry { value: found, version, ttl_ms, .. } = reply else { panic!("{reply:?}") };
        assert_eq!(found, value);
        assert_eq!(known.unwrap_or(version), version);
        // A time that the store cannot count to is no time at all.
        let left = NonZeroU64::new(expires - now).filter(|_| expires < NEVER);
        assert_eq!(ttl_ms, left);
        self.model.touch(id);
        self.model.held.get_mut(&id).expect("just read").version = Some(version);
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
        let is_there = self.model.held.contains_key(&id);
        assert_eq!(reply, if is_there { Reply::Replaced } else { Reply::Created });
        let expires = expires(self.now, ttl_ms);
        self.written(id, value, expires, &before);
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
        let before = self.store.stats();
        let reply = self
            .execute(id, Verb::Write { value: &value, extras: Extras::NONE, ttl_ms, condition });
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
        let expires = expires(self.now, ttl_ms);
        self.written(id, value, expires, &before);
        if let Some(version) = version {
            self.read(id);
            assert_ne!(self.model.held[&id].version, Some(version));
        }
    }

    fn touch(&mut self, id: u32) {
        let ttl_ms = self.ttl_ms();
        let before = self.store.stats();
        let reply = self.execute(id, Verb::Touch { ttl_ms, condition: Condition::NONE });
        let Some(held) = self.model.held.get(&id) else {
            assert_eq!(reply, Reply::Absent);
            return;
        };
        let (value, version) = (held.value.clone(), held.version);
        assert_eq!(reply, Reply::Touched);
        let expires = expires(self.now, ttl_ms);
        self.written(id, value, expires, &before);
        self.model.held.get_mut(&id).expect("just touched").version = version;
    }

    fn add(&mut self, id: u32) {
        let by = self.random.i64(-1_000..1_000);
        let before = self.store.stats();
        let reply = self.execute(id, Verb::Add { by, condition: Condition::NONE });
        let (number, expires) = match self.model.held.get(&id) {
            None => (Some(0), u64::MAX),
            Some(held) => (number(&held.value), held.expires),
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
        self.written(id, sum.to_string().into_bytes(), expires, &before);
    }

    /// What must hold after an operation that changed nothing.
    fn unchanged(&mut self, id: u32, before: &Stats) {
        assert_eq!(self.store.stats().evictions, before.evictions);
        self.check_one(id);
    }

    /// What must hold after the key was written: the coldest of the others made room.
    fn written(&mut self, id: u32, value: Vec<u8>, expires: u64, before: &Stats) {
        let evicted = self.store.stats().evictions - before.evictions;
        if evicted > 0 && self.entries_max == 0 {
            let full = before.used_bytes + value.len() as u64;
            assert!(full * 10 >= self.budget * 7, "evicted at {full} of {}", self.budget);
        }
        self.model.remove(id);
        for _ in 0..evicted {
            let victim = self.model.evict_coldest();
            assert_eq!(self.execute(victim, Verb::Peek), Reply::Absent, "{victim} not evicted");
        }
        self.model.insert(id, value, expires);
        self.check_one(id);
        if let Some((_, &coldest)) = self.model.queue.first_key_value() {
            self.check_one(coldest);
        }
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
        let held = self.model.held.get(&id).map(|held| held.value.clone());
        assert_eq!(reply, held.map_or(Reply::Absent, Reply::Value), "key {id}");
    }

    fn check_all(&mut self) {
        let ids: Vec<u32> = self.model.held.keys().copied().collect();
        for id in ids {
            self.check_one(id);
        }
    }
}

fn json_string(text: &str) -> String {
    serde_json::to_string(text).expect("a text is JSON")
}

fn expires(now: u64, ttl_ms: Option<NonZeroU64>) -> u64 {
    ttl_ms.map_or(u64::MAX, |ttl| now.saturating_add(ttl.get()))
}

/// An integer that is written as it would be printed.
fn number(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse().ok().filter(|number: &i64| number.to_string() == text)
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
    for (loan, ..) in std::mem::take(&mut run.loans) {
        run.store.give_back(loan);
    }
    let stats = run.store.stats();
    assert_eq!((stats.lent, stats.orphaned_bytes), (0, 0));
    let left = stats.deleted + stats.evictions + stats.expirations;
    assert_eq!(stats.created, stats.entries + left);
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
        let gone = stats.deleted + stats.evictions + stats.expirations;
        assert_eq!(stats.created, stats.entries + gone);
        let held = (0..run.key_ids).filter(|&id| run.execute(id, Verb::Peek) != Reply::Absent);
        assert_eq!(held.count() as u64, stats.entries);
        run.store.flush();
        assert_eq!((run.store.stats().entries, run.store.stats().payload_bytes), (0, 0));
        run.put_anywhere(1, 0);
    }
}
