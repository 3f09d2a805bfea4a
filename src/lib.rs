//! kvcache: an in-memory key-value cache over HTTP/1.1.

pub mod server;
pub mod driver;
pub mod preflight;
pub mod placement;
pub mod shard;
pub mod admin;
pub mod api;
pub mod http;
pub mod mesh;
pub mod metrics;
pub mod store;
pub mod config;
mod counters;
pub mod clock;
