//! What travels between shards beside operations on keys.

use super::{
    connections::Ticket,
    saving::{Order, PARTS_MAX, Part},
};
use crate::{
    events::Note,
    mesh::{self, Cargo, Home, Mesh},
    query::{Query, Share},
};

/// The mesh of a server's shards carries this.
#[derive(Debug)]
pub struct Freight;

impl Cargo for Freight {
    type Ticket = Ticket;
    type Query = Query;
    type Result = Share;
    type Letter = Letter;

    /// Orders for blocks one way and blocks the other, and the rest.
    const LETTERS_MAX: usize = 2 * PARTS_MAX + ORDERS_MAX + SUBSCRIPTIONS_MAX;
}

/// Orders to begin or to stop that may be under way beside those for blocks: a snapshot begins no
/// earlier than its file is made, which takes longer than a message.
const ORDERS_MAX: usize = 8;

/// Of a subscription and its end, and of the events that it is told.
const SUBSCRIPTIONS_MAX: usize = 4;

/// What one shard tells another.
#[derive(Debug)]
pub enum Letter {
    /// What the peer is to do for a snapshot.
    Order(Order),
    /// What came of an order for a block.
    Part(Box<Part>),
    /// The peer is to note events and to tell those that it has; or to note none any more.
    Subscribe(bool),
    Notes(Vec<Note>),
}

/// What shards of a server say to each other.
pub type Message = mesh::Message<Freight>;

pub(super) type Arrival<'a> = mesh::Arrival<'a, Freight>;
pub(super) type ShardMesh = Mesh<Freight>;
pub(super) type ShardHome = Home<Freight>;

/// Room that a channel between two shards needs in one direction.
pub const CHANNEL_MESSAGES_MAX: usize = Mesh::<Freight>::CHANNEL_MESSAGES_MAX;
