//! Keys as texts.

/// The texts of keys: `k`, then the number with as many zeros before it as the length wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) count: u64,
    pub(super) bytes: usize,
}

impl Keys {
    /// The shortest that so many keys fit into.
    pub(super) fn bytes_min(count: u64) -> usize {
        1 + count.saturating_sub(1).to_string().len()
    }

    pub(super) fn write(self, number: u32, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + self.bytes, b'0');
        out[start] = b'k';
        write_digits(u64::from(number), &mut out[start + 1..]);
    }

    /// The number of such a text.
    pub(super) fn number(self, text: &[u8]) -> Option<u32> {
        let digits = text.strip_prefix(b"k").filter(|_| text.len() == self.bytes)?;
        let number = digits.iter().try_fold(0_u64, |number, digit| {
            let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
            number.checked_mul(10)?.checked_add(digit)
        });
        u32::try_from(number.filter(|number| *number < self.count)?).ok()
    }
}

/// Writes a number to the end of `room`, which is filled with zeros.
fn write_digits(mut number: u64, room: &mut [u8]) {
    for digit in room.iter_mut().rev() {
        if number == 0 {
            break;
        }
        *digit += u8::try_from(number % 10).expect("one digit");
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::Keys;

    #[test]
    fn keys_are_texts_of_one_length_and_back() {
        let keys = Keys { count: 1000, bytes: 8 };
        let mut text = Vec::new();
        keys.write(42, &mut text);
        assert_eq!(text, b"k0000042");
        assert_eq!(keys.number(&text), Some(42));
        for other in [&b"k0001000"[..], b"k00042", b"x0000042", b"k00000x2", b""] {
            assert_eq!(keys.number(other), None);
        }
        assert_eq!((Keys::bytes_min(1000), Keys::bytes_min(1001)), (4, 5));
    }
}
