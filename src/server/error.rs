//! Why the server did not start or did not go on.

use crate::{config::AdminAddress, preflight::Lack};
use std::{fmt, io};

/// Why the server did not start or did not go on.
#[derive(Debug)]
pub enum ServerError {
    /// The host lacks something.
    Host(Lack),
    Bind {
        address: AdminAddress,
        error: io::Error,
    },
    /// The file of tokens cannot be used.
    Tokens(String),
    /// The snapshot cannot be restored, or could not be written.
    Snapshot(String),
    /// A shard's executor did not start.
    Shard {
        shard: usize,
        error: String,
    },
    /// A shard ended by itself.
    Ended {
        shard: usize,
    },
    Io(io::Error),
}

impl ServerError {
    /// Whether only a change of the configuration or the host can help.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        !matches!(self, Self::Ended { .. })
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(lack) => write!(out, "{lack}"),
            Self::Bind { address, error } if error.kind() == io::ErrorKind::AddrInUse => {
                write!(out, "{address} is in use; stop what listens there, or choose another")
            }
            Self::Bind { address, error } => write!(out, "cannot listen on {address}: {error}"),
            Self::Tokens(error) => write!(out, "--auth-token-file: {error}"),
            Self::Snapshot(error) => write!(out, "--snapshot-path: {error}"),
            Self::Shard { shard, error } => {
                let error = error.replace('\n', " ");
                write!(out, "shard {shard} does not start: {error}")
            }
            Self::Ended { shard } => write!(out, "shard {shard} ended"),
            Self::Io(error) => write!(out, "cannot start: {error}"),
        }
    }
}

impl From<io::Error> for ServerError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
