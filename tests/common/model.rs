//! A store beside a plain map and a plain queue: programs of steps, and what each must come to.
//!
//! A program is decoded from bytes, so that random numbers and a fuzzer make the same ones. When a
//! step fails, the program up to it is printed as a call of [`play`].
//!
//! The model knows nothing of what an entry costs: it is told how many entries were evicted. For
//! LRU it knows which ones they must have been; for the other rules it takes note of what is gone,
//! and holds that to the number of evictions.

use kvcache::clock::Millis;
use kvcache::store::{
    Bounds, CONTENT_TYPE_BYTES_MAX, Condition, Details, Eviction, Extras, INLINE_BYTES_MAX, Item,
    Key, KeyHasher, Lease, Op, Pin, Read, Reply, Scan, Stats, Store, TAGS_MAX, Verb, Versions,
    Write,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::num::NonZeroU64;

/// Instants from here on are not reached: 2^39 milliseconds are 17 years.
const NEVER: u64 = (1 << 39) - 1;
/// Versions from here on are hashes of the value, which go when there is room for others.
const CONTENT_VERSION: u64 = 1 << 63;
/// Tags there are.
const TAGS: u8 = 40;
/// Invalidated tags that wait for their sweep, and leases, that the smallest store has room for.
const TAGS_WAITING: u32 = 32;
const LEASES_HELD: usize = 4;
const KIB: usize = 1 << 10;
/// Values up to this length are never too large.
const ACCEPTED_BYTES: usize = 64 * KIB;
/// Steps after which the usual length of a value doubles, up to 2 KiB; then it starts again.
const DRIFT_STEPS: usize = 2_000;
/// Steps between two looks at every key.
const CHECK_STEPS: usize = 500;
/// Pinned values at once.
const PINS_MAX: usize = 12;
/// The longest value that a read takes whole, if it is not of one slot.
const READ_BYTES_MAX: usize = 20_000;

/// The store that a program runs on.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) eviction: &'static str,
    pub(crate) memory_kib: usize,
    pub(crate) key_bytes_max: usize,
    pub(crate) entries_max: usize,
    /// Keeps these bits of each hash, so that some programs are full of collisions.
    pub(crate) hash_mask: u64,
    pub(crate) start_ms: u64,
}

/// One step. A time of 0 is none; `fill` picks the bytes of a value, each bit of `tags` a tag.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Wait {
        ms: u64,
    },
    Get {
        id: u32,
    },
    Peek {
        id: u32,
    },
    Read {
        id: u32,
        only: If,
        lease_ms: u64,
        is_use: bool,
    },
    Put {
        id: u32,
        len: usize,
        fill: u8,
        ttl_ms: u64,
    },
    Write {
        id: u32,
        len: usize,
        fill: u8,
        ttl_ms: u64,
        only: If,
        type_bytes: usize,
        tags: u64,
        stale_ms: u64,
    },
    Touch {
        id: u32,
        ttl_ms: u64,
        only: If,
    },
    Add {
        id: u32,
        by: i64,
        only: If,
    },
    Delete {
        id: u32,
    },
    Remove {
        id: u32,
        only: If,
    },
    Pin {
        id: u32,
        above: usize,
    },
    /// Takes a piece of one of the values on loan and, if it is the last, gives it back.
    ReadOn {
        pin: u8,
        from: usize,
        bytes: usize,
        last: bool,
    },
    /// Deletes, or only counts, what shares so many bytes of its id with this one.
    DeletePrefix {
        id: u32,
        bytes: usize,
        dry_run: bool,
        steps: u32,
    },
    Invalidate {
        tag: u8,
    },
    Sweep {
        steps: u32,
    },
    Expire {
        steps: u32,
    },
    MakeRoom {
        bytes: usize,
        steps: u32,
    },
    StartWalk,
    WalkOn {
        entries: u8,
    },
    WalkAll,
    Flush,
}

/// A condition. Of a key whose version was not read, the last three mean `Present`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum If {
    Always,
    Absent,
    Present,
    ItsVersion,
    AnotherVersion,
    NotItsVersion,
}

