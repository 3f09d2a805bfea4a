//! What is refused where the store has taken a request and could not do it, or the value does not
//! fit the answer.

use super::super::refusal::Refusal;

pub(super) fn no_room() -> Refusal {
    Refusal::new(507, "no_room", "The entry is larger than its shard's memory takes.")
}

pub(super) fn full() -> Refusal {
    Refusal::new(507, "full", "The memory is full and nothing is evicted.")
}

pub(super) fn not_text(value: &str, valid_bytes: usize) -> Refusal {
    let message = format!("{value} is not UTF-8 from byte {valid_bytes} on.");
    Refusal::new(406, "not_text", message)
}
