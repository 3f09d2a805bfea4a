//! The owner of keys: one shard's store, and what stands behind it. A command is answered now, or
//! later when what it waits for is known.
//!
//! Two things are waited for:
//!
//! - The measure of a pinned value. Who answers in JSON needs the length of its string before the
//!   first byte of the head, and says so beside the operation. The value is pinned at once, which
//!   is when the command counts as run, and measured in slices between turns.
//! - What an upstream has of a key. A command that the upstream wants to be asked for is parked
//!   before it runs. All parked commands of a key are one list, so the upstream is asked once, and
//!   each further command for that key stands in line behind them, whatever it is: commands of one
//!   key run in the order they came. When the upstream has told, what it has is put into the store
//!   and the list runs against it, in that same turn. An entry that may not stay is removed when
//!   the turn ends, unless somebody has changed it; readers keep what they have pinned.
//!
//! What waits is bounded in number and bytes. A command beyond that is refused and nothing is done.

mod turn;
mod measure;
mod keys;
mod parked;
mod callers;
mod upstream;
mod span;

pub use callers::{Call, Callers, Done, Late};
pub use keys::Owner;
pub(crate) use span::Span;
pub use upstream::{Decision, Delivery, Fetched, Upstream};

#[cfg(test)]
mod tests;
