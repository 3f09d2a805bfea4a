//! One connection without its socket: requests that wait for answers, and answers judged.

use super::{
    ledger::{Fault, Ledger},
    mix::LoadOperation,
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
pub(super) struct ThreadShare {
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

impl ThreadShare {
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
    operation: LoadOperation,
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
    pub(super) fn ask(&mut self, share: &mut ThreadShare, due: Due) {
        let operation = share.workload.choose_operation();
        let place = share.workload.choose_place();
        if operation.is_write() {
            match share.writable(place, self.id) {
                Some(place) => self.write(share, operation, place, due),
                // Others are writing them all.
                None => self.read(share, LoadOperation::Get, place, due),
            }
        } else {
            self.read(share, operation, place, due);
        }
    }

    /// Appends a put of the key at this place.
    pub(super) fn ask_put(&mut self, share: &mut ThreadShare, place: u64, due: Due) {
        self.write(share, LoadOperation::Put, place, due);
    }

    fn write(&mut self, share: &mut ThreadShare, operation: LoadOperation, place: u64, due: Due) {
        let key = share.workload.key(place);
        let sequence = share.ledger.begin_write(index(place), self.id);
        if operation == LoadOperation::Put {
            let bytes = share.workload.choose_from(&share.value_bytes);
            let ttl_ms = share.workload.choose_from(&share.ttl_ms);
            share.value.clear();
            share.ledger.stamp(key, sequence).write(index(bytes), &mut share.value);
            share.wire.put(key, &share.value, ttl_ms, &mut self.output);
        } else {
            share.wire.delete(key, &mut self.output);
        }
        self.asked.push_back(Asked { key, sequence });
        self.pending.push_back(Pending { operation, keys: 1, due });
    }

    fn read(&mut self, share: &mut ThreadShare, operation: LoadOperation, place: u64, due: Due) {
        let start = self.asked.len();
        self.push_read(share, place);
        if operation == LoadOperation::Mget {
            for _ in 1..share.batch {
                let mut place = share.workload.choose_place();
                let is_asked = |place| {
                    let key = share.workload.key(place);
                    self.asked.range(start..).any(|asked| asked.key == key)
                };
                while is_asked(place) {
                    place = (place + 1) % share.workload.share();
                }
                self.push_read(share, place);
            }
            let keys = self.asked.range(start..).map(|asked| asked.key);
            share.wire.mget(keys, &mut self.output);
        } else {
            share.wire.get(self.asked[start].key, &mut self.output);
        }
        let keys = u32::try_from(self.asked.len() - start).expect("a batch is bounded");
        self.pending.push_back(Pending { operation, keys, due });
    }

    fn push_read(&mut self, share: &ThreadShare, place: u64) {
        let sequence = share.ledger.begin_read(index(place));
        self.asked.push_back(Asked { key: share.workload.key(place), sequence });
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
        share: &mut ThreadShare,
        now_us: u64,
    ) -> Result<(), Over> {
        if self.input.is_empty() {
            let taken = self.judge(bytes, share, now_us)?;
            self.input.extend_from_slice(&bytes[taken..]);
            return Ok(());
        }
        let mut input = std::mem::take(&mut self.input);
        input.extend_from_slice(bytes);
        let judged = self.judge(&input[self.taken..], share, now_us);
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
    fn judge(&mut self, bytes: &[u8], share: &mut ThreadShare, now_us: u64) -> Result<usize, Over> {
        let mut taken = 0;
        while taken < bytes.len() {
            let Some(&Pending { operation, keys, due }) = self.pending.front() else {
                // Nobody asked for this.
                share.tally.count_error(ErrorKind::Malformed);
                return Err(Over);
            };
            let asked = self.asked.range(..keys as usize).map(|asked| asked.key);
            let rest = &bytes[taken..];
            let answer = match share.wire.read(operation, asked, rest, &mut share.found) {
                Ok(Some(answer)) => answer,
                Ok(None) => break,
                Err(_) => {
                    share.tally.count_error(ErrorKind::Malformed);
                    self.lose_front(share);
                    return Err(Over);
                }
            };
            self.pending.pop_front();
            share.tally.count_answer(operation, due.due_us, now_us);
            self.judge_one(operation, keys, answer.verdict, rest, share);
            taken += answer.bytes;
            if answer.is_last {
                return Err(Over);
            }
        }
        Ok(taken)
    }

    fn judge_one(
        &mut self,
        operation: LoadOperation,
        keys: u32,
        verdict: Verdict,
        answer: &[u8],
        share: &mut ThreadShare,
    ) {
        if verdict == Verdict::Refused {
            share.tally.count_error(ErrorKind::Refused);
        }
        let asked = self.asked.drain(..keys as usize);
        if operation.is_write() {
            for Asked { key, sequence } in asked {
                let place = share.workload.place(key);
                share.ledger.end_write(place, sequence, verdict == Verdict::Done);
            }
        } else if verdict == Verdict::Read {
            for (Asked { key, sequence }, found) in asked.zip(&share.found) {
                let Some(range) = found else {
                    share.tally.count_miss();
                    continue;
                };
                share.tally.count_hit();
                let place = share.workload.place(key);
                match share.ledger.check(key, place, sequence, &answer[range.clone()]) {
                    Ok(()) => {}
                    Err(Fault::Wrong) => share.tally.count_error(ErrorKind::Wrong),
                    Err(Fault::Stale) => share.tally.count_error(ErrorKind::Stale),
                }
            }
        }
    }

    /// The oldest request gets no answer.
    fn lose_front(&mut self, share: &mut ThreadShare) {
        let Some(lost) = self.pending.pop_front() else { return };
        for asked in self.asked.drain(..lost.keys as usize) {
            if lost.operation.is_write() {
                share.ledger.lose_write(share.workload.place(asked.key));
            }
        }
    }

    /// The connection is gone, and each answer owed is an error of this kind. The next begins anew.
    pub(super) fn lose(&mut self, share: &mut ThreadShare, reason: ErrorKind) {
        while self.owed() > 0 {
            share.tally.count_error(reason);
            self.lose_front(share);
        }
        self.input.clear();
        self.output.clear();
        (self.taken, self.sent) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::{Due, Over, Session, ThreadShare};
    use crate::tools::load::{
        keys::Keys,
        mix::{LoadOperation, Mix},
        protocol::LoadProtocol,
        settings::LoadSettings,
        tally::ErrorKind,
        value::Stamp,
    };

    const RUN: u32 = 9;
    const NOW: Due = Due { due_us: 0, asked_us: 0 };

    fn share(protocol: LoadProtocol, mix: &str, keys: u64) -> ThreadShare {
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
        ThreadShare::new(&settings, 0, RUN)
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

    fn errors(share: &ThreadShare) -> Vec<(ErrorKind, u64)> {
        let all = ErrorKind::NAMES.iter().map(|(_, kind)| (*kind, share.tally.errors(*kind)));
        all.filter(|(_, count)| *count > 0).collect()
    }

    #[test]
    fn pipelined_answers_cut_anywhere_are_judged_alike() {
        let answers = [&b"+OK\r\n"[..], &bulk(&value(0, 1)), b"$-1\r\n", &bulk(&value(0, 1))];
        let answers = answers.concat();
        for at in 0..=answers.len() {
            let mut share = share(LoadProtocol::Redis, "get=1", 1);
            let mut session = Session::new(0);
            session.ask_put(&mut share, 0, NOW);
            for _ in 0..3 {
                session.ask(&mut share, NOW);
            }
            assert!(take(&mut session).starts_with("*3\r\n$3\r\nSET\r\n$8\r\nk0000000\r\n$64\r\n"));
            session.receive(&answers[..at], &mut share, 10).unwrap();
            session.receive(&answers[at..], &mut share, 20).unwrap();
            assert_eq!((session.owed(), errors(&share)), (0, vec![]), "cut at {at}");
            assert_eq!((share.tally.hits, share.tally.misses, share.tally.answers()), (2, 1, 4));
        }
    }

    #[test]
    fn latency_counts_from_when_a_request_was_to_be_sent() {
        let mut share = share(LoadProtocol::Redis, "get=1", 1);
        let mut session = Session::new(0);
        session.ask(&mut share, Due { due_us: 100, asked_us: 600 });
        assert_eq!(session.oldest_us(), Some(600));
        session.receive(b"$-1\r\n", &mut share, 1000).unwrap();
        assert_eq!((share.tally.latency.len(), share.tally.latency.max()), (1, 900));
        // What was due before it counted does not.
        share.tally.from_us = 101;
        session.ask(&mut share, Due { due_us: 100, asked_us: 600 });
        session.receive(b"$-1\r\n", &mut share, 1000).unwrap();
        assert_eq!(share.tally.latency.len(), 1);
    }

    #[test]
    fn one_byte_at_a_time_over_http() {
        let mut share = share(LoadProtocol::Http, "mget=1", 3);
        let mut session = Session::new(0);
        session.ask_put(&mut share, 1, NOW);
        session.ask(&mut share, NOW);
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
            session.receive(&[byte], &mut share, 1).unwrap();
        }
        assert_eq!((session.owed(), errors(&share)), (0, vec![]));
        assert_eq!((share.tally.hits, share.tally.misses), (1, 2));
    }

    #[test]
    fn values_that_are_wrong_old_or_of_nobody_are_counted() {
        let mut share = share(LoadProtocol::Redis, "get=1", 1);
        let mut session = Session::new(0);
        for _ in 0..2 {
            session.ask_put(&mut share, 0, NOW);
        }
        session.receive(b"+OK\r\n+OK\r\n", &mut share, 1).unwrap();
        for _ in 0..5 {
            session.ask(&mut share, NOW);
        }
        let mut torn = value(0, 2);
        torn[50] ^= 1;
        let answers = [value(0, 2), value(0, 1), value(0, 3), value(1, 2), torn];
        let answers: Vec<u8> = answers.iter().flat_map(|value| bulk(value)).collect();
        session.receive(&answers, &mut share, 2).unwrap();
        assert_eq!(errors(&share), [(ErrorKind::Wrong, 3), (ErrorKind::Stale, 1)]);
        assert_eq!(share.tally.hits, 5);
    }

    #[test]
    fn what_is_not_understood_or_not_asked_for_ends_the_connection() {
        let mut share = share(LoadProtocol::Redis, "get=1", 1);
        let mut session = Session::new(0);
        assert_eq!(session.receive(b"+OK\r\n", &mut share, 1), Err(Over));
        session.ask(&mut share, NOW);
        session.ask(&mut share, NOW);
        assert_eq!(session.receive(b"+OK\r\n", &mut share, 1), Err(Over));
        session.lose(&mut share, ErrorKind::Closed);
        assert_eq!(errors(&share), [(ErrorKind::Closed, 1), (ErrorKind::Malformed, 2)]);
        assert_eq!((session.owed(), session.unsent()), (0, &b""[..]));
        session.ask(&mut share, NOW);
        assert_eq!(session.receive(b"$-1\r\n", &mut share, 1), Ok(()));
    }

    #[test]
    fn a_refusal_is_an_error_but_the_connection_stays() {
        let mut share = share(LoadProtocol::Memcached, "put=1", 1);
        let mut session = Session::new(0);
        session.ask(&mut share, NOW);
        session.ask(&mut share, NOW);
        session.receive(b"SERVER_ERROR full\r\nSTORED\r\n", &mut share, 1).unwrap();
        assert_eq!((session.owed(), errors(&share)), (0, vec![(ErrorKind::Refused, 1)]));
    }

    #[test]
    fn two_connections_never_write_one_key_at_once() {
        let mut share = share(LoadProtocol::Memcached, "delete=1", 2);
        let mut sessions = [0, 1, 2].map(Session::new);
        let said: Vec<String> = sessions
            .iter_mut()
            .map(|session| {
                session.ask(&mut share, NOW);
                take(session)
            })
            .collect();
        assert!(said[0].starts_with("delete ") && said[1].starts_with("delete "), "{said:?}");
        assert_ne!(said[0], said[1]);
        assert!(said[2].starts_with("get "), "all keys are being written: {said:?}");
    }

    #[test]
    fn a_batch_names_each_key_once() {
        let mut share = share(LoadProtocol::Memcached, "mget=1", 3);
        let mut session = Session::new(0);
        for _ in 0..50 {
            session.ask(&mut share, NOW);
            let said = take(&mut session);
            let mut keys: Vec<&str> = said.split_whitespace().skip(1).collect();
            keys.sort_unstable();
            assert_eq!(keys, ["k0000000", "k0000001", "k0000002"]);
        }
        assert_eq!(session.pending.back().unwrap().operation, LoadOperation::Mget);
    }
}
