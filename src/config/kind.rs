//! What kinds of settings there are: from a text to its place in the configuration, and back.

use super::{
    effective::{AdminAddress, Config, Restore},
    host::Host,
    limits::{
        INTERVAL_MAX, KIB, Limits, MIB, SHARD_BYTES_MIN, SHARDS_MAX, TTL_MAX, body_bytes_default,
    },
    text::{
        address, admin_address, bytes, choice, count, file, name_of, part_of, size_text, span,
        span_text,
    },
};
use crate::{
    log::{Level, LogFormat},
    store::Eviction,
};
use serde_json::Value;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

pub(super) type Place<T> = fn(&mut Config) -> &mut T;

pub(super) enum SettingKind {
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

impl SettingKind {
    pub(super) fn value_name(&self) -> &'static str {
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

    pub(super) fn bounds(&self) -> Option<String> {
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
    pub(super) fn apply(&self, config: &mut Config, text: &str, host: Host) -> Result<(), String> {
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
            Self::LogFormat => config.log.format = choice(text, &LogFormat::NAMES)?,
            Self::LogLevel => config.log.level = choice(text, &Level::NAMES)?,
            Self::FileOrNone(place) => *place(config) = file(text)?,
            Self::Shards => {
                config.shards = match text {
                    "auto" => host.cpus.clamp(1, SHARDS_MAX),
                    _ => count(text, 1, SHARDS_MAX)?,
                }
            }
            Self::Memory => {
                let min = config.shards * SHARD_BYTES_MIN;
                config.memory_bytes = part_of(host.memory_bytes, text, min)?;
            }
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
    pub(super) fn show(&self, config: &mut Config) -> Value {
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
            Self::LogFormat => name_of(config.log.format, &LogFormat::NAMES),
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

/// Whether two listeners would get each other's connections.
fn is_shared(one: SocketAddr, other: SocketAddr) -> bool {
    let is_everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (is_everywhere || one.ip() == other.ip())
}
