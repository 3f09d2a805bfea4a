//! What was typed becomes what the program uses; every limit lives here.
//!
//! [`SETTINGS`] is the one table of names, defaults, bounds and help. Flags, `KVCACHE_*` variables,
//! the keys of the TOML file, `--help` and `--print-config` all come from it.

mod read;
mod host;

use crate::{
    log::{Format, Level, Log},
    store::{Eviction, INLINE_BYTES_MAX},
};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr as _,
    time::Duration,
};

use bytesize::ByteSize;
use serde_json::{Map, Value};

pub use host::{Host, cgroup_files, memory_available};
pub(crate) use read::usage_error;
pub use read::{Error, Invocation, read};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const SHARDS_MAX: usize = 64;
const SHARD_BYTES_MIN: usize = MIB;
const HOUR: Duration = Duration::from_hours(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// The longest time to live: ten years of 365.25 days.
pub const TTL_MAX: Duration = Duration::from_hours(87_660);

/// Bodies of these lengths are compressed: a shorter one gains little, and the time that a longer
/// one takes would be missed by everyone else on its core.
pub const GZIP_BYTES_MIN: usize = KIB;
pub const GZIP_BYTES_MAX: usize = 64 * KIB;

/// The longest path of a socket file; the kernel's bound.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The longest time between two snapshots: a week.
const INTERVAL_MAX: Duration = Duration::from_hours(168);

/// What the longest key and the longest value may be set to.
pub const KEY_BYTES_CEILING: usize = KIB;
pub const VALUE_BYTES_CEILING: usize = MIB;

/// The longest tag.
pub const TAG_BYTES_MAX: usize = 64;

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
    /// What takes longer is told of in the log; zero: nothing.
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

impl Config {
    /// Every setting and its value in force. Tokens are none of them, only the name of their file.
    #[must_use]
    pub fn effective(&self) -> Map<String, Value> {
        let mut config = self.clone();
        let rows = SETTINGS.iter();
        rows.map(|row| (row.name.to_owned(), row.kind.show(&mut config))).collect()
    }

    /// Takes over what can change while the server runs. Returns the names of the settings that
    /// were to change and cannot.
    pub fn reload(&mut self, mut read: Self) -> Vec<&'static str> {
        let Self { log, slow_log, drain_timeout, limits, .. } = &read;
        self.log.level = log.level;
        self.slow_log = *slow_log;
        self.drain_timeout = *drain_timeout;
        self.limits.connections_max = limits.connections_max;
        self.limits.read_timeout = limits.read_timeout;
        self.limits.write_timeout = limits.write_timeout;
        self.limits.idle_timeout = limits.idle_timeout;
        let mut differs = |row: &Setting| row.kind.show(self) != row.kind.show(&mut read);
        SETTINGS.iter().filter(|row| differs(row)).map(|row| row.name).collect()
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

/// The bounds of everything that a client could make grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub key_bytes_max: usize,
    pub value_bytes_max: usize,
    pub body_bytes_max: usize,
    pub target_bytes_max: usize,
    /// Request line and fields together.
    pub head_bytes_max: usize,
    pub fields_max: usize,
    /// Empty lines before a request line.
    pub empty_lines_max: usize,
    /// Of one message, all chunks together.
    pub chunk_extension_bytes_max: usize,
    pub trailer_bytes_max: usize,
    /// Answers owed to one connection.
    pub pipeline_depth_max: usize,
    /// One read of a socket.
    pub read_bytes_max: usize,
    /// Unsent answers of one connection before it is no longer read.
    pub output_bytes_max: usize,
    /// A longer value leaves in pieces of at most this; they are in the output one at a time.
    pub piece_bytes_max: usize,
    /// Keys or entries of one batch.
    pub batch_items_max: usize,
    /// The body of one answer to a batch.
    pub reply_bytes_max: usize,
    /// Long answers of one shard that are not sent yet and bodies that are not complete: above
    /// this no further one is begun.
    pub buffered_bytes_max: usize,
    /// A shard where everything waits this long for its turn takes on no more.
    pub queue_delay_max: Duration,
    /// Requests in flight from one shard to one other.
    pub hop_requests_max: usize,
    /// Bytes in flight from one shard to one other.
    pub hop_bytes_max: usize,
    /// Commands of all clients that wait at one shard, each for what is to be known of its key or
    /// value first.
    pub waiting_commands_max: usize,
    /// Their keys and values.
    pub waiting_bytes_max: usize,
    /// Clients that listen for events at a time.
    pub event_readers_max: usize,
    /// Events that are held for clients that are slow to listen.
    pub events_bytes_max: usize,
    /// Input thrown away after the last answer of a connection that is being closed.
    pub linger_bytes_max: usize,
    /// Two beats more at most: whoever does not leave is gone within a second.
    pub linger_timeout: Duration,
    pub connections_max: usize,
    /// A head, and a body, must each be complete within this time.
    pub read_timeout: Duration,
    pub write_timeout: Duration,
    pub idle_timeout: Duration,
}

impl Limits {
    pub const DEFAULT: Self = Self {
        key_bytes_max: 256,
        value_bytes_max: 256,
        body_bytes_max: body_bytes_default(256, 256),
        target_bytes_max: 8 * KIB,
        head_bytes_max: 16 * KIB,
        fields_max: 64,
        empty_lines_max: 8,
        chunk_extension_bytes_max: KIB,
        trailer_bytes_max: 4 * KIB,
        pipeline_depth_max: 128,
        read_bytes_max: 32 * KIB,
        output_bytes_max: 32 * KIB,
        piece_bytes_max: 32 * KIB,
        batch_items_max: 1000,
        reply_bytes_max: 8 * MIB,
        buffered_bytes_max: 64 * MIB,
        queue_delay_max: Duration::from_millis(500),
        hop_requests_max: 16 * KIB,
        hop_bytes_max: 8 * MIB,
        waiting_commands_max: 4 * KIB,
        waiting_bytes_max: 4 * MIB,
        event_readers_max: 8,
        events_bytes_max: 256 * KIB,
        linger_bytes_max: 64 * KIB,
        linger_timeout: Duration::from_millis(400),
        connections_max: 10_000,
        read_timeout: Duration::from_secs(2),
        write_timeout: Duration::from_secs(2),
        idle_timeout: Duration::from_mins(2),
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Limits {
    /// Bytes of value that come with an answer to one of many requests: a longer one is lent.
    #[must_use]
    pub fn answer_bytes_max(&self) -> usize {
        self.value_bytes_max.min(INLINE_BYTES_MAX)
    }

    /// The relations between limits. The error is the name of the limit that breaks one, `: `, why.
    pub fn check(&self) -> Result<(), String> {
        let put = put_body_bytes(self.key_bytes_max, self.value_bytes_max);
        let target = "/get?key=".len() + self.key_bytes_max.saturating_mul(3);
        let entry = self.key_bytes_max + self.value_bytes_max;
        let relations = [
            ("body-bytes-max", self.body_bytes_max, put, "one put of the largest key and value"),
            ("target-bytes-max", self.target_bytes_max, target, "the longest key, escaped"),
            ("head-bytes-max", self.head_bytes_max, self.target_bytes_max, "the longest target"),
            ("hop-bytes-max", self.hop_bytes_max, entry, "the largest entry"),
            ("hop-bytes-max", self.hop_bytes_max, self.body_bytes_max, "the largest batch"),
            ("hop-requests-max", self.hop_requests_max, self.connections_max, "every connection"),
            ("hop-requests-max", self.hop_requests_max, self.batch_items_max, "the largest batch"),
            ("buffered-bytes-max", self.buffered_bytes_max, self.reply_bytes_max, "one answer"),
            ("buffered-bytes-max", self.buffered_bytes_max, self.body_bytes_max, "one body"),
            ("pipeline-depth-max", self.pipeline_depth_max, 1, "one answer"),
        ];
        for (name, limit, needed, what) in relations {
            if limit < needed {
                return Err(format!("{name}: {limit} is below the {needed} needed for {what}"));
            }
        }
        Ok(())
    }
}

/// The longest JSON body of one put that says nothing superfluous: each byte of key and value may
/// be written as `\u00XX`, and 128 bytes hold names, punctuation, spaces and a `ttl`.
const fn put_body_bytes(key_bytes: usize, value_bytes: usize) -> usize {
    (key_bytes + value_bytes) * 6 + 128
}

const fn body_bytes_default(key_bytes: usize, value_bytes: usize) -> usize {
    MIB + put_body_bytes(key_bytes, value_bytes)
}

/// One row of the table.
pub struct Setting {
    /// The flag without its dashes, which is also the key in the file.
    pub name: &'static str,
    pub default: &'static str,
    pub help: &'static str,
    kind: Kind,
}

type Place<T> = fn(&mut Config) -> &mut T;

enum Kind {
    Address(Place<SocketAddr>),
    AdminAddress(Place<Option<AdminAddress>>),
    Count { min: usize, max: usize, place: Place<usize> },
    Bytes { min: usize, max: usize, place: Place<usize> },
    Span { min: Duration, max: Duration, place: Place<Duration> },
    Micros { max: usize, place: Place<Duration> },
    Ttl,
    Switch(Place<bool>),
    Eviction,
    FileOrNone(Place<Option<PathBuf>>),
    Interval,
    Restore,
    LogFormat,
    LogLevel,
    Shards,
    Memory,
    Body,
}

/// A later row may rely on the values of the rows above it.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "listen",
        default: "0.0.0.0:7171",
        help: "Address for keys and values",
        kind: Kind::Address(|c| &mut c.listen),
    },
    Setting {
        name: "admin-listen",
        default: "127.0.0.1:7172",
        help: "Address for health and statistics, as unix:PATH for a socket file, or none",
        kind: Kind::AdminAddress(|c| &mut c.admin_listen),
    },
    Setting {
        name: "shards",
        default: "auto",
        help: "Shards, each with a core of its own; auto: one for every CPU we may run on",
        kind: Kind::Shards,
    },
    Setting {
        name: "memory",
        default: "60%",
        help: "Memory for entries and their index: a size, or a part of what host and cgroup allow",
        kind: Kind::Memory,
    },
    Setting {
        name: "prefault",
        default: "off",
        help: "Touch all that memory at the start: on or off",
        kind: Kind::Switch(|c| &mut c.prefault),
    },
    Setting {
        name: "max-entries",
        default: "0",
        help: "Entries at most; 0: as many as fit",
        kind: Kind::Count { min: 0, max: u32::MAX as usize, place: |c| &mut c.entries_max },
    },
    Setting {
        name: "eviction",
        default: "lru",
        help: "What goes when room is needed: lru, fifo, lfu, sieve, s3fifo, wtinylfu (experimental), none",
        kind: Kind::Eviction,
    },
    Setting {
        name: "key-bytes-max",
        default: "256",
        help: "Longest key",
        kind: Kind::Bytes {
            min: 1,
            max: KEY_BYTES_CEILING,
            place: |c| &mut c.limits.key_bytes_max,
        },
    },
    Setting {
        name: "value-bytes-max",
        default: "256",
        help: "Longest value",
        kind: Kind::Bytes {
            min: 1,
            max: VALUE_BYTES_CEILING,
            place: |c| &mut c.limits.value_bytes_max,
        },
    },
    Setting {
        name: "body-bytes-max",
        default: "auto",
        help: "Longest request body; auto: 1MiB and room for one put",
        kind: Kind::Body,
    },
    Setting {
        name: "batch-items-max",
        default: "1000",
        help: "Keys or entries of one batch",
        kind: Kind::Count { min: 1, max: 10_000, place: |c| &mut c.limits.batch_items_max },
    },
    Setting {
        name: "reply-bytes-max",
        default: "8MiB",
        help: "Longest answer to a batch",
        kind: Kind::Bytes { min: KIB, max: 64 * MIB, place: |c| &mut c.limits.reply_bytes_max },
    },
    Setting {
        name: "default-ttl",
        default: "0",
        help: "Time to live of a put that names none; 0: for ever",
        kind: Kind::Ttl,
    },
    Setting {
        name: "auth-token-file",
        default: "none",
        help: "File of the tokens that clients must bring, or none; read again at SIGHUP",
        kind: Kind::FileOrNone(|c| &mut c.auth_token_file),
    },
    Setting {
        name: "snapshot-path",
        default: "none",
        help: "File that snapshots are written to, at the end too, and restored from; or none",
        kind: Kind::FileOrNone(|c| &mut c.snapshot_path),
    },
    Setting {
        name: "snapshot-interval",
        default: "0",
        help: "Time between two snapshots; 0: only at the end and on demand",
        kind: Kind::Interval,
    },
    Setting {
        name: "restore",
        default: "strict",
        help: "A damaged snapshot ends the start, or is set aside: strict, best-effort",
        kind: Kind::Restore,
    },
    Setting {
        name: "read-timeout",
        default: "2s",
        help: "Time for a request's head, and again for its body, to arrive",
        kind: Kind::Span { min: MILLISECOND, max: HOUR, place: |c| &mut c.limits.read_timeout },
    },
    Setting {
        name: "write-timeout",
        default: "2s",
        help: "Time for a client to take some of its answer",
        kind: Kind::Span { min: MILLISECOND, max: HOUR, place: |c| &mut c.limits.write_timeout },
    },
    Setting {
        name: "idle-timeout",
        default: "120s",
        help: "Time for a connection to do nothing",
        kind: Kind::Span { min: MILLISECOND, max: HOUR, place: |c| &mut c.limits.idle_timeout },
    },
    Setting {
        name: "drain-timeout",
        default: "10s",
        help: "Time from SIGTERM to the exit, but for the last snapshot",
        kind: Kind::Span { min: MILLISECOND, max: HOUR, place: |c| &mut c.drain_timeout },
    },
    Setting {
        name: "connections-max",
        default: "10000",
        help: "Connections at once",
        kind: Kind::Count { min: 1, max: 1_000_000, place: |c| &mut c.limits.connections_max },
    },
    Setting {
        name: "spin-us",
        default: "0",
        help: "Microseconds that an idle core polls before it sleeps",
        kind: Kind::Micros { max: 10_000, place: |c| &mut c.spin },
    },
    Setting {
        name: "log-format",
        default: "text",
        help: "Form of the lines on standard error: text, logfmt, json",
        kind: Kind::LogFormat,
    },
    Setting {
        name: "log-level",
        default: "info",
        help: "Least grave lines that are written: error, warn, info, debug",
        kind: Kind::LogLevel,
    },
    Setting {
        name: "slow-log-us",
        default: "0",
        help: "Microseconds after which a request is told of in the log; 0: none is",
        kind: Kind::Micros { max: 60_000_000, place: |c| &mut c.slow_log },
    },
];

impl Setting {
    fn variable(&self) -> String {
        format!("KVCACHE_{}", self.name.replace('-', "_").to_uppercase())
    }

    /// Least and largest value, as in `1 to 64`.
    pub fn bounds(&self) -> Option<String> {
        self.kind.bounds()
    }
}

impl Kind {
    fn value_name(&self) -> &'static str {
        match self {
            Self::Address(_) | Self::AdminAddress(_) => "ADDRESS",
            Self::Count { .. } | Self::Shards | Self::Micros { .. } => "N",
            Self::Bytes { .. } | Self::Memory | Self::Body => "SIZE",
            Self::Span { .. } | Self::Ttl | Self::Interval => "TIME",
            Self::Switch(_) => "on|off",
            Self::Eviction => "RULE",
            Self::FileOrNone(_) => "FILE",
            Self::Restore => "strict|best-effort",
            Self::LogFormat => "FORM",
            Self::LogLevel => "LEVEL",
        }
    }

    fn bounds(&self) -> Option<String> {
        let (min, max) = match *self {
            Self::Address(_)
            | Self::AdminAddress(_)
            | Self::Memory
            | Self::Switch(_)
            | Self::Eviction
            | Self::FileOrNone(_)
            | Self::Restore
            | Self::LogFormat
            | Self::LogLevel => return None,
            Self::Count { min, max, .. } => (min.to_string(), max.to_string()),
            Self::Bytes { min, max, .. } => (size_text(min), size_text(max)),
            Self::Span { min, max, .. } => (span_text(min), span_text(max)),
            Self::Micros { max, .. } => ("0".to_owned(), max.to_string()),
            Self::Ttl => ("0s".to_owned(), span_text(TTL_MAX)),
            Self::Interval => ("0s".to_owned(), span_text(INTERVAL_MAX)),
            Self::Shards => ("1".to_owned(), SHARDS_MAX.to_string()),
            Self::Body => (size_text(KIB), size_text(64 * MIB)),
        };
        Some(format!("{min} to {max}"))
    }

    /// Reads `text` into its place.
    fn apply(&self, config: &mut Config, text: &str, host: Host) -> Result<(), String> {
        match *self {
            Self::Address(place) => *place(config) = address(text)?,
            Self::AdminAddress(place) => {
                let address = if text == "none" { None } else { Some(admin_address(text)?) };
                if let Some(AdminAddress::Tcp(admin)) = address
                    && is_shared(admin, config.listen)
                {
                    return Err(format!("{admin} is taken by --listen {}", config.listen));
                }
                *place(config) = address;
            }
            Self::Count { min, max, place } => *place(config) = count(text, min, max)?,
            Self::Bytes { min, max, place } => *place(config) = bytes(text, min, max)?,
            Self::Span { min, max, place } => *place(config) = span(text, min, max)?,
            Self::Micros { max, place } => {
                *place(config) = Duration::from_micros(count(text, 0, max)? as u64);
            }
            Self::Ttl => {
                let ttl = span(text, Duration::ZERO, TTL_MAX)?;
                config.default_ttl = (!ttl.is_zero()).then_some(ttl);
            }
            Self::Switch(place) => {
                *place(config) = match text {
                    "on" | "true" => true,
                    "off" | "false" => false,
                    _ => return Err(format!("{text:?} is neither on nor off")),
                }
            }
            Self::Eviction => config.eviction = choice(text, &Eviction::NAMES)?,
            Self::Interval => {
                let interval = span(text, Duration::ZERO, INTERVAL_MAX)?;
                config.snapshot_interval = (!interval.is_zero()).then_some(interval);
                if config.snapshot_interval.is_some() && config.snapshot_path.is_none() {
                    return Err("there is no --snapshot-path to write to".to_owned());
                }
            }
            Self::Restore => config.restore = choice(text, &Restore::NAMES)?,
            Self::LogFormat => config.log.format = choice(text, &Format::NAMES)?,
            Self::LogLevel => config.log.level = choice(text, &Level::NAMES)?,
            Self::FileOrNone(place) => *place(config) = file(text)?,
            Self::Shards => {
                config.shards = match text {
                    "auto" => host.cpus.clamp(1, SHARDS_MAX),
                    _ => count(text, 1, SHARDS_MAX)?,
                }
            }
            Self::Memory => config.memory_bytes = memory(text, config.shards, host)?,
            Self::Body => {
                let Limits { key_bytes_max, value_bytes_max, .. } = config.limits;
                config.limits.body_bytes_max = match text {
                    "auto" => body_bytes_default(key_bytes_max, value_bytes_max),
                    _ => bytes(text, KIB, 64 * MIB)?,
                };
            }
        }
        Ok(())
    }

    /// The effective value; a number or a string.
    fn show(&self, config: &mut Config) -> Value {
        let text = match *self {
            Self::Address(place) => place(config).to_string(),
            Self::AdminAddress(place) => {
                place(config).as_ref().map_or_else(|| "none".to_owned(), ToString::to_string)
            }
            Self::Count { place, .. } | Self::Bytes { place, .. } => {
                return Value::from(*place(config));
            }
            Self::Span { place, .. } => span_text(*place(config)),
            Self::Micros { place, .. } => {
                let micros = place(config).as_micros();
                return Value::from(u64::try_from(micros).unwrap_or(u64::MAX));
            }
            Self::Ttl => span_text(config.default_ttl.unwrap_or_default()),
            Self::Switch(place) => if *place(config) { "on" } else { "off" }.to_owned(),
            Self::Eviction => name_of(config.eviction, &Eviction::NAMES),
            Self::Interval => span_text(config.snapshot_interval.unwrap_or_default()),
            Self::Restore => name_of(config.restore, &Restore::NAMES),
            Self::LogFormat => name_of(config.log.format, &Format::NAMES),
            Self::LogLevel => name_of(config.log.level, &Level::NAMES),
            Self::FileOrNone(place) => {
                let file = place(config).as_deref().map_or("none".into(), Path::to_string_lossy);
                return Value::from(file);
            }
            Self::Shards => return Value::from(config.shards),
            Self::Memory => return Value::from(config.memory_bytes),
            Self::Body => return Value::from(config.limits.body_bytes_max),
        };
        Value::from(text)
    }
}

pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not an address such as 0.0.0.0:7171 or [::]:7171"))
}

fn admin_address(text: &str) -> Result<AdminAddress, String> {
    let Some(path) = text.strip_prefix("unix:") else { return address(text).map(Into::into) };
    if path.len() > SOCKET_PATH_BYTES_MAX {
        let length = path.len();
        return Err(format!("the path has {length} bytes; at most {SOCKET_PATH_BYTES_MAX} go"));
    }
    Ok(AdminAddress::Unix(file_name(path)?))
}

/// Whether two listeners would get each other's connections.
fn is_shared(one: SocketAddr, other: SocketAddr) -> bool {
    let is_everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (is_everywhere || one.ip() == other.ip())
}

/// `None` of `none`.
pub(crate) fn file(text: &str) -> Result<Option<PathBuf>, String> {
    if text == "none" { Ok(None) } else { file_name(text).map(Some) }
}

fn file_name(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("a file has a name".to_owned()),
        _ if text.contains(char::is_control) => {
            Err("a control character in the name of the file".to_owned())
        }
        _ => Ok(text.into()),
    }
}

/// The one that a name stands for.
pub(crate) fn choice<T: Copy>(text: &str, names: &[(&str, T)]) -> Result<T, String> {
    let known = names.iter().find(|(name, _)| *name == text);
    known.map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        format!("{text:?} is none of {}", names.join(", "))
    })
}

