//! What travels between drivers.

use crate::{
    link::Links,
    shard::{CHANNEL_MESSAGES_MAX, Message},
};
use std::net::TcpStream;

/// What travels between shards.
#[derive(Debug)]
pub enum DriverMessage {
    Mesh(Message),
    /// A new connection, for the shard that places all connections.
    Accepted(TcpStream),
    /// A new connection, for the shard that is to serve it.
    Adopted(TcpStream),
    /// So many connections are gone, for the shard that places them.
    Closed(usize),
    /// The last message: the sender makes no further calls.
    Fin,
}

/// Room that a channel keeps for what must never wait: what the mesh sends, and the last message.
pub(super) const RESERVED_MESSAGES: usize = CHANNEL_MESSAGES_MAX + 1;

/// Room that a channel between two shards needs: the above, and sockets on their way.
pub const DRIVER_MESSAGES_MAX: usize = RESERVED_MESSAGES + 256;

/// Sends what the mesh of one shard says to another's. Hands it back when there is no room.
pub(super) fn send_mesh(
    links: &mut Links<DriverMessage>,
    shard: usize,
    message: Message,
) -> Result<(), Message> {
    match links.send(shard, DriverMessage::Mesh(message)) {
        Err(DriverMessage::Mesh(message)) => Err(message),
        _ => Ok(()),
    }
}
