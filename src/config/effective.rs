//! What the program uses.

use super::limits::{Limits, SHARD_BYTES_MIN};
use crate::{log::Log, store::Eviction};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

/// What the program uses.
#[derive(Clone, Debug)]
pub struct Config {
    pub listen: SocketAddr,
    /// `None`: no admin listener.
    pub admin_listen: Option<AdminAddress>,
    /// 1 to 64.
    pub shards: usize,
    /// For all shards together.
    pub memory_bytes: usize,
    /// Whether all of that is made resident at the start.
    pub prefault: bool,
    /// For all shards together; 0: no bound but the memory.
    pub entries_max: usize,
    pub eviction: Eviction,
    /// Who may do what; `None`: everybody everything.
    pub auth_token_file: Option<PathBuf>,
    /// For entries that are put without one; `None`: they do not expire.
    pub default_ttl: Option<Duration>,
    /// The file that snapshots are written to and restored from.
    pub snapshot_path: Option<PathBuf>,
    /// `None`: only on demand and at the end.
    pub snapshot_interval: Option<Duration>,
    pub restore: Restore,
    /// From the signal to the exit, but for the last snapshot.
    pub drain_timeout: Duration,
    /// How long an idle core polls before it sleeps.
    pub spin: Duration,
    pub log: Log,
    /// What takes longer is logged; zero: nothing.
    pub slow_log: Duration,
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7171),
            admin_listen: Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7172).into()),
            shards: 1,
            memory_bytes: SHARD_BYTES_MIN,
            prefault: false,
            entries_max: 0,
            eviction: Eviction::default(),
            auth_token_file: None,
            default_ttl: None,
            snapshot_path: None,
            snapshot_interval: None,
            restore: Restore::default(),
            drain_timeout: Duration::from_secs(10),
            spin: Duration::ZERO,
            log: Log::default(),
            slow_log: Duration::ZERO,
            limits: Limits::default(),
        }
    }
}

/// Where the admin listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    Tcp(SocketAddr),
    /// A socket file that only its owner may use.
    Unix(PathBuf),
}

impl From<SocketAddr> for AdminAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(out, "{address}"),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

/// What a start does with a snapshot that is damaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restore {
    /// It refuses to start.
    #[default]
    Strict,
    /// It sets the file aside and starts empty.
    BestEffort,
}

impl Restore {
    pub const NAMES: [(&'static str, Self); 2] =
        [("strict", Self::Strict), ("best-effort", Self::BestEffort)];
}
