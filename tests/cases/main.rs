//! What good and bad input, slow clients and broken connections must get, case by case.
//!
//! Each input runs on one shard and on both of two, so that keys are local and foreign, whole and
//! cut anywhere; all of these must say the same, byte for byte. What each client gets is recorded
//! in `tests/recordings`, and every run is held against that.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common"]
mod common {
    pub(crate) mod answer;
    pub(crate) mod cluster;
    pub(crate) mod recording;
    pub(crate) mod requests;
}
mod input;
mod talk;
mod tell;

mod all_shards;
mod batches;
mod chunks;
mod conditions;
mod connections;
mod cuts;
mod deadlines;
mod events;
mod expect;
mod framing;
mod gzip;
mod heads;
mod kv;
mod large_values;
mod leases;
mod memory;
mod overload;
mod pipelining;
mod put_get;
mod routes;
mod tokens;
mod unsent;
mod whole_run;
