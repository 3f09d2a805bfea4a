//! What the machine offers: CPUs and memory.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What the machine offers.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// CPUs in the affinity mask.
    pub cpus: usize,
    /// Physical memory or the limit of the cgroup, whichever is less.
    pub memory_bytes: usize,
}

impl Host {
    /// Looks at the machine that we run on.
    #[must_use]
    pub fn read() -> Self {
        let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let limits: Vec<String> = cgroup_files(&cgroups)
            .into_iter()
            .filter_map(|file| fs::read_to_string(file).ok())
            .collect();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            cpus: core_affinity::get_core_ids().map_or(1, |cpus| cpus.len()),
            memory_bytes: memory_available(&meminfo, &limits),
        }
    }
}

/// Files that may hold a memory limit of this process, given the text of `/proc/self/cgroup`: one
/// for its cgroup and one for each cgroup around it, v1 or v2.
#[must_use]
pub fn cgroup_files(cgroups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in cgroups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (root, file) = if controllers.is_empty() {
            ("/sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|name| name == "memory") {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            continue;
        };
        let below = Path::new(path.trim_start_matches('/'));
        files.extend(below.ancestors().map(|group| Path::new(root).join(group).join(file)));
    }
    files
}

/// The least of the memory that `/proc/meminfo` tells and the given cgroup limits, each the text
/// of a `memory.max` or `memory.limit_in_bytes`. In bytes.
#[must_use]
pub fn memory_available(meminfo: &str, limits: &[String]) -> usize {
    let physical = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB"))
        .and_then(|kib| kib.trim().parse::<usize>().ok())
        .map_or(usize::MAX, |kib| kib.saturating_mul(1024));
    // "max", and what v1 says instead of it, limit nothing.
    limits.iter().filter_map(|limit| limit.trim().parse().ok()).fold(physical, usize::min)
}
