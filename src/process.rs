//! What the kernel says of this process.

use crate::{clock::Clock, config::Host, metrics::Process};
use rustix::{
    param::page_size,
    process::{Resource, getrlimit},
};
use std::fs;

/// Looks at this process. What cannot be read is 0.
#[must_use]
pub fn look() -> Process {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: Option<u64> = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    Process {
        cpu_us: Clock::process_cpu_micros(),
        resident_bytes: pages.unwrap_or(0) * page_size() as u64,
        open_descriptors: open_descriptors(),
        descriptors_max: getrlimit(Resource::Nofile).current.unwrap_or(0),
        memory_available: Host::read().memory_bytes as u64,
        ..Process::default()
    }
}

/// Since Linux 6.2 the directory has their number for its size; before, they are counted.
fn open_descriptors() -> u64 {
    const DIRECTORY: &str = "/proc/self/fd";
    match fs::metadata(DIRECTORY).map(|directory| directory.len()) {
        Ok(0) => fs::read_dir(DIRECTORY).map_or(0, |entries| entries.count() as u64),
        Ok(number) => number,
        Err(_) => 0,
    }
}
