//! Memory per entry and the longest single calls: `cargo bench --bench stalls -- [MIB [ENTRIES]]`.
//!
//! Keys of 16 bytes and values of 128 unless a row says otherwise. Times are CPU time of this
//! thread, so that other load on the host does not show; reading that clock is taken off. With
//! `PREFAULT=1` the memory is made resident first, as `--prefault` does.

#![expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "this is its output")]

use kvcache::clock::Millis;
use kvcache::config::Config;
use kvcache::http::response::Date;
use kvcache::shard::{Role, Shard};
use kvcache::store::{Key, KeyHasher, Op, Settings, Store, Verb};
use rustix::time::{ClockId, clock_gettime};
use std::num::NonZeroU64;

struct Run {
    store: Store,
    hasher: KeyHasher,
    random: fastrand::Rng,
    now: u64,
    /// Nanoseconds that reading the clock twice takes.
    clock_ns: u64,
    calls_ns: Vec<u64>,
    evictions_max: u64,
    relocations_max: u64,
    utilisation_min: f64,
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let mib = numbers.next().unwrap_or(512);
    let entries = numbers.next().unwrap_or(1_500_000) as u64;
    let mut run = Run::new(mib << 20);
    let (value, large) = ([1; 1 << 10], vec![1; 1 << 20]);
    println!("{mib} MiB, {entries} entries; ns of CPU per call\n");
    println!("{:<24}{:>10}{:>8}{:>8}{:>9}{:>10}", "", "calls", "p50", "p99", "p99.99", "max");

    let resident = resident_bytes();
    run.puts("fill", 0..entries, |_| &value[..128], 0);
    let per_entry = (resident_bytes() - resident) / entries;
    println!("    {per_entry} resident bytes per entry");
    run.puts("churn, one size", entries..entries * 3 / 2, |_| &value[..128], 0);
    run.gets("get, uniform", entries / 2..entries * 3 / 2);
    run.puts("churn, 64 to 600 B", 0..entries, |random| &value[..random.usize(64..600)], 0);
    let mut usual = 40.0;
    run.puts(
        "churn, drifting sizes",
        2 * entries..4 * entries,
        |random| {
            usual = if usual > 560.0 { 40.0 } else { usual + 1_000.0 / entries as f64 };
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
            let len = usual as usize + random.usize(..60);
            &value[..len]
        },
        0,
    );
    for id in 4 * entries..4 * entries + 500 {
        // Room is made while the body arrives, 64 KiB after 64 KiB.
        while !run.timed(|store, now| store.make_way(large.len(), now, 400)) {}
        run.execute(id, Verb::Put { value: &large, ttl_ms: None });
    }
    run.report("put 1 MiB, in steps");
    run.gets("get 1 MiB", 4 * entries..4 * entries + 500);
    run.puts("fill with a TTL", 5 * entries..6 * entries, |_| &value[..128], 10_000);
    run.now = 60_000;
    while run.timed(|store, now| store.expire(now, 256)) {}
    run.report("mass expiry, 256 steps");
    run.puts("fill again", 6 * entries..7 * entries, |_| &value[..128], 0);
    run.store.start_walk();
    while run.timed(|store, now| store.walk_on(now).is_some()) {}
    run.report("walk");
    run.timed(|store, _| store.flush());
    run.report("flush");
    drop(run);
    over_http(mib << 20, entries);
}

/// 1 MiB puts over HTTP into a shard that is full of small entries: what a turn of its loop takes,
/// where the body comes read by read and where it is there at once.
fn over_http(memory_bytes: usize, entries: u64) {
    let mut config = Config { memory_bytes, ..Config::default() };
    config.limits.value_bytes_max = 1 << 20;
    config.limits.body_bytes_max = 8 << 20;
    let date = Date::of(std::time::SystemTime::UNIX_EPOCH);
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
        "{row:<24}{:>10}{:>8}{:>8}{:>9}{:>10}",
        calls_ns.len(),
        at(5_000),
        at(9_900),
        at(9_999),
        at(10_000)
    );
}

impl Run {
    fn new(memory_bytes_max: usize) -> Self {
        let settings = Settings {
            memory_bytes_max,
            key_bytes_max: 256,
            value_bytes_max: 1 << 20,
            entries_max: 0,
        };
        let mut store = Store::new(&settings);
        if std::env::var_os("PREFAULT").is_some() {
            store.prefault();
        }
        let clock_ns = (0..1_000).map(|_| thread_ns().abs_diff(thread_ns())).min().unwrap_or(0);
        Self {
            store,
            hasher: KeyHasher::random(),
            random: fastrand::Rng::with_seed(1),
            now: 0,
            clock_ns,
            calls_ns: Vec::new(),
            evictions_max: 0,
            relocations_max: 0,
            utilisation_min: 1.0,
        }
    }

    fn timed<R>(&mut self, call: impl FnOnce(&mut Store, Millis) -> R) -> R {
        let before = self.store.stats();
        let start = thread_ns();
        let result = call(&mut self.store, Millis(self.now));
        self.calls_ns.push((thread_ns() - start).saturating_sub(self.clock_ns));
        let after = self.store.stats();
        assert!(after.used_bytes <= after.budget_bytes);
        self.evictions_max = self.evictions_max.max(after.evictions - before.evictions);
        self.relocations_max = self.relocations_max.max(after.relocations - before.relocations);
        let utilisation = after.payload_bytes as f64 / after.used_bytes as f64;
        if after.evictions > before.evictions {
            self.utilisation_min = self.utilisation_min.min(utilisation);
        }
        result
    }

    fn execute(&mut self, id: u64, verb: Verb<&[u8]>) {
        let bytes = u128::from(id).to_le_bytes();
        let key = Key { bytes: &bytes[..], hash: self.hasher.hash(&bytes) };
        self.timed(|store, now| {
            store.execute(Op { key, verb }, now);
        });
    }

    fn puts<'a>(
        &mut self,
        row: &str,
        ids: std::ops::Range<u64>,
        mut value: impl FnMut(&mut fastrand::Rng) -> &'a [u8],
        ttl_ms: u64,
    ) {
        let ttl_ms = NonZeroU64::new(ttl_ms);
        for id in ids {
            let value = value(&mut self.random);
            self.execute(id, Verb::Put { value, ttl_ms });
        }
        self.report(row);
    }

    fn gets(&mut self, row: &str, ids: std::ops::Range<u64>) {
        for _ in ids.clone().take(1_000_000) {
            let id = self.random.u64(ids.clone());
            self.execute(id, Verb::Get);
        }
        self.report(row);
    }

    fn report(&mut self, row: &str) {
        print_calls(row, std::mem::take(&mut self.calls_ns));
        if self.evictions_max > 0 {
            println!(
                "    most evictions {}, moves {}; forced {}; payload at least {:.3} of what is used",
                self.evictions_max,
                self.relocations_max,
                self.store.stats().forced,
                self.utilisation_min
            );
        }
        (self.evictions_max, self.relocations_max, self.utilisation_min) = (0, 0, 1.0);
    }
}

fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).expect("time is positive")
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}
