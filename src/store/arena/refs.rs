//! Where slots are.

/// Where a slot is, in granules of 8 bytes from the start of the region.
pub(in crate::store) type Ref = u32;

/// No slot: page 0 belongs to the index.
pub(in crate::store) const NIL: Ref = 0;
pub(in crate::store) const GRANULE: usize = 8;
/// The largest region: above it lie the references with which the wheel marks the head of a list.
pub(in crate::store) const REGION_BYTES_MAX: usize = 31 << 30;

/// Contents that went from one slot to another.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Moved {
    pub(in crate::store) from: Ref,
    pub(in crate::store) to: Ref,
}

pub(super) fn offset(at: Ref) -> usize {
    at as usize * GRANULE
}
