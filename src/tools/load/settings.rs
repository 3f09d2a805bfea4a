//! The flags of `kvcache load`: one table of names, defaults and help.

use super::{
    distribution::Distribution,
    keys::Keys,
    mix::{LoadOperation, Mix},
    protocol::LoadProtocol,
    value::HEAD_BYTES,
};
use crate::config::{self, ConfigError, KEY_BYTES_CEILING, TTL_MAX, VALUE_BYTES_CEILING};
use std::{ffi::OsString, net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

const RATE_MAX: usize = 100_000_000;
/// 16 bytes each are kept of their writes.
const KEYS_MAX: usize = 100_000_000;
const THREADS_MAX: usize = 256;
/// Of one thread: a key remembers which of them writes it.
const CONNECTIONS_MAX: usize = u16::MAX as usize;
const DEPTH_MAX: usize = 1024;
const BATCH_MAX: usize = 1000;
const DAY: Duration = Duration::from_hours(24);
const MILLISECOND: Duration = Duration::from_millis(1);

/// What is to be done to whom.
#[derive(Clone, Debug)]
pub(super) struct LoadSettings {
    pub(super) address: SocketAddr,
    pub(super) protocol: LoadProtocol,
    /// What stands before the key where a path names it.
    pub(super) path: String,
    /// Requests a second on a schedule; `None`: each follows the answer to the one before.
    pub(super) rate: Option<u64>,
    pub(super) connections: usize,
    pub(super) threads: usize,
    /// Requests in flight on one connection.
    pub(super) depth: usize,
    pub(super) distribution: Distribution,
    pub(super) keys: Keys,
    pub(super) value_bytes: RangeInclusive<usize>,
    pub(super) mix: Mix,
    /// Keys of one mget.
    pub(super) batch: usize,
    /// Milliseconds; 0: for ever.
    pub(super) ttl_ms: RangeInclusive<u64>,
    /// Whether every key is put first.
    pub(super) fill: bool,
    pub(super) warmup: Duration,
    pub(super) duration: Duration,
    /// For an answer, and for a connection.
    pub(super) timeout: Duration,
    pub(super) seed: u64,
    /// Where the files go.
    pub(super) out: Option<PathBuf>,
    pub(super) name: String,
    /// Every flag and the text in force.
    pub(super) typed: Vec<(&'static str, String)>,
}

struct Flag {
    name: &'static str,
    value_name: &'static str,
    default: &'static str,
    help: &'static str,
    /// Reads a text into its place; a later row may rely on the rows above it.
    apply: fn(&mut LoadSettings, &str) -> Result<(), String>,
}

const FLAGS: &[Flag] = &[
    Flag {
        name: "address",
        value_name: "ADDRESS",
        default: "127.0.0.1:7171",
        help: "The server",
        apply: |it, text| put(&mut it.address, config::address(text)),
    },
    Flag {
        name: "protocol",
        value_name: "NAME",
        default: "http",
        help: "http: /get, /put and their kin; rest: GET, PUT and DELETE of a path; redis; memcached",
        apply: |it, text| put(&mut it.protocol, config::choice(text, &LoadProtocol::NAMES)),
    },
    Flag {
        name: "path",
        value_name: "PATH",
        default: "/kv/",
        help: "What stands before the key in a path of rest",
        apply: |it, text| put(&mut it.path, path(text)),
    },
    Flag {
        name: "rate",
        value_name: "N",
        default: "closed",
        help: "Requests a second on a fixed schedule, latency from the time intended; \
            closed: each follows the answer before",
        apply: |it, text| {
            it.rate = match text {
                "closed" => None,
                _ => Some(config::count(text, 1, RATE_MAX)? as u64),
            };
            Ok(())
        },
    },
    Flag {
        name: "threads",
        value_name: "N",
        default: "1",
        help: "Threads, each with its share of the connections and of the keys",
        apply: |it, text| put(&mut it.threads, config::count(text, 1, THREADS_MAX)),
    },
    Flag {
        name: "connections",
        value_name: "N",
        default: "32",
        help: "Connections of all threads together",
        apply: |it, text| {
            let max = it.threads * CONNECTIONS_MAX;
            put(&mut it.connections, config::count(text, it.threads, max))
        },
    },
    Flag {
        name: "depth",
        value_name: "N",
        default: "1",
        help: "Requests in flight on one connection (pipelining)",
        apply: |it, text| put(&mut it.depth, config::count(text, 1, DEPTH_MAX)),
    },
    Flag {
        name: "keys",
        value_name: "N",
        default: "5000",
        help: "How many keys there are",
        apply: |it, text| {
            put(&mut it.keys.count, config::count(text, it.threads, KEYS_MAX).map(|it| it as u64))
        },
    },
    Flag {
        name: "key-bytes",
        value_name: "SIZE",
        default: "16",
        help: "Length of a key",
        apply: |it, text| {
            let least = Keys::bytes_min(it.keys.count);
            it.keys.bytes = config::bytes(text, 1, KEY_BYTES_CEILING)?;
            if it.keys.bytes < least {
                let count = it.keys.count;
                return Err(format!("{text} is below the {least} that {count} keys need"));
            }
            Ok(())
        },
    },
    Flag {
        name: "distribution",
        value_name: "NAME",
        default: "uniform",
        help: "Which keys are chosen: uniform, zipf (exponent 0.99), zipf:EXPONENT, sequential",
        apply: |it, text| put(&mut it.distribution, Distribution::read(text)),
    },
    Flag {
        name: "value-bytes",
        value_name: "SIZE",
        default: "128",
        help: "Length of a value, or from..to: at least 32, which tell whose and which it is",
        apply: |it, text| {
            let read = |text: &str| config::bytes(text, HEAD_BYTES, VALUE_BYTES_CEILING);
            it.value_bytes = range(text, read).map_err(|why| {
                format!("{why}; {HEAD_BYTES} bytes hold key, run, sequence number and checksum")
            })?;
            Ok(())
        },
    },
    Flag {
        name: "mix",
        value_name: "MIX",
        default: "get=90,put=10",
        help: "Parts of each operation: get, put, delete, mget",
        apply: |it, text| {
            it.mix = Mix::read(text)?;
            if it.protocol == LoadProtocol::Rest && it.mix.has(LoadOperation::Mget) {
                return Err("rest has no mget".to_owned());
            }
            Ok(())
        },
    },
    Flag {
        name: "batch",
        value_name: "N",
        default: "10",
        help: "Keys of one mget",
        apply: |it, text| {
            it.batch = config::count(text, 1, BATCH_MAX)?;
            let share = it.keys.count / it.threads as u64;
            if it.mix.has(LoadOperation::Mget) && it.batch as u64 > share {
                return Err(format!("{text} is above the {share} keys of one thread"));
            }
            Ok(())
        },
    },
    Flag {
        name: "ttl",
        value_name: "TIME",
        default: "0",
        help: "Time to live of what is put, or from..to; 0: for ever (memcached: whole seconds)",
        apply: |it, text| {
            let ttl = range(text, |text| config::span(text, Duration::ZERO, TTL_MAX))?;
            let millis = |ttl: &Duration| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
            it.ttl_ms = millis(ttl.start())..=millis(ttl.end());
            Ok(())
        },
    },
    Flag {
        name: "fill",
        value_name: "on|off",
        default: "on",
        help: "Put every key once before anything else",
        apply: |it, text| put(&mut it.fill, config::choice(text, &[("on", true), ("off", false)])),
    },
    Flag {
        name: "warmup",
        value_name: "TIME",
        default: "1s",
        help: "Time of load before it counts; errors always do",
        apply: |it, text| put(&mut it.warmup, config::span(text, Duration::ZERO, DAY)),
    },
    Flag {
        name: "duration",
        value_name: "TIME",
        default: "10s",
        help: "Time for which it counts",
        apply: |it, text| put(&mut it.duration, config::span(text, MILLISECOND, 30 * DAY)),
    },
    Flag {
        name: "timeout",
        value_name: "TIME",
        default: "5s",
        help: "Time for an answer, and for a connection, to come",
        apply: |it, text| put(&mut it.timeout, config::span(text, MILLISECOND, DAY)),
    },
    Flag {
        name: "seed",
        value_name: "N",
        default: "1",
        help: "Where the random choices begin",
        apply: |it, text| put(&mut it.seed, config::count(text, 0, usize::MAX).map(|it| it as u64)),
    },
    Flag {
        name: "out",
        value_name: "DIRECTORY",
        default: "none",
        help: "Where run.json, NAME.hgrm and NAME.hlog are written, or none",
        apply: |it, text| put(&mut it.out, config::file(text)),
    },
    Flag {
        name: "name",
        value_name: "NAME",
        default: "load",
        help: "What the run is called",
        apply: |it, text| put(&mut it.name, name(text)),
    },
];

impl Default for LoadSettings {
    fn default() -> Self {
        let mut settings = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 7171)),
            protocol: LoadProtocol::Http,
            path: String::new(),
            rate: None,
            connections: 1,
            threads: 1,
            depth: 1,
            distribution: Distribution::Uniform,
            keys: Keys { count: 1, bytes: 16 },
            value_bytes: 128..=128,
            mix: Mix::default(),
            batch: 1,
            ttl_ms: 0..=0,
            fill: true,
            warmup: Duration::ZERO,
            duration: Duration::ZERO,
            timeout: Duration::ZERO,
            seed: 1,
            out: None,
            name: String::new(),
            typed: Vec::new(),
        };
        for flag in FLAGS {
            (flag.apply)(&mut settings, flag.default).expect("the defaults are sound");
        }
        settings
    }
}

