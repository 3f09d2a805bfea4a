//! What a get costs as the entries grow in number: `cargo bench --bench growth -- [ENTRIES_MAX]`.
//!
//! Gets and peeks of uniform keys among 1,000 to 10 million entries, keys of 16 bytes and values of
//! 128, first with huge pages and then without. Beside them stands what one read costs that waits
//! for the read before it, at random places of as much memory: that is a miss of the caches and the
//! TLB. `misses` is the growth since 1,000 entries over the growth of such a read. A get touches the
//! bucket, the entry, its neighbours in the queue and the front of it, so the growth is explained
//! while there are about as many; exits with 1 above `MISSES_MAX`.

#![expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "this is its output")]

use kvcache::clock::Millis;
use kvcache::store::{Bounds, Key, KeyHasher, Op, Reply, Store, Verb};
use memmap2::{Advice, MmapMut};
use rustix::thread::disable_transparent_huge_pages;
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::io::Result;
use std::process::ExitCode;

const ENTRIES_MAX: usize = 10_000_000;
const CALLS: usize = 1 << 20;
/// Of so many rounds the fastest counts: others use the machine too.
const ROUNDS: usize = 5;
const LINE_BYTES: usize = 64;
/// Bucket, entry, an entry that spans two lines, two neighbours, the front.
const MISSES_MAX: f64 = 6.0;

fn main() -> Result<ExitCode> {
    let most = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(ENTRIES_MAX);
    println!("ns per call; memory in MiB\n");
    println!(
        "{:>10} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "entries", "memory", "huge", "peek", "get", "read", "misses"
    );
    let mut failed = false;
    for is_huge in [true, false] {
        disable_transparent_huge_pages(!is_huge)?;
        let mut base = None;
        let mut entries = 1_000;
        while entries <= most {
            let row = Row::measure(entries)?;
            let base = *base.get_or_insert(row);
            let misses = (row.get - base.get) / (row.read - base.read).max(1.0);
            println!(
                "{entries:>10} {:>8} {:>8} {:>8.1} {:>8.1} {:>8.1} {misses:>8.1}",
                row.memory_mib, row.huge_mib, row.peek, row.get, row.read
            );
            failed |= misses > MISSES_MAX;
            entries *= 10;
        }
        println!();
    }
    Ok(ExitCode::from(u8::from(failed)))
}

#[derive(Clone, Copy)]
struct Row {
    memory_mib: usize,
    huge_mib: usize,
    peek: f64,
    get: f64,
    read: f64,
}

impl Row {
    fn measure(entries: usize) -> Result<Self> {
        let bounds = Bounds {
            memory_bytes_max: (entries * 190).max(1 << 20),
            key_bytes_max: 256,
            value_bytes_max: 256,
            entries_max: 0,
        };
        let mut store = Store::new(&bounds);
        store.prefault();
        let hasher = KeyHasher::random();
        for id in 0..entries {
            execute(&mut store, &hasher, id, Verb::put(&[7; 128], None));
        }
        assert_eq!(store.stats().evictions, 0);
        let mut calls = |verb: Verb<&[u8]>| {
            let mut random = fastrand::Rng::with_seed(1);
            fastest(|| {
                for _ in 0..CALLS {
                    black_box(execute(&mut store, &hasher, random.usize(..entries), verb));
                }
            })
        };
        let (peek, get) = (calls(Verb::peek()), calls(Verb::get()));
        let memory_mib = usize::try_from(store.stats().used_bytes >> 20).expect("it is mapped");
        let huge_mib = huge_kib() >> 10;
        drop(store);
        Ok(Self { memory_mib, huge_mib, peek, get, read: read(entries * 170)? })
    }
}

fn execute(store: &mut Store, hasher: &KeyHasher, id: usize, verb: Verb<&[u8]>) -> u8 {
    let bytes = (id as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    let key = Key { bytes: &bytes[..], hash: hasher.hash(&bytes) };
    match store.execute(&Op { key, verb }, Millis(0)) {
        Reply::Value(value) => value[0],
        _ => 0,
    }
}

/// One read of `bytes` after another, each at a random place that the one before decides.
fn read(bytes: usize) -> Result<f64> {
    let mut map = MmapMut::map_anon(bytes)?;
    // Without huge pages in the kernel there are none on either side.
    drop(map.advise(Advice::HugePage));
    map.fill(1);
    let lines = bytes / LINE_BYTES;
    let mut random = fastrand::Rng::with_seed(1);
    let mut last = 0;
    Ok(fastest(|| {
        for _ in 0..CALLS {
            let line = (random.usize(..lines) + last) % lines;
            last = usize::from(map[line * LINE_BYTES]);
        }
        black_box(last);
    }))
}

/// Nanoseconds of one of `CALLS` calls.
fn fastest(mut round: impl FnMut()) -> f64 {
    let rounds = (0..ROUNDS).map(|_| {
        let start = now_ns();
        round();
        (now_ns() - start) as f64 / CALLS as f64
    });
    rounds.fold(f64::INFINITY, f64::min)
}

fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).expect("time is positive")
}

/// What of this process lies in huge pages.
fn huge_kib() -> usize {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = rollup.lines().find(|line| line.starts_with("AnonHugePages:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}
