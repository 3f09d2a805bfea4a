//! The bounds of one store.

use super::arena::SLOT_BYTES_MAX;

/// The bounds of one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Everything the store owns fits in this; at least 1 MiB.
    pub memory_bytes_max: usize,
    pub key_bytes_max: usize,
    pub value_bytes_max: usize,
    /// 0: no bound but the memory.
    pub entries_max: usize,
}

/// The least memory of one store.
pub const MEMORY_BYTES_MIN: usize = 1 << 20;

/// A longer value lies in chunks.
pub const INLINE_BYTES_MAX: usize = SLOT_BYTES_MAX;
