//! The command line, the environment and the file, one over the other.

use std::{ffi::OsString, fmt::Write as _, fs, path::PathBuf};

use super::{
    command::{LOAD, command},
    effective::Config,
    error::{ConfigError, usage_error},
    host::Host,
    table::{SETTINGS, Setting},
};
use crate::log::Log;
use clap::error::ErrorKind;

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    Serve(Box<Config>),
    /// Say what the host offers and lacks.
    Doctor(Box<Config>),
    /// Say whether the server answers.
    Health(Box<Config>),
    /// Say what a snapshot holds.
    Inspect(PathBuf),
    /// Load a server; the arguments that say how.
    Load(Vec<OsString>),
    /// Help, version or the effective configuration: print it and be done.
    Print(String),
}

/// The text of one setting and where it came from.
struct Typed {
    text: String,
    /// As an error names it.
    place: String,
    /// As `--print-config` names it.
    origin: &'static str,
}

/// Reads the command line (program name first), the environment and the file that they name.
/// Flags win over the environment, the environment over the file, the file over defaults.
pub fn read(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    host: Host,
) -> Result<Invocation, ConfigError> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    // Its flags are not ours.
    if arguments.get(1).is_some_and(|first| first == LOAD) {
        return Ok(Invocation::Load(arguments.split_off(2)));
    }
    let flags = match command().try_get_matches_from(arguments) {
        Ok(flags) => flags,
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                return Ok(Invocation::Print(error.to_string()));
            }
            _ => return Err(usage_error(&error)),
        },
    };
    if flags.subcommand_name() == Some(LOAD) {
        return Err(ConfigError::new(LOAD, "stands before all flags"));
    }
    if let Some(file) = flags.subcommand_matches("snapshot").and_then(inspected) {
        return Ok(Invocation::Inspect(file));
    }
    let environment = ours(environment)?;
    let variable = |name: &str| {
        environment.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    };
    let (file, place) = match (flags.get_one::<String>("config"), variable("KVCACHE_CONFIG")) {
        (Some(file), _) => (Some(file.as_str()), "--config"),
        (None, file) => (file, "KVCACHE_CONFIG"),
    };
    let table = file.map(|file| read_file(file, place)).transpose()?.unwrap_or_default();

    let typed = |setting: &Setting| -> Result<Typed, ConfigError> {
        let flag = format!("--{}", setting.name);
        let name = setting.variable();
        let (text, place, origin) = if let Some(text) = flags.get_one::<String>(setting.name) {
            (text.clone(), flag, "flag")
        } else if let Some(text) = variable(&name) {
            (text.to_owned(), name, "environment")
        } else if let Some(value) = table.get(setting.name) {
            let place = format!("{}: {}", file.unwrap_or_default(), setting.name);
            (file_text(value).map_err(|what| ConfigError::new(&place, &what))?, place, "file")
        } else {
            (setting.default.to_owned(), format!("{flag} (default)"), "default")
        };
        Ok(Typed { text, place, origin })
    };
    let typed = SETTINGS.iter().map(typed).collect::<Result<Vec<_>, _>>()?;
    let config = build(&typed, host)?;
    if flags.get_flag("print-config") {
        return Ok(Invocation::Print(print(config, &typed, &environment)));
    }
    let config = Box::new(config);
    Ok(match flags.subcommand_name() {
        Some("doctor") => Invocation::Doctor(config),
        Some("health") => Invocation::Health(config),
        _ => Invocation::Serve(config),
    })
}

fn inspected(snapshot: &clap::ArgMatches) -> Option<PathBuf> {
    snapshot.subcommand_matches("inspect")?.get_one("FILE").cloned()
}

/// The `KVCACHE_*` variables.
fn ours(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, ConfigError> {
    let mut ours = Vec::new();
    for (name, value) in environment {
        let Some(name) = name.to_str().filter(|name| name.starts_with("KVCACHE_")) else {
            continue;
        };
        let value = value.into_string().map_err(|_| ConfigError::new(name, "is not UTF-8"))?;
        ours.push((name.to_owned(), value));
    }
    ours.sort();
    Ok(ours)
}

fn read_file(file: &str, place: &str) -> Result<toml::Table, ConfigError> {
    let text = fs::read_to_string(file)
        .map_err(|error| ConfigError::new(place, &format!("cannot read {file:?}: {error}")))?;
    let table = text.parse::<toml::Table>().map_err(|error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        ConfigError::new(file, &format!("line {line}: {}", error.message()))
    })?;
    match table.keys().find(|key| SETTINGS.iter().all(|setting| setting.name != *key)) {
        Some(key) => Err(ConfigError::new(file, &format!("{key}: there is no such setting"))),
        None => Ok(table),
    }
}

fn file_text(value: &toml::Value) -> Result<String, String> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(number) => Ok(number.to_string()),
        other => Err(format!("must be a string or a whole number, not a {}", other.type_str())),
    }
}

fn build(typed: &[Typed], host: Host) -> Result<Config, ConfigError> {
    let mut config = Config { log: Log::to_stderr(), ..Config::default() };
    for (setting, typed) in SETTINGS.iter().zip(typed) {
        let applied = setting.kind.apply(&mut config, &typed.text, host);
        applied.map_err(|what| ConfigError::new(&typed.place, &what))?;
    }
    let limits = &mut config.limits;
    limits.hop_requests_max = limits.hop_requests_max.max(limits.connections_max);
    // The bytes of a batch are bytes of one body.
    limits.hop_bytes_max = limits.hop_bytes_max.max(limits.body_bytes_max);
    // What one client does is no overload.
    let longest = limits.body_bytes_max.max(limits.reply_bytes_max);
    limits.buffered_bytes_max = limits.buffered_bytes_max.max(4 * longest);
    limits.check().map_err(|line| {
        let (name, what) = line.split_once(": ").expect("the form of check's errors");
        let row = SETTINGS.iter().position(|setting| setting.name == name);
        ConfigError::new(row.map_or(name, |row| &typed[row].place), what)
    })?;
    Ok(config)
}

fn print(mut config: Config, typed: &[Typed], environment: &[(String, String)]) -> String {
    let mut text = String::new();
    for (setting, typed) in SETTINGS.iter().zip(typed) {
        let value = setting.kind.show(&mut config);
        writeln!(text, "{} = {value} # {}", setting.name, typed.origin)
            .expect("a String takes everything");
    }
    let known = |name: &str| {
        name == "KVCACHE_CONFIG" || SETTINGS.iter().any(|setting| setting.variable() == name)
    };
    for (name, _) in environment.iter().filter(|(name, _)| !known(name)) {
        let name = name.escape_default();
        writeln!(text, "# warning: {name} is set, but there is no such setting")
            .expect("a String takes everything");
    }
    text
}
