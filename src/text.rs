//! What bytes are as text: whether they are UTF-8, and what they look like as a JSON string.

/// The measure of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    pub bytes: usize,
    /// Its length as a JSON string, quotes included; or, where it is not UTF-8, how many bytes are
    /// before the first that cannot be.
    pub json: Result<usize, usize>,
}

impl Text {
    /// Measures a text that lies in parts, whose ends may fall inside a character.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut measure = Measure::default();
        parts.into_iter().for_each(|part| measure.push(part));
        measure.finish()
    }

    /// Whether its JSON string is the text itself between quotes.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.json == Ok(self.bytes + 2)
    }
}

/// Measures a text that comes in parts, whose ends may fall inside a character.
#[derive(Debug, Default)]
pub struct Measure {
    bytes: usize,
    /// What a JSON string has between its quotes.
    escaped_bytes: usize,
    utf8: Utf8,
    /// There was a part that is more than plain ASCII: from here on each takes two looks.
    is_rich: bool,
    is_broken: bool,
}

impl Measure {
    pub fn push(&mut self, part: &[u8]) {
        self.bytes += part.len();
        self.is_rich = self.is_rich || !is_plain_ascii(part);
        if !self.is_rich {
            self.utf8.valid += part.len();
            self.escaped_bytes += part.len();
            return;
        }
        self.is_broken = self.is_broken || !self.utf8.push(part);
        if !self.is_broken {
            self.escaped_bytes += escaped_bytes(part);
        }
    }

    /// Bytes so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The measure of all parts together.
    #[must_use]
    pub fn finish(&self) -> Text {
        let is_valid = !self.is_broken && self.utf8.begun == 0;
        let json = if is_valid { Ok(self.escaped_bytes + 2) } else { Err(self.utf8.valid) };
        Text { bytes: self.bytes, json }
    }
}

/// Checks UTF-8 that comes in parts.
#[derive(Debug, Default)]
struct Utf8 {
    /// Bytes of whole characters.
    valid: usize,
    /// The character that the last part ended in: its first `begun` bytes.
    character: [u8; 4],
    begun: usize,
}

impl Utf8 {
    /// False once there is a byte that cannot be; then no more parts are taken.
    fn push(&mut self, part: &[u8]) -> bool {
        let mut rest = part;
        while self.begun > 0
            && let Some((&byte, tail)) = rest.split_first()
        {
            self.character[self.begun] = byte;
            match std::str::from_utf8(&self.character[..=self.begun]) {
                Ok(_) => {
                    self.valid += self.begun + 1;
                    self.begun = 0;
                }
                Err(error) if error.error_len().is_none() => self.begun += 1,
                Err(_) => return false,
            }
            rest = tail;
        }
        match std::str::from_utf8(rest) {
            Ok(_) => self.valid += rest.len(),
            Err(error) => {
                self.valid += error.valid_up_to();
                let character = &rest[error.valid_up_to()..];
                if error.error_len().is_some() {
                    return false;
                }
                self.character[..character.len()].copy_from_slice(character);
                self.begun = character.len();
            }
        }
        true
    }
}

/// A text and the length that it has as a JSON string, quotes included.
#[derive(Clone, Copy, Debug)]
pub struct JsonString<'a> {
    text: &'a [u8],
    pub length: usize,
}

impl<'a> JsonString<'a> {
    #[inline]
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self { text: text.as_bytes(), length: escaped_bytes(text.as_bytes()) + 2 }
    }

    /// Of bytes that may be UTF-8; else, how many of them come before the first that cannot be.
    #[inline]
    pub fn of(bytes: &'a [u8]) -> Result<Self, usize> {
        if is_plain_ascii(bytes) {
            return Ok(Self { text: bytes, length: bytes.len() + 2 });
        }
        std::str::from_utf8(bytes).map(Self::new).map_err(|error| error.valid_up_to())
    }

    #[inline]
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        if self.length == self.text.len() + 2 {
            out.extend_from_slice(self.text);
        } else {
            push_escaped(out, self.text, usize::MAX);
        }
        out.push(b'"');
    }
}

/// Whether bytes are UTF-8; if not, how many of them come before the first that cannot be.
#[inline]
pub fn check_utf8(bytes: &[u8]) -> Result<(), usize> {
    if is_plain_ascii(bytes) {
        return Ok(());
    }
    std::str::from_utf8(bytes).map(drop).map_err(|error| error.valid_up_to())
}

