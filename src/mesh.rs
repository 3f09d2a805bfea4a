//! Operations on keys over all shards: a local call, or a hop to the shard that owns the key.
//!
//! A mesh is one shard's end of it: for each peer the calls that wait to leave, and the room that
//! calls under way take. It routes and nothing else. It is a plain object; whoever drives it
//! carries its messages.
//!
//! The contract of the channel between two shards, which the driver and the simulation both keep:
//!
//! - Order. Messages from one shard to another arrive in the order they were sent. So calls to one
//!   peer run in the order they were made, but for those that wait at their owner, which keeps the
//!   order of each key; and the replies that do not come late come back in that order. Nothing is
//!   promised between different pairs.
//! - Batching. All calls made between two flushes leave as one message per peer, and the replies
//!   to one message come back as one message.
//! - Addressing. A call carries its caller's ticket to the owner and back. There is no number of
//!   a call or a reply that could be used twice.
//! - Bounds. At most `hop_requests_max` calls and `hop_bytes_max` bytes of keys and values may be
//!   under way to one peer; beyond that a call is refused and nothing is queued, and so are all
//!   calls of a group of which one would be. The replies to the calls of one group that go to one
//!   peer, late ones included, pass the group's bound by at most one value: what is read after that
//!   is left out. At most `MESSAGES_MAX` messages of calls are in flight to one peer; while they
//!   are, new calls gather in the next one. A channel with room for [`Mesh::CHANNEL_MESSAGES_MAX`]
//!   messages is therefore never full, nobody waits for space, and two full directions cannot wait
//!   for each other.
//! - Later. A call that waits at its owner has `Later` for a reply, so that its batch returns at
//!   once: no message is held by those that wait. Its caller keeps the ticket, and the room that
//!   the call takes stays taken until the late reply is here. Late replies to one peer leave as one
//!   message a flush, behind the replies of their batches, and at most `LATES_MAX` such messages
//!   are under way; the peer returns each empty, and until then further late replies gather in the
//!   next one. There are never more of them than calls under way.
//! - Queries. A query goes to every shard, the asking one included, and stands in the order of the
//!   calls: it comes after those that were made before it and before those made after it, but it
//!   overtakes those that wait at their owner. At most `BROADCASTS_MAX` queries of one shard are
//!   open. The answer is told when every shard has told its result, at once or later.
//! - Room ahead. That a large value is on its way to some shard rides with the calls, merged into
//!   one number for each peer: its owner is not known before its key is.
//! - Pins. A reply that names a pin hands it over. Pins go back with the calls and are never
//!   refused; there are no more than there were replies. Nor is a call for the next piece of a
//!   pinned value, of which a connection makes one at a time.
//! - Letters. What else shards tell each other travels as it is, in the order it was sent, and
//!   nobody waits for it here. At most [`Cargo::LETTERS_MAX`] may be under way in one direction,
//!   which whoever sends them sees to.
//! - Loss. A message that cannot be sent, because the peer is gone, is handed back and each of its
//!   calls resolves as lost, or the query that it asks; and so does every call that waits at that
//!   peer, whose late reply is ignored should it come after all. The pins in it are given back in
//!   the next one, and those of replies to the store.

mod flush;
mod routes;
mod desk;
mod peer;
mod broadcast;
mod message;
mod batch;
mod late;
mod cargo;
mod packed;
mod slot;
mod bounds;

pub use batch::Batch;
pub use bounds::{BROADCASTS_MAX, LATES_MAX, MESSAGES_MAX};
pub use cargo::{Arrival, Called, Cargo};
pub use late::{LateReplies, Return};
pub use message::{Asker, Incoming, Message};
pub use routes::{Home, Mesh};
pub use slot::{SLOTS, owner, slot};

#[cfg(test)]
mod tests;
