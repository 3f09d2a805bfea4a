//! Events as they are told: a bounded past of all of them, and where in it each reader is.
//!
//! The past is one for all readers: a reader holds no event of its own. Whoever reads so slowly
//! that the past goes on without it is told how many of its events it has missed.

use crate::{
    clock::Millis,
    events::{Kind, Kinds, Note, PerKind},
    http::response::{Date, END_OF_CHUNKS, Exchange, Response, push_chunk},
};
use serde_json::{Value, json};
use std::{collections::VecDeque, fmt::Write as _, iter::zip};

/// A stream that has nothing to tell says so after this time.
const HEARTBEAT_MS: u64 = 15_000;

/// The events of late.
#[derive(Debug)]
pub struct Past {
    /// As they are sent, the oldest first.
    events: VecDeque<(Kind, Box<[u8]>)>,
    bytes: usize,
    bytes_max: usize,
    /// Events that there were, and those of them that are held no more.
    told: PerKind,
    dropped: PerKind,
}

impl Past {
    /// It holds events of `bytes_max` bytes and drops the oldest beyond that.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        let none = PerKind::default();
        Self { events: VecDeque::new(), bytes: 0, bytes_max, told: none, dropped: none }
    }

    /// Something happened.
    pub fn push(&mut self, kind: Kind, data: &Value) {
        let event = format!("event: {}\ndata: {data}\n\n", kind.name()).into_bytes();
        self.told[kind as usize] += 1;
        self.bytes += event.len();
        self.events.push_back((kind, event.into()));
        while self.bytes > self.bytes_max
            && let Some((kind, event)) = self.events.pop_front()
        {
            self.dropped[kind as usize] += 1;
            self.bytes -= event.len();
        }
    }

    /// The same of what a shard noted.
    pub fn push_note(&mut self, shard: usize, note: &Note) {
        let Note { kind, subject, entries, one_in } = note;
        let mut data = json!({ "shard": shard, "one_in": one_in });
        match kind {
            Kind::Flushed => data["entries"] = (*entries).into(),
            Kind::PrefixDeleted => {
                data["entries"] = (*entries).into();
                data["prefix"] = String::from_utf8_lossy(subject).into();
            }
            _ => match std::str::from_utf8(subject) {
                Ok(key) => data["key"] = key.into(),
                Err(_) => data["path"] = path_of(subject).into(),
            },
        }
        self.push(*kind, &data);
    }
}

/// Where a key of any bytes is found.
fn path_of(key: &[u8]) -> String {
    key.iter().fold("/kv/".to_owned(), |mut path, byte| {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' => {
                path.push(char::from(*byte));
            }
            _ => write!(path, "%{byte:02X}").expect("a String takes everything"),
        }
        path
    })
}

/// Somebody who listens.
#[derive(Debug)]
pub struct Reader {
    kinds: Kinds,
    /// Else the stream ends with the connection.
    is_chunked: bool,
    /// Events that it was told, does not want, or has missed.
    passed: PerKind,
    last_written: Millis,
}

impl Reader {
    /// From here on it hears of `kinds`.
    #[must_use]
    pub fn new(kinds: Kinds, is_chunked: bool, past: &Past, now: Millis) -> Self {
        Self { kinds, is_chunked, passed: past.told, last_written: now }
    }

    /// Writes the head of its stream.
    pub fn begin(&self, out: &mut Vec<u8>, exchange: Exchange, date: &Date) {
        let response = Response::begin(out, exchange, date, 200);
        let response = response.lines("Cache-Control: no-store\r\n");
        response.stream("text/event-stream", self.is_chunked);
    }

    /// Whether there is something to write.
    #[must_use]
    pub fn is_due(&self, past: &Past, now: Millis) -> bool {
        self.passed != past.told || now.since(self.last_written) >= HEARTBEAT_MS
    }

    /// Writes what it has not heard yet, to about `room` bytes.
    pub fn write(&mut self, past: &Past, now: Millis, room: usize, out: &mut Vec<u8>) {
        let mut text = Vec::new();
        let mut lost = 0;
        for ((kind, _), (passed, dropped)) in zip(Kind::ALL, zip(&mut self.passed, past.dropped)) {
            if *passed < dropped {
                lost += if self.kinds.include(kind) { dropped - *passed } else { 0 };
                *passed = dropped;
            }
        }
        if lost > 0 {
            text.extend_from_slice(
                format!("event: lost\ndata: {{\"count\":{lost}}}\n\n").as_bytes(),
            );
        }
        let held = self.passed.iter().sum::<u64>() - past.dropped.iter().sum::<u64>();
        let held = usize::try_from(held).expect("events are held in memory");
        for (kind, event) in past.events.range(held..) {
            if text.len() >= room {
                break;
            }
            self.passed[*kind as usize] += 1;
            if self.kinds.include(*kind) {
                text.extend_from_slice(event);
            }
        }
        if text.is_empty() && now.since(self.last_written) >= HEARTBEAT_MS {
            text.extend_from_slice(b":\n\n");
        }
        if !text.is_empty() {
            self.last_written = now;
            if self.is_chunked { push_chunk(out, &text) } else { out.extend_from_slice(&text) }
        }
    }

