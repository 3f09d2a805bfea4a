//! What is written is read again as it was, and nothing else is read at all.

use super::{
    Blocks, Entry, Header, SnapshotError, SnapshotReader, Writer,
    format::{BLOCK, BODY_BYTES, FRAME_BYTES, HEADER_BYTES, check},
    inspect,
};
use crate::store::TagKey;
use proptest::{collection::vec, option, prelude::*};
use std::time::{Duration, SystemTime};

const HEADER: Header = Header { created: 1_700_000_000_123, tag_key: TagKey([7; 16]) };

#[derive(Clone, Debug, PartialEq, Eq)]
struct Owned {
    key: Vec<u8>,
    value: Vec<u8>,
    content_type: Option<Vec<u8>>,
    tags: Option<Vec<u8>>,
    expires: Option<u64>,
    stale_until: Option<u64>,
}

impl Owned {
    fn plain(key: &[u8], value: &[u8]) -> Self {
        let (key, value) = (key.to_vec(), value.to_vec());
        Self { key, value, content_type: None, tags: None, expires: None, stale_until: None }
    }

    fn of(entry: &Entry<'_>) -> Self {
        Self {
            key: entry.key.to_vec(),
            value: entry.value.to_vec(),
            content_type: entry.content_type.map(<[u8]>::to_vec),
            tags: entry.tags.map(<[u8]>::to_vec),
            expires: entry.expires,
            stale_until: entry.stale_until,
        }
    }

    fn entry(&self) -> Entry<'_> {
        Entry {
            key: &self.key,
            value: &self.value,
            content_type: self.content_type.as_deref(),
            tags: self.tags.as_deref(),
            expires: self.expires,
            stale_until: self.stale_until,
        }
    }
}

/// A file with a block wherever one is full, and after each of `ends` entries.
fn file(entries: &[Owned], ends: &[usize]) -> Vec<u8> {
    let (mut writer, mut file) = Writer::new(&HEADER);
    let mut blocks = Blocks::of(u64::MAX);
    for (at, entry) in entries.iter().enumerate() {
        blocks.push(&entry.entry());
        if blocks.is_full() || ends.contains(&at) {
            file.extend(writer.block(blocks.take().unwrap()));
        }
    }
    if let Some(block) = blocks.take() {
        file.extend(writer.block(block));
    }
    file.extend(writer.footer());
    assert_eq!((writer.bytes(), writer.entries()), (file.len() as u64, entries.len() as u64));
    file
}

fn read(file: &[u8]) -> Result<Vec<Owned>, SnapshotError> {
    let (mut reader, header) = SnapshotReader::new(file, file.len() as u64)?;
    assert_eq!(header, HEADER);
    let mut entries = Vec::new();
    while let Some(block) = reader.next_block()? {
        let before = entries.len();
        entries.extend(block.entries().map(|entry| Owned::of(&entry)));
        assert_eq!(entries.len() - before, block.len() as usize);
        assert!(!block.is_empty());
    }
    Ok(entries)
}

fn some() -> Vec<Owned> {
    let full = Owned {
        content_type: Some(b"text/plain".to_vec()),
        tags: Some(vec![3; 16]),
        expires: Some(1_700_000_001_000),
        stale_until: Some(1_700_000_002_000),
        ..Owned::plain(b"full", b"everything")
    };
    vec![Owned::plain(b"a", b""), full, Owned::plain(b"b", &[0xff; 20])]
}

fn any_entry() -> impl Strategy<Value = Owned> {
    let life = option::of((0..u64::MAX / 2, option::of(1..u64::MAX / 2)));
    let bytes = |length| vec(any::<u8>(), length);
    let tags = (0..=8_usize).prop_flat_map(move |count| bytes((count * 8)..=(count * 8)));
    (bytes(0..=1024), bytes(0..=3000), bytes(0..=255), tags, life).prop_map(
        |(key, value, content_type, tags, life)| Owned {
            key,
            value,
            content_type: Some(content_type).filter(|bytes| !bytes.is_empty()),
            tags: Some(tags).filter(|bytes| !bytes.is_empty()),
            expires: life.map(|(expires, _)| expires),
            stale_until: life.and_then(|(expires, stale)| Some(expires + stale?)),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 64 }))]

    #[test]
    fn what_is_written_is_read(entries in vec(any_entry(), 0..60), ends in vec(0..60_usize, 0..5)) {
        prop_assert_eq!(read(&file(&entries, &ends)).unwrap(), entries);
    }

    #[test]
    fn what_is_cut_and_joined_is_refused(
        entries in vec(any_entry(), 1..20),
        ends in vec(0..20_usize, 0..5),
        cuts in vec(any::<prop::sample::Index>(), 2),
    ) {
        let whole = file(&entries, &ends);
        let cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(whole.len())).collect();
        let joined = [&whole[..cuts[0]], &whole[cuts[1]..]].concat();
        prop_assert!(joined == whole || read(&joined).is_err());
    }
}

#[test]
fn a_block_is_closed_when_it_is_full_and_holds_the_largest_entry() {
    let large =
        Owned { tags: Some(vec![1; 64]), ..Owned::plain(&[b'k'; 1024], &vec![b'v'; 1 << 20]) };
    let almost = Owned::plain(b"", &vec![0; BODY_BYTES - 9]);
    let entries = [almost, large.clone(), large];
    let file = file(&entries, &[]);
    assert_eq!(file.windows(4).filter(|bytes| **bytes == BLOCK).count(), 2);
    assert_eq!(read(&file).unwrap(), entries);
}

