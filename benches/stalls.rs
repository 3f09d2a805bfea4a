//! The longest single calls, and what the bounds of a store come to:
//! `cargo bench --bench stalls -- [MIB [ENTRIES]]`.
//!
//! Keys of 16 bytes and values of 128 unless a row says otherwise. Times are CPU time of this
//! thread, so that other load on the host does not show, but for what kernel and hypervisor take:
//! the rows `noise` say what the same measurement makes of work that is the same each time. Reading
//! that clock is taken off. With `PREFAULT=1` the memory is made resident first, as `--prefault`
//! does; `faults` are the pages that became so within the calls.
//!
//! Ends with exit code 1 when a bound is missed. On a busy host the rows `noise` miss them as well.
//! With `ROUNDS=3` the same calls are made three times, each time in a new store, and the least of
//! the three times counts for each call: what the store or the first touch of a page does happens
//! in every round, what the host does elsewhere in each.

#![expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "this is its output")]

use kvcache::clock::Millis;
use kvcache::config::Config;
use kvcache::shard::{Role, Shard};
use kvcache::store::{
    Bounds, Condition, EXPIRE_STEPS_MAX, Extras, Key, KeyHasher, Op, ROOM_STEPS_MAX, Read,
    SCAN_STEPS_MAX, Scan, Store, Verb, Write,
};
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::num::NonZeroU64;
use std::ops::Range;
use std::process::ExitCode;

/// Bounds on the CPU time of a call.
const P9999_NS_MAX: u64 = 100_000;
const CALL_NS_MAX: u64 = 1_000_000;
/// Bounds on what one put of at most so many bytes does.
const SMALL_BYTES_MAX: usize = 600;
const EVICTIONS_MAX: u64 = 32;
const RELOCATIONS_MAX: u64 = 65;
const MIB: usize = 1 << 20;
/// Least share of the pages that is headers, keys and values, by the memory of the store.
const UTILISATION_MIN: [(usize, f64); 2] = [(256 * MIB, 0.96), (16 * MIB, 0.93)];

struct Run {
    store: Store,
    hasher: KeyHasher,
    random: fastrand::Rng,
    now: u64,
    /// Nanoseconds that reading the clock twice takes.
    clock_ns: u64,
    times: Histogram,
    last_ns: u64,
    /// Nanoseconds of each call in earlier rounds, the least of them.
    least: Vec<u32>,
    /// Calls of this round.
    calls: usize,
    /// A later round prints.
    is_silent: bool,
    /// When the row began.
    faults: u64,
    /// The most that one small put did.
    evictions_max: u64,
    relocations_max: u64,
    /// What the longest put did.
    longest: (u64, u64),
    /// The least while the store is full.
    utilisation_min: f64,
    used_bytes_max: u64,
    missed: Vec<String>,
}

/// Counts of times, 64 of them for each doubling.
struct Histogram {
    counts: Vec<u64>,
    calls: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; 64 * 64], calls: 0, max: 0 }
    }
}

impl Histogram {
    fn add(&mut self, ns: u64) {
        let shift = ns.max(64).ilog2() as usize - 6;
        let bucket = shift * 64 + usize::try_from(ns >> shift).expect("below 128");
        self.counts[bucket] += 1;
        self.calls += 1;
        self.max = self.max.max(ns);
    }

    /// The time that `share` of ten thousand calls do not exceed.
    fn at(&self, share: u64) -> u64 {
        let mut left = (self.calls * share).div_ceil(10_000);
        let bucket = self.counts.iter().position(|&count| {
            left = left.saturating_sub(count);
            left == 0
        });
        let bucket = bucket.unwrap_or(0) as u64;
        let shift = (bucket / 64).saturating_sub(1);
        (((bucket - shift * 64 + 1) << shift) - 1).min(self.max)
    }
}

struct Times {
    p9999: u64,
    max: u64,
}

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let mib: usize = numbers.next().unwrap_or(512);
    let entries = numbers.next().unwrap_or(1_500_000) as u64;
    println!("{mib} MiB, {entries} entries; ns of CPU per call\n");
    println!(
        "{:<28}{:>9}{:>8}{:>8}{:>9}{:>10}{:>9}",
        "", "calls", "p50", "p99", "p99.99", "max", "faults"
    );
    let mut missed = stalls(mib * MIB, entries);
    println!("\nten turnovers: sizes mixed and drifting, then one class after another\n");
    for (memory_bytes_max, utilisation_min) in UTILISATION_MIN {
        missed.extend(turnovers(memory_bytes_max, utilisation_min));
    }
    println!();
    for missed in &missed {
        println!("MISSED: {missed}");
    }
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The longest calls of everything that a store does.
fn stalls(memory_bytes_max: usize, entries: u64) -> Vec<String> {
    let rounds = std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1);
    let hasher = KeyHasher::random();
    let mut least = Vec::new();
    let mut missed = Vec::new();
    for left in (0..rounds).rev() {
        let mut run = Run::new(memory_bytes_max, hasher.clone());
        (run.least, run.is_silent) = (least, left > 0);
        run.all_rows(entries);
        (least, missed) = (run.least, run.missed);
    }
    over_http(memory_bytes_max, entries);
    missed
}