pub(crate) struct Program {
    setup: Setup,
    steps: Vec<Step>,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        print(f, &self.setup, &self.steps)
    }
}

/// Writes a program as it can be pasted into a test.
fn print(out: &mut impl std::fmt::Write, setup: &Setup, steps: &[Step]) -> std::fmt::Result {
    writeln!(out, "play(\n    &{setup:?},\n    &[")?;
    for step in steps {
        writeln!(out, "        Step::{},", format!("{step:?}").replace("only: ", "only: If::"))?;
    }
    writeln!(out, "    ],\n);")
}

/// What is left of the bytes of a program. Zeros follow the last.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut taken = [0; N];
        let (head, rest) = self.0.split_at(N.min(self.0.len()));
        taken[..head.len()].copy_from_slice(head);
        self.0 = rest;
        taken
    }

    fn byte(&mut self) -> u8 {
        self.take::<1>()[0]
    }

    fn number(&mut self) -> u32 {
        u32::from(u16::from_le_bytes(self.take()))
    }

    fn id(&mut self, ids: u32) -> u32 {
        let (one, other) = (self.number() % ids, self.number() % ids);
        one.min(other)
    }

    fn len(&mut self, usual: usize) -> usize {
        let (kind, number) = (self.byte(), self.number() as usize);
        match kind {
            // Miri takes seconds for a megabyte.
            0 if cfg!(not(miri)) => number * 16 + number % 17,
            1..4 if cfg!(not(miri)) => number,
            0 => number,
            4..48 => number % (2 * KIB),
            _ => number % (usual + 1),
        }
    }

    fn condition(&mut self) -> If {
        match self.byte() % 8 {
            0 => If::Absent,
            1 => If::Present,
            2 => If::ItsVersion,
            3 => If::AnotherVersion,
            4 => If::NotItsVersion,
            _ => If::Always,
        }
    }

    fn ttl_ms(&mut self) -> u64 {
        match self.byte() % 8 {
            0 => u64::from(self.number() % 5_000 + 1),
            1 => u64::from(self.number() + 1) * 1_500_000,
            2 => u64::MAX,
            _ => 0,
        }
    }

    /// None at most times. One byte more than there may be comes up too.
    fn type_bytes(&mut self) -> usize {
        match self.byte() {
            0..96 => self.number() as usize % (CONTENT_TYPE_BYTES_MAX + 2),
            _ => 0,
        }
    }

    /// None at most times. One more than there may be comes up too.
    fn tags(&mut self) -> u64 {
        let count = (self.byte() % 32).saturating_sub(22);
        (0..count).fold(0, |tags, _| tags | 1 << (self.byte() % TAGS))
    }

    fn stale_ms(&mut self) -> u64 {
        match self.byte() % 4 {
            0 => u64::from(self.number() % 5_000 + 1),
            1 => u64::MAX,
            _ => 0,
        }
    }

    fn lease_ms(&mut self) -> u64 {
        match self.byte() % 4 {
            0 => u64::from(self.number() + 1),
            1 => u64::from(self.number() % 5_000 + 1),
            _ => 0,
        }
    }
}

impl Program {
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let mut bytes = Bytes(bytes);
        let kind = bytes.byte();
        let collide = kind % 4 == 0;
        let entries_max = 1 + bytes.number() as usize % 400;
        let setup = Setup {
            eviction: match bytes.byte() {
                other @ 0..128 => Eviction::NAMES[usize::from(other) % Eviction::NAMES.len()].0,
                _ => "lru",
            },
            memory_kib: KIB + bytes.number() as usize % (3 * KIB),
            key_bytes_max: [16, 256, KIB][usize::from(bytes.byte() % 3)],
            entries_max: if collide || kind % 8 == 1 { entries_max } else { 0 },
            hash_mask: if collide { [0, 3, !0xffff_ffff][usize::from(kind / 4 % 3)] } else { !0 },
            start_ms: u64::from(bytes.number()) << 21,
        };
        let ids = [16, 300, 3_000, 60_000][usize::from(bytes.byte() % 4)];
        let mut steps = Vec::new();
        while !bytes.0.is_empty() {
            let usual = 16 << (steps.len() / DRIFT_STEPS % 8);
            steps.push(Step::decode(&mut bytes, ids, usual));
        }
        Self { setup, steps }
    }

    pub(crate) fn play(&self) {
        play(&self.setup, &self.steps);
    }
}

