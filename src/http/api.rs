//! The key-value routes: an HTTP request to an operation, a reply to an HTTP response.

mod requests;
mod replies;
mod kv;
pub(super) mod batch;
mod put;
mod value;
mod say;
mod refusals;
mod condition;
pub(super) mod json;
mod tags;
mod key;
pub(super) mod query;
mod lifetime;

pub(super) use replies::{write_health, write_options, write_reply};
pub(super) use requests::{admit, read};
pub use value::Style;
pub(super) use value::write_piece;
