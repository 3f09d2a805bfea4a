//! From the entries of a store to the bytes of a file.

use super::format::{
    BLOCK, BODY_BYTES, BODY_BYTES_LEAST, BODY_BYTES_MAX, ENTRY_BYTES, Entry, FOOTER, FRAME_BYTES,
    HAS_EXPIRES, HAS_STALE_UNTIL, HEADER_BYTES, Header, MAGIC, VERSION, WORD_BYTES, check,
};

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    pub entries: u64,
    /// Of the file.
    pub bytes: u64,
    pub duration_ms: u64,
}

/// Why nothing was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub reason: String,
    /// There was no room.
    pub is_full: bool,
}

/// Collects entries of one shard into blocks.
#[derive(Debug)]
pub struct Blocks {
    body_bytes: usize,
    /// Room for the frame, and the body.
    bytes: Vec<u8>,
    entries: u32,
}

/// A block that waits for its place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    bytes: Vec<u8>,
    entries: u32,
    body_check: u32,
}

impl Blocks {
    /// For a shard whose entries have so many bytes: a block is a hundredth of them, unless that is
    /// too much or hardly anything, so that those of several shards come in about the order in
    /// which they were used.
    #[must_use]
    pub fn of(shard_bytes: u64) -> Self {
        let part = usize::try_from(shard_bytes / 100).unwrap_or(usize::MAX);
        let body_bytes = part.clamp(BODY_BYTES_LEAST, BODY_BYTES);
        Self { body_bytes, bytes: Vec::new(), entries: 0 }
    }

    pub fn push(&mut self, entry: &Entry<'_>) {
        if self.bytes.is_empty() {
            self.bytes.reserve(FRAME_BYTES + self.body_bytes);
            self.bytes.resize(FRAME_BYTES, 0);
        }
        self.entries += 1;
        let tags = entry.tags.unwrap_or_default();
        let content_type = entry.content_type.unwrap_or_default();
        let mut flags = u8::try_from(tags.len() / WORD_BYTES).expect("at most TAGS_MAX");
        flags |= entry.expires.map_or(0, |_| HAS_EXPIRES);
        flags |= entry.stale_until.map_or(0, |_| HAS_STALE_UNTIL);
        let content_type_len = u8::try_from(content_type.len()).expect("the store checked it");
        let key_len = u16::try_from(entry.key.len()).expect("the store checked it");
        let value_len = u32::try_from(entry.value.len()).expect("the store checked it");
        self.bytes.extend([flags, content_type_len]);
        self.bytes.extend(key_len.to_le_bytes());
        self.bytes.extend(value_len.to_le_bytes());
        for instant in [entry.expires, entry.stale_until].into_iter().flatten() {
            self.bytes.extend(instant.to_le_bytes());
        }
        for bytes in [tags, content_type, entry.key, entry.value] {
            self.bytes.extend_from_slice(bytes);
        }
        debug_assert!(self.bytes.len() <= FRAME_BYTES + BODY_BYTES_MAX);
    }

    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= FRAME_BYTES + self.body_bytes
    }

    /// The block so far; `None` where it is empty.
    pub fn take(&mut self) -> Option<Sealed> {
        let (bytes, entries) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.entries));
        let body_check = crc32fast::hash(bytes.get(FRAME_BYTES..)?);
        Some(Sealed { bytes, entries, body_check })
    }
}

/// Puts blocks in order. What it returns is written one after the other.
#[derive(Debug)]
pub struct Writer {
    check: u32,
    blocks: u32,
    entries: u64,
    bytes: u64,
}

impl Writer {
    /// A writer, and what the file begins with.
    #[must_use]
    pub fn new(header: &Header) -> (Self, Vec<u8>) {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(header.created.to_le_bytes());
        bytes.extend(header.tag_key.0);
        bytes.extend([0; 4]);
        let mut writer = Self { check: 0, blocks: 0, entries: 0, bytes: 0 };
        writer.finish_part(&mut bytes, HEADER_BYTES);
        (writer, bytes)
    }

    pub fn block(&mut self, block: Sealed) -> Vec<u8> {
        let Sealed { mut bytes, entries, body_check } = block;
        let body_len = u32::try_from(bytes.len() - FRAME_BYTES).expect("at most BODY_BYTES_MAX");
        let mut frame = Vec::with_capacity(FRAME_BYTES);
        frame.extend(BLOCK);
        for number in [self.blocks, body_len, entries, body_check] {
            frame.extend(number.to_le_bytes());
        }
        self.finish_part(&mut frame, FRAME_BYTES);
        bytes[..FRAME_BYTES].copy_from_slice(&frame);
        self.blocks += 1;
        self.entries += u64::from(entries);
        self.bytes += u64::from(body_len);
        bytes
    }

    /// The end of the file.
    pub fn footer(&mut self) -> Vec<u8> {
        let mut frame = Vec::with_capacity(FRAME_BYTES);
        frame.extend(FOOTER);
        frame.extend(self.blocks.to_le_bytes());
        frame.extend(self.entries.to_le_bytes());
        frame.extend([0; 4]);
        self.finish_part(&mut frame, FRAME_BYTES);
        frame
    }

    /// Ends a header, a frame or a footer with its check.
    fn finish_part(&mut self, part: &mut Vec<u8>, length: usize) {
        self.check = check(self.check, part);
        part.extend(self.check.to_le_bytes());
        debug_assert_eq!(part.len(), length);
        self.bytes += length as u64;
    }

    /// Of the file so far.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Of the file so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

const _: () = assert!(ENTRY_BYTES == 1 + 1 + size_of::<u16>() + size_of::<u32>());
