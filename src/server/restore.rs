//! The restore of a snapshot, between the start of the shards and the first client.
//!
//! The main thread reads the file once and checks each block; every shard is handed every block and
//! takes what it owns, a block in a turn. Nobody is served before the footer was found to be sound.

use super::{error::ServerError, shards::Shards};
use crate::{
    clock::{Clock, Millis},
    config::{Config, Restore},
    driver::{FORGET, RESTORED, directory, draft_path},
    log::{self, Level, Log},
    metrics::Snapshots,
    notify,
    shard::Clocks,
    snapshot::{Header, SnapshotError, SnapshotReader},
    store::TagKey,
};
use rustix::fs::{Advice, fadvise};
use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, BufReader},
    num::NonZeroU64,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Bytes of the file that stay in the page cache once they were read.
const CACHED_BYTES_MAX: u64 = 8 << 20;

/// A snapshot that may be restored.
pub(super) struct FoundSnapshot {
    reader: SnapshotReader<BufReader<File>>,
    header: Header,
    path: PathBuf,
}

impl FoundSnapshot {
    /// What tags were hashed with.
    pub(super) fn tag_key(&self) -> TagKey {
        self.header.tag_key
    }
}

/// Looks for a snapshot. There is none where none is configured, where none was written yet, and
/// where it was set aside.
pub(super) fn open(config: &Config) -> Result<Option<FoundSnapshot>, ServerError> {
    let Some(path) = &config.snapshot_path else { return Ok(None) };
    let parent = directory(path);
    if !parent.is_dir() {
        return Err(ServerError::Snapshot(format!("there is no directory {}", parent.display())));
    }
    // What a process that was killed has left.
    drop(fs::remove_file(draft_path(path)));
    let opened = File::open(path).and_then(|file| {
        let about = file.metadata()?;
        if about.is_file() {
            Ok((file, about.len()))
        } else {
            Err(io::ErrorKind::IsADirectory.into())
        }
    });
    let (file, bytes) = match opened {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            config.log.line(Level::Info, "no snapshot to restore", &[("path", &path.display())]);
            return Ok(None);
        }
        Err(error) => return Err(ServerError::Snapshot(format!("{}: {error}", path.display()))),
    };
    match SnapshotReader::new(BufReader::new(file), bytes) {
        Ok((reader, header)) => Ok(Some(FoundSnapshot { reader, header, path: path.clone() })),
        Err(error) => refuse(config, path, &error).map(|()| None),
    }
}

/// Has the shards restore what was found.
pub(super) fn restore(
    shards: &mut Shards,
    mut found: FoundSnapshot,
    config: &Config,
    clock: Clock,
) -> Result<(), ServerError> {
    let begun = clock.now();
    let wall_ms = Clock::wall_millis().max(found.header.created);
    let clocks = Clocks { now: begun, wall_ms };
    let mut progress = RestoreProgress { log: config.log, tenths: 0, logged: begun };
    loop {
        match found.reader.next_block() {
            Ok(Some(block)) => {
                shards.hand_block(&Arc::new(block), clocks)?;
                progress.report(&found.reader, clock.now());
            }
            Ok(None) => break,
            Err(error) => {
                shards.send(FORGET);
                shards.send(RESTORED);
                shards.wait_until_restored()?;
                return refuse(config, &found.path, &error);
            }
        }
        forget_cached(&found.reader);
    }
    shards.send(RESTORED);
    let tally = shards.wait_until_restored()?;
    let Snapshots { restored, restored_expired, restored_too_large, restored_evicted, .. } = tally;
    let fields: log::Fields<'_> = &[
        ("entries", &restored),
        ("expired", &restored_expired),
        ("too_large", &restored_too_large),
        ("evicted", &restored_evicted),
        ("ms", &clock.now().since(begun)),
    ];
    config.log.line(Level::Info, "snapshot restored", fields);
    Ok(())
}

/// Sets a file aside that is no good, if that is wished.
fn refuse(config: &Config, path: &Path, error: &SnapshotError) -> Result<(), ServerError> {
    let damage = format!("{}: {error}", path.display());
    if config.restore == Restore::Strict {
        let advice = "start with --restore best-effort to set it aside, or remove it";
        return Err(ServerError::Snapshot(format!("{damage}; {advice}")));
    }
    let aside = aside(path).map_err(|error| {
        ServerError::Snapshot(format!("{damage}; and it cannot be set aside: {error}"))
    })?;
    let fields: log::Fields<'_> = &[("damage", &damage), ("kept", &aside.display())];
    config.log.line(Level::Warn, "the snapshot is damaged; starting empty", fields);
    Ok(())
}

/// Renames a damaged file to a name that nothing has.
fn aside(path: &Path) -> io::Result<PathBuf> {
    let seconds = Clock::wall_millis() / 1000;
    let names = (seconds..).map(|number| {
        let mut name: OsString = path.as_os_str().to_owned();
        name.push(format!(".damaged-{number}"));
        PathBuf::from(name)
    });
    for name in names {
        if !fs::exists(&name)? {
            fs::rename(path, &name)?;
            return Ok(name);
        }
    }
    unreachable!("there are more numbers than files")
}

/// A file as large as the memory must not count twice against the limit of a container.
fn forget_cached(reader: &SnapshotReader<BufReader<File>>) {
    if let Some(before) = reader.at().checked_sub(CACHED_BYTES_MAX).and_then(NonZeroU64::new) {
        // It is advice.
        let _taken = fadvise(reader.input().get_ref(), 0, Some(before), Advice::DontNeed).is_ok();
    }
}

/// What was said of the progress.
struct RestoreProgress {
    log: Log,
    tenths: u64,
    logged: Millis,
}

/// Milliseconds between two lines.
const LOG_EVERY_MS: u64 = 1000;

impl RestoreProgress {
    /// Reports to the manager of each tenth of the file, and the log now and then.
    fn report<R: io::Read>(&mut self, reader: &SnapshotReader<R>, now: Millis) {
        let tenths = reader.at() * 10 / reader.bytes();
        if tenths > self.tenths {
            self.tenths = tenths;
            notify::starting(&format!("Restoring a snapshot, {} %", tenths * 10));
        }
        if now.since(self.logged) >= LOG_EVERY_MS {
            self.logged = now;
            let percent = reader.at() * 100 / reader.bytes();
            let fields: log::Fields<'_> = &[("percent", &percent), ("entries", &reader.entries())];
            self.log.line(Level::Info, "restoring", fields);
        }
    }
}