/// Appends the inside of a JSON string until `room` bytes or a little more are written. Returns how
/// many bytes of the text were taken.
pub fn push_escaped(out: &mut Vec<u8>, text: &[u8], room: usize) -> usize {
    let end = out.len().saturating_add(room);
    let mut rest = text;
    while !rest.is_empty() && out.len() < end {
        let most = &rest[..rest.len().min(end - out.len())];
        let plain = plain_bytes(most);
        out.extend_from_slice(&most[..plain]);
        rest = &rest[plain..];
        if plain < most.len() {
            out.extend_from_slice(escape(rest[0]).expect("it is not plain").as_bytes());
            rest = &rest[1..];
        }
    }
    text.len() - rest.len()
}

/// Appends a number in decimal.
#[inline]
pub fn push_decimal(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Bytes that are looked at side by side.
const LANES: usize = 16;
/// What `escape_bytes` is at most.
const ESCAPE_BYTES_MAX: u8 = 5;

/// The length of a text inside a JSON string. Branch-free, so that the compiler counts in vector
/// registers: what a text costs depends on its length alone.
fn escaped_bytes(text: &[u8]) -> usize {
    let (rows, rest) = text.as_chunks::<LANES>();
    let mut more = rest.iter().map(|&byte| usize::from(escape_bytes(byte))).sum::<usize>();
    for rows in rows.chunks((u8::MAX / ESCAPE_BYTES_MAX).into()) {
        let mut lanes = [0; LANES];
        for row in rows {
            for (lane, &byte) in lanes.iter_mut().zip(row) {
                *lane += escape_bytes(byte);
            }
        }
        more += lanes.iter().map(|&lane: &u8| usize::from(lane)).sum::<usize>();
    }
    text.len() + more
}

/// Whether this is ASCII that a JSON string holds as it is: what most texts are, found in one pass.
/// Every byte is looked at without a branch, in vector registers where there are enough.
#[inline]
fn is_plain_ascii(text: &[u8]) -> bool {
    if let Some(last) = text.last_chunk::<LANES>() {
        let mut lanes = [0; LANES];
        for row in text.as_chunks::<LANES>().0.iter().chain([last]) {
            for (lane, &byte) in lanes.iter_mut().zip(row) {
                // As signed numbers the bytes above ASCII are the least.
                let is_bad = byte.cast_signed() < 0x20 || byte == b'"' || byte == b'\\';
                *lane |= u8::from(is_bad);
            }
        }
        lanes == [0; LANES]
    } else {
        let marks = |word| (word & HIGHS) | escaped(word);
        run(text, marks) == text.len()
    }
}

const ONES: u64 = u64::MAX / 0xff;
const HIGHS: u64 = ONES * 0x80;

/// The bytes of a word below `bound`, at most 0x80, each with its highest bit. A borrow can mark
/// wrongly, but only above a byte that is marked rightly; so it is with all of these.
#[inline]
pub fn below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(ONES * u64::from(bound)) & !word & HIGHS
}

/// Those that are not below 0x7f.
#[inline]
pub fn above_graphic(word: u64) -> u64 {
    (word | word.wrapping_add(ONES)) & HIGHS
}

/// Those that are `byte`.
#[inline]
pub fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (ONES * u64::from(byte)), 1)
}

/// Those that a JSON string does not hold as they are.
#[inline]
fn escaped(word: u64) -> u64 {
    below(word, 0x20) | equal(word, b'"') | equal(word, b'\\')
}

/// How many bytes are before the first that `marks` marks in its word of eight; it marks every 0.
#[inline]
pub fn run(bytes: &[u8], marks: impl Fn(u64) -> u64) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    let first = |marks: u64| marks.trailing_zeros() as usize / 8;
    for (index, &word) in words.iter().enumerate() {
        let found = marks(u64::from_le_bytes(word));
        if found != 0 {
            return index * 8 + first(found);
        }
    }
    let last = match bytes.last_chunk() {
        _ if rest.is_empty() => return bytes.len(),
        Some(&last) => u64::from_le_bytes(last) >> (64 - 8 * rest.len()),
        None => rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    };
    words.len() * 8 + first(marks(last))
}

