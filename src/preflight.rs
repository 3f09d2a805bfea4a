//! What the host must offer, asked before any executor starts: `io_uring`, locked memory and file
//! descriptors.

use crate::config::Config;
use rustix::{
    io::{Errno, fcntl_dupfd_cloexec},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use std::{fmt, io, os::fd::RawFd};

/// Locked memory that one executor's rings and buffers may count against the limit.
const MEMLOCK_BYTES_PER_SHARD: u64 = 512 << 10;

/// Descriptors beside the clients' connections: listeners, rings, event descriptors, the standard
/// three and some for administration.
const DESCRIPTORS_BASE: u64 = 128;
const DESCRIPTORS_PER_SHARD: u64 = 16;

/// `CAP_IPC_LOCK`, which lifts the limit on locked memory.
const CAP_IPC_LOCK_BIT: u32 = 14;

/// What the host lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    IoUringAbsent,
    IoUringForbidden,
    IoUringMemory,
    IoUring(Errno),
    Memlock { needed: u64, limit: u64 },
    Descriptors { needed: u64, limit: u64 },
    Memory { needed: usize },
    Pin { cpu: usize },
}

impl fmt::Display for Lack {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IoUringAbsent => out.write_str(
                "io_uring is not there (ENOSYS); it needs Linux 5.8 or later built with CONFIG_IO_URING, \
                 and a container's seccomp profile must allow the io_uring_* calls",
            ),
            Self::IoUringForbidden => out.write_str(
                "io_uring is forbidden here (EPERM); allow the io_uring_* calls in the container's \
                 seccomp profile, and set the sysctl kernel.io_uring_disabled to 0",
            ),
            Self::IoUringMemory => out.write_str(
                "there is not enough lockable memory for io_uring (ENOMEM); raise the limit, \
                 with LimitMEMLOCK=64M or ulimit -l",
            ),
            Self::IoUring(errno) => write!(out, "io_uring does not start: {errno}"),
            Self::Memlock { needed, limit } => write!(
                out,
                "{needed} bytes of lockable memory are needed and the limit is {limit}; raise it, \
                 with LimitMEMLOCK=64M or ulimit -l, or lower --shards"
            ),
            Self::Descriptors { needed, limit } => write!(
                out,
                "{needed} file descriptors are needed and the hard limit is {limit}; raise it, \
                 with LimitNOFILE or ulimit -n, or lower --connections-max"
            ),
            Self::Memory { needed } => write!(
                out,
                "{needed} bytes of memory are not to be had; lower --memory, or raise the limit, \
                 which is ulimit -v or the sysctl vm.overcommit_memory"
            ),
            Self::Pin { cpu } => write!(
                out,
                "a thread may not be pinned to CPU {cpu}, though it may run there; allow the \
                 system call sched_setaffinity"
            ),
        }
    }
}

/// Checks the host, and raises the soft limit on descriptors where that is enough.
pub fn check(config: &Config) -> Result<(), Lack> {
    io_uring()?;
    locked_memory(config)?;
    descriptors(config)?;
    memory(config)?;
    pinning(config)
}

/// Whether a ring can be had.
pub fn io_uring() -> Result<(), Lack> {
    match io_uring::IoUring::new(8) {
        Ok(_) => Ok(()),
        Err(error) => Err(match Errno::from_io_error(&error) {
            Some(Errno::NOSYS) => Lack::IoUringAbsent,
            Some(Errno::PERM | Errno::ACCESS) => Lack::IoUringForbidden,
            Some(Errno::NOMEM) => Lack::IoUringMemory,
            other => Lack::IoUring(other.unwrap_or(Errno::INVAL)),
        }),
    }
}

/// Whether the rings of all shards may be locked in memory.
pub fn locked_memory(config: &Config) -> Result<(), Lack> {
    let needed = config.shards as u64 * MEMLOCK_BYTES_PER_SHARD;
    match getrlimit(Resource::Memlock).current {
        Some(limit) if limit < needed && !may_lock_memory() => Err(Lack::Memlock { needed, limit }),
        _ => Ok(()),
    }
}

fn may_lock_memory() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    capabilities(&status).is_some_and(|effective| effective >> CAP_IPC_LOCK_BIT & 1 == 1)
}

fn capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Whether the address space has room for all entries.
pub fn memory(config: &Config) -> Result<(), Lack> {
    let needed = config.memory_bytes;
    let map = memmap2::MmapOptions::new().len(needed).no_reserve_swap().map_anon();
    map.map(drop).map_err(|_| Lack::Memory { needed })
}

/// Whether each shard may have a CPU of its own, where there are enough.
pub fn pinning(config: &Config) -> Result<(), Lack> {
    let cpus = core_affinity::get_core_ids().unwrap_or_default();
    if cpus.len() < config.shards {
        return Ok(());
    }
    // A thread of its own, so that this one stays free.
    let pinned = std::thread::spawn(move || {
        cpus.into_iter().find(|cpu| !core_affinity::set_for_current(*cpu)).map(|cpu| cpu.id)
    });
    match pinned.join().expect("a panic aborts the process") {
        Some(cpu) => Err(Lack::Pin { cpu }),
        None => Ok(()),
    }
}

/// Whether all clients can be connected. Raises the soft limit where that is enough.
pub fn descriptors(config: &Config) -> Result<(), Lack> {
    let needed = DESCRIPTORS_BASE
        + config.shards as u64 * DESCRIPTORS_PER_SHARD
        + config.limits.connections_max as u64;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if let Some(limit) = maximum
        && limit < needed
    {
        return Err(Lack::Descriptors { needed, limit });
    }
    if current.is_some_and(|soft| soft < needed) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum })
            .map_err(|_| Lack::Descriptors { needed, limit: current.unwrap_or_default() })?;
    }
    make_room(needed);
    Ok(())
}

/// Has the kernel's table of our descriptors grow now. Once there are threads, it grows by waiting
/// until every CPU has let go of the old one: milliseconds, in the call that accepts a client.
fn make_room(descriptors: u64) {
    let last = RawFd::try_from(descriptors - 1).unwrap_or(RawFd::MAX);
    // Where there is no memory for all of it, it grows with the clients.
    drop(io::pipe().map(|(any, _)| fcntl_dupfd_cloexec(any, last)));
}

#[cfg(test)]
mod tests {
    use super::{Lack, capabilities};

    #[test]
    fn capabilities_are_read_from_the_status_file() {
        let status = "Name:\tkvcache\nCapPrm:\t0\nCapEff:\t000001ffffffffff\n";
        assert_eq!(capabilities(status), Some(0x1ff_ffff_ffff));
        assert_eq!(capabilities("Name:\tkvcache\n"), None);
    }

    #[test]
    fn every_lack_is_one_line_that_says_what_to_do() {
        for lack in [
            Lack::IoUringAbsent,
            Lack::IoUringForbidden,
            Lack::IoUringMemory,
            Lack::Memlock { needed: 2, limit: 1 },
            Lack::Descriptors { needed: 2, limit: 1 },
            Lack::Memory { needed: 1 },
            Lack::Pin { cpu: 1 },
        ] {
            let line = lack.to_string();
            assert!(!line.contains('\n') && line.contains(';'), "{line}");
        }
    }
}
