//! The public hash of a key, which picks its owner.

use crate::text::{equal, run};

/// The public hash space: `slot = CRC16/XMODEM(key) mod 16384`, as in Redis Cluster.
pub const SLOTS: usize = 16_384;

/// Bytes that are looked up side by side.
const LANES: usize = 16;

/// `TABLES[zeros][byte]` is the CRC16/XMODEM of a byte and so many zero bytes after it. That of a
/// text is the sum, without carry, of those of its bytes; so no look-up waits for another.
static TABLES: [[u16; 256]; LANES] = tables();

const fn tables() -> [[u16; 256]; LANES] {
    const POLYNOMIAL: u16 = 0x1021;
    let mut tables = [[0; 256]; LANES];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "it is a byte")]
        let mut crc = (byte as u16) << 8;
        let mut zeros = 0;
        while zeros < LANES {
            let mut bit = 0;
            while bit < 8 {
                crc = (crc << 1) ^ (POLYNOMIAL * (crc >> 15));
                bit += 1;
            }
            tables[zeros][byte] = crc;
            zeros += 1;
        }
        byte += 1;
    }
    tables
}

/// CRC16/XMODEM: its register begins with 0, so zero bytes in front change nothing.
#[inline]
fn crc(text: &[u8]) -> u16 {
    let (head, rows) = text.as_rchunks::<LANES>();
    let mut first = [0; LANES];
    first[LANES - head.len()..].copy_from_slice(head);
    let mut crc = sum(first);
    for row in rows {
        let [high, low] = crc.to_be_bytes();
        let mut row = *row;
        (row[0], row[1]) = (row[0] ^ high, row[1] ^ low);
        crc = sum(row);
    }
    crc
}

/// That of one row.
#[inline]
fn sum(row: [u8; LANES]) -> u16 {
    let bytes = TABLES.iter().rev().zip(row);
    bytes.fold(0, |crc, (table, byte)| crc ^ table[usize::from(byte)])
}

/// The slot of a key: over the part between the first `{` and the next `}` if that is not empty,
/// else over the whole key.
#[must_use]
pub fn slot(key: &[u8]) -> usize {
    let open = run(key, |word| equal(word, b'{'));
    let tag = key.get(open + 1..).and_then(|rest| {
        rest.iter().position(|&byte| byte == b'}').filter(|&length| length > 0).map(|n| &rest[..n])
    });
    usize::from(crc(tag.unwrap_or(key))) % SLOTS
}

/// The shard that owns a key.
#[must_use]
pub fn owner(key: &[u8], shards: usize) -> usize {
    if shards == 1 { 0 } else { slot(key) * shards / SLOTS }
}

#[cfg(test)]
mod tests {
    use super::{crc, slot};
    use crc::{CRC_16_XMODEM, Crc};

    #[test]
    fn texts_of_every_length_have_the_known_sum() {
        let known = Crc::<u16>::new(&CRC_16_XMODEM);
        let text: Vec<u8> = (0..=u8::MAX).map(|byte| byte.wrapping_mul(151) ^ 0x5a).collect();
        for start in 0..20 {
            for end in start..text.len() {
                let text = &text[start..end];
                assert_eq!(crc(text), known.checksum(text), "{text:?}");
            }
        }
        assert_eq!(crc(b"123456789"), 0x31c3);
    }

    #[test]
    fn the_part_in_braces_counts_if_there_is_one() {
        assert_eq!(slot(b"foo"), 12_182);
        assert_eq!(slot(b"{foo}bar"), slot(b"foo"));
        assert_eq!(slot(b"a{foo}{bar}"), slot(b"foo"));
        for whole in [&b"{}foo"[..], b"foo{", b"foo}{", b"{"] {
            assert_eq!(slot(whole), usize::from(crc(whole)) % super::SLOTS);
        }
    }
}
