//! The public hash of a key, which picks its owner.

use crc::{CRC_16_XMODEM, Crc, Table};

/// The public hash space: `slot = CRC16/XMODEM(key) mod 16384`, as in Redis Cluster.
pub const SLOTS: usize = 16_384;

const CRC: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&CRC_16_XMODEM);

/// The slot of a key: over the part between the first `{` and the next `}` if that is not empty,
/// else over the whole key.
#[must_use]
pub fn slot(key: &[u8]) -> usize {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        rest.iter().position(|&byte| byte == b'}').filter(|&length| length > 0).map(|n| &rest[..n])
    });
    usize::from(CRC.checksum(tag.unwrap_or(key))) % SLOTS
}

/// The shard that owns a key.
#[must_use]
pub fn owner(key: &[u8], shards: usize) -> usize {
    if shards == 1 { 0 } else { slot(key) * shards / SLOTS }
}
