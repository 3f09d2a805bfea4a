//! Which entry goes when room is needed: one rule per file, behind one interface.

mod chosen;
mod fifo;
mod lfu;
mod lru;
mod none;
mod s3fifo;
mod sieve;
mod wtinylfu;
mod rule;
mod list;
mod idle;
mod eviction;

pub(super) use chosen::{Policy, Queues};
pub use eviction::Eviction;

#[cfg(test)]
mod tests;
