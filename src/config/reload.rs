//! A configuration shown as its settings, and taken over while the server runs.

use super::{
    effective::Config,
    table::{SETTINGS, Setting},
};
use serde_json::{Map, Value};

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
