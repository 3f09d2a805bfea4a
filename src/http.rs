//! HTTP/1.1 without sockets: bytes to what is asked, replies to responses.
//!
//! ```text
//!   reader     bytes -> head and body               request/, body: framing and its errors
//!   speech     request -> claim -> ask -> response  the seam that a shard calls
//!   api        the key-value routes                 admin: those of the admin listener
//!   response   status line, header fields, JSON     gzip, etag, bearer: what fields say
//! ```

mod speech;
pub mod admin;
pub mod api;
mod reader;
mod bearer;
pub mod response;
pub mod form;
mod route;
pub mod refusal;
mod media;
pub mod etag;
pub mod gzip;
pub mod body;
pub mod request;

pub use form::Http;
pub use reader::{BodyHead, Next, Reader, Request};
pub use request::Error;
pub use route::Port;
