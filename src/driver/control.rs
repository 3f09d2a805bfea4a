//! What the main thread says, one byte each on a control pipe, and what it is told.

use crate::{
    auth::Tokens,
    config::Config,
    metrics::{Reload, Snapshots},
};

/// Listen and serve.
pub const START: u8 = b's';
/// Stop accepting and answer what has arrived.
pub const DRAIN: u8 = b'd';
/// The settings were read again; what came of it has been sent before.
pub const RELOADED: u8 = b'r';
/// To be answered by [`DriverEvent::Alive`].
pub const ASK: u8 = b'a';
/// A block of a snapshot has been sent, to be restored before [`START`].
pub const BLOCK: u8 = b'b';
/// All blocks have been; to be answered by [`DriverEvent::Restored`].
pub const RESTORED: u8 = b'o';
/// The blocks were no good after all.
pub const FORGET: u8 = b'x';
/// Write a last snapshot; to be answered by [`DriverEvent::Saved`].
pub const SAVE: u8 = b'p';
/// End, after [`DriverEvent::Drained`].
pub const FINISH: u8 = b'f';

/// What the main thread is told.
#[derive(Debug)]
pub enum DriverEvent {
    /// The shard takes its turns.
    Alive,
    Restored(Box<Snapshots>),
    /// Everything of the shard's own is answered; it waits for [`FINISH`].
    Drained,
    /// Some of the last snapshot is written.
    Saving,
    /// The last snapshot is written, or has failed.
    Saved,
}

/// What came of reading the settings that can change.
#[derive(Clone)]
pub struct Reloaded {
    pub state: Reload,
    /// `None`: what was in force stays, here and below.
    pub tokens: Option<Tokens>,
    pub config: Option<Box<Config>>,
}