impl Step {
    fn decode(bytes: &mut Bytes<'_>, ids: u32, usual: usize) -> Self {
        match bytes.byte() {
            0..52 => Self::Wait { ms: u64::from(bytes.byte()) },
            52 => Self::Invalidate { tag: bytes.byte() % TAGS },
            53..55 => Self::Sweep { steps: u32::from(bytes.byte() >> (bytes.byte() % 8)) },
            55 => Self::DeletePrefix {
                id: bytes.id(ids),
                bytes: 1 + usize::from(bytes.byte() % 4),
                dry_run: bytes.byte() < 128,
                steps: 1 + u32::from(bytes.byte()),
            },
            56 => Self::Wait { ms: u64::from(bytes.number()) * 1_000 },
            57 => Self::StartWalk,
            58..62 => Self::WalkOn { entries: bytes.byte() },
            62 => match bytes.byte() {
                0..16 => Self::Flush,
                _ => Self::WalkAll,
            },
            63..66 => Self::Expire { steps: bytes.number() % 512 },
            66 => Self::MakeRoom {
                bytes: bytes.number() as usize * 8,
                steps: u32::from(bytes.byte()),
            },
            67..120 => Self::Put {
                id: bytes.id(ids),
                len: bytes.len(usual),
                fill: bytes.byte(),
                ttl_ms: bytes.ttl_ms(),
            },
            120..140 => Self::Write {
                id: bytes.id(ids),
                len: bytes.len(usual),
                fill: bytes.byte(),
                ttl_ms: bytes.ttl_ms(),
                only: bytes.condition(),
                type_bytes: bytes.type_bytes(),
                tags: bytes.tags(),
                stale_ms: bytes.stale_ms(),
            },
            140..150 => {
                Self::Touch { id: bytes.id(ids), ttl_ms: bytes.ttl_ms(), only: bytes.condition() }
            }
            150..160 => Self::Add {
                id: bytes.id(ids),
                by: i64::from(bytes.number()) - i64::from(i16::MAX),
                only: bytes.condition(),
            },
            160..190 => Self::Get { id: bytes.id(ids) },
            190..193 => Self::Pin { id: bytes.id(ids), above: bytes.number() as usize },
            193..196 => Self::ReadOn {
                pin: bytes.byte(),
                from: bytes.number() as usize,
                bytes: bytes.number() as usize + 1,
                last: bytes.byte().is_multiple_of(4),
            },
            196..210 => Self::Peek { id: bytes.id(ids) },
            210..232 => Self::Read {
                id: bytes.id(ids),
                only: bytes.condition(),
                lease_ms: bytes.lease_ms(),
                is_use: bytes.byte() < 128,
            },
            232..240 => Self::Remove { id: bytes.id(ids), only: bytes.condition() },
            _ => Self::Delete { id: bytes.id(ids) },
        }
    }
}

/// The bytes of a value. With a `fill` of 0 they are digits.
fn value(len: usize, fill: u8) -> Vec<u8> {
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
fn tag_hash(tag: u8) -> u64 {
    u64::from(tag) << 4
}

fn tag_bytes(tags: u64) -> Vec<u8> {
    let tags = (0..TAGS).filter(|tag| tags >> tag & 1 != 0);
    tags.flat_map(|tag| tag_hash(tag).to_le_bytes()).collect()
}

/// Runs a program. Panics at the first step that does not come to what it must.
pub(crate) fn play(setup: &Setup, steps: &[Step]) {
    /// Prints the steps that were begun.
    struct OnPanic<'a>(&'a Setup, &'a [Step]);
    impl Drop for OnPanic<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                let mut text = String::new();
                print(&mut text, self.0, self.1).expect("a string takes all");
                eprintln!("{text}");
            }
        }
    }
    let mut begun = OnPanic(setup, &[]);
    let mut run = Run::new(setup);
    for (index, &step) in steps.iter().enumerate() {
        begun.1 = &steps[..=index];
        run.step(step);
        if index % CHECK_STEPS == 0 {
            run.check_all();
        }
    }
    run.finish();
}

