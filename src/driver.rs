//! One core's sockets: an epoll set that the executor awaits, and the bytes between them and the
//! shard.
//!
//! A connection costs a slab entry and a descriptor: no task, no timer and no buffer of its own.
//! One pass over what epoll reports, or over one batch of messages from another shard, is a turn;
//! at its end all answers are sent and all calls to other shards leave. In a long turn this is so
//! after every few connections: not after each, as the code of either way through the network stack
//! is more than the nearest cache holds; and not once, so that other shards do not run out of work.

mod turn;
mod report;
mod handover;
mod listeners;
mod sockets;
mod timer;
mod parts;
mod message;
mod control;
mod disk;
mod placement;

pub use control::{
    ASK, BLOCK, DRAIN, DriverEvent, FINISH, FORGET, RELOADED, RESTORED, Reloaded, SAVE, START,
};
pub use disk::{Disk, directory, draft_path};
pub use message::{DRIVER_MESSAGES_MAX, DriverMessage};
pub use parts::DriverParts;
pub use turn::Driver;
