//! Misses of every eviction rule on a trace: `cargo bench --bench referee -- TRACE ENTRIES`.
//!
//! The trace is what `scripts/referee.py` writes: 24-byte records, of which bytes 4 to 12 are the
//! object's number. One shard, entries of one size, a miss is followed by a put. One line per rule:
//! its name and its misses.

#![expect(clippy::print_stdout, reason = "this is its output")]

use kvcache::clock::Millis;
use kvcache::store::{Bounds, Eviction, Key, KeyHasher, Op, Reply, Store, Verb};
use std::io::{Error, ErrorKind};

const RECORD_BYTES: usize = 24;

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    // Without arguments, as `cargo test --benches` runs it, there is nothing to do.
    let Some(trace) = arguments.next() else { return Ok(()) };
    let entries_max: Option<usize> = arguments.next().and_then(|number| number.parse().ok());
    let entries_max = entries_max.ok_or(Error::new(ErrorKind::InvalidInput, "TRACE ENTRIES"))?;
    let trace = std::fs::read(trace)?;
    let ids: Vec<&[u8]> = trace.as_chunks::<RECORD_BYTES>().0.iter().map(|r| &r[4..12]).collect();
    let hasher = KeyHasher::random();
    let bounds = Bounds {
        memory_bytes_max: (entries_max * 256).max(16 << 20),
        key_bytes_max: 8,
        value_bytes_max: 8,
        entries_max,
    };
    for (name, eviction) in Eviction::NAMES {
        let mut store = Store::with_eviction(&bounds, eviction);
        for id in &ids {
            let key = Key { bytes: *id, hash: hasher.hash(id) };
            if store.execute(&Op { key, verb: Verb::get() }, Millis(0)) == Reply::Absent {
                let verb = Verb::put(&b""[..], None);
                store.execute(&Op { key, verb }, Millis(0));
            }
        }
        println!("{name} {}", store.stats().misses);
    }
    Ok(())
}
