//! What a driver is made of.

use super::{control::Reloaded, disk::Disk, message::DriverMessage};
use crate::{
    clock::Clock,
    link::Links,
    shard::{Clocks, Shard},
    snapshot::Block,
};
use std::{
    io::PipeReader,
    net::TcpListener,
    sync::{Arc, mpsc::Receiver},
};

/// What a driver is made of.
pub struct DriverParts {
    pub shard: Shard,
    pub clock: Clock,
    pub data: TcpListener,
    pub admin: Option<TcpListener>,
    pub control: PipeReader,
    /// Filled before [`RELOADED`](super::RELOADED) is said.
    pub reloads: Receiver<Reloaded>,
    /// Filled before [`BLOCK`](super::BLOCK) is said.
    pub blocks: Receiver<(Arc<Block>, Clocks)>,
    /// Of the shard that writes snapshots, where they are written.
    pub disk: Option<Disk>,
    pub links: Links<DriverMessage>,
}
