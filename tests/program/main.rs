//! The program itself: its exit codes, its one line on standard error, its signals.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common"]
mod common {
    pub(crate) mod answer;
    pub(crate) mod client;
}
mod serving;

mod faults;
mod files;
mod signals;
mod start;
