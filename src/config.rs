//! What was typed becomes what the program uses; every limit lives here.
//!
//! [`SETTINGS`] is the one table of names, defaults, bounds and help. Flags, `KVCACHE_*` variables,
//! the keys of the TOML file, `--help` and `--print-config` all come from it.

mod read;
mod command;
mod error;
mod reload;
mod table;
mod kind;
mod text;
mod effective;
mod limits;
mod host;

pub use effective::{AdminAddress, Config, Restore};
pub use error::ConfigError;
pub(crate) use error::usage_error;
pub use host::{Host, cgroup_files, memory_available};
pub use limits::{
    GZIP_BYTES_MAX, GZIP_BYTES_MIN, KEY_BYTES_CEILING, Limits, TAG_BYTES_MAX, TTL_MAX,
    VALUE_BYTES_CEILING,
};
pub use read::{Invocation, read};
pub use table::{SETTINGS, Setting};
pub(crate) use text::{address, bytes, choice, count, file, span};
