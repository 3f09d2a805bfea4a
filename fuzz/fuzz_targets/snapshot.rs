//! A file as it is, and one whose checksums are written anew: read or refused, never more.

#![no_main]

use kvcache::snapshot::{Blocks, Entry, SnapshotReader, Writer};
use libfuzzer_sys::fuzz_target;

/// The bytes of a file of the same entries in one block.
fn rewritten(header: &kvcache::snapshot::Header, entries: &[Entry<'_>]) -> Vec<u8> {
    let (mut writer, mut file) = Writer::new(header);
    let mut blocks = Blocks::of(u64::MAX);
    for entry in entries {
        blocks.push(entry);
        if blocks.is_full() {
            file.extend(writer.block(blocks.take().expect("it is full")));
        }
    }
    file.extend(blocks.take().map(|block| writer.block(block)).unwrap_or_default());
    file.extend(writer.footer());
    file
}

/// Writes every checksum of what has the form of a file, so that what lies below is reached.
fn mend(file: &mut [u8]) {
    let check = |before: u32, bytes: &[u8]| {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&before.to_le_bytes());
        hasher.update(bytes);
        hasher.finalize()
    };
    let mut before = 0;
    let (mut at, mut length) = (0, 48);
    while let Some(part) = file.get(at..at + length) {
        let body = u32::from_le_bytes(*part[8..].first_chunk().expect("long enough")) as usize;
        let next = at + length + if at == 0 { 0 } else { body };
        if at > 0
            && let Some(body) = file.get(at + length..next)
        {
            let body = crc32fast::hash(body);
            file[at + 16..at + 20].copy_from_slice(&body.to_le_bytes());
        }
        before = check(before, &file[at..at + length - 4]);
        file[at + length - 4..at + length].copy_from_slice(&before.to_le_bytes());
        (at, length) = (next, 24);
    }
}

fn read(file: &[u8]) {
    let Ok((mut reader, header)) = SnapshotReader::new(file, file.len() as u64) else { return };
    let mut blocks = Vec::new();
    loop {
        match reader.next_block() {
            Ok(Some(block)) => blocks.push(block),
            Ok(None) => break,
            Err(_) => return,
        }
    }
    let entries: Vec<Entry<'_>> = blocks.iter().flat_map(|block| block.entries()).collect();
    assert_eq!(entries.len() as u64, reader.entries());
    let again = rewritten(&header, &entries);
    let (mut reader, same) =
        SnapshotReader::new(&again[..], again.len() as u64).expect("we wrote it");
    assert_eq!(same, header);
    let mut found = entries.iter();
    while let Some(block) = reader.next_block().expect("we wrote it") {
        assert!(block.entries().all(|entry| found.next() == Some(&entry)));
    }
    assert_eq!(found.next(), None);
}

fuzz_target!(|input: &[u8]| {
    read(input);
    let mut mended = input.to_vec();
    mend(&mut mended);
    read(&mended);
});
