//! The store beside other caches, in one process: `cargo bench --bench store`.
//!
//! Keys of 16 bytes and values of 128, in random order. The names are those of the Go study that
//! this project grew from; its figures are printed first. Every cache hands out a value that can be
//! read; hashing the key is part of each operation, and for `Sharded` so is finding its shard.
//!
//! In the rows `concurrent` two threads work at once and one of them is timed. Each owns one shard
//! of ours, with the keys of that shard; the other caches they share.

#![expect(clippy::disallowed_types, clippy::print_stdout, reason = "one of the others is a lock")]

use divan::{Bencher, black_box};
use kvcache::clock::Millis;
use kvcache::mesh::owner;
use kvcache::store::{Bounds, Key, KeyHasher, Op, Reply, Store, Verb};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};

const REFERENCE: &str = "\
Go, for reference        ns per operation
  pure_reads             71
  pure_writes            407000 (copy on write), 379000
  read_heavy_95_5        7327 (RWMutex), 25874 (atomic.Value)
  get                    60.5
  set                    112
  sharded_get            72.1
  concurrent_get         170, 99.5 sharded
  mixed_70_20_10         390
";

const ENTRIES: usize = 1_000;
/// Operations in a sample.
const ROUND: u32 = 1 << 14;

fn main() {
    println!("{REFERENCE}");
    divan::main();
}

type Id = [u8; 16];
type Value = [u8; 128];

/// A cache that one thread has for itself.
trait Cache {
    fn new(entries: usize) -> Self;
    fn get(&mut self, id: &Id) -> Option<u8>;
    fn set(&mut self, id: &Id, value: &Value);
    fn delete(&mut self, id: &Id);
}

/// A cache that threads share.
trait Shared: Sync {
    fn new(entries: usize) -> Self;
    fn get(&self, id: &Id) -> Option<u8>;
    fn set(&self, id: &Id, value: &Value);
    fn delete(&self, id: &Id);
}

struct Kvcache {
    store: Store,
    hasher: KeyHasher,
}

impl Kvcache {
    fn execute(&mut self, id: &Id, verb: Verb<&[u8]>) -> Option<u8> {
        let key = Key { bytes: &id[..], hash: self.hasher.hash(id) };
        match self.store.execute(&Op { key, verb }, Millis(1)) {
            Reply::Value(value) => Some(value[0]),
            _ => None,
        }
    }
}

impl Cache for Kvcache {
    fn new(entries: usize) -> Self {
        let bounds = Bounds {
            memory_bytes_max: (entries * 256).max(16 << 20),
            key_bytes_max: 256,
            value_bytes_max: 256,
            entries_max: 0,
        };
        Self { store: Store::new(&bounds), hasher: KeyHasher::random() }
    }

    fn get(&mut self, id: &Id) -> Option<u8> {
        self.execute(id, Verb::get())
    }

    fn set(&mut self, id: &Id, value: &Value) {
        self.execute(id, Verb::put(value, None));
    }

    fn delete(&mut self, id: &Id) {
        self.execute(id, Verb::delete());
    }
}

/// Two stores, each with the keys that a server of two shards has there.
struct Sharded(Vec<Kvcache>);

impl Sharded {
    fn owner(&mut self, id: &Id) -> &mut Kvcache {
        &mut self.0[owner(id, 2)]
    }
}

impl Cache for Sharded {
    fn new(entries: usize) -> Self {
        Self((0..2).map(|_| Cache::new(entries)).collect())
    }

    fn get(&mut self, id: &Id) -> Option<u8> {
        self.owner(id).get(id)
    }

    fn set(&mut self, id: &Id, value: &Value) {
        self.owner(id).set(id, value);
    }

    fn delete(&mut self, id: &Id) {
        self.owner(id).delete(id);
    }
}

/// A cache of which two threads have a part each.
trait Parted {
    type Part: Cache + Send;

    /// The parts of a full one, and the ids that are asked of each.
    fn parts(entries: usize) -> Vec<(Self::Part, Vec<Id>)>;
}

impl Parted for Sharded {
    type Part = Kvcache;

    fn parts(entries: usize) -> Vec<(Kvcache, Vec<Id>)> {
        let Self(shards) = full(entries);
        let of = |shard| ids(entries).into_iter().filter(|id| owner(id, 2) == shard).collect();
        shards.into_iter().enumerate().map(|(shard, kvcache)| (kvcache, of(shard))).collect()
    }
}