/// What the command line asks for.
#[derive(Debug)]
pub(super) enum LoadInvocation {
    Load(Box<LoadSettings>),
    /// Help: print it and be done.
    Print(String),
}

/// Reads what stands behind `kvcache load`.
pub(super) fn read(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<LoadInvocation, ConfigError> {
    let flags = match command().try_get_matches_from(arguments) {
        Ok(flags) => flags,
        Err(error) if error.kind() == clap::error::ErrorKind::DisplayHelp => {
            return Ok(LoadInvocation::Print(error.to_string()));
        }
        Err(error) => return Err(config::usage_error(&error)),
    };
    let mut settings = LoadSettings::default();
    for flag in FLAGS {
        let text = flags.get_one::<String>(flag.name).map_or(flag.default, String::as_str);
        (flag.apply)(&mut settings, text)
            .map_err(|what| ConfigError::new(&format!("--{}", flag.name), &what))?;
        settings.typed.push((flag.name, text.to_owned()));
    }
    Ok(LoadInvocation::Load(Box::new(settings)))
}

fn command() -> clap::Command {
    let flags = FLAGS.iter().map(|flag| {
        clap::Arg::new(flag.name)
            .long(flag.name)
            .value_name(flag.value_name)
            .help(format!("{} [default {}]", flag.help, flag.default))
            .allow_negative_numbers(true)
    });
    clap::Command::new("load")
        .bin_name("kvcache load")
        .about("Loads a server, checks every answer and says how long each took")
        .no_binary_name(true)
        .term_width(0)
        .args(flags)
}

fn put<T>(place: &mut T, read: Result<T, String>) -> Result<(), String> {
    read.map(|value| *place = value)
}

fn range<T: Copy + PartialOrd>(
    text: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<RangeInclusive<T>, String> {
    let Some((from, to)) = text.split_once("..") else { return read(text).map(|it| it..=it) };
    let (first, last) = (read(from)?, read(to)?);
    if first > last {
        return Err(format!("{from} is more than {to}"));
    }
    Ok(first..=last)
}

fn path(text: &str) -> Result<String, String> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    if text.starts_with('/') && is_plain {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not a path such as /kv/"))
    }
}

fn name(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !text.is_empty() && !text.starts_with('.') && text.bytes().all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not made of letters, digits, -, _ and ."))
    }
}

