//! The command line, the environment and the file, one over the other.

use std::{ffi::OsString, fmt::Write as _, fs, path::PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::{Config, Host, SETTINGS, Setting};
use crate::log::Log;

/// One line that says what is wrong and where it was typed.
#[derive(Debug)]
pub struct Error(String);

impl Error {
    pub(crate) fn new(place: &str, what: &str) -> Self {
        let line = format!("{place}: {what}");
        Self(line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// The command that has flags of its own.
const LOAD: &str = "load";

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
) -> Result<Invocation, Error> {
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
        return Err(Error::new(LOAD, "stands before all flags"));
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

    let typed = |setting: &Setting| -> Result<Typed, Error> {
        let flag = format!("--{}", setting.name);
        let name = setting.variable();
        let (text, place, origin) = if let Some(text) = flags.get_one::<String>(setting.name) {
            (text.clone(), flag, "flag")
        } else if let Some(text) = variable(&name) {
            (text.to_owned(), name, "environment")
        } else if let Some(value) = table.get(setting.name) {
            let place = format!("{}: {}", file.unwrap_or_default(), setting.name);
            (file_text(value).map_err(|what| Error::new(&place, &what))?, place, "file")
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
) -> Result<Vec<(String, String)>, Error> {
    let mut ours = Vec::new();
    for (name, value) in environment {
        let Some(name) = name.to_str().filter(|name| name.starts_with("KVCACHE_")) else {
            continue;
        };
        let value = value.into_string().map_err(|_| Error::new(name, "is not UTF-8"))?;
        ours.push((name.to_owned(), value));
    }
    ours.sort();
    Ok(ours)
}

fn read_file(file: &str, place: &str) -> Result<toml::Table, Error> {
    let text = fs::read_to_string(file)
        .map_err(|error| Error::new(place, &format!("cannot read {file:?}: {error}")))?;
    let table = text.parse::<toml::Table>().map_err(|error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        Error::new(file, &format!("line {line}: {}", error.message()))
    })?;
    match table.keys().find(|key| SETTINGS.iter().all(|setting| setting.name != *key)) {
        Some(key) => Err(Error::new(file, &format!("{key}: there is no such setting"))),
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

fn build(typed: &[Typed], host: Host) -> Result<Config, Error> {
    let mut config = Config { log: Log::to_stderr(), ..Config::default() };
    for (setting, typed) in SETTINGS.iter().zip(typed) {
        let applied = setting.kind.apply(&mut config, &typed.text, host);
        applied.map_err(|what| Error::new(&typed.place, &what))?;
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
        Error::new(row.map_or(name, |row| &typed[row].place), what)
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

fn help(setting: &Setting) -> String {
    let (help, default) = (setting.help, setting.default);
    match setting.bounds() {
        Some(bounds) => format!("{help} [{bounds}; default {default}]"),
        None => format!("{help} [default {default}]"),
    }
}

fn command() -> clap::Command {
    let settings = SETTINGS.iter().map(|setting| {
        clap::Arg::new(setting.name)
            .long(setting.name)
            .value_name(setting.kind.value_name())
            .help(help(setting))
            .allow_negative_numbers(true)
            .global(true)
    });
    clap::Command::new("kvcache")
        .version(env!("CARGO_PKG_VERSION"))
        .about(env!("CARGO_PKG_DESCRIPTION"))
        .disable_help_subcommand(true)
        // One line for each setting, however wide the terminal.
        .term_width(0)
        .subcommand(clap::Command::new("serve").about("Run the server (the default)"))
        .subcommand(
            clap::Command::new("doctor").about("Say what this host offers and lacks, and exit"),
        )
        .subcommand(
            clap::Command::new("health")
                .about("Exit with 0 if the server of these settings answers, else with 1"),
        )
        .subcommand(
            clap::Command::new("snapshot")
                .about("Look at a snapshot")
                .disable_help_subcommand(true)
                .subcommand_required(true)
                .subcommand(
                    clap::Command::new("inspect")
                        .about("Say what a snapshot holds and whether it is whole, and exit")
                        .arg(
                            clap::Arg::new("FILE")
                                .required(true)
                                .value_parser(clap::value_parser!(PathBuf)),
                        ),
                ),
        )
        .subcommand(
            clap::Command::new(LOAD).about("Load a server and check its answers; see load --help"),
        )
        .args(settings)
        .arg(
            clap::Arg::new("config")
                .long("config")
                .value_name("FILE")
                .help("TOML file of settings")
                .global(true),
        )
        .arg(
            clap::Arg::new("print-config")
                .long("print-config")
                .help("Print every setting and where it came from, and exit")
                .action(clap::ArgAction::SetTrue)
                .global(true),
        )
        .after_help(
            "Each setting is also an environment variable (KVCACHE_READ_TIMEOUT for --read-timeout) \
             and a key of the file.\n\
             A flag wins over the environment, the environment over the file.",
        )
}

/// One line in place of clap's paragraphs.
pub(crate) fn usage_error(error: &clap::Error) -> Error {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    };
    let (kind, suggestion, what) = match error.kind() {
        ErrorKind::UnknownArgument => {
            (ContextKind::InvalidArg, ContextKind::SuggestedArg, "there is no such flag")
        }
        ErrorKind::InvalidSubcommand => (
            ContextKind::InvalidSubcommand,
            ContextKind::SuggestedSubcommand,
            "there is no such command",
        ),
        _ => {
            let paragraphs = error.to_string();
            let line = paragraphs.lines().next().unwrap_or_default();
            return Error::new("usage", line.strip_prefix("error: ").unwrap_or(line));
        }
    };
    let what = match text(suggestion) {
        Some(suggestion) => format!("{what}; did you mean {suggestion}?"),
        None => format!("{what}; --help lists all"),
    };
    Error::new(&text(kind).unwrap_or_default(), &what)
}