/// Both have all of it.
impl<S: Shared + Send> Parted for S {
    type Part = Arc<S>;

    fn parts(entries: usize) -> Vec<(Arc<S>, Vec<Id>)> {
        let cache: Arc<S> = full(entries);
        vec![(Arc::clone(&cache), ids(entries)), (cache, ids(entries))]
    }
}

struct Moka(moka::sync::Cache<Id, Arc<[u8]>>);

impl Shared for Moka {
    fn new(entries: usize) -> Self {
        Self(moka::sync::Cache::new(entries as u64 * 2))
    }

    fn get(&self, id: &Id) -> Option<u8> {
        self.0.get(id).map(|value| value[0])
    }

    fn set(&self, id: &Id, value: &Value) {
        self.0.insert(*id, Arc::from(&value[..]));
    }

    fn delete(&self, id: &Id) {
        self.0.invalidate(id);
    }
}

struct QuickCache(quick_cache::sync::Cache<Id, Arc<[u8]>>);

impl Shared for QuickCache {
    fn new(entries: usize) -> Self {
        Self(quick_cache::sync::Cache::new(entries * 2))
    }

    fn get(&self, id: &Id) -> Option<u8> {
        self.0.get(id).map(|value| value[0])
    }

    fn set(&self, id: &Id, value: &Value) {
        self.0.insert(*id, Arc::from(&value[..]));
    }

    fn delete(&self, id: &Id) {
        self.0.remove(id);
    }
}

struct RwLockHashMap(RwLock<HashMap<Id, Box<[u8]>>>);

impl Shared for RwLockHashMap {
    fn new(entries: usize) -> Self {
        Self(RwLock::new(HashMap::with_capacity(entries)))
    }

    fn get(&self, id: &Id) -> Option<u8> {
        self.0.read().expect("nobody panics").get(id).map(|value| value[0])
    }

    fn set(&self, id: &Id, value: &Value) {
        self.0.write().expect("nobody panics").insert(*id, Box::from(&value[..]));
    }

    fn delete(&self, id: &Id) {
        self.0.write().expect("nobody panics").remove(id);
    }
}

impl<S: Shared> Cache for S {
    fn new(entries: usize) -> Self {
        Shared::new(entries)
    }

    fn get(&mut self, id: &Id) -> Option<u8> {
        Shared::get(self, id)
    }

    fn set(&mut self, id: &Id, value: &Value) {
        Shared::set(self, id, value);
    }

    fn delete(&mut self, id: &Id) {
        Shared::delete(self, id);
    }
}

impl<S: Shared> Cache for Arc<S> {
    fn new(entries: usize) -> Self {
        Self::new(Shared::new(entries))
    }

    fn get(&mut self, id: &Id) -> Option<u8> {
        S::get(self, id)
    }

    fn set(&mut self, id: &Id, value: &Value) {
        S::set(self, id, value);
    }

    fn delete(&mut self, id: &Id) {
        S::delete(self, id);
    }
}

struct Lru(lru::LruCache<Id, Box<[u8]>>);

impl Cache for Lru {
    fn new(entries: usize) -> Self {
        Self(lru::LruCache::new(std::num::NonZeroUsize::new(entries * 2).expect("some entries")))
    }

    fn get(&mut self, id: &Id) -> Option<u8> {
        self.0.get(id).map(|value| value[0])
    }

    fn set(&mut self, id: &Id, value: &Value) {
        self.0.put(*id, Box::from(&value[..]));
    }

    fn delete(&mut self, id: &Id) {
        self.0.pop(id);
    }
}

const VALUE: Value = [7; 128];

