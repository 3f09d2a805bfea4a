//! Lines on standard error: text, logfmt or JSON, with priorities where the journal listens.

use crate::clock::{Clock, Millis};
use std::{
    fmt::{self, Display, Write as _},
    io::{self, Write as _},
    os::linux::fs::MetadataExt as _,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Logfmt,
    Json,
}

/// From the gravest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

impl LogFormat {
    pub const NAMES: [(&'static str, Self); 3] =
        [("text", Self::Text), ("logfmt", Self::Logfmt), ("json", Self::Json)];
}

impl Level {
    pub const NAMES: [(&'static str, Self); 4] = [
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
    ];

    fn name(self) -> &'static str {
        Self::NAMES[self as usize].0
    }

    /// As in `sd-daemon(3)`.
    fn priority(self) -> u8 {
        match self {
            Self::Error => 3,
            Self::Warn => 4,
            Self::Info => 6,
            Self::Debug => 7,
        }
    }
}

/// Names and values that belong to a line.
pub type Fields<'a> = &'a [(&'a str, &'a dyn Display)];

/// Where lines go and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    /// Lines that are less grave are left out.
    pub level: Level,
    /// Standard error is the journal's, which knows the time and takes a priority.
    is_journal: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: Level::Info, is_journal: false }
    }
}

impl Log {
    /// The default, for the standard error that this process has.
    #[must_use]
    pub fn to_stderr() -> Self {
        let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
        let is_journal = std::fs::metadata("/proc/self/fd/2")
            .is_ok_and(|file| stream == format!("{}:{}", file.st_dev(), file.st_ino()));
        Self { is_journal, ..Self::default() }
    }

    /// Writes one line. A standard error that is gone is no reason to stop.
    pub fn line(self, level: Level, message: &str, fields: Fields<'_>) {
        if level <= self.level {
            let line = self.render(level, message, fields, &now());
            drop(io::stderr().write_all(line.as_bytes()));
        }
    }

    fn render(self, level: Level, message: &str, fields: Fields<'_>, time: &str) -> String {
        let mut line = String::new();
        if self.is_journal {
            push(&mut line, format_args!("<{}>", level.priority()));
        }
        match self.format {
            LogFormat::Text => {
                if !self.is_journal {
                    push(&mut line, format_args!("{time} {} ", level.name()));
                }
                // One entry is one line.
                line.extend(message.chars().map(|c| if c.is_control() { ' ' } else { c }));
                push_pairs(&mut line, fields);
            }
            LogFormat::Logfmt => {
                push(&mut line, format_args!("time={time} level={} message=", level.name()));
                push_value(&mut line, message);
                push_pairs(&mut line, fields);
            }
            LogFormat::Json => {
                let mut object = serde_json::Map::new();
                let fixed: Fields<'_> =
                    &[("time", &time), ("level", &level.name()), ("message", &message)];
                for (name, value) in fixed.iter().chain(fields) {
                    object.insert((*name).to_owned(), value.to_string().into());
                }
                push(&mut line, format_args!("{}", serde_json::Value::from(object)));
            }
        }
        line.push('\n');
        line
    }
}

fn now() -> String {
    humantime::format_rfc3339_millis(Clock::wall()).to_string()
}

fn push(line: &mut String, text: fmt::Arguments<'_>) {
    line.write_fmt(text).expect("a String takes everything");
}

fn push_pairs(line: &mut String, fields: Fields<'_>) {
    for (name, value) in fields {
        push(line, format_args!(" {name}="));
        push_value(line, &value.to_string());
    }
}

/// In quotes, with escapes, where a reader of logfmt needs them.
fn push_value(line: &mut String, value: &str) {
    let is_plain = |c: char| !c.is_control() && !c.is_whitespace() && c != '"' && c != '=';
    if !value.is_empty() && value.chars().all(is_plain) {
        line.push_str(value);
    } else {
        push(line, format_args!("{value:?}"));
    }
}

/// Milliseconds for which a line of one kind is not written again.
const QUIET_MS: u64 = 10_000;

/// Kinds of lines that may come often: each is written at most every ten seconds, and then tells
/// how many times it was left out.
#[derive(Debug, Default)]
pub struct Repeats(Vec<Repeat>);

#[derive(Debug)]
struct Repeat {
    message: &'static str,
    written: Millis,
    left_out: u64,
}

impl Repeats {
    /// Whether a line with this message is to be written now: with the number of those before it
    /// that were not.
    pub fn admit(&mut self, message: &'static str, now: Millis) -> Option<u64> {
        let Some(repeat) = self.0.iter_mut().find(|repeat| repeat.message == message) else {
            self.0.push(Repeat { message, written: now, left_out: 0 });
            return Some(0);
        };
        if now.since(repeat.written) < QUIET_MS {
            repeat.left_out += 1;
            return None;
        }
        repeat.written = now;
        Some(std::mem::take(&mut repeat.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::{Level, Log, LogFormat, Repeats};
    use crate::clock::Millis;

    const TIME: &str = "2026-11-21T10:00:00.000Z";

    fn render(format: LogFormat, is_journal: bool) -> String {
        let log = Log { format, is_journal, ..Log::default() };
        log.render(Level::Warn, "no room\nleft", &[("path", &"/a b"), ("count", &3)], TIME)
    }

    #[test]
    fn every_form_is_one_line_with_the_same_fields() {
        let text = "2026-11-21T10:00:00.000Z warn no room left path=\"/a b\" count=3\n";
        assert_eq!(render(LogFormat::Text, false), text);
        assert_eq!(render(LogFormat::Text, true), "<4>no room left path=\"/a b\" count=3\n");
        let logfmt = "time=2026-11-21T10:00:00.000Z level=warn message=\"no room\\nleft\" \
            path=\"/a b\" count=3\n";
        assert_eq!(render(LogFormat::Logfmt, false), logfmt);
        let json = render(LogFormat::Json, true);
        let object: serde_json::Value =
            serde_json::from_str(json.strip_prefix("<4>").unwrap()).unwrap();
        assert_eq!((&object["message"], &object["count"]), (&"no room\nleft".into(), &"3".into()));
        assert_eq!(json.matches('\n').count(), 1);
    }

    #[test]
    fn what_repeats_is_counted_and_told_later() {
        let mut repeats = Repeats::default();
        assert_eq!(repeats.admit("a", Millis(5)), Some(0));
        assert_eq!(repeats.admit("a", Millis(6)), None);
        assert_eq!(repeats.admit("b", Millis(6)), Some(0));
        assert_eq!(repeats.admit("a", Millis(10_004)), None);
        assert_eq!(repeats.admit("a", Millis(10_005)), Some(2));
        assert_eq!(repeats.admit("a", Millis(20_005)), Some(0));
    }
}