/// What the bounds come to while ten times the memory is put.
fn turnovers(memory_bytes_max: usize, utilisation_min: f64) -> Vec<String> {
    let mut run = Run::new(memory_bytes_max, KeyHasher::random());
    let name = format!("{} MiB", memory_bytes_max / MIB);
    let value = vec![1; MIB];
    let bytes_max = 10 * memory_bytes_max;
    let (mut id, mut bytes, mut usual) = (0, 0, 40.0);
    let drift = 2_000_000.0 / bytes_max as f64;
    while bytes < bytes_max {
        let len = if run.random.bool() {
            drifting(&mut usual, drift, &mut run.random)
        } else {
            run.random.usize(64..SMALL_BYTES_MAX)
        };
        run.put(id, &value[..len], 0);
        (id, bytes) = (id + 1, bytes + len);
    }
    run.report_bounds(&format!("{name}, mixed and drifting"), utilisation_min);

    // One size fills a part of the store, goes again or ends by its time; large values between.
    let (mut bytes, mut first) = (0, id);
    while bytes < bytes_max {
        let len = run.random.usize(..SMALL_BYTES_MAX);
        let ttl_ms = if run.random.bool() { 0 } else { 500 };
        let part = run.random.usize(..memory_bytes_max / 2);
        let stop = bytes + part;
        let start = id;
        while bytes < stop {
            if run.random.u32(..5_000) == 0 {
                let large = &value[..memory_bytes_max.min(16 * MIB) / 16];
                run.make_room_ahead(large.len());
                run.put(id, large, 0);
            } else {
                run.put(id, &value[..len], ttl_ms);
            }
            (id, bytes) = (id + 1, bytes + len + 48);
            run.now += u64::from(id % 1_000 == 0);
        }
        if run.random.bool() {
            for gone in first..start {
                run.execute(gone, Verb::delete());
            }
        }
        first = start;
    }
    run.report_bounds(&format!("{name}, class after class"), 0.0);
    run.missed
}

/// A length about one that drifts from small to large and starts again.
fn drifting(usual: &mut f64, step: f64, random: &mut fastrand::Rng) -> usize {
    *usual = if *usual > 540.0 { 40.0 } else { *usual + step };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
    let len = *usual as usize + random.usize(..60);
    len
}