#[derive(Clone, Debug)]
struct Held {
    value: Vec<u8>,
    content_type: Vec<u8>,
    tags: u64,
    /// The end of its time to live, and of the time for which it may be read after that.
    expires: u64,
    gone: u64,
    /// When it was last used: its place in `Model::queue`.
    used: u64,
    /// The version, once it was read.
    version: Option<u64>,
}

impl Held {
    /// A value with nothing else, for ever.
    fn plain(value: Vec<u8>) -> Self {
        let (expires, gone) = (u64::MAX, u64::MAX);
        Self { value, content_type: Vec::new(), tags: 0, expires, gone, used: 0, version: None }
    }

    /// The same for a time. One that the store cannot count to is no time at all.
    fn lasting(mut self, now: u64, ttl_ms: u64, stale_ms: u64) -> Self {
        let expires = if ttl_ms == 0 { u64::MAX } else { now.saturating_add(ttl_ms) };
        let is_never = expires >= NEVER;
        self.expires = if is_never { u64::MAX } else { expires };
        self.gone =
            if is_never { u64::MAX } else { expires.saturating_add(stale_ms).min(NEVER - 1) };
        self
    }

    fn is_stale(&self, now: u64) -> bool {
        self.expires <= now
    }

    fn expires(&self) -> Option<u64> {
        (self.expires < NEVER).then_some(self.expires)
    }

    fn stale_until(&self) -> Option<u64> {
        (self.expires < self.gone).then_some(self.gone)
    }
}

/// A lease that somebody has.
struct Leased {
    ends: u64,
    /// It may have given way to others.
    may_be_lost: bool,
}

/// What the store must hold. `queue` runs from the entry that was used longest ago to the last.
#[derive(Default)]
struct Model {
    held: HashMap<u32, Held>,
    queue: BTreeMap<u64, u32>,
    uses: u64,
    /// By the hash of the key.
    leases: HashMap<u64, Leased>,
    /// The tags that may still wait for their sweep.
    waiting: u64,
}

impl Model {
    fn remove(&mut self, id: u32) -> Option<Held> {
        let held = self.held.remove(&id)?;
        self.queue.remove(&held.used);
        Some(held)
    }

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

    fn remove_where(&mut self, is_over: impl Fn(u32, &Held) -> bool) {
        let over: Vec<u32> =
            self.held.iter().filter(|(id, held)| is_over(**id, held)).map(|(id, _)| *id).collect();
        for id in over {
            self.remove(id);
        }
    }

    fn drop_expired(&mut self, now: u64) {
        self.remove_where(|_, held| held.gone <= now);
        self.leases.retain(|_, lease| lease.ends > now);
    }

