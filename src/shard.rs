//! One core without its sockets: its connections, its end of the mesh and its counters.
//!
//! Bytes and messages go in, bytes and messages come out. The driver feeds it from sockets and
//! channels; the simulation feeds it from a seeded scheduler.
//!
//! ```text
//!   turn          the shard, turn by turn         restore, snapshots: before and beside them
//!   requests      carried out, or owed            arrivals: answers that were away
//!   streams       events to subscribers           letters, queries: what shards say and ask
//!   service       all that carries requests out, and what they are answered with
//!   admission     tokens, load shedding           overload: when it sheds, and how much
//!   connections   by slot, with what each has received and is owed
//!   spoken        the protocols, as one type where it must not matter which
//! ```

mod restore;
mod snapshots;
mod turn;
mod arrivals;
mod requests;
mod streams;
mod letters;
mod queries;
mod service;
mod letter;
mod save;
mod saving;
mod subscribers;
mod removals;
mod admission;
mod overload;
mod slow;
mod connections;
mod spoken;

pub use connections::{ConnectionId, Ticket};
pub use letter::{CHANNEL_MESSAGES_MAX, Freight, Letter, Message};
pub use restore::Clocks;
pub use save::{Done, Job, Saved};
pub use saving::{Order, Part};
pub use slow::Slow;
pub use spoken::Role;
pub use turn::{BEAT_MAX_MS, BEAT_MS, Shard, WRITER};
