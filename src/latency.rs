//! How long requests take: a histogram for each protocol and operation, of one shard or of several
//! added up.
//!
//! What is measured is the time from when the first byte of a request is parsed to when the kernel
//! has taken the last byte of its answer, in microseconds from 1 to 60 seconds, to three digits. It
//! holds what a client takes to send the rest of its request and to make room for the answer, and
//! what the other shard takes where it owns the key; it does not hold the network, nor the time for
//! which the first byte waited in the socket.

mod form;
mod output;
mod recorder;
mod latencies;
mod buckets;

pub use buckets::Buckets;
pub use form::{Format, MEASURED};
pub use latencies::{Latencies, histogram};
pub use output::{IntervalLog, hgrm, summary};
pub use recorder::{Latency, Since, Start, Timing};

#[cfg(test)]
mod tests;
