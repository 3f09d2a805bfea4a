//! The bytes of a connection, whatever protocol they are of: what has arrived, the answers in the
//! order of their requests, and what the connection waits for.
//!
//! ```text
//!   read -> Input  -> (a protocol reads requests)       kept: bytes of a request that is not whole
//!   send <- Output <- Answers <- (a protocol writes)    owed: answers that are still away
//! ```
//!
//! An idle connection holds neither buffer.

mod connection;
mod answers;
mod output;
mod input;

pub use answers::{Answers, Written};
pub use connection::{Connection, Intent, Overdue};
pub use input::{Awaited, BodySize, Cursor, Input};
pub use output::Output;
