//! `kvcache snapshot inspect FILE`: what a file holds, and whether it is whole.

use super::read::{SnapshotError, SnapshotReader};
use std::{
    fmt::Write as _,
    io::Read,
    time::{Duration, SystemTime},
};

/// What was found.
#[derive(Debug)]
pub struct Inspection {
    /// One line for each thing.
    pub text: String,
    pub is_sound: bool,
}

/// Reads the whole of a file of so many bytes.
pub fn inspect(input: impl Read, bytes: u64, now: SystemTime) -> Inspection {
    let mut text = String::new();
    let outcome = describe(&mut text, input, bytes, now);
    let verdict = match &outcome {
        Ok(()) => "The snapshot is whole.".to_owned(),
        Err(error) => format!("The snapshot cannot be restored: {error}."),
    };
    line(&mut text, "", &verdict);
    Inspection { text, is_sound: outcome.is_ok() }
}

fn describe(
    text: &mut String,
    input: impl Read,
    bytes: u64,
    now: SystemTime,
) -> Result<(), SnapshotError> {
    line(text, "bytes", &bytes);
    let (mut reader, header) = SnapshotReader::new(input, bytes)?;
    let created = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(header.created));
    match created {
        Some(created) if header.created / 1000 < YEAR_10_000 => {
            line(text, "created", &humantime::format_rfc3339_seconds(created));
            let age = now.duration_since(created).unwrap_or_default();
            line(text, "age", &humantime::format_duration(Duration::from_secs(age.as_secs())));
        }
        _ => line(text, "created", &"in no year that there is"),
    }
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let (mut with_ttl, mut expired, mut key_bytes, mut value_bytes) = (0, 0, 0, 0);
    let (mut key_bytes_max, mut value_bytes_max) = (0, 0);
    while let Some(block) = reader.next_block()? {
        for entry in block.entries() {
            let end = entry.stale_until.or(entry.expires);
            with_ttl += u64::from(end.is_some());
            expired += u64::from(end.is_some_and(|end| u128::from(end) <= now));
            key_bytes += entry.key.len() as u64;
            value_bytes += entry.value.len() as u64;
            key_bytes_max = key_bytes_max.max(entry.key.len());
            value_bytes_max = value_bytes_max.max(entry.value.len());
        }
    }
    line(text, "blocks", &reader.blocks());
    line(text, "entries", &reader.entries());
    line(text, "with a ttl", &with_ttl);
    line(text, "expired", &expired);
    line(text, "key bytes", &format_args!("{key_bytes}, at most {key_bytes_max} each"));
    line(text, "value bytes", &format_args!("{value_bytes}, at most {value_bytes_max} each"));
    Ok(())
}

/// The first second that has no date of four digits.
const YEAR_10_000: u64 = 253_402_300_800;

fn line(text: &mut String, subject: &str, found: &dyn std::fmt::Display) {
    let pad = if subject.is_empty() { 0 } else { 13 };
    writeln!(text, "{subject:<pad$}{found}").expect("a String takes everything");
}