fn name_of<T: PartialEq + Copy>(choice: T, names: &[(&str, T)]) -> String {
    let known = names.iter().find(|(_, named)| *named == choice);
    known.expect("every choice has a name").0.to_owned()
}

/// A number that is too large to hold is as large as can be: it is above every maximum.
fn whole(text: &str) -> Option<usize> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(usize::MAX))
}

pub(crate) fn count(text: &str, min: usize, max: usize) -> Result<usize, String> {
    let number =
        whole(text).ok_or_else(|| format!("{text:?} is not a whole number from {min} to {max}"))?;
    within(text, number, min, max, |bound| bound.to_string())
}

fn size(text: &str) -> Option<usize> {
    let size = ByteSize::from_str(text).ok()?;
    Some(usize::try_from(size.as_u64()).unwrap_or(usize::MAX))
}

pub(crate) fn bytes(text: &str, min: usize, max: usize) -> Result<usize, String> {
    let number = size(text).ok_or_else(|| {
        let (min, max) = (size_text(min), size_text(max));
        format!("{text:?} is not a size from {min} to {max}, such as 512 or 16KiB")
    })?;
    within(text, number, min, max, size_text)
}

pub(crate) fn span(text: &str, min: Duration, max: Duration) -> Result<Duration, String> {
    let span = humantime::parse_duration(text).map_err(|_| {
        let (min, max) = (span_text(min), span_text(max));
        format!("{text:?} is not a time from {min} to {max}, such as 500ms or 2s")
    })?;
    within(text, span, min, max, span_text)
}

