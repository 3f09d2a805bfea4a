//! A client on a real socket that only ever waits by reading or writing.

use crate::common::answer::Answer;
use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// No test waits this long; one that would is stuck.
const STUCK: Duration = Duration::from_mins(1);

/// One connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    received: Vec<u8>,
    taken: usize,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::on(TcpStream::connect(address).unwrap())
    }

    /// A client on a connected socket.
    pub(crate) fn on(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(STUCK)).unwrap();
        stream.set_write_timeout(Some(STUCK)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, received: Vec::new(), taken: 0 }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// The next answer.
    pub(crate) fn answer(&mut self) -> Answer {
        self.answer_or_end().expect("an answer before the end")
    }

    /// The next answer; `None` when the server closes the connection before its first byte.
    pub(crate) fn answer_or_end(&mut self) -> Option<Answer> {
        loop {
            if let Some((answer, length)) = Answer::read(&self.received[self.taken..], false) {
                self.taken += length;
                return Some(answer);
            }
            self.received.drain(..self.taken);
            self.taken = 0;
            let mut piece = [0; 16 << 10];
            match self.stream.read(&mut piece) {
                Ok(0) => break,
                Ok(bytes) => self.received.extend_from_slice(&piece[..bytes]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!("no answer: {error}"),
            }
        }
        assert!(self.received.is_empty(), "half an answer: {}", self.received.escape_ascii());
        None
    }

    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        self.send(request);
        self.answer()
    }

    /// Waits until the server closes the connection without another byte.
    pub(crate) fn expect_end(&mut self) {
        let answer = self.answer_or_end();
        assert!(answer.is_none(), "not the end: {answer:?}");
    }

    /// Waits until the server's kernel has every byte that was sent.
    pub(crate) fn await_arrival(&self) {
        let port = self.stream.local_addr().unwrap().port();
        let unacknowledged = || {
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
            let local = format!(":{port:04X}");
            let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            let row = rows.find(|row| row[1].ends_with(&local)).expect("our own connection");
            let queue = row[4].split(':').next().unwrap_or_default();
            u64::from_str_radix(queue, 16).expect("a length in hexadecimal digits")
        };
        while unacknowledged() > 0 {
            std::thread::yield_now();
        }
    }
}

pub(crate) fn get(key: &str) -> String {
    format!("GET /get?key={key} HTTP/1.1\r\nHost: h\r\n\r\n")
}

pub(crate) fn put(key: &str, value: &str) -> String {
    let body = format!(r#"{{"key":"{key}","value":"{value}"}}"#);
    format!("POST /put HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

pub(crate) fn found(key: &str, value: &str) -> String {
    format!(r#"{{"status":"OK","key":"{key}","value":"{value}"}}"#)
}
