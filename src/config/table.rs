//! The one table of settings: names, defaults, bounds and help.

use super::{
    kind::SettingKind,
    limits::{KEY_BYTES_CEILING, KIB, MIB, VALUE_BYTES_CEILING},
};
use std::time::Duration;

const HOUR: Duration = Duration::from_hours(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// One row of the table.
pub struct Setting {
    /// The flag without its dashes, which is also the key in the file.
    pub name: &'static str,
    pub default: &'static str,
    pub help: &'static str,
    pub(super) kind: SettingKind,
}

/// A later row may rely on the values of the rows above it.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "listen",
        default: "0.0.0.0:7171",
        help: "Address for keys and values",
        kind: SettingKind::Address(|c| &mut c.listen),
    },
    Setting {
        name: "admin-listen",
        default: "127.0.0.1:7172",
        help: "Address for health and statistics, as unix:PATH for a socket file, or none",
        kind: SettingKind::AdminAddress(|c| &mut c.admin_listen),
    },
    Setting {
        name: "shards",
        default: "auto",
        help: "Shards, each with a core of its own; auto: one for every CPU we may run on",
        kind: SettingKind::Shards,
    },
    Setting {
        name: "memory",
        default: "60%",
        help: "Memory for entries and their index: a size, or a part of what host and cgroup allow",
        kind: SettingKind::Memory,
    },
    Setting {
        name: "prefault",
        default: "off",
        help: "Touch all that memory at the start: on or off",
        kind: SettingKind::Switch(|c| &mut c.prefault),
    },
    Setting {
        name: "max-entries",
        default: "0",
        help: "Entries at most; 0: as many as fit",
        kind: SettingKind::Count { min: 0, max: u32::MAX as usize, place: |c| &mut c.entries_max },
    },
    Setting {
        name: "eviction",
        default: "lru",
        help: "What goes when room is needed: lru, fifo, lfu, sieve, s3fifo, wtinylfu (experimental), none",
        kind: SettingKind::Eviction,
    },
    Setting {
        name: "key-bytes-max",
        default: "256",
        help: "Longest key",
        kind: SettingKind::Bytes {
            min: 1,
            max: KEY_BYTES_CEILING,
            place: |c| &mut c.limits.key_bytes_max,
        },
    },
    Setting {
        name: "value-bytes-max",
        default: "256",
        help: "Longest value",
        kind: SettingKind::Bytes {
            min: 1,
            max: VALUE_BYTES_CEILING,
            place: |c| &mut c.limits.value_bytes_max,
        },
    },
    Setting {
        name: "body-bytes-max",
        default: "auto",
        help: "Longest request body; auto: 1MiB and room for one put",
        kind: SettingKind::Body,
    },
    Setting {
        name: "batch-items-max",
        default: "1000",
        help: "Keys or entries of one batch",
        kind: SettingKind::Count { min: 1, max: 10_000, place: |c| &mut c.limits.batch_items_max },
    },
    Setting {
        name: "reply-bytes-max",
        default: "8MiB",
        help: "Longest answer to a batch",
        kind: SettingKind::Bytes {
            min: KIB,
            max: 64 * MIB,
            place: |c| &mut c.limits.reply_bytes_max,
        },
    },
    Setting {
        name: "default-ttl",
        default: "0",
        help: "Time to live of a put that names none; 0: for ever",
        kind: SettingKind::Ttl,
    },
    Setting {
        name: "auth-token-file",
        default: "none",
        help: "File of the tokens that clients must bring, or none; read again at SIGHUP",
        kind: SettingKind::FileOrNone(|c| &mut c.auth_token_file),
    },
    Setting {
        name: "snapshot-path",
        default: "none",
        help: "File that snapshots are written to, at the end too, and restored from; or none",
        kind: SettingKind::FileOrNone(|c| &mut c.snapshot_path),
    },
    Setting {
        name: "snapshot-interval",
        default: "0",
        help: "Time between two snapshots; 0: only at the end and on demand",
        kind: SettingKind::Interval,
    },
    Setting {
        name: "restore",
        default: "strict",
        help: "A damaged snapshot ends the start, or is set aside: strict, best-effort",
        kind: SettingKind::Restore,
    },
    Setting {
        name: "read-timeout",
        default: "2s",
        help: "Time for a request's head, and again for its body, to arrive",
        kind: SettingKind::Span {
            min: MILLISECOND,
            max: HOUR,
            place: |c| &mut c.limits.read_timeout,
        },
    },
    Setting {
        name: "write-timeout",
        default: "2s",
        help: "Time for a client to take some of its answer",
        kind: SettingKind::Span {
            min: MILLISECOND,
            max: HOUR,
            place: |c| &mut c.limits.write_timeout,
        },
    },
    Setting {
        name: "idle-timeout",
        default: "120s",
        help: "Time for a connection to do nothing",
        kind: SettingKind::Span {
            min: MILLISECOND,
            max: HOUR,
            place: |c| &mut c.limits.idle_timeout,
        },
    },
    Setting {
        name: "drain-timeout",
        default: "10s",
        help: "Time from SIGTERM to the exit, but for the last snapshot",
        kind: SettingKind::Span { min: MILLISECOND, max: HOUR, place: |c| &mut c.drain_timeout },
    },
    Setting {
        name: "connections-max",
        default: "10000",
        help: "Connections at once",
        kind: SettingKind::Count {
            min: 1,
            max: 1_000_000,
            place: |c| &mut c.limits.connections_max,
        },
    },
    Setting {
        name: "spin-us",
        default: "0",
        help: "Microseconds that an idle core polls before it sleeps",
        kind: SettingKind::Micros { max: 10_000, place: |c| &mut c.spin },
    },
    Setting {
        name: "log-format",
        default: "text",
        help: "Form of the lines on standard error: text, logfmt, json",
        kind: SettingKind::LogFormat,
    },
    Setting {
        name: "log-level",
        default: "info",
        help: "Least grave lines that are written: error, warn, info, debug",
        kind: SettingKind::LogLevel,
    },
    Setting {
        name: "slow-log-us",
        default: "0",
        help: "Microseconds after which a request counts as slow and is logged; 0: none is",
        kind: SettingKind::Micros { max: 60_000_000, place: |c| &mut c.slow_log },
    },
];

impl Setting {
    /// Its environment variable.
    pub(super) fn variable(&self) -> String {
        format!("KVCACHE_{}", self.name.replace('-', "_").to_uppercase())
    }

    /// Least and largest value, as in `1 to 64`.
    pub fn bounds(&self) -> Option<String> {
        self.kind.bounds()
    }
}
