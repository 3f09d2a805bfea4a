//! A store and its model under the steps of a program.

mod writes;

use super::held::{Held, Leased, Model, tag_hash, value};
use super::{CONTENT_VERSION, KIB, LEASES_HELD, PINS_MAX, Setup, Step, TAGS_WAITING};
use kvcache::clock::Millis;
use kvcache::store::{
    Bounds, Details, Eviction, INLINE_BYTES_MAX, Key, KeyHasher, Lease, Op, Pin, Read, Reply, Scan,
    Store, Verb,
};
use std::collections::{BTreeSet, HashSet};

pub(super) struct Run {
    hasher: KeyHasher,
    hash_mask: u64,
    key_bytes_max: usize,
    now: u64,
    eviction: Eviction,
    store: Store,
    budget: u64,
    entries_max: usize,
    model: Model,
    /// Every key that was ever named.
    ids: BTreeSet<u32>,
    /// Every version that a key was known to have.
    shown: HashSet<(u32, u64)>,
    /// Evicted keys that the model learnt of by looking.
    lost: u64,
    /// Pinned values, and what they must be.
    pins: Vec<(Pin, u32, Vec<u8>)>,
}

impl Run {
    pub(super) fn new(setup: &Setup) -> Self {
        let bounds = Bounds {
            memory_bytes_max: setup.memory_kib * KIB,
            key_bytes_max: setup.key_bytes_max,
            value_bytes_max: 1 << 20,
            entries_max: setup.entries_max,
        };
        let names = Eviction::NAMES.into_iter();
        let (_, eviction) =
            names.into_iter().find(|(name, _)| *name == setup.eviction).expect("a rule's name");
        Self {
            hasher: KeyHasher::with_seed(1),
            hash_mask: setup.hash_mask,
            key_bytes_max: setup.key_bytes_max,
            now: setup.start_ms,
            eviction,
            store: Store::with_eviction(&bounds, eviction),
            budget: bounds.memory_bytes_max as u64,
            entries_max: setup.entries_max,
            model: Model::default(),
            ids: BTreeSet::new(),
            shown: HashSet::new(),
            lost: 0,
            pins: Vec::new(),
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
        let reply = self.store.execute(&Op { key, verb }, Millis(self.now));
        reply.map(<[u8]>::to_vec)
    }

    pub(super) fn step(&mut self, step: Step) {
        match step {
            Step::Wait { ms } => {
                self.now += ms;
                self.model.drop_expired(self.now);
            }
            Step::Get { id } => self.get(id, Verb::get()),
            Step::Peek { id } => self.get(id, Verb::peek()),
            Step::Read { id, only, lease_ms, is_use, details } => {
                self.read(id, only, lease_ms, Read { is_use, details, ..Read::ENTRY });
            }
            Step::Put { id, len, fill, ttl_ms } => {
                self.put(id, Held::plain(value(len, fill)).lasting(self.now, ttl_ms, 0), ttl_ms);
            }
            Step::Write { id, len, fill, ttl_ms, only, type_bytes, tags, stale_ms } => {
                let content_type = value(type_bytes, fill | 1);
                let held = Held { content_type, tags, ..Held::plain(value(len, fill)) };
                let held = held.lasting(self.now, ttl_ms, stale_ms);
                self.write(id, held, (ttl_ms, stale_ms), only);
            }
            Step::Touch { id, ttl_ms, only } => self.touch(id, ttl_ms, only),
            Step::Add { id, by, only } => self.add(id, by, only),
            Step::Delete { id } => self.delete(id),
            Step::Remove { id, only } => self.remove(id, only),
            Step::DeletePrefix { id, bytes, dry_run, steps } => {
                self.delete_prefix(&id.to_le_bytes()[..bytes], dry_run, steps);
            }
            Step::Invalidate { tag } => self.invalidate(tag),
            Step::Sweep { steps } => {
                if !self.store.sweep(steps) {
                    self.model.waiting = 0;
                }
            }
            Step::Expire { steps } => {
                let evictions = self.store.stats().evictions;
                self.store.expire(Millis(self.now), steps);
                assert_eq!(self.store.stats().evictions, evictions);
            }
            Step::MakeRoom { bytes, steps } => {
                let evictions = self.store.stats().evictions;
                self.store.make_room_ahead(bytes, Millis(self.now), steps);
                assert!(self.evicted_since(evictions) <= u64::from(steps));
            }
            Step::Pin { id, above } => self.pin(id, above),
            Step::ReadOn { pin, from, bytes, last } => {
                self.read_on(usize::from(pin), from, bytes, last);
            }
            Step::StartWalk => self.store.start_walk(),
            Step::WalkOn { entries } => {
                for _ in 0..entries {
                    let Some(item) = self.store.walk_on(Millis(self.now), &mut { u32::MAX }) else {
                        break;
                    };
                    self.model.check_item(item);
                }
            }
            Step::WalkAll => self.walk_all(),
            Step::Flush => {
                self.store.flush();
                self.model = Model::default();
                let stats = self.store.stats();
                assert_eq!((stats.entries, stats.payload_bytes), (0, 0));
            }
        }
        self.check_bounds();
    }

    fn check_bounds(&self) {
        let stats = self.store.stats();
        assert!(stats.used_bytes <= stats.budget_bytes && stats.budget_bytes <= self.budget);
        assert!(stats.orphaned_bytes <= stats.budget_bytes / 8);
        assert!(stats.lent <= self.pins.len() as u64);
        if self.eviction == Eviction::Lru {
            assert!(stats.entries >= self.model.held.len() as u64);
        }
        if self.entries_max > 0 {
            assert!(stats.entries <= self.entries_max as u64);
        }
        if self.eviction == Eviction::None {
            assert_eq!(stats.evictions, 0);
        }
    }

    /// Takes note of whether an entry was evicted, where only the store knows.
    fn look(&mut self, id: u32) {
        self.ids.insert(id);
        if self.eviction != Eviction::Lru
            && self.model.held.contains_key(&id)
            && self.execute(id, Verb::peek()) == Reply::Absent
        {
            self.model.remove(id);
            self.lost += 1;
            assert!(self.lost <= self.store.stats().evictions, "key {id} was not evicted");
        }
    }

    fn get(&mut self, id: u32, verb: Verb<&[u8]>) {
        self.look(id);
        let before = self.store.stats();
        let reply = self.execute(id, verb);
        let after = self.store.stats();
        assert_eq!(after.evictions, before.evictions);
        self.expect(id, reply);
        let held = self.model.held.get(&id);
        let is_stale = held.is_some_and(|held| held.is_stale(self.now));
        assert_eq!(after.hits - before.hits, u64::from(held.is_some()));
        assert_eq!(after.misses - before.misses, u64::from(held.is_none()));
        assert_eq!(after.stale - before.stale, u64::from(is_stale));
        if held.is_some() && verb == Verb::get() {
            self.model.touch(id);
        }
    }

    /// What a reader must be told who asks for the value alone.
    fn expect(&mut self, id: u32, reply: Reply<Vec<u8>>) {
        let Some(held) = self.model.held.get(&id) else {
            return assert_eq!(reply, Reply::Absent, "key {id}");
        };
        if !held.is_stale(self.now) {
            return assert_eq!(reply, Reply::Value(held.value.clone()), "key {id}");
        }
        let Reply::Entry { value, details: Details { content_type, version, ttl_ms: None, stale } } =
            reply
        else {
            panic!("key {id} is stale: {reply:?}")
        };
        assert_eq!((&value, stale), (&held.value, Some(Lease::NotAsked)), "key {id}");
        assert_eq!(content_type.unwrap_or_default(), held.content_type);
        self.show(id, version);
    }

    /// A reader is shown the version of a key. It is the one that was shown since the last write,
    /// or none that ever was.
    fn show(&mut self, id: u32, version: u64) {
        let held = self.model.held.get_mut(&id).expect("the caller saw it");
        let known = held.version.replace(version);
        if known == Some(version) {
            return;
        }
        let is_content = version >= CONTENT_VERSION;
        assert!(!is_content || self.eviction == Eviction::None);
        assert!(known.is_none_or(|known| known >= CONTENT_VERSION && !is_content), "key {id}");
        assert!(is_content || self.shown.insert((id, version)), "key {id} is not {version} again");
    }

    /// What a reader must be told who asked to write the key, or did not.
    fn lease(&mut self, id: u32, lease_ms: u64, lease: Lease) {
        let hash = self.hash(&self.key(id));
        let ends = self.now + lease_ms;
        let leases = &mut self.model.leases;
        match lease {
            Lease::NotAsked => assert_eq!(lease_ms, 0),
            Lease::Taken { left_ms } => {
                let held = leases.get(&hash).map(|lease| lease.ends);
                assert_eq!((held, lease_ms > 0), (Some(self.now + left_ms.get()), true));
            }
            Lease::Granted => {
                assert!(lease_ms > 0);
                let old = leases.remove(&hash);
                assert!(old.is_none_or(|old| old.may_be_lost), "two have the lease of {id}");
                if leases.len() >= LEASES_HELD {
                    for other in leases.values_mut() {
                        other.may_be_lost = true;
                    }
                }
                leases.insert(hash, Leased { ends, may_be_lost: false });
            }
        }
    }

    fn invalidate(&mut self, tag: u8) {
        if self.store.invalidate(tag_hash(tag)) {
            self.model.waiting |= 1 << tag;
            self.model.remove_where(|_, held| held.tags >> tag & 1 != 0);
        } else {
            assert!(self.model.waiting.count_ones() >= TAGS_WAITING);
        }
    }

    fn delete_prefix(&mut self, prefix: &[u8], dry_run: bool, steps: u32) {
        let is_match = |id: u32| id.to_le_bytes().starts_with(prefix);
        let ids: Vec<u32> = self.model.held.keys().copied().filter(|&id| is_match(id)).collect();
        for id in ids {
            self.look(id);
        }
        let matched = self.model.held.keys().filter(|&&id| is_match(id)).count() as u64;
        let before = self.store.stats();
        let mut scan = Scan::START;
        while !self.store.delete_prefix(&mut scan, prefix, dry_run, Millis(self.now), steps) {}
        let after = self.store.stats();
        assert_eq!((scan.matched, after.evictions), (matched, before.evictions));
        let deleted = after.prefix_deleted - before.prefix_deleted;
        assert_eq!(deleted, if dry_run { 0 } else { matched });
        if !dry_run {
            self.model.remove_where(|id, _| is_match(id));
        }
    }

    /// Pins the value of a key, to keep it for a while whatever becomes of the key.
    fn pin(&mut self, id: u32, above: usize) {
        self.look(id);
        let reply = self.execute(id, Verb::Read(Read { pin_above: above, ..Read::VALUE }));
        let Some(held) = self.model.held.get(&id) else { return assert_eq!(reply, Reply::Absent) };
        let (value, is_stale) = (held.value.clone(), held.is_stale(self.now));
        self.model.touch(id);
        if let Reply::Pinned { pin, bytes, details: None } = reply {
            assert!(value.len() > above && bytes == value.len() && !is_stale);
            self.keep(pin, id, value);
        } else {
            assert!(value.len() <= above.max(INLINE_BYTES_MAX) || is_stale);
            self.expect(id, reply);
        }
    }

    fn keep(&mut self, pin: Pin, id: u32, value: Vec<u8>) {
        self.pins.push((pin, id, value));
        if self.pins.len() > PINS_MAX {
            let (oldest, ..) = self.pins.remove(0);
            self.store.unpin(oldest);
        }
    }

    fn read_on(&mut self, pin: usize, from: usize, bytes: usize, last: bool) {
        if self.pins.is_empty() {
            return;
        }
        let at = pin % self.pins.len();
        let (pin, id, len) = (self.pins[at].0, self.pins[at].1, self.pins[at].2.len());
        let from = from % len;
        let revoked = self.store.stats().revoked;
        match self.execute(id, Verb::Piece { pin, from, bytes }) {
            Reply::Piece { pin: same, bytes: piece } => {
                let value = &self.pins[at].2;
                assert_eq!((same, &piece[..]), (pin, &value[from..len.min(from + bytes)]));
            }
            reply => {
                assert_eq!(reply, Reply::Gone);
                assert!(revoked > 0);
            }
        }
        if last {
            self.pins.swap_remove(at);
            self.store.unpin(pin);
        }
    }

    /// How many entries were evicted since there were `before`. Under LRU the model loses as many.
    fn evicted_since(&mut self, before: u64) -> u64 {
        let evicted = self.store.stats().evictions - before;
        if self.eviction == Eviction::Lru {
            for _ in 0..evicted {
                let coldest = self.model.queue.first_key_value();
                let (_, &victim) = coldest.expect("more evictions than entries");
                self.model.remove(victim);
                assert_eq!(self.execute(victim, Verb::peek()), Reply::Absent, "{victim} is there");
            }
        }
        evicted
    }

    fn walk_all(&mut self) {
        self.check_all();
        self.store.start_walk();
        let mut met = Vec::new();
        while let Some(item) = self.store.walk_on(Millis(self.now), &mut { u32::MAX }) {
            met.push(self.model.check_item(item));
        }
        let mut held: Vec<u32> = self.model.queue.values().copied().collect();
        if self.eviction != Eviction::Lru {
            met.sort_unstable();
            held.sort_unstable();
        }
        assert_eq!(met, held);
    }

    fn check_one(&mut self, id: u32) {
        let reply = self.execute(id, Verb::peek());
        self.expect(id, reply);
    }

    pub(super) fn check_all(&mut self) {
        let ids: Vec<u32> = self.model.held.keys().copied().collect();
        for id in ids {
            self.look(id);
            self.check_one(id);
        }
    }

    pub(super) fn finish(mut self) {
        // Peeking at a key whose time is over drops it: then both hold the same.
        for id in self.ids.clone() {
            self.look(id);
            self.check_one(id);
        }
        for (pin, ..) in std::mem::take(&mut self.pins) {
            self.store.unpin(pin);
        }
        let stats = self.store.stats();
        assert_eq!((stats.lent, stats.orphaned_bytes), (0, 0));
        assert_eq!(stats.entries, self.model.held.len() as u64);
        let on_request = stats.deleted + stats.prefix_deleted + stats.flushed;
        let gone = on_request + stats.invalidated + stats.expirations + stats.evictions;
        assert_eq!(stats.created, stats.entries + gone);
    }
}

/// An integer that is written as it would be printed.
fn number(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse().ok().filter(|number: &i64| number.to_string() == text)
}
