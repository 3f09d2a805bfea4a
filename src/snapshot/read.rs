//! From the bytes of a file to entries. Nothing is believed before it was checked.

use super::format::{
    BLOCK, BODY_BYTES_MAX, ENTRY_BYTES, Entry, FOOTER, FRAME_BYTES, HAS_EXPIRES, HAS_STALE_UNTIL,
    HEADER_BYTES, Header, MAGIC, TAG_COUNT, VERSION, WORD_BYTES, check,
};
use crate::{
    config::{KEY_BYTES_CEILING, VALUE_BYTES_CEILING},
    store::{TAGS_MAX, TagKey},
};
use std::{
    fmt,
    io::{self, Read},
};

/// Why a file is refused.
#[derive(Debug)]
pub enum SnapshotError {
    /// It is no snapshot, or no longer a whole one.
    Damaged {
        /// Where, in bytes from the beginning.
        at: u64,
        /// The number of the block that was to be there; `None` before the first and at the end.
        block: Option<u32>,
        what: &'static str,
    },
    /// It was written by another version of this program.
    Version(u32),
    /// It cannot be read.
    Io { at: u64, error: io::Error },
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { at, block: Some(block), what } => {
                write!(out, "damaged at byte {at}, in block {block}: {what}")
            }
            Self::Damaged { at, block: None, what } => write!(out, "damaged at byte {at}: {what}"),
            Self::Version(version) => {
                write!(out, "its version is {version}, and only {VERSION} can be read")
            }
            Self::Io { at, error } => write!(out, "cannot be read at byte {at}: {error}"),
        }
    }
}

/// A block that was checked.
#[derive(Debug)]
pub struct Block {
    body: Vec<u8>,
    entries: u32,
}

impl Block {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.entries
    }

    /// There is no such block in a file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut rest = self.body.as_slice();
        std::iter::from_fn(move || {
            let entry;
            (entry, rest) = parse(rest)?;
            Some(entry)
        })
    }
}

/// Reads a file from its beginning to its end.
#[derive(Debug)]
pub struct SnapshotReader<R> {
    input: R,
    /// Bytes of the file, and of those read.
    bytes: u64,
    at: u64,
    check: u32,
    blocks: u32,
    entries: u64,
}

impl<R: Read> SnapshotReader<R> {
    /// A reader of a file of so many bytes, and what it begins with.
    pub fn new(input: R, bytes: u64) -> Result<(Self, Header), SnapshotError> {
        let mut reader = Self { input, bytes, at: 0, check: 0, blocks: 0, entries: 0 };
        if bytes == 0 {
            return Err(reader.damaged(0, "the file is empty"));
        }
        let mut header = [0; HEADER_BYTES];
        reader.fill(&mut header)?;
        if header[..MAGIC.len()] != MAGIC {
            return Err(reader.damaged(0, "it does not begin as a snapshot does"));
        }
        let version = word(&header, 8);
        if version != VERSION {
            return Err(SnapshotError::Version(version));
        }
        reader.verify(&header, 0)?;
        if word(&header, 12) != 0 || word(&header, 40) != 0 {
            return Err(reader.damaged(0, "a word of the header is not 0"));
        }
        let created = long(&header, 16);
        let tag_key = TagKey(*header[24..].first_chunk().expect("inside the header"));
        Ok((reader, Header { created, tag_key }))
    }

    /// The next block; `None` after the last, when the whole file was found to be sound.
    pub fn next_block(&mut self) -> Result<Option<Block>, SnapshotError> {
        let start = self.at;
        let mut frame = [0; FRAME_BYTES];
        self.fill(&mut frame)?;
        self.verify(&frame, start)?;
        let kind: [u8; 4] = *frame.first_chunk().expect("a frame is longer");
        match kind {
            FOOTER => self.end(&frame, start).map(|()| None),
            BLOCK => self.block(&frame, start).map(Some),
            _ => Err(self.damaged(start, "neither a block nor the footer")),
        }
    }

    fn end(&self, footer: &[u8; FRAME_BYTES], start: u64) -> Result<(), SnapshotError> {
        let counts = (word(footer, 4), long(footer, 8), word(footer, 16));
        if counts != (self.blocks, self.entries, 0) {
            return Err(self.damaged(start, "the footer counts other blocks or entries"));
        }
        if self.at != self.bytes {
            return Err(self.damaged(self.at, "something follows the footer"));
        }
        Ok(())
    }