/// 1 MiB puts over HTTP into a shard that is full of small entries: what a turn of its loop takes,
/// where the body comes read by read and where it is there at once.
fn over_http(memory_bytes: usize, entries: u64) {
    let mut config = Config { memory_bytes, ..Config::default() };
    config.limits.value_bytes_max = 1 << 20;
    config.limits.body_bytes_max = 8 << 20;
    let date = std::time::SystemTime::UNIX_EPOCH;
    let mut shard = Shard::new(0, config, KeyHasher::random(), Millis(0), date);
    let client = shard.open(Role::Data);
    let mut turn = |bytes: &[u8]| {
        let start = thread_ns();
        shard.begin_turn(Millis(0));
        shard.receive(client, bytes, false);
        let spent = thread_ns() - start;
        let sent = shard.unsent(client).len();
        shard.sent(client, sent);
        spent
    };
    let value = "v".repeat(1 << 20);
    let mut ids = 0..;
    let mut put = |bytes: usize| {
        let body =
            format!(r#"{{"key":"{:016}","value":"{}"}}"#, ids.next().unwrap_or(0), &value[..bytes]);
        format!("POST /put HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    for _ in 0..entries * 3 {
        turn(put(128).as_bytes());
    }
    for (row, read_bytes) in
        [("1 MiB by HTTP, in reads", 32 << 10), ("1 MiB by HTTP, at once", 2 << 20)]
    {
        let mut turns_ns = Vec::new();
        for _ in 0..100 {
            let large = put(value.len());
            turns_ns.extend(large.as_bytes().chunks(read_bytes).map(&mut turn));
            // Small entries take the place again.
            for _ in 0..20_000 {
                turn(put(128).as_bytes());
            }
        }
        print_calls(row, turns_ns);
    }
}

fn print_calls(row: &str, mut calls_ns: Vec<u64>) {
    calls_ns.sort_unstable();
    let at = |share: usize| calls_ns[(calls_ns.len() - 1) * share / 10_000];
    println!(
        "{row:<28}{:>9}{:>8}{:>8}{:>9}{:>10}",
        calls_ns.len(),
        at(5_000),
        at(9_900),
        at(9_999),
        at(10_000)
    );
}

impl Run {
    fn new(memory_bytes_max: usize, hasher: KeyHasher) -> Self {
        let bounds =
            Bounds { memory_bytes_max, key_bytes_max: 256, value_bytes_max: MIB, entries_max: 0 };
        let mut store = Store::new(&bounds);
        if std::env::var_os("PREFAULT").is_some() {
            store.prefault();
        }
        let clock_ns = (0..1_000).map(|_| thread_ns().abs_diff(thread_ns())).min().unwrap_or(0);
        Self {
            store,
            hasher,
            random: fastrand::Rng::with_seed(1),
            now: 0,
            clock_ns,
            times: Histogram::default(),
            last_ns: 0,
            least: Vec::new(),
            calls: 0,
            is_silent: false,
            faults: minor_faults(),
            evictions_max: 0,
            relocations_max: 0,
            longest: (0, 0),
            utilisation_min: 1.0,
            used_bytes_max: 0,
            missed: Vec::new(),
        }
    }

    fn all_rows(&mut self, entries: u64) {
        let (value, large) = ([1; 1 << 10], vec![1; MIB]);
        self.measure_noise(entries.min(2_000_000), &large);

        let resident = resident_bytes();
        self.puts("fill", 0..entries, |_| &value[..128], 0);
        self.say(|| {
            format!("    {} resident bytes per entry", (resident_bytes() - resident) / entries)
        });
        self.puts("churn, one size", entries..entries * 3 / 2, |_| &value[..128], 0);
        self.gets("get, uniform", entries / 2..entries * 3 / 2);
        let mixed = |random: &mut fastrand::Rng| &value[..random.usize(64..600)];
        self.puts("churn, 64 to 600 B", 0..entries, mixed, 0);
        let mut usual = 40.0;
        let drift = 1_000.0 / entries as f64;
        let drifting = |random: &mut fastrand::Rng| &value[..drifting(&mut usual, drift, random)];
        self.puts("churn, drifting sizes", 2 * entries..4 * entries, drifting, 0);
        self.puts_large(4 * entries..4 * entries + 500, &large);
        self.gets("get 1 MiB", 4 * entries..4 * entries + 500);
        self.pins(4 * entries..4 * entries + 500);
        self.puts("fill with a TTL", 5 * entries..6 * entries, |_| &value[..128], 10_000);
        self.now = 60_000;
        while self.timed(|store, now| store.expire(now, EXPIRE_STEPS_MAX)) {}
        self.report("mass expiry, in steps");
        self.puts("fill again", 6 * entries..7 * entries, |_| &value[..128], 0);
        self.store.start_walk();
        let walk_on = |store: &mut Store, now| {
            let _met = store.walk_on(now, &mut 1).is_some();
            store.is_walking()
        };
        while self.timed(walk_on) {}
        self.report("walk");
        self.scans(7 * entries..8 * entries, &value[..128]);
        self.timed(|store, _| store.flush());
        self.report("flush");
    }

    /// What this machine makes of a fixed amount of work, of a first write to a page of memory
    /// where the store may come to that, and of writes to memory that is not in the caches.
    fn measure_noise(&mut self, calls: u64, large: &[u8]) {
        let start = thread_ns();
        spin(1_000_000);
        let turns_per_us = 1_000_000_000 / (thread_ns() - start).max(1);
        for _ in 0..calls {
            self.timed(|_, _| spin(turns_per_us));
        }
        self.print_row("noise: 1 us of work");
        for _ in 0..calls / 20 {
            self.timed(|_, _| spin(30 * turns_per_us));
        }
        self.print_row("noise: 30 us of work");
        let mut cold = vec![0; 512 * MIB];
        for page in cold.chunks_exact_mut(4096) {
            self.timed(|_, _| page[0] = black_box(1));
        }
        self.print_row("noise: first touch of 4 KiB");
        for place in cold.chunks_exact_mut(large.len()) {
            self.timed(|_, _| place.copy_from_slice(black_box(large)));
        }
        self.print_row("noise: copy of 1 MiB");
        let mut random = fastrand::Rng::with_seed(2);
        for _ in 0..calls {
            let places = [(); 16].map(|()| random.usize(..cold.len()));
            self.timed(|_, _| places.iter().for_each(|&place| cold[place] += 1));
        }
        self.print_row("noise: 16 random writes");
    }

    fn timed<R>(&mut self, call: impl FnOnce(&mut Store, Millis) -> R) -> R {
        let start = thread_ns();
        let result = call(&mut self.store, Millis(self.now));
        let spent = (thread_ns() - start).saturating_sub(self.clock_ns);
        let spent = u32::try_from(spent).unwrap_or(u32::MAX);
        match self.least.get_mut(self.calls) {
            Some(least) => *least = spent.min(*least),
            None => self.least.push(spent),
        }
        self.last_ns = self.least[self.calls].into();
        self.calls += 1;
        self.times.add(self.last_ns);
        result
    }

    /// Times what comes with those of another row.
    fn apart<R>(&mut self, times: &mut Histogram, calls: impl FnOnce(&mut Self) -> R) -> R {
        std::mem::swap(&mut self.times, times);
        let result = calls(self);
        std::mem::swap(&mut self.times, times);
        result
    }

    fn execute(&mut self, id: u64, verb: Verb<&[u8]>) {
        let bytes = u128::from(id).to_le_bytes();
        let key = Key { bytes: &bytes[..], hash: self.hasher.hash(&bytes) };
        self.timed(|store, now| {
            store.execute(&Op { key, verb }, now);
        });
    }

    fn put(&mut self, id: u64, value: &[u8], ttl_ms: u64) {
        let before = self.store.stats();
        self.execute(id, Verb::put(value, NonZeroU64::new(ttl_ms)));
        let after = self.store.stats();
        self.used_bytes_max = self.used_bytes_max.max(after.used_bytes);
        let evictions = after.evictions - before.evictions;
        let relocations = after.relocations - before.relocations;
        if value.len() <= SMALL_BYTES_MAX {
            self.evictions_max = self.evictions_max.max(evictions);
            self.relocations_max = self.relocations_max.max(relocations);
        }
        if self.last_ns == self.times.max {
            self.longest = (evictions, relocations);
        }
        if evictions > 0 {
            let utilisation = after.payload_bytes as f64 / after.entry_page_bytes as f64;
            self.utilisation_min = self.utilisation_min.min(utilisation);
        }
    }

    /// Makes room first, as a server does while a body arrives.
    fn make_room_ahead(&mut self, bytes: usize) {
        while !self.timed(|store, now| store.make_room_ahead(bytes, now, ROOM_STEPS_MAX)) {}
    }

    fn puts_large(&mut self, ids: Range<u64>, value: &[u8]) {
        let mut puts = Histogram::default();
        for id in ids {
            self.make_room_ahead(value.len());
            self.apart(&mut puts, |run| run.put(id, value, 0));
        }
        self.report("room for 1 MiB, in steps");
        self.times = puts;
        self.report("put 1 MiB");
    }

    fn puts<'a>(
        &mut self,
        row: &str,
        ids: Range<u64>,
        mut value: impl FnMut(&mut fastrand::Rng) -> &'a [u8],
        ttl_ms: u64,
    ) {
        for id in ids {
            let value = value(&mut self.random);
            self.put(id, value, ttl_ms);
        }
        self.report(row);
    }

    /// Pins values and takes them in pieces; each is deleted before its last reader is done.
    fn pins(&mut self, ids: Range<u64>) {
        let mut reads = Histogram::default();
        for id in ids.clone().chain(ids) {
            let bytes = u128::from(id).to_le_bytes();
            let key = Key { bytes: &bytes[..], hash: self.hasher.hash(&bytes) };
            let verb = Verb::Read(Read { pin_above: 1 << 15, ..Read::VALUE });
            let read = |store: &mut Store, now| store.execute(&Op { key, verb }, now).pin();
            let pin = self.apart(&mut reads, |run| run.timed(read));
            let Some(pin) = pin else { continue };
            for from in (0..1 << 20).step_by(1 << 15) {
                let verb = Verb::Piece { pin, from, bytes: 1 << 15 };
                self.timed(|store, now| {
                    store.execute(&Op { key, verb }, now);
                });
            }
            self.execute(id, Verb::delete());
            self.timed(|store, _| store.unpin(pin));
        }
        self.report("take, unpin 1 MiB");
        self.times = reads;
        self.report("pin 1 MiB");
    }

    fn gets(&mut self, row: &str, ids: Range<u64>) {
        for _ in ids.clone().take(1_000_000) {
            let id = self.random.u64(ids.clone());
            self.execute(id, Verb::get());
        }
        self.report(row);
    }

    /// What goes through the whole index in slices.
    fn scans(&mut self, ids: std::ops::Range<u64>, value: &[u8]) {
        let extras = Extras { tags: Some(&[1; 8][..]), ..Extras::NONE };
        let condition = Condition::NONE;
        for id in ids.clone() {
            self.execute(id, Verb::Write(Write { value, extras, ttl_ms: None, condition }));
        }
        self.report("fill with a tag");
        self.delete_all("prefix of all, counted", true);
        assert!(self.store.invalidate(u64::from_le_bytes([1; 8])));
        while self.timed(|store, _| store.sweep(SCAN_STEPS_MAX)) {}
        self.report("sweep of a tag");
        self.puts("fill again", ids, |_| value, 0);
        self.delete_all("prefix of all, deleted", false);
    }

    fn delete_all(&mut self, row: &str, dry_run: bool) {
        let mut scan = Scan::START;
        while !self
            .timed(|store, now| store.delete_prefix(&mut scan, b"", dry_run, now, SCAN_STEPS_MAX))
        {
        }
        self.report(row);
    }

    fn report(&mut self, row: &str) {
        let times = self.print_row(row);
        self.at_most(row, "p99.99 in ns", times.p9999, P9999_NS_MAX);
        self.at_most(row, "longest call in ns", times.max, CALL_NS_MAX);
        self.check_puts(row);
    }

    fn report_bounds(&mut self, row: &str, utilisation_min: f64) {
        let budget = self.store.stats().budget_bytes;
        println!(
            "{row}: {} evictions and {} moves at most for one put, {} forced; at most {} of {budget} \
             bytes used; payload at least {:.4} of the pages of entries",
            self.evictions_max,
            self.relocations_max,
            self.store.stats().forced,
            self.used_bytes_max,
            self.utilisation_min,
        );
        if self.utilisation_min < utilisation_min {
            let least = self.utilisation_min;
            self.missed.push(format!("{row}: {least:.4} of the pages, not {utilisation_min}"));
        }
        self.check_puts(row);
        self.utilisation_min = 1.0;
        self.times = Histogram::default();
    }

    fn check_puts(&mut self, row: &str) {
        let stats = self.store.stats();
        let (evictions, relocations) = (self.evictions_max, self.relocations_max);
        self.at_most(row, "evictions of one put", evictions, EVICTIONS_MAX);
        self.at_most(row, "moves of one put", relocations, RELOCATIONS_MAX);
        self.at_most(row, "forced evictions", stats.forced, 0);
        self.at_most(row, "bytes used", self.used_bytes_max, stats.budget_bytes);
        (self.evictions_max, self.relocations_max) = (0, 0);
    }

    fn at_most(&mut self, row: &str, what: &str, found: u64, bound: u64) {
        if found > bound {
            self.missed.push(format!("{row}: {what}: {found}, more than {bound}"));
        }
    }

    fn print_row(&mut self, row: &str) -> Times {
        let calls = std::mem::take(&mut self.times);
        let times = Times { p9999: calls.at(9_999), max: calls.max };
        let faults = minor_faults() - self.faults;
        self.say(|| {
            format!(
                "{row:<28}{:>9}{:>8}{:>8}{:>9}{:>10}{faults:>9}",
                calls.calls,
                calls.at(5_000),
                calls.at(9_900),
                times.p9999,
                times.max,
            )
        });
        self.faults = minor_faults();
        if self.evictions_max > 0 {
            self.say(|| {
                format!(
                    "    one put: at most {} evictions and {} moves; the longest: {} and {}",
                    self.evictions_max, self.relocations_max, self.longest.0, self.longest.1
                )
            });
        }
        times
    }

    fn say(&self, line: impl FnOnce() -> String) {
        if !self.is_silent {
            println!("{}", line());
        }
    }
}

fn spin(turns: u64) {
    for turn in 0..turns {
        black_box(turn);
    }
}

fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).expect("time is positive")
}

/// Pages that became resident within this thread.
fn minor_faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap_or_default();
    stat.split(' ').nth(9).and_then(|faults| faults.parse().ok()).unwrap_or(0)
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}