    fn check_item(&self, item: Item<'_>) -> u32 {
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

struct Run {
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
    fn new(setup: &Setup) -> Self {
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

    fn step(&mut self, step: Step) {
        match step {
            Step::Wait { ms } => {
                self.now += ms;
                self.model.drop_expired(self.now);
            }
            Step::Get { id } => self.get(id, Verb::get()),
            Step::Peek { id } => self.get(id, Verb::peek()),
            Step::Read { id, only, lease_ms, is_use } => self.read(id, only, lease_ms, is_use),
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

    fn delete(&mut self, id: u32) {
        self.look(id);
        let evictions = self.store.stats().evictions;
        let reply = self.execute(id, Verb::delete());
        let held = self.model.remove(id).is_some();
        assert_eq!(reply, if held { Reply::Deleted } else { Reply::Absent });
        assert_eq!(self.store.stats().evictions, evictions);
    }

    fn remove(&mut self, id: u32, only: If) {
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
    fn listed(&self, id: u32, only: If) -> Option<[u8; 8]> {
        let version = self.model.held.get(&id)?.version?;
        let other = u64::from(only == If::AnotherVersion);
        Some((version ^ other).to_le_bytes())
    }

    /// What the condition is to the store, and whether it holds.
    fn condition<'a>(
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

    fn read(&mut self, id: u32, only: If, lease_ms: u64, is_use: bool) {
        self.look(id);
        let version = self.model.held.get(&id).and_then(|held| held.version);
        if version.is_some_and(|version| version >= CONTENT_VERSION) {
            // There may be room for another by now.
            self.read_now(id, If::Always, 0, false);
        }
        self.read_now(id, only, lease_ms, is_use);
    }

    fn read_now(&mut self, id: u32, only: If, lease_ms: u64, is_use: bool) {
        let listed = self.listed(id, only);
        let (condition, holds) = self.condition(id, only, listed.as_ref());
        let before = self.store.stats();
        let lease = NonZeroU64::new(lease_ms);
        let verb = Verb::Read(Read {
            condition,
            lease_ms: lease,
            is_use,
            pin_above: READ_BYTES_MAX,
            ..Read::ENTRY
        });
        let reply = self.execute(id, verb);
        let stale_reads = self.store.stats().stale - before.stale;
        if is_use && self.model.held.contains_key(&id) {
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
        let is_stale = held.is_stale(self.now);
        let left = held.expires().and_then(|at| NonZeroU64::new(at.saturating_sub(self.now)));
        let (version, ttl_ms, stale) = match reply {
            Reply::Pinned { pin, bytes, details: Some(details) } if holds => {
                let Details { content_type, version, ttl_ms, stale } = details;
                assert_eq!(bytes, held.value.len());
                assert!(bytes > READ_BYTES_MAX);
                assert_eq!(content_type.unwrap_or_default(), held.content_type);
                let value = held.value.clone();
                self.keep(pin, id, value);
                (version, ttl_ms, stale)
            }
            Reply::Entry { value, details: Details { content_type, version, ttl_ms, stale } }
                if holds =>
            {
                assert!(value.len() <= READ_BYTES_MAX.max(INLINE_BYTES_MAX));
                assert_eq!(value, held.value);
                assert_eq!(content_type.unwrap_or_default(), held.content_type);
                (version, ttl_ms, stale)
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
        assert_eq!(stale_reads, u64::from(is_stale));
        self.show(id, version);
        if let Some(lease) = stale {
            self.lease(id, lease_ms, lease);
        }
    }

    fn put(&mut self, id: u32, held: Held, ttl_ms: u64) {
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

    fn write(&mut self, id: u32, held: Held, (ttl_ms, stale_ms): (u64, u64), only: If) {
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

    fn touch(&mut self, id: u32, ttl_ms: u64, only: If) {
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

    fn add(&mut self, id: u32, by: i64, only: If) {
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
    fn is_refused(&self, reply: &Reply<Vec<u8>>, len: usize) -> bool {
        let is_refused = matches!(reply, Reply::TooLarge | Reply::Full);
        let may_be =
            len > ACCEPTED_BYTES || self.eviction == Eviction::None && *reply == Reply::Full;
        assert!(may_be || !is_refused, "{reply:?} to {len} bytes");
        is_refused
    }

    /// What must hold after an operation that changed nothing.
    fn unchanged(&mut self, id: u32, before: &Stats) {
        assert_eq!(self.store.stats().evictions, before.evictions);
        self.check_one(id);
    }

    /// What must hold after the key was written: others made room, the coldest if the rule is LRU.
    fn written(&mut self, id: u32, held: Held, before: &Stats) {
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

    fn check_all(&mut self) {
        let ids: Vec<u32> = self.model.held.keys().copied().collect();
        for id in ids {
            self.look(id);
            self.check_one(id);
        }
    }

    fn finish(mut self) {
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