    fn block(&mut self, frame: &[u8; FRAME_BYTES], start: u64) -> Result<Block, SnapshotError> {
        let [number, body_len, entries, body_check] = [4, 8, 12, 16].map(|at| word(frame, at));
        if number != self.blocks {
            return Err(self.damaged(start, "a block of another number was to come"));
        }
        if body_len == 0 || body_len as usize > BODY_BYTES_MAX {
            return Err(self.damaged(start, "no block has this length"));
        }
        if u64::from(body_len) > self.bytes - self.at {
            return Err(self.damaged(start, "the block is longer than what is left of the file"));
        }
        let body_at = self.at;
        let mut body = vec![0; body_len as usize];
        self.fill(&mut body)?;
        if crc32fast::hash(&body) != body_check {
            return Err(self.damaged(body_at, "the checksum of the block does not match"));
        }
        let mut rest = body.as_slice();
        let mut found = 0;
        while let Some((_, after)) = parse(rest) {
            found += 1;
            rest = after;
        }
        if !rest.is_empty() {
            let at = body_at + (body.len() - rest.len()) as u64;
            return Err(self.damaged(at, "an entry that cannot be"));
        }
        if found != entries {
            return Err(self.damaged(start, "the block counts other entries"));
        }
        self.blocks += 1;
        self.entries += u64::from(entries);
        Ok(Block { body, entries })
    }

    /// Checks a part that ends with its check and began at `start`.
    fn verify(&mut self, part: &[u8], start: u64) -> Result<(), SnapshotError> {
        let (content, own) = part.split_at(part.len() - size_of::<u32>());
        self.check = check(self.check, content);
        if word(own, 0) != self.check {
            return Err(self.damaged(start, "the checksum does not match"));
        }
        Ok(())
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), SnapshotError> {
        if self.bytes - self.at < buffer.len() as u64 {
            return Err(self.damaged(self.bytes, "the file ends too early"));
        }
        match self.input.read_exact(buffer) {
            Ok(()) => {
                self.at += buffer.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.damaged(self.at, "the file became shorter"))
            }
            Err(error) => Err(SnapshotError::Io { at: self.at, error }),
        }
    }

    fn damaged(&self, at: u64, what: &'static str) -> SnapshotError {
        let is_inside = at >= HEADER_BYTES as u64 && at < self.bytes;
        SnapshotError::Damaged { at, block: is_inside.then_some(self.blocks), what }
    }

    /// Bytes read so far.
    #[must_use]
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    #[must_use]
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// What the bytes come from.
    pub fn input(&self) -> &R {
        &self.input
    }
}

/// The entry at the front, and what follows it.
fn parse(bytes: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let (fixed, rest) = bytes.split_at_checked(ENTRY_BYTES)?;
    let (flags, content_type_len) = (fixed[0], usize::from(fixed[1]));
    let key_len = usize::from(u16::from_le_bytes([fixed[2], fixed[3]]));
    let value_len = word(fixed, 4) as usize;
    let tags = usize::from(flags & TAG_COUNT);
    let is_possible = flags & !(TAG_COUNT | HAS_EXPIRES | HAS_STALE_UNTIL) == 0
        && tags <= TAGS_MAX
        && key_len <= KEY_BYTES_CEILING
        && value_len <= VALUE_BYTES_CEILING;
    if !is_possible {
        return None;
    }
    let (expires, rest) = instant(rest, flags & HAS_EXPIRES != 0)?;
    let (stale_until, rest) = instant(rest, flags & HAS_STALE_UNTIL != 0)?;
    if stale_until.is_some() && stale_until <= expires.or(stale_until) {
        return None;
    }
    let (tags, rest) = rest.split_at_checked(tags * WORD_BYTES)?;
    let (content_type, rest) = rest.split_at_checked(content_type_len)?;
    let (key, rest) = rest.split_at_checked(key_len)?;
    let (value, rest) = rest.split_at_checked(value_len)?;
    let tags = (!tags.is_empty()).then_some(tags);
    let content_type = (!content_type.is_empty()).then_some(content_type);
    Some((Entry { key, value, content_type, tags, expires, stale_until }, rest))
}

fn instant(bytes: &[u8], is_there: bool) -> Option<(Option<u64>, &[u8])> {
    if !is_there {
        return Some((None, bytes));
    }
    let (word, rest) = bytes.split_at_checked(WORD_BYTES)?;
    Some((Some(long(word, 0)), rest))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("the caller knows the length"))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("the caller knows the length"))
}
