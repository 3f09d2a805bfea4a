//! Events as server-sent events: their text, and the stream of one subscriber.

use crate::{
    clock::Millis,
    events::{Kind, Kinds, Note, Past, Position},
    http::{
        form::{Form, Shape},
        response::{Date, END_OF_CHUNKS, Response, push_chunk},
    },
};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// A stream that has nothing to tell says so after this time.
const HEARTBEAT_MS: u64 = 15_000;

/// How an event is sent.
#[must_use]
pub fn text(kind: Kind, data: &Value) -> Vec<u8> {
    format!("event: {}\ndata: {data}\n\n", kind.name()).into_bytes()
}

/// How what a shard noted is sent.
#[must_use]
pub fn note_text(shard: usize, note: &Note) -> Vec<u8> {
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
    text(*kind, &data)
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

/// The stream of one subscriber.
#[derive(Debug)]
pub struct Stream {
    position: Position,
    /// Else the stream ends with the connection.
    is_chunked: bool,
    last_written: Millis,
}

/// Writes the head of a stream.
pub(crate) fn write_head(out: &mut Vec<u8>, form: Form, date: &Date) {
    let is_chunked = form.shape == Shape::Events { is_chunked: true };
    let response = Response::begin(out, form.exchange, date, 200);
    let response = response.lines("Cache-Control: no-store\r\n");
    response.stream("text/event-stream", is_chunked);
}

impl Stream {
    /// From here on it has events of `kinds`.
    #[must_use]
    pub fn new(kinds: Kinds, is_chunked: bool, past: &Past, now: Millis) -> Self {
        Self { position: Position::new(kinds, past), is_chunked, last_written: now }
    }

    /// Whether there is something to write.
    #[must_use]
    pub fn is_due(&self, past: &Past, now: Millis) -> bool {
        self.position.is_behind(past) || now.since(self.last_written) >= HEARTBEAT_MS
    }

    /// Writes the events that it has not had yet, to about `room` bytes.
    pub fn write(&mut self, past: &Past, now: Millis, room: usize, out: &mut Vec<u8>) {
        let mut text = Vec::new();
        let lost = self.position.pass_dropped(past);
        if lost > 0 {
            text.extend_from_slice(
                format!("event: lost\ndata: {{\"count\":{lost}}}\n\n").as_bytes(),
            );
        }
        self.position.read(past, room, &mut text);
        if text.is_empty() && now.since(self.last_written) >= HEARTBEAT_MS {
            text.extend_from_slice(b":\n\n");
        }
        if !text.is_empty() {
            self.last_written = now;
            if self.is_chunked { push_chunk(out, &text) } else { out.extend_from_slice(&text) }
        }
    }

    /// Ends the stream.
    pub fn end(&self, out: &mut Vec<u8>) {
        if self.is_chunked {
            out.extend_from_slice(END_OF_CHUNKS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HEARTBEAT_MS, Stream, note_text, text};
    use crate::{
        clock::Millis,
        events::{Kind, Kinds, Note, Past},
    };
    use serde_json::json;

    const ROOM: usize = 1 << 20;
    const START: Millis = Millis(7);

    fn note(kind: Kind, subject: &[u8]) -> Note {
        Note { kind, subject: subject.into(), entries: 3, one_in: 4 }
    }

    fn push(past: &mut Past, shard: usize, note: &Note) {
        past.push(note.kind, note_text(shard, note));
    }

    fn read(reader: &mut Stream, past: &Past, now: Millis) -> String {
        let mut out = Vec::new();
        reader.write(past, now, ROOM, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_reader_hears_once_of_what_it_wants_from_when_it_came() {
        let mut past = Past::new(ROOM);
        push(&mut past, 0, &note(Kind::Evicted, b"before"));
        let mut all = Stream::new(Kinds::ALL, false, &past, START);
        let mut some = Stream::new(Kinds::named(b"expired,snapshot").unwrap(), false, &past, START);
        assert!(!all.is_due(&past, START));
        push(&mut past, 1, &note(Kind::Evicted, b"a\"\n\xc3\xa9"));
        push(&mut past, 0, &note(Kind::Expired, b"\xff/ z"));
        push(&mut past, 0, &note(Kind::PrefixDeleted, b"user:"));
        push(&mut past, 1, &note(Kind::Flushed, b""));
        past.push(Kind::Snapshot, text(Kind::Snapshot, &json!({ "state": "begun" })));
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
        let mut all = Stream::new(Kinds::ALL, false, &past, START);
        let mut some = Stream::new(Kinds::named(b"expired").unwrap(), false, &past, START);
        for number in 0..100_u32 {
            let kind = if number % 4 == 0 { Kind::Expired } else { Kind::Evicted };
            push(&mut past, 0, &note(kind, format!("key-{number:02}").as_bytes()));
        }
        let text = read(&mut all, &past, START);
        assert!(text.starts_with("event: lost\ndata: {\"count\":97}\n\n"), "{text}");
        let keys: Vec<&str> = text.split("key-").skip(1).map(|rest| &rest[..2]).collect();
        assert_eq!(keys, ["97", "98", "99"]);
        assert_eq!(read(&mut some, &past, START), "event: lost\ndata: {\"count\":25}\n\n");
        push(&mut past, 0, &note(Kind::Expired, b"key-xy"));
        assert!(read(&mut some, &past, START).starts_with("event: expired\n"));
    }

    #[test]
    fn a_long_past_is_told_in_pieces() {
        let mut past = Past::new(ROOM);
        let mut reader = Stream::new(Kinds::ALL, false, &past, START);
        (0..5).for_each(|_| past.push(Kind::Snapshot, text(Kind::Snapshot, &json!({}))));
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
        let mut reader = Stream::new(Kinds::ALL, true, &past, START);
        let later = Millis(START.0 + HEARTBEAT_MS);
        assert!(!reader.is_due(&past, Millis(later.0 - 1)) && reader.is_due(&past, later));
        assert_eq!(read(&mut reader, &past, later), "3\r\n:\n\n\r\n");
        assert!(!reader.is_due(&past, later));
        let mut out = Vec::new();
        reader.end(&mut out);
        assert_eq!(out, b"0\r\n\r\n");
    }
}
