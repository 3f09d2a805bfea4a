//! The process: one pinned executor per shard, its listeners and channels, start and stop.
//!
//! The main thread binds the ports, starts the shards, waits until every one of them is ready and
//! only then lets them listen. From there on it waits: for a signal, or for a shard to end.

mod lifecycle;
mod restore;
mod shards;
mod runtime;
mod sockets;
mod error;

pub use error::ServerError;
pub use lifecycle::{Server, run};
pub use sockets::try_bind;