#[test]
fn nothing_at_all_is_a_whole_snapshot_but_an_empty_file_is_none() {
    assert_eq!(read(&file(&[], &[])).unwrap(), []);
    let error = read(&[]).unwrap_err().to_string();
    assert_eq!(error, "damaged at byte 0: the file is empty");
}

#[test]
fn every_truncation_is_refused_with_its_place() {
    let whole = file(&some(), &[0]);
    for length in 1..whole.len() {
        let error = read(&whole[..length]).unwrap_err();
        assert!(matches!(error, SnapshotError::Damaged { .. }), "{length}: {error}");
    }
    let error = read(&whole[..whole.len() - 1]).unwrap_err().to_string();
    assert_eq!(error, format!("damaged at byte {}: the file ends too early", whole.len() - 1));
    let longer = [&whole[..], b"x"].concat();
    let error = read(&longer).unwrap_err().to_string();
    assert!(error.ends_with("something follows the footer"), "{error}");
}

#[test]
fn every_flipped_bit_is_refused() {
    let whole = file(&some(), &[0]);
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << bit;
            assert!(read(&damaged).is_err(), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn another_version_is_named() {
    let mut other = file(&some(), &[]);
    other[8] = 7;
    let error = read(&other).unwrap_err().to_string();
    assert_eq!(error, "its version is 7, and only 1 can be read");
}

/// Writes the checks of header, first frame and first body anew, as somebody could who means ill.
fn forge(file: &mut [u8], body_len: usize) {
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().unwrap());
    let body = HEADER_BYTES + FRAME_BYTES..HEADER_BYTES + FRAME_BYTES + body_len;
    let body_check = crc32fast::hash(&file[body]);
    file[HEADER_BYTES + 16..][..4].copy_from_slice(&body_check.to_le_bytes());
    let before = word(file, HEADER_BYTES - 4);
    let own = check(before, &file[HEADER_BYTES..][..FRAME_BYTES - 4]);
    file[HEADER_BYTES + FRAME_BYTES - 4..][..4].copy_from_slice(&own.to_le_bytes());
}

#[test]
fn a_length_that_cannot_be_is_refused_before_it_is_allocated() {
    let entries = [Owned::plain(b"key", b"value")];
    let whole = file(&entries, &[]);
    let body_len = whole.len() - HEADER_BYTES - 2 * FRAME_BYTES;
    for (length, what) in [
        (u32::MAX, "no block has this length"),
        (0, "no block has this length"),
        (1_000_000, "the block is longer than what is left of the file"),
    ] {
        let mut forged = whole.clone();
        forged[HEADER_BYTES + 8..][..4].copy_from_slice(&length.to_le_bytes());
        forge(&mut forged, body_len);
        let error = read(&forged).unwrap_err().to_string();
        assert_eq!(error, format!("damaged at byte {HEADER_BYTES}, in block 0: {what}"));
    }
}

#[test]
fn an_entry_that_cannot_be_is_refused() {
    let entry = Owned { expires: Some(5), stale_until: Some(6), ..Owned::plain(b"key", b"value") };
    let whole = file(&[entry], &[]);
    let body = HEADER_BYTES + FRAME_BYTES;
    let body_len = whole.len() - body - FRAME_BYTES;
    // An unknown flag, nine tags, a key and a value that are too long, an end before its beginning.
    for (at, byte) in [(0, 0x70), (0, 0x39), (3, 0x05), (6, 0x11), (8, 0x07)] {
        let mut forged = whole.clone();
        forged[body + at] = byte;
        forge(&mut forged, body_len);
        let error = read(&forged).unwrap_err().to_string();
        assert!(error.contains("an entry that cannot be"), "{at}: {error}");
    }
    let mut forged = whole;
    forged[HEADER_BYTES + 12] = 2;
    forge(&mut forged, body_len);
    let error = read(&forged).unwrap_err().to_string();
    assert!(error.contains("the block counts other entries"), "{error}");
}

#[test]
fn blocks_cannot_change_places() {
    let entries = [Owned::plain(b"one", b"1"), Owned::plain(b"two", b"2")];
    let whole = file(&entries, &[0]);
    let block = (whole.len() - HEADER_BYTES - FRAME_BYTES) / 2;
    let (header, rest) = whole.split_at(HEADER_BYTES);
    let (first, rest) = rest.split_at(block);
    let (second, footer) = rest.split_at(block);
    assert_eq!(read(&[header, first, second, footer].concat()).unwrap(), entries);
    for wrong in [
        [header, second, first, footer].concat(),
        [header, first, first, footer].concat(),
        [header, second, footer].concat(),
        [header, first, footer].concat(),
    ] {
        assert!(read(&wrong).is_err());
    }
}

#[test]
fn an_inspection_tells_what_there_is() {
    let whole = file(&some(), &[]);
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(HEADER.created + 61_000);
    let found = inspect(&whole[..], whole.len() as u64, now);
    assert!(found.is_sound);
    let expected = format!(
        "bytes        {}\ncreated      2023-11-14T22:13:20Z\nage          1m 1s\nblocks       1\n\
         entries      3\nwith a ttl   1\nexpired      1\nkey bytes    6, at most 4 each\n\
         value bytes  30, at most 20 each\nThe snapshot is whole.\n",
        whole.len()
    );
    assert_eq!(found.text, expected);
    let found = inspect(&whole[..60], 60, now);
    assert!(!found.is_sound && found.text.contains("damaged at byte 60"), "{}", found.text);
}
