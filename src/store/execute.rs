//! The whole protocol: one operation at one instant.

use super::op::{Op, Reply, Verb};
use super::state::Store;
use crate::clock::Millis;

impl Store {
    /// Runs one operation at the instant `now`, which never runs backwards.
    pub fn execute(&mut self, op: &Op<&[u8]>, now: Millis) -> Reply<&[u8]> {
        #[cfg(any(test, debug_assertions))]
        self.check_now_and_then();
        self.policy.set_now(now);
        let key = op.key;
        match &op.verb {
            Verb::Read(read) => self.read(key, read, now),
            &Verb::Piece { pin, from, bytes } => self.piece(pin, from, bytes),
            Verb::Write(write) => self.write(key, write, now),
            &Verb::Delete { condition } => self.delete(key, condition, now),
            &Verb::Touch { ttl_ms, condition } => self.touch(key, condition, ttl_ms, now),
            &Verb::Add { by, condition } => self.add(key, condition, by, now),
        }
    }
}
