//! Pinned values that are measured as texts, in slices between turns, one value after the other.

use super::{
    callers::{Callers, Late},
    keys::Owner,
    parked::Measuring,
};
use crate::{
    clock::Millis,
    store::{Key, Op, Reply, Verb},
};

/// Bytes that are measured in one turn: some microseconds.
pub(super) const SLICE_BYTES: usize = 32 << 10;

impl<A: Copy> Owner<A> {
    /// Measures one slice. Returns whether there is more to do.
    pub(super) fn measure_on(&mut self, now: Millis, callers: &mut impl Callers<A>) -> bool {
        let Some(Measuring { pin, measure, .. }) = self.measuring.front_mut() else {
            return false;
        };
        let (pin, from) = (*pin, measure.bytes());
        let verb = Verb::Piece { pin, from, bytes: SLICE_BYTES };
        let op = Op { key: Key { bytes: &[][..], hash: 0 }, verb };
        let piece_bytes = match self.store.execute(&op, now) {
            Reply::Piece { bytes, .. } => {
                measure.push(bytes);
                Some(bytes.len())
            }
            _ => None,
        };
        match piece_bytes {
            Some(SLICE_BYTES) => return true,
            Some(_) => self.finish_front(callers),
            None => {
                // The pin was revoked, which leaves the command as if it had not run.
                let front = self.measuring.pop_front().expect("seen above");
                self.run_waiting(front.waiting, now, callers);
            }
        }
        !self.measuring.is_empty()
    }

    fn finish_front(&mut self, callers: &mut impl Callers<A>) {
        let Measuring { waiting, pin, measure } =
            self.measuring.pop_front().expect("the caller has measured it");
        let text = measure.finish();
        let late = Late::Reply {
            reply: Reply::Pinned { pin, bytes: text.bytes, details: None },
            text: Some(text),
        };
        if !self.tell(&waiting, late, callers) {
            self.store.unpin(pin);
        }
    }
}
