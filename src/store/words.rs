//! Numbers in the bytes of a slot, little-endian.

pub(super) fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("inside the slot"))
}

pub(super) fn write_u32(bytes: &mut [u8], at: usize, number: u32) {
    *bytes[at..].first_chunk_mut().expect("inside the slot") = number.to_le_bytes();
}

pub(super) fn read_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("inside the slot"))
}

pub(super) fn write_u64(bytes: &mut [u8], at: usize, number: u64) {
    *bytes[at..].first_chunk_mut().expect("inside the slot") = number.to_le_bytes();
}