fn memory(text: &str, shards: usize, host: Host) -> Result<usize, String> {
    let not_a_size =
        || format!("{text:?} is not a size such as 1200MiB or 1.2GB, nor a part such as 60%");
    let number = if let Some(percent) = text.strip_suffix('%') {
        let percent = whole(percent).ok_or_else(not_a_size)?;
        let percent = within(text, percent, 1, 100, |bound| format!("{bound}%"))?;
        host.memory_bytes / 100 * percent
    } else {
        size(text).ok_or_else(not_a_size)?
    };
    within(text, number, shards * SHARD_BYTES_MIN, host.memory_bytes, size_text)
}

fn within<T: PartialOrd + Copy>(
    text: &str,
    value: T,
    min: T,
    max: T,
    show: impl Fn(T) -> String,
) -> Result<T, String> {
    if value < min {
        return Err(format!("{text} is below the minimum of {}", show(min)));
    }
    if value > max {
        return Err(format!("{text} is above the maximum of {}", show(max)));
    }
    Ok(value)
}

/// The shortest exact form.
fn size_text(bytes: usize) -> String {
    [(1 << 30, "GiB"), (MIB, "MiB"), (KIB, "KiB")]
        .into_iter()
        .find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit))
        .map_or_else(|| bytes.to_string(), |(unit, name)| format!("{}{name}", bytes / unit))
}

fn span_text(span: Duration) -> String {
    humantime::format_duration(span).to_string()
}
