//! Programs beside the server: they look at a host, ask a server, or load one.

// What this host offers and lacks, for people.
pub mod doctor;
// A generator of load that checks every answer.
pub mod load;
// Whether a server that runs answers.
pub mod health;
