//! HTTP/1.1 without sockets: bytes in, requests out.

pub mod request;
pub mod body;
