//! kvcache: an in-memory key-value cache over HTTP/1.1.

pub mod http;
pub mod store;
pub mod clock;
