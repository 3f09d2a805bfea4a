//! Values that tell whose they are.
//!
//! ```text
//!   checksum  key       run       sequence  filler
//!   8 digits  8 digits  8 digits  8 digits  the rest
//! ```
//!
//! Digits are hexadecimal. The checksum is the CRC-32 of all that follows it, so a value that is
//! cut, joined from two or changed anywhere is known for it. Run tells one start of the program
//! from another; sequence counts the writes of the key in its run, from 1.

const DIGITS: usize = 8;

/// The shortest value.
pub(super) const HEAD_BYTES: usize = 4 * DIGITS;

/// Plain in JSON, and of a length that no power of two divides.
const FILLER: &[u8; 251] = &filler();

const fn filler() -> [u8; 251] {
    let mut bytes = [0; 251];
    let mut at = 0;
    let mut state = 1_u32;
    while at < bytes.len() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bytes[at] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"
            [(state >> 26) as usize];
        at += 1;
    }
    bytes
}

/// What a value says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) key: u32,
    pub(super) run: u32,
    pub(super) sequence: u32,
}

impl Stamp {
    /// Appends a value of so many bytes, at least [`HEAD_BYTES`].
    pub(super) fn write(self, bytes: usize, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[b'0'; DIGITS]);
        for number in [self.key, self.run, self.sequence] {
            out.extend_from_slice(&digits(number));
        }
        let mut rest = bytes - HEAD_BYTES;
        let mut from = (self.key ^ self.sequence) as usize % FILLER.len();
        while rest > 0 {
            let piece = &FILLER[from..FILLER.len().min(from.saturating_add(rest))];
            out.extend_from_slice(piece);
            rest -= piece.len();
            from = 0;
        }
        let checksum = digits(crc32fast::hash(&out[start + DIGITS..]));
        out[start..start + DIGITS].copy_from_slice(&checksum);
    }

    /// What a value says, if it is whole.
    pub(super) fn read(value: &[u8]) -> Option<Self> {
        let (checksum, rest) = value.split_first_chunk::<DIGITS>()?;
        let (key, after) = rest.split_first_chunk()?;
        let (run, after) = after.split_first_chunk()?;
        let (sequence, _) = after.split_first_chunk()?;
        if number(*checksum)? != crc32fast::hash(rest) {
            return None;
        }
        Some(Self { key: number(*key)?, run: number(*run)?, sequence: number(*sequence)? })
    }
}

fn digits(number: u32) -> [u8; DIGITS] {
    let mut digits = [0; DIGITS];
    for (at, digit) in digits.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (28 - 4 * at)) as usize & 15];
    }
    digits
}

fn number(digits: [u8; DIGITS]) -> Option<u32> {
    digits.iter().try_fold(0, |number, &digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u32::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::{HEAD_BYTES, Stamp};

    const STAMP: Stamp = Stamp { key: 7, run: 0xdead_beef, sequence: 42 };

    fn value(stamp: Stamp, bytes: usize) -> Vec<u8> {
        let mut value = Vec::new();
        stamp.write(bytes, &mut value);
        value
    }

    #[test]
    fn a_value_of_any_length_says_what_was_written() {
        for bytes in [HEAD_BYTES, HEAD_BYTES + 1, 128, 251, 1000, 4096] {
            let value = value(STAMP, bytes);
            assert_eq!(value.len(), bytes);
            assert!(value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte)));
            assert_eq!(Stamp::read(&value), Some(STAMP));
        }
    }

    #[test]
    fn no_flipped_bit_and_no_cut_goes_unseen() {
        let whole = value(STAMP, 100);
        for at in 0..whole.len() {
            assert_eq!(Stamp::read(&whole[..at]), None);
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                assert_eq!(Stamp::read(&flipped), None, "{at} {bit}");
            }
        }
    }

    #[test]
    fn two_halves_make_no_value() {
        let (first, second) = (value(STAMP, 128), value(Stamp { sequence: 43, ..STAMP }, 128));
        for at in 1..127 {
            let torn = [&first[..at], &second[at..]].concat();
            assert!(Stamp::read(&torn).is_none() || torn == first || torn == second, "{at}");
        }
    }
}