#[cfg(test)]
mod tests {
    use super::{FLAGS, LoadInvocation, LoadSettings, read};
    use crate::tools::load::{mix::LoadOperation, protocol::LoadProtocol};
    use std::time::Duration;

    fn settings(flags: &[&str]) -> Result<LoadSettings, String> {
        match read(flags.iter().map(Into::into)) {
            Ok(LoadInvocation::Load(settings)) => Ok(*settings),
            Ok(LoadInvocation::Print(text)) => Err(text),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn flags_become_settings() {
        let found = settings(&[
            "--address=127.0.0.1:1",
            "--protocol=redis",
            "--rate=5000",
            "--value-bytes=64..4KiB",
            "--ttl=1500ms..2s",
            "--mix=get=1,mget=2",
            "--threads=2",
            "--connections=3",
        ])
        .unwrap();
        assert_eq!((found.protocol, found.rate), (LoadProtocol::Redis, Some(5000)));
        assert_eq!((found.value_bytes, found.ttl_ms), (64..=4096, 1500..=2000));
        assert!(found.mix.has(LoadOperation::Mget) && !found.mix.has(LoadOperation::Put));
        assert_eq!(found.typed.len(), FLAGS.len());
        assert!(found.typed.contains(&("ttl", "1500ms..2s".to_owned())));
        let default = settings(&[]).unwrap();
        assert_eq!((default.rate, default.duration), (None, Duration::from_secs(10)));
    }

    #[test]
    fn what_cannot_be_is_said_in_one_line() {
        for (flags, expected) in [
            (
                &["--value-bytes=31"][..],
                "--value-bytes: 31 is below the minimum of 32; 32 bytes hold",
            ),
            (&["--value-bytes=64..40"], "--value-bytes: 64 is more than 40"),
            (
                &["--keys=1000", "--key-bytes=3"],
                "--key-bytes: 3 is below the 4 that 1000 keys need",
            ),
            (&["--threads=4", "--connections=3"], "--connections: 3 is below the minimum of 4"),
            (&["--mix=get=0"], "--mix: \"get=0\" has no part above 0"),
            (&["--mix=get=1,got=2"], "--mix: \"got\" is none of get, put, delete, mget"),
            (&["--protocol=rest", "--mix=mget=1"], "--mix: rest has no mget"),
            (&["--keys=5", "--mix=mget=1"], "--batch: 10 is above the 5 keys of one thread"),
            (&["--distribution=zipf:0"], "--distribution: \"0\" is not an exponent"),
            (&["--path=kv"], "--path: \"kv\" is not a path such as /kv/"),
            (&["--name=a/b"], "--name: \"a/b\" is not made of"),
            (&["--rate=fast"], "--rate: \"fast\" is not a whole number"),
            (&["--rates=1"], "--rates: there is no such flag; did you mean --rate?"),
        ] {
            let said = settings(flags).unwrap_err();
            assert!(said.starts_with(expected), "{said}");
            assert_eq!(said.matches('\n').count(), 0, "{said}");
        }
    }

    #[test]
    fn help_has_a_line_for_each_flag() {
        let help = settings(&["--help"]).unwrap_err();
        for flag in FLAGS {
            let line = help.lines().find(|line| line.contains(&format!("--{} ", flag.name)));
            assert!(line.is_some_and(|line| line.contains(flag.help)), "{}: {help}", flag.name);
        }
    }
}