    /// Ends its stream.
    pub fn end(&self, out: &mut Vec<u8>) {
        if self.is_chunked {
            out.extend_from_slice(END_OF_CHUNKS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HEARTBEAT_MS, Past, Reader};
    use crate::{
        clock::Millis,
        events::{Kind, Kinds, Note},
    };
    use serde_json::json;

    const ROOM: usize = 1 << 20;
    const START: Millis = Millis(7);

    fn note(kind: Kind, subject: &[u8]) -> Note {
        Note { kind, subject: subject.into(), entries: 3, one_in: 4 }
    }

    fn read(reader: &mut Reader, past: &Past, now: Millis) -> String {
        let mut out = Vec::new();
        reader.write(past, now, ROOM, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_reader_hears_once_of_what_it_wants_from_when_it_came() {
        let mut past = Past::new(ROOM);
        past.push_note(0, &note(Kind::Evicted, b"before"));
        let mut all = Reader::new(Kinds::ALL, false, &past, START);
        let mut some = Reader::new(Kinds::named(b"expired,snapshot").unwrap(), false, &past, START);
        assert!(!all.is_due(&past, START));
        past.push_note(1, &note(Kind::Evicted, b"a\"\n\xc3\xa9"));
        past.push_note(0, &note(Kind::Expired, b"\xff/ z"));
        past.push_note(0, &note(Kind::PrefixDeleted, b"user:"));
        past.push_note(1, &note(Kind::Flushed, b""));
        past.push(Kind::Snapshot, &json!({ "state": "begun" }));
        let evicted =
            "event: evicted\ndata: {\"key\":\"a\\\"\\n\u{e9}\",\"one_in\":4,\"shard\":1}\n\n";
        let expired =
            "event: expired\ndata: {\"one_in\":4,\"path\":\"/kv/%FF%2F%20z\",\"shard\":0}\n\n";
        let prefix = "event: prefix_deleted\n\
            data: {\"entries\":3,\"one_in\":4,\"prefix\":\"user:\",\"shard\":0}\n\n";
        let flushed = "event: flushed\ndata: {\"entries\":3,\"one_in\":4,\"shard\":1}\n\n";
        let snapshot = "event: snapshot\ndata: {\"state\":\"begun\"}\n\n";
        assert!(all.is_due(&past, START));
        let expected = [evicted, expired, prefix, flushed, snapshot].concat();
        assert_eq!(read(&mut all, &past, START), expected);
        assert_eq!(read(&mut some, &past, START), [expired, snapshot].concat());
        assert!(!all.is_due(&past, START) && !some.is_due(&past, START));
        assert_eq!(read(&mut all, &past, START), "");
    }

    #[test]
    fn a_slow_reader_is_told_how_many_of_its_events_it_missed() {
        let mut past = Past::new(200);
        let mut all = Reader::new(Kinds::ALL, false, &past, START);
        let mut some = Reader::new(Kinds::named(b"expired").unwrap(), false, &past, START);
        for number in 0..100_u32 {
            let kind = if number % 4 == 0 { Kind::Expired } else { Kind::Evicted };
            past.push_note(0, &note(kind, format!("key-{number:02}").as_bytes()));
            assert!(past.bytes <= 200 && past.events.len() <= 3);
        }
        let text = read(&mut all, &past, START);
        assert!(text.starts_with("event: lost\ndata: {\"count\":97}\n\n"), "{text}");
        let keys: Vec<&str> = text.split("key-").skip(1).map(|rest| &rest[..2]).collect();
        assert_eq!(keys, ["97", "98", "99"]);
        assert_eq!(read(&mut some, &past, START), "event: lost\ndata: {\"count\":25}\n\n");
        past.push_note(0, &note(Kind::Expired, b"key-xy"));
        assert!(read(&mut some, &past, START).starts_with("event: expired\n"));
    }

    #[test]
    fn a_long_past_is_told_in_pieces() {
        let mut past = Past::new(ROOM);
        let mut reader = Reader::new(Kinds::ALL, false, &past, START);
        (0..5).for_each(|_| past.push(Kind::Snapshot, &json!({})));
        let event = "event: snapshot\ndata: {}\n\n";
        let mut pieces = Vec::new();
        while reader.is_due(&past, START) {
            let mut out = Vec::new();
            reader.write(&past, START, event.len() + 1, &mut out);
            pieces.push(out.len() / event.len());
        }
        assert_eq!(pieces, [2, 2, 1]);
    }

    #[test]
    fn silence_is_broken_and_chunks_are_measured() {
        let past = Past::new(ROOM);
        let mut reader = Reader::new(Kinds::ALL, true, &past, START);
        let later = Millis(START.0 + HEARTBEAT_MS);
        assert!(!reader.is_due(&past, Millis(later.0 - 1)) && reader.is_due(&past, later));
        assert_eq!(read(&mut reader, &past, later), "3\r\n:\n\n\r\n");
        assert!(!reader.is_due(&past, later));
        let mut out = Vec::new();
        reader.end(&mut out);
        assert_eq!(out, b"0\r\n\r\n");
    }
}
