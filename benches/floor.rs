//! What HTTP costs here at least: a server of one thread that answers everything with one constant.
//!
//! `cargo bench --bench floor -- PORT` serves on 127.0.0.1 until it is killed. Whatever ends in an
//! empty line is a request; nothing of it is looked at. The answer is, to the byte, what kvcache says
//! to a GET of the key `k000000000000000` that has a value of 128 bytes, so that `kvcache load
//! --mix get=1 --keys 1 --fill off` finds it right. Sockets, reads and writes are as in the server:
//! an epoll set, one read for each event, one write for all answers to it, some reads before the
//! first write.

use rustix::{buffer::spare_capacity, event::epoll, io::Errno};
use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::OwnedFd,
};

const EVENTS_MAX: usize = 128;
/// Clients that are read before the first of them is sent its answers.
const SERVED_MAX: usize = 16;
const READ_BYTES_MAX: usize = 32 << 10;
/// Answers in one write.
const BATCH_MAX: usize = 1024;
const END: &[u8] = b"\r\n\r\n";
const LISTENER: u64 = u64::MAX;

/// 32 bytes say whose value it is, of which run and which write, under a checksum.
fn answer() -> Vec<u8> {
    let value = format!("{:08x}{:08x}{:08x}{}", 0, 0, 1, "v".repeat(96));
    let value = format!("{:08x}{value}", crc32fast::hash(value.as_bytes()));
    let body = format!(r#"{{"status":"OK","key":"k000000000000000","value":"{value}"}}"#);
    let head = format!(
        "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
}

struct Client {
    stream: TcpStream,
    /// The beginning of a request.
    begun: Vec<u8>,
    /// Bytes of answers that the kernel has not taken yet.
    owed: usize,
    /// The socket is watched for room instead of for requests.
    is_full: bool,
}

/// How many requests end in `bytes`, and where the last of them does.
fn ends(bytes: &[u8]) -> (usize, usize) {
    let (mut requests, mut end, mut at) = (0, 0, END.len() - 1);
    while at < bytes.len() {
        match bytes[at] {
            b'\n' if bytes[..=at].ends_with(END) => {
                requests += 1;
                end = at + 1;
                at += END.len();
            }
            b'\n' | b'\r' => at += 1,
            // No end has this byte, so none before it is still to come.
            _ => at += END.len(),
        }
    }
    (requests, end)
}

impl Client {
    /// Reads once, unless answers are owed. Returns whether the connection is of further use.
    fn read(&mut self, scratch: &mut [u8], each: usize) -> bool {
        if self.owed > 0 {
            return true;
        }
        let bytes = match self.stream.read(scratch) {
            Ok(0) => return false,
            Ok(bytes) => &scratch[..bytes],
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        };
        let requests = if self.begun.is_empty() {
            let (requests, end) = ends(bytes);
            self.begun.extend_from_slice(&bytes[end..]);
            requests
        } else {
            self.begun.extend_from_slice(bytes);
            let (requests, end) = ends(&self.begun);
            self.begun.drain(..end);
            requests
        };
        self.owed += requests * each;
        true
    }

    /// Returns whether the connection is of further use.
    fn send(&mut self, answers: &[u8], each: usize) -> bool {
        while self.owed > 0 {
            // All answers are alike, so what is left of one is its end.
            let from = (each - self.owed % each) % each;
            let most = answers.len() - from;
            match self.stream.write(&answers[from..from + self.owed.min(most)]) {
                Ok(bytes) => self.owed -= bytes,
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        true
    }
}

fn main() {
    // Cargo adds a flag of its own.
    let port = std::env::args().skip(1).find(|argument| argument != "--bench");
    let Some(port) = port.and_then(|port| port.parse::<u16>().ok()) else {
        eprintln!("floor: PORT");
        return;
    };
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    listener.set_nonblocking(true).expect("a new socket");
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll set");
    let data = epoll::EventData::new_u64(LISTENER);
    epoll::add(&epoll, &listener, data, epoll::EventFlags::IN).expect("a new socket");
    let each = answer().len();
    let answers = answer().repeat(BATCH_MAX);
    let mut scratch = vec![0; READ_BYTES_MAX];
    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut events = Vec::with_capacity(EVENTS_MAX);
    loop {
        events.clear();
        match epoll::wait(&epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => panic!("an epoll set: {error}"),
        }
        for some in events.chunks(SERVED_MAX) {
            for event in some {
                if event.data.u64() == LISTENER {
                    accept(&listener, &epoll, &mut clients);
                } else {
                    clients[number(event)].take_if(|client| !client.read(&mut scratch, each));
                }
            }
            for event in some.iter().filter(|event| event.data.u64() != LISTENER) {
                let slot = &mut clients[number(event)];
                slot.take_if(|client| !client.send(&answers, each));
                let Some(client) = slot else { continue };
                let is_full = client.owed > 0;
                if std::mem::replace(&mut client.is_full, is_full) != is_full {
                    let awaits =
                        if is_full { epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
                    epoll::modify(&epoll, &client.stream, event.data, awaits)
                        .expect("it is in the set");
                }
            }
        }
    }
}

fn number(event: &epoll::Event) -> usize {
    usize::try_from(event.data.u64()).expect("a client's number")
}

fn accept(listener: &TcpListener, epoll: &OwnedFd, clients: &mut Vec<Option<Client>>) {
    while let Ok((stream, _)) = listener.accept() {
        stream.set_nonblocking(true).expect("a TCP socket");
        stream.set_nodelay(true).expect("a TCP socket");
        let at = clients.iter().position(Option::is_none).unwrap_or_else(|| {
            clients.push(None);
            clients.len() - 1
        });
        let data = epoll::EventData::new_u64(at as u64);
        epoll::add(epoll, &stream, data, epoll::EventFlags::IN).expect("a new socket");
        clients[at] = Some(Client { stream, begun: Vec::new(), owed: 0, is_full: false });
    }
}
