//! kvcache: an in-memory key-value cache over HTTP/1.1. Each core owns a share of the keys.
//!
//! # Threads
//!
//! The main thread reads the configuration, checks the host, starts the shards and waits. Each
//! shard is one thread with one glommio executor, pinned to a CPU. It owns its listener, its
//! connections, its store and its counters outright; shards share nothing but channels.
//!
//! # The path of a request
//!
//! ```text
//!   socket -> driver -> shard -> http           bytes become what is asked
//!                       shard -> mesh -> owner -> store                       the key is ours
//!                                mesh -> channel -> driver -> shard -> mesh -> owner -> store
//!                                mesh <- channel <- driver <- shard <- mesh <- owner
//!   socket <- driver <- shard <- http           replies become bytes
//! ```
//!
//! Everything from `shard` down is plain code fed by arguments: no sockets, no clock, no runtime.
//! That is what the tests, the simulation and the fuzzers drive.
//!
//! # The rule of imports
//!
//! The modules stand in the order of calls. Each imports only from modules below it; a test checks.

// Programs beside the server.
pub mod tools;
// The process: executors, listeners, channels, start and stop.
pub mod server;
// What the service manager is told.
pub mod notify;
// One core's sockets: the ready set, accept, and bytes between sockets and the shard.
pub mod driver;
// What the host must offer before anything starts.
pub mod preflight;
// The channels between shards.
pub mod link;
// One core without its sockets: connections, the mesh's end, counters, deadlines.
pub mod shard;
// HTTP/1.1: requests and responses, the key-value routes and those of the admin listener.
pub mod http;
// The seam between a shard and a protocol.
pub mod protocol;
// What every shard is asked at once.
pub mod query;
// Operations on keys over all shards: a local call or a hop.
pub mod mesh;
// The owner of keys: the store and what stands behind it.
pub mod owner;
// The bytes of a connection: input, answers in order, deadlines.
pub mod wire;
// Histograms per shard and operation, and the forms in which they are handed out.
pub mod latency;
// What the kernel says of this process.
pub mod process;
// Counters per shard.
pub mod metrics;
// The file that a restart begins with: its format, written and read.
pub mod snapshot;
// What was typed becomes what the program uses; every limit.
pub mod config;
// Who may do what.
pub mod auth;
// One shard's data.
pub mod store;
// What happens to entries, sampled for whoever subscribes.
pub mod events;
mod counters;
// What bytes are as text and as JSON.
pub mod text;
// Lines on standard error.
pub mod log;
// The one place that reads the clock.
pub mod clock;