fn ids(entries: usize) -> Vec<Id> {
    (0..entries as u128).map(|id| id.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect()
}

fn full<C: Cache>(entries: usize) -> C {
    let mut cache = C::new(entries);
    for id in ids(entries) {
        cache.set(&id, &VALUE);
    }
    cache
}

/// Operations on a cache, of which `reads` and then `writes` in a hundred are so; the rest are
/// deletes.
struct Load<C> {
    cache: C,
    /// Ids in random order, each with a number below 100 that picks the operation.
    order: Vec<(Id, u8)>,
    next: usize,
    reads: u8,
    writes: u8,
}

impl<C: Cache> Load<C> {
    fn new(cache: C, ids: &[Id], reads: u8, writes: u8) -> Self {
        let mut random = fastrand::Rng::with_seed(1);
        let mut pick = || (ids[random.usize(..ids.len())], random.u8(..100));
        let order = (0..ROUND).map(|_| pick()).collect();
        Self { cache, order, next: 0, reads, writes }
    }

    fn step(&mut self) {
        let (id, dice) = &self.order[self.next % self.order.len()];
        self.next += 1;
        match *dice {
            dice if dice < self.reads => {
                black_box(self.cache.get(black_box(id)));
            }
            dice if dice < self.reads + self.writes => self.cache.set(black_box(id), &VALUE),
            _ => self.cache.delete(black_box(id)),
        }
    }
}

fn run<C: Cache>(bencher: Bencher, entries: usize, reads: u8, writes: u8) {
    let mut load = Load::<C>::new(full(entries), &ids(entries), reads, writes);
    bencher.bench_local(|| load.step());
}

/// Times one thread while another does the same with the other part.
fn run_both<P: Parted>(bencher: Bencher, reads: u8, writes: u8) {
    let load = |(cache, ids): (_, Vec<_>)| Load::new(cache, &ids, reads, writes);
    let mut loads: Vec<_> = P::parts(ENTRIES).into_iter().map(load).collect();
    let [mine, other] = &mut loads[..] else { unreachable!("there are two parts") };
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                other.step();
            }
        });
        bencher.bench_local(|| mine.step());
        is_over.store(true, Ordering::Relaxed);
    });
}

#[divan::bench(types = [Kvcache, Moka, QuickCache, Lru, RwLockHashMap], sample_size = ROUND)]
fn pure_reads<C: Cache>(bencher: Bencher) {
    run::<C>(bencher, ENTRIES, 100, 0);
}

#[divan::bench(types = [Kvcache, Moka, QuickCache, Lru, RwLockHashMap], sample_size = ROUND)]
fn pure_writes<C: Cache>(bencher: Bencher) {
    run::<C>(bencher, ENTRIES, 0, 100);
}

#[divan::bench(types = [Kvcache, Moka, QuickCache, Lru, RwLockHashMap], sample_size = ROUND)]
fn read_heavy_95_5<C: Cache>(bencher: Bencher) {
    run::<C>(bencher, ENTRIES, 95, 5);
}

#[divan::bench(types = [Kvcache, Moka, QuickCache, Lru, RwLockHashMap], sample_size = ROUND)]
fn mixed_70_20_10<C: Cache>(bencher: Bencher) {
    run::<C>(bencher, ENTRIES, 70, 20);
}

#[divan::bench(
    types = [Kvcache, Moka, QuickCache, Lru, RwLockHashMap],
    sample_size = ROUND,
    args = [10_000, 1_000_000],
)]
fn get<C: Cache>(bencher: Bencher, entries: usize) {
    run::<C>(bencher, entries, 100, 0);
}

#[divan::bench(
    types = [Kvcache, Moka, QuickCache, Lru, RwLockHashMap],
    sample_size = ROUND,
    args = [10_000, 1_000_000],
)]
fn set<C: Cache>(bencher: Bencher, entries: usize) {
    run::<C>(bencher, entries, 0, 100);
}

#[divan::bench(types = [Sharded, Moka, QuickCache, Lru, RwLockHashMap], sample_size = ROUND)]
fn sharded_get<C: Cache>(bencher: Bencher) {
    run::<C>(bencher, ENTRIES, 100, 0);
}

#[divan::bench(types = [Sharded, Moka, QuickCache, RwLockHashMap], sample_size = ROUND)]
fn concurrent_get<P: Parted>(bencher: Bencher) {
    run_both::<P>(bencher, 100, 0);
}

#[divan::bench(types = [Sharded, Moka, QuickCache, RwLockHashMap], sample_size = ROUND)]
fn concurrent_set<P: Parted>(bencher: Bencher) {
    run_both::<P>(bencher, 0, 100);
}

#[divan::bench(types = [Sharded, Moka, QuickCache, RwLockHashMap], sample_size = ROUND)]
fn concurrent_mixed_70_20_10<P: Parted>(bencher: Bencher) {
    run_both::<P>(bencher, 70, 20);
}
