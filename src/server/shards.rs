//! The shards as the main thread has them: what it sends them and what it hears.

use super::{error::ServerError, runtime::ServerEvent};
use crate::{
    driver::{BLOCK, DriverEvent, Reloaded},
    metrics::Snapshots,
    shard::Clocks,
    snapshot::Block,
};
use std::{
    io::{PipeWriter, Write as _},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, SyncSender},
    },
};

/// Blocks that wait for one shard at most.
pub(super) const BLOCKS_MAX: usize = 4;

/// What the main thread sends one shard.
pub(super) struct Control {
    pub(super) pipe: PipeWriter,
    pub(super) reloads: Sender<Reloaded>,
    pub(super) blocks: SyncSender<(Arc<Block>, Clocks)>,
}

/// All shards.
pub(super) struct Shards {
    pub(super) controls: Vec<Control>,
    pub(super) events: Receiver<ServerEvent>,
}

impl Shards {
    /// Sends one message to every shard.
    pub(super) fn send(&mut self, message: u8) {
        for control in &mut self.controls {
            // A shard that is gone already has closed its end.
            drop(control.pipe.write_all(&[message]));
        }
    }

    /// Waits until every executor runs.
    pub(super) fn wait_until_ready(&self) -> Result<(), ServerError> {
        for _ in 0..self.controls.len() {
            match self.events.recv() {
                Ok(ServerEvent::Ready) => {}
                Ok(ServerEvent::Failed { shard, error }) => {
                    return Err(ServerError::Shard { shard, error });
                }
                Ok(ServerEvent::Ended { shard }) => return Err(ServerError::Ended { shard }),
                Ok(ServerEvent::Signal | ServerEvent::Reload | ServerEvent::Driver { .. })
                | Err(_) => {
                    unreachable!("nobody sends it yet, and we could")
                }
            }
        }
        Ok(())
    }

    /// Hands every shard a block to restore; waits where one has too many already.
    pub(super) fn hand_block(
        &mut self,
        block: &Arc<Block>,
        clocks: Clocks,
    ) -> Result<(), ServerError> {
        for shard in 0..self.controls.len() {
            let control = &mut self.controls[shard];
            if control.blocks.send((block.clone(), clocks)).is_err() {
                return Err(ServerError::Ended { shard });
            }
            control.pipe.write_all(&[BLOCK])?;
        }
        Ok(())
    }

    /// Waits until every shard has restored its part. Returns what came of it in all.
    pub(super) fn wait_until_restored(&mut self) -> Result<Snapshots, ServerError> {
        let mut tally = Snapshots::default();
        for _ in 0..self.controls.len() {
            match self.events.recv() {
                Ok(ServerEvent::Driver { event: DriverEvent::Restored(shards), .. }) => {
                    tally += *shards;
                }
                Ok(ServerEvent::Failed { shard, error }) => {
                    return Err(ServerError::Shard { shard, error });
                }
                Ok(ServerEvent::Ended { shard }) => return Err(ServerError::Ended { shard }),
                Ok(_) | Err(_) => unreachable!("nobody sends it yet, and we could"),
            }
        }
        Ok(tally)
    }
}
