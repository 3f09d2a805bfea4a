//! The store beside other caches, in one process: `cargo bench --bench store`.
//!
//! Keys of 16 bytes and values of 128, in random order. The names are those of the Go study that
//! this project grew from; its figures are printed first. Every cache hands out a value that can be
//! read; hashing the key is part of each operation.

#![expect(clippy::disallowed_types, clippy::print_stdout, reason = "one of the others is a lock")]

use divan::{Bencher, black_box};
use kvcache::clock::Millis;
use kvcache::store::{Key, KeyHasher, Op, Reply, Settings, Store, Verb};
use std::cell::RefCell;
use std::collections::HashMap;
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
        match self.store.execute(Op { key, verb }, Millis(1)) {
            Reply::Value(value) => Some(value[0]),
            _ => None,
        }
    }
}

impl Cache for Kvcache {
    fn new(entries: usize) -> Self {
        let settings = Settings {
            memory_bytes_max: (entries * 256).max(16 << 20),
            key_bytes_max: 256,
            value_bytes_max: 256,
            entries_max: 0,
        };
        Self { store: Store::new(&settings), hasher: KeyHasher::random() }
    }

    fn get(&mut self, id: &Id) -> Option<u8> {
        self.execute(id, Verb::Get)
    }

    fn set(&mut self, id: &Id, value: &Value) {
        self.execute(id, Verb::Put { value, ttl_ms: None });
    }

    fn delete(&mut self, id: &Id) {
        self.execute(id, Verb::Delete);
    }
}

/// A store per thread, as each core has its own.
struct Sharded(usize);

thread_local! {
    static SHARD: RefCell<Option<Kvcache>> = const { RefCell::new(None) };
}

impl Sharded {
    fn with<R>(&self, run: impl FnOnce(&mut Kvcache) -> R) -> R {
        SHARD.with_borrow_mut(|shard| {
            run(shard.get_or_insert_with(|| {
                let mut kvcache = Kvcache::new(self.0);
                for id in ids(self.0) {
                    kvcache.set(&id, &VALUE);
                }
                kvcache
            }))
        })
    }
}

impl Shared for Sharded {
    fn new(entries: usize) -> Self {
        Self(entries)
    }

    fn get(&self, id: &Id) -> Option<u8> {
        self.with(|kvcache| kvcache.get(id))
    }

    fn set(&self, id: &Id, value: &Value) {
        self.with(|kvcache| kvcache.set(id, value));
    }

    fn delete(&self, id: &Id) {
        self.with(|kvcache| kvcache.delete(id));
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

/// Ids in random order, each with a number below 100 that picks the operation.
fn order(entries: usize) -> Vec<(Id, u8)> {
    let ids = ids(entries);
    let mut random = fastrand::Rng::with_seed(1);
    (0..ROUND).map(|_| (ids[random.usize(..entries)], random.u8(..100))).collect()
}

/// Runs one operation after another, of which `reads` and then `writes` in a hundred are so; the
/// rest are deletes.
fn run<C: Cache>(bencher: Bencher, entries: usize, reads: u8, writes: u8) {
    let mut cache: C = full(entries);
    let order = order(entries);
    let mut next = 0;
    bencher.bench_local(|| {
        let (id, dice) = &order[next % order.len()];
        next += 1;
        match *dice {
            dice if dice < reads => {
                black_box(cache.get(black_box(id)));
            }
            dice if dice < reads + writes => cache.set(black_box(id), &VALUE),
            _ => cache.delete(black_box(id)),
        }
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

/// The same on two threads at once.
fn run_shared<S: Shared>(bencher: Bencher, reads: u8, writes: u8) {
    let cache = S::new(ENTRIES);
    for id in ids(ENTRIES) {
        cache.set(&id, &VALUE);
    }
    let order = order(ENTRIES);
    thread_local! {
        static NEXT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }
    bencher.bench(|| {
        let next = NEXT.get();
        NEXT.set(next + 1);
        let (id, dice) = &order[next % order.len()];
        match *dice {
            dice if dice < reads => {
                black_box(cache.get(black_box(id)));
            }
            dice if dice < reads + writes => cache.set(black_box(id), &VALUE),
            _ => cache.delete(black_box(id)),
        }
    });
}

#[divan::bench(types = [Sharded, Moka, QuickCache, RwLockHashMap], threads = [2], sample_size = ROUND)]
fn concurrent_get<S: Shared>(bencher: Bencher) {
    run_shared::<S>(bencher, 100, 0);
}

#[divan::bench(types = [Sharded, Moka, QuickCache, RwLockHashMap], threads = [2], sample_size = ROUND)]
fn concurrent_mixed_70_20_10<S: Shared>(bencher: Bencher) {
    run_shared::<S>(bencher, 70, 20);
}
