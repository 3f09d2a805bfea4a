//! What is wrong with what was typed, in one line.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// One line that says what is wrong and where it was typed.
#[derive(Debug)]
pub struct ConfigError(String);

impl ConfigError {
    pub(crate) fn new(place: &str, what: &str) -> Self {
        let line = format!("{place}: {what}");
        Self(line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
    }
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// One line in place of clap's paragraphs.
pub(crate) fn usage_error(error: &clap::Error) -> ConfigError {
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
            return ConfigError::new("usage", line.strip_prefix("error: ").unwrap_or(line));
        }
    };
    let what = match text(suggestion) {
        Some(suggestion) => format!("{what}; did you mean {suggestion}?"),
        None => format!("{what}; --help lists all"),
    };
    ConfigError::new(&text(kind).unwrap_or_default(), &what)
}
