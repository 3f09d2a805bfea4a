//! One connection without its socket: requests that wait for answers, and answers judged.

use super::{
    ledger::{Fault, Ledger},
    mix::Operation,
    protocol::{Found, Verdict, Wire},
    settings::LoadSettings,
    tally::{ErrorKind, Tally},
    workload::Workload,
};
use std::{collections::VecDeque, ops::RangeInclusive};

/// Places looked at in search of a key that no other connection is writing.
const TRIES_MAX: u64 = 64;

/// What the connections of one thread have in common.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) workload: Workload,
    pub(super) tally: Tally,
    ledger: Ledger,
    wire: Wire,
    batch: u64,
    value_bytes: RangeInclusive<u64>,
    ttl_ms: RangeInclusive<u64>,
    value: Vec<u8>,
    found: Found,
}

impl Desk {
    pub(super) fn new(settings: &LoadSettings, thread: usize, run: u32) -> Self {
        let workload = Workload::new(settings, thread);
        let share = usize::try_from(workload.share()).expect("settings bound the number of keys");
        let (least, most) = (*settings.value_bytes.start(), *settings.value_bytes.end());
        Self {
            ledger: Ledger::new(run, share),
            wire: Wire::new(settings.protocol, settings.keys, &settings.path, settings.address),
            batch: settings.batch as u64,
            value_bytes: least as u64..=most as u64,
            ttl_ms: settings.ttl_ms.clone(),
            value: Vec::new(),
            found: Found::new(),
            tally: Tally::default(),
            workload,
        }
    }

    /// The first key from `place` on that this connection may write now.
    fn writable(&self, place: u64, connection: u16) -> Option<u64> {
        let share = self.workload.share();
        (0..share.min(TRIES_MAX))
            .map(|step| (place + step) % share)
            .find(|place| self.ledger.may_write(index(*place), connection))
    }
}

fn index(place: u64) -> usize {
    usize::try_from(place).expect("a place of a share that is held in memory")
}

/// When a request was to be sent, and when it was; in microseconds since the start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    pub(super) due_us: u64,
    pub(super) asked_us: u64,
}

/// A request that is owed an answer.
#[derive(Clone, Copy, Debug)]
struct Pending {
    operation: Operation,
    keys: u32,
    due: Due,
}

/// A key that a request names.
#[derive(Clone, Copy, Debug)]
struct Asked {
    key: u32,
    /// Of a write, its own; of a read, that of the oldest write that it may find.
    sequence: u32,
}

/// The connection is of no further use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Over;

#[derive(Debug, Default)]
pub(super) struct Session {
    /// Which of its thread's connections it is.
    id: u16,
    pending: VecDeque<Pending>,
    asked: VecDeque<Asked>,
    /// Bytes that have arrived, from `taken` on not yet understood.
    input: Vec<u8>,
    taken: usize,
    /// Bytes of requests, from `sent` on not yet sent.
    output: Vec<u8>,
    sent: usize,
}

impl Session {
    pub(super) fn new(id: u16) -> Self {
        Self { id, ..Self::default() }
    }

    /// Requests that are owed an answer.
    pub(super) fn owed(&self) -> usize {
        self.pending.len()
    }

    /// When the oldest of them was sent.
    pub(super) fn oldest_us(&self) -> Option<u64> {
        self.pending.front().map(|pending| pending.due.asked_us)
    }

    /// Appends the next request of the workload.
    pub(super) fn ask(&mut self, desk: &mut Desk, due: Due) {
        let operation = desk.workload.choose_operation();
        let place = desk.workload.choose_place();
        if operation.is_write() {
            match desk.writable(place, self.id) {
                Some(place) => self.write(desk, operation, place, due),
                // Others are writing them all.
                None => self.read(desk, Operation::Get, place, due),
            }
        } else {
            self.read(desk, operation, place, due);
        }
    }

    /// Appends a put of the key at this place.
    pub(super) fn ask_put(&mut self, desk: &mut Desk, place: u64, due: Due) {
        self.write(desk, Operation::Put, place, due);
    }

    fn write(&mut self, desk: &mut Desk, operation: Operation, place: u64, due: Due) {
        let key = desk.workload.key(place);
        let sequence = desk.ledger.begin_write(index(place), self.id);
        if operation == Operation::Put {
            let bytes = desk.workload.choose_from(&desk.value_bytes);
            let ttl_ms = desk.workload.choose_from(&desk.ttl_ms);
            desk.value.clear();
            desk.ledger.stamp(key, sequence).write(index(bytes), &mut desk.value);
            desk.wire.put(key, &desk.value, ttl_ms, &mut self.output);
        } else {
            desk.wire.delete(key, &mut self.output);
        }
        self.asked.push_back(Asked { key, sequence });
        self.pending.push_back(Pending { operation, keys: 1, due });
    }