/// How much longer than the byte is what stands for it: a backslash and a letter, or one, `u` and
/// four digits.
fn escape_bytes(byte: u8) -> u8 {
    let is_quoted = byte == b'"' || byte == b'\\';
    let is_control = byte < 0x20;
    let has_letter = byte.wrapping_sub(b'\x08') < 6 && byte != b'\x0b';
    u8::from(is_quoted) + ESCAPE_BYTES_MAX * u8::from(is_control) - 4 * u8::from(has_letter)
}

/// How many bytes at the start a JSON string holds as they are.
#[inline]
pub fn plain_bytes(text: &[u8]) -> usize {
    run(text, escaped)
}

/// What stands for a byte that JSON does not take as it is.
fn escape(byte: u8) -> Option<&'static str> {
    const CONTROLS: [&str; 32] = [
        "\\u0000", "\\u0001", "\\u0002", "\\u0003", "\\u0004", "\\u0005", "\\u0006", "\\u0007",
        "\\b", "\\t", "\\n", "\\u000b", "\\f", "\\r", "\\u000e", "\\u000f", "\\u0010", "\\u0011",
        "\\u0012", "\\u0013", "\\u0014", "\\u0015", "\\u0016", "\\u0017", "\\u0018", "\\u0019",
        "\\u001a", "\\u001b", "\\u001c", "\\u001d", "\\u001e", "\\u001f",
    ];
    match byte {
        b'"' => Some("\\\""),
        b'\\' => Some("\\\\"),
        byte => CONTROLS.get(usize::from(byte)).copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        JsonString, Text, check_utf8, escape, escape_bytes, escaped_bytes, plain_bytes,
        push_escaped,
    };
    use proptest::prelude::*;

    #[test]
    fn each_byte_counts_as_what_stands_for_it() {
        for byte in 0..=u8::MAX {
            let length = escape(byte).map_or(1, str::len);
            assert_eq!(usize::from(escape_bytes(byte)) + 1, length, "{byte:#x}");
            for count in [15, 16, 17, 5_000] {
                assert_eq!(escaped_bytes(&vec![byte; count]), count * length);
            }
        }
    }

    #[test]
    fn one_byte_anywhere_makes_a_text_what_it_is() {
        for length in 1..50 {
            for at in 0..length {
                for byte in 0..=u8::MAX {
                    let mut bytes = vec![b'a'; length];
                    bytes[at] = byte;
                    let expected = std::str::from_utf8(&bytes).map_err(|error| error.valid_up_to());
                    assert_eq!(check_utf8(&bytes), expected.map(drop));
                    let expected = expected.map(|text| JsonString::new(text).length);
                    assert_eq!(JsonString::of(&bytes).map(|json| json.length), expected);
                    let plain = if escape(byte).is_some() { at } else { length };
                    assert_eq!(plain_bytes(&bytes), plain);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn json_strings_read_back(text: String, control in "[\\x00-\\x1f\"\\\\a]*") {
            for text in [text, control] {
                for json in [JsonString::new(&text), JsonString::of(text.as_bytes()).unwrap()] {
                    let mut out = Vec::new();
                    json.write(&mut out);
                    prop_assert_eq!(out.len(), json.length);
                    prop_assert_eq!(&serde_json::from_slice::<String>(&out).unwrap(), &text);
                }
            }
        }

        #[test]
        fn cuts_do_not_change_the_measure(
            text in "[aé\u{2028}😀\"\n]{0,12}", broken: Option<(u8, u8)>, size in 1_usize..6,
        ) {
            let mut bytes = text.into_bytes();
            if let Some((at, byte)) = broken && !bytes.is_empty() {
                let at = usize::from(at) % bytes.len();
                bytes[at] = byte;
            }
            let expected = match std::str::from_utf8(&bytes) {
                Ok(text) => Ok(serde_json::to_string(text).unwrap().len()),
                Err(error) => Err(error.valid_up_to()),
            };
            let measure = Text::of(bytes.chunks(size));
            prop_assert_eq!(measure, Text { bytes: bytes.len(), json: expected });
        }

        #[test]
        fn pieces_make_the_whole(text in "[a\"\n\u{1}é]{0,30}", room in 1_usize..9) {
            let (mut out, mut from) = (vec![b'"'], 0);
            while from < text.len() {
                let before = out.len();
                from += push_escaped(&mut out, &text.as_bytes()[from..], room);
                prop_assert!((1..room + 6).contains(&(out.len() - before)));
            }
            out.push(b'"');
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}