    fn read(&mut self, desk: &mut Desk, operation: Operation, place: u64, due: Due) {
        let start = self.asked.len();
        self.push_read(desk, place);
        if operation == Operation::Mget {
            for _ in 1..desk.batch {
                let mut place = desk.workload.choose_place();
                let is_asked = |place| {
                    let key = desk.workload.key(place);
                    self.asked.range(start..).any(|asked| asked.key == key)
                };
                while is_asked(place) {
                    place = (place + 1) % desk.workload.share();
                }
                self.push_read(desk, place);
            }
            let keys = self.asked.range(start..).map(|asked| asked.key);
            desk.wire.mget(keys, &mut self.output);
        } else {
            desk.wire.get(self.asked[start].key, &mut self.output);
        }
        let keys = u32::try_from(self.asked.len() - start).expect("a batch is bounded");
        self.pending.push_back(Pending { operation, keys, due });
    }

    fn push_read(&mut self, desk: &Desk, place: u64) {
        let sequence = desk.ledger.begin_read(index(place));
        self.asked.push_back(Asked { key: desk.workload.key(place), sequence });
    }

    pub(super) fn unsent(&self) -> &[u8] {
        &self.output[self.sent..]
    }

    /// So many of the unsent bytes were sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
        if self.sent == self.output.len() {
            self.output.clear();
            self.sent = 0;
        }
    }

    /// Judges every answer that is whole now that these bytes have arrived.
    pub(super) fn receive(
        &mut self,
        bytes: &[u8],
        desk: &mut Desk,
        now_us: u64,
    ) -> Result<(), Over> {
        if self.input.is_empty() {
            let taken = self.judge(bytes, desk, now_us)?;
            self.input.extend_from_slice(&bytes[taken..]);
            return Ok(());
        }
        let mut input = std::mem::take(&mut self.input);
        input.extend_from_slice(bytes);
        let judged = self.judge(&input[self.taken..], desk, now_us);
        self.input = input;
        self.taken += judged?;
        if self.taken == self.input.len() {
            self.input.clear();
            self.taken = 0;
        } else if self.taken > self.input.len() / 2 {
            self.input.drain(..self.taken);
            self.taken = 0;
        }
        Ok(())
    }

    /// Judges the answers at the front of `bytes`. Returns how long they are.
    fn judge(&mut self, bytes: &[u8], desk: &mut Desk, now_us: u64) -> Result<usize, Over> {
        let mut taken = 0;
        while taken < bytes.len() {
            let Some(&Pending { operation, keys, due }) = self.pending.front() else {
                // Nobody asked for this.
                desk.tally.count_error(ErrorKind::Malformed);
                return Err(Over);
            };
            let asked = self.asked.range(..keys as usize).map(|asked| asked.key);
            let rest = &bytes[taken..];
            let answer = match desk.wire.read(operation, asked, rest, &mut desk.found) {
                Ok(Some(answer)) => answer,
                Ok(None) => break,
                Err(_) => {
                    desk.tally.count_error(ErrorKind::Malformed);
                    self.lose_front(desk);
                    return Err(Over);
                }
            };
            self.pending.pop_front();
            desk.tally.count_answer(operation, due.due_us, now_us);
            self.judge_one(operation, keys, answer.verdict, rest, desk);
            taken += answer.bytes;
            if answer.is_last {
                return Err(Over);
            }
        }
        Ok(taken)
    }

    fn judge_one(
        &mut self,
        operation: Operation,
        keys: u32,
        verdict: Verdict,
        answer: &[u8],
        desk: &mut Desk,
    ) {
        if verdict == Verdict::Refused {
            desk.tally.count_error(ErrorKind::Refused);
        }
        let asked = self.asked.drain(..keys as usize);
        if operation.is_write() {
            for Asked { key, sequence } in asked {
                let place = desk.workload.place(key);
                desk.ledger.end_write(place, sequence, verdict == Verdict::Done);
            }
        } else if verdict == Verdict::Read {
            for (Asked { key, sequence }, found) in asked.zip(&desk.found) {
                let Some(range) = found else {
                    desk.tally.count_miss();
                    continue;
                };
                desk.tally.count_hit();
                let place = desk.workload.place(key);
                match desk.ledger.check(key, place, sequence, &answer[range.clone()]) {
                    Ok(()) => {}
                    Err(Fault::Wrong) => desk.tally.count_error(ErrorKind::Wrong),
                    Err(Fault::Stale) => desk.tally.count_error(ErrorKind::Stale),
                }
            }
        }
    }

    /// The oldest request gets no answer.
    fn lose_front(&mut self, desk: &mut Desk) {
        let Some(lost) = self.pending.pop_front() else { return };
        for asked in self.asked.drain(..lost.keys as usize) {
            if lost.operation.is_write() {
                desk.ledger.lose_write(desk.workload.place(asked.key));
            }
        }
    }

    /// The connection is gone, and each answer owed is an error of this kind. The next begins anew.
    pub(super) fn lose(&mut self, desk: &mut Desk, reason: ErrorKind) {
        while self.owed() > 0 {
            desk.tally.count_error(reason);
            self.lose_front(desk);
        }
        self.input.clear();
        self.output.clear();
        (self.taken, self.sent) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::{Desk, Due, Over, Session};
    use crate::tools::load::{
        keys::Keys,
        mix::{Mix, Operation},
        protocol::Protocol,
        settings::LoadSettings,
        tally::ErrorKind,
        value::Stamp,
    };

    const RUN: u32 = 9;
    const NOW: Due = Due { due_us: 0, asked_us: 0 };

    fn desk(protocol: Protocol, mix: &str, keys: u64) -> Desk {
        let keys = Keys { count: keys, bytes: 8 };
        let mix = Mix::read(mix).unwrap();
        let settings = LoadSettings {
            protocol,
            keys,
            mix,
            value_bytes: 64..=64,
            batch: 3,
            ..LoadSettings::default()
        };
        Desk::new(&settings, 0, RUN)
    }

    fn take(session: &mut Session) -> String {
        let text = String::from_utf8(session.unsent().to_vec()).unwrap();
        session.sent(text.len());
        text
    }

    fn value(key: u32, sequence: u32) -> Vec<u8> {
        let mut value = Vec::new();
        Stamp { key, run: RUN, sequence }.write(64, &mut value);
        value
    }

    fn bulk(value: &[u8]) -> Vec<u8> {
        [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
    }

    fn errors(desk: &Desk) -> Vec<(ErrorKind, u64)> {
        let all = ErrorKind::NAMES.iter().map(|(_, kind)| (*kind, desk.tally.errors(*kind)));
        all.filter(|(_, count)| *count > 0).collect()
    }

    #[test]
    fn pipelined_answers_cut_anywhere_are_judged_alike() {
        let answers = [&b"+OK\r\n"[..], &bulk(&value(0, 1)), b"$-1\r\n", &bulk(&value(0, 1))];
        let answers = answers.concat();
        for at in 0..=answers.len() {
            let mut desk = desk(Protocol::Redis, "get=1", 1);
            let mut session = Session::new(0);
            session.ask_put(&mut desk, 0, NOW);
            for _ in 0..3 {
                session.ask(&mut desk, NOW);
            }
            assert!(take(&mut session).starts_with("*3\r\n$3\r\nSET\r\n$8\r\nk0000000\r\n$64\r\n"));
            session.receive(&answers[..at], &mut desk, 10).unwrap();
            session.receive(&answers[at..], &mut desk, 20).unwrap();
            assert_eq!((session.owed(), errors(&desk)), (0, vec![]), "cut at {at}");
            assert_eq!((desk.tally.hits, desk.tally.misses, desk.tally.answers()), (2, 1, 4));
        }
    }

    #[test]
    fn latency_counts_from_when_a_request_was_to_be_sent() {
        let mut desk = desk(Protocol::Redis, "get=1", 1);
        let mut session = Session::new(0);
        session.ask(&mut desk, Due { due_us: 100, asked_us: 600 });
        assert_eq!(session.oldest_us(), Some(600));
        session.receive(b"$-1\r\n", &mut desk, 1000).unwrap();
        assert_eq!((desk.tally.latency.len(), desk.tally.latency.max()), (1, 900));
        // What was due before it counted does not.
        desk.tally.from_us = 101;
        session.ask(&mut desk, Due { due_us: 100, asked_us: 600 });
        session.receive(b"$-1\r\n", &mut desk, 1000).unwrap();
        assert_eq!(desk.tally.latency.len(), 1);
    }

    #[test]
    fn one_byte_at_a_time_over_http() {
        let mut desk = desk(Protocol::Http, "mget=1", 3);
        let mut session = Session::new(0);
        session.ask_put(&mut desk, 1, NOW);
        session.ask(&mut desk, NOW);
        let said = take(&mut session);
        let order = said.rsplit_once("{\"keys\":[").unwrap().1.trim_end_matches("]}");
        let values: Vec<String> = order
            .split(',')
            .map(|key| match key {
                "\"k0000001\"" => {
                    format!("{key}:\"{}\"", String::from_utf8(value(1, 1)).unwrap())
                }
                _ => format!("{key}:null"),
            })
            .collect();
        let body = format!("{{\"status\":\"OK\",\"values\":{{{}}}}}", values.join(","));
        let answers = ["{}", &body]
            .map(|body| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        for byte in answers.concat().bytes() {
            session.receive(&[byte], &mut desk, 1).unwrap();
        }
        assert_eq!((session.owed(), errors(&desk)), (0, vec![]));
        assert_eq!((desk.tally.hits, desk.tally.misses), (1, 2));
    }

    #[test]
    fn values_that_are_wrong_old_or_of_nobody_are_counted() {
        let mut desk = desk(Protocol::Redis, "get=1", 1);
        let mut session = Session::new(0);
        for _ in 0..2 {
            session.ask_put(&mut desk, 0, NOW);
        }
        session.receive(b"+OK\r\n+OK\r\n", &mut desk, 1).unwrap();
        for _ in 0..5 {
            session.ask(&mut desk, NOW);
        }
        let mut torn = value(0, 2);
        torn[50] ^= 1;
        let answers = [value(0, 2), value(0, 1), value(0, 3), value(1, 2), torn];
        let answers: Vec<u8> = answers.iter().flat_map(|value| bulk(value)).collect();
        session.receive(&answers, &mut desk, 2).unwrap();
        assert_eq!(errors(&desk), [(ErrorKind::Wrong, 3), (ErrorKind::Stale, 1)]);
        assert_eq!(desk.tally.hits, 5);
    }

    #[test]
    fn what_is_not_understood_or_not_asked_for_ends_the_connection() {
        let mut desk = desk(Protocol::Redis, "get=1", 1);
        let mut session = Session::new(0);
        assert_eq!(session.receive(b"+OK\r\n", &mut desk, 1), Err(Over));
        session.ask(&mut desk, NOW);
        session.ask(&mut desk, NOW);
        assert_eq!(session.receive(b"+OK\r\n", &mut desk, 1), Err(Over));
        session.lose(&mut desk, ErrorKind::Closed);
        assert_eq!(errors(&desk), [(ErrorKind::Closed, 1), (ErrorKind::Malformed, 2)]);
        assert_eq!((session.owed(), session.unsent()), (0, &b""[..]));
        session.ask(&mut desk, NOW);
        assert_eq!(session.receive(b"$-1\r\n", &mut desk, 1), Ok(()));
    }

    #[test]
    fn a_refusal_is_an_error_but_the_connection_stays() {
        let mut desk = desk(Protocol::Memcached, "put=1", 1);
        let mut session = Session::new(0);
        session.ask(&mut desk, NOW);
        session.ask(&mut desk, NOW);
        session.receive(b"SERVER_ERROR full\r\nSTORED\r\n", &mut desk, 1).unwrap();
        assert_eq!((session.owed(), errors(&desk)), (0, vec![(ErrorKind::Refused, 1)]));
    }

    #[test]
    fn two_connections_never_write_one_key_at_once() {
        let mut desk = desk(Protocol::Memcached, "delete=1", 2);
        let mut sessions = [0, 1, 2].map(Session::new);
        let said: Vec<String> = sessions
            .iter_mut()
            .map(|session| {
                session.ask(&mut desk, NOW);
                take(session)
            })
            .collect();
        assert!(said[0].starts_with("delete ") && said[1].starts_with("delete "), "{said:?}");
        assert_ne!(said[0], said[1]);
        assert!(said[2].starts_with("get "), "all keys are being written: {said:?}");
    }

    #[test]
    fn a_batch_names_each_key_once() {
        let mut desk = desk(Protocol::Memcached, "mget=1", 3);
        let mut session = Session::new(0);
        for _ in 0..50 {
            session.ask(&mut desk, NOW);
            let said = take(&mut session);
            let mut keys: Vec<&str> = said.split_whitespace().skip(1).collect();
            keys.sort_unstable();
            assert_eq!(keys, ["k0000000", "k0000001", "k0000002"]);
        }
        assert_eq!(session.pending.back().unwrap().operation, Operation::Mget);
    }
}
