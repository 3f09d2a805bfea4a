//! A load generator that costs its core little: the same few requests over and over, answers
//! counted by their length. For servers that are faster than wrk.
//!
//! `cargo bench --bench blast -- PROTOCOL ADDRESS CONNECTIONS DEPTH SECONDS`, PROTOCOL `http` (ours)
//! or `redis`: GET of random ones of the keys `key-0` to `key-4999`, each of which must hold a value
//! of 128 bytes, DEPTH requests in each write. Prints `requests N seconds S`; ends with an error
//! when the length of an answer is not that of a hit.

use rustix::{buffer::spare_capacity, event::epoll};
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

const KEYS: usize = 5000;
const VALUE_BYTES: usize = 128;
/// Different batches, so that the server does not see one over and over.
const BATCHES: usize = 512;

struct Protocol {
    request: fn(usize) -> Vec<u8>,
    answer_bytes: fn(usize) -> usize,
}

const HTTP: Protocol = Protocol {
    request: |key| format!("GET /get?key=key-{key} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes(),
    answer_bytes: |key| {
        let body = "{\"status\":\"OK\",\"key\":\"key-\",\"value\":\"\"}".len() + digits(key);
        let body = body + VALUE_BYTES;
        let head = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
            Content-Type: application/json\r\nContent-Length: \r\n\r\n";
        head.len() + digits(body) + body
    },
};

const REDIS: Protocol = Protocol {
    request: |key| {
        let length = "key-".len() + digits(key);
        format!("*2\r\n$3\r\nGET\r\n${length}\r\nkey-{key}\r\n").into_bytes()
    },
    answer_bytes: |_| "$128\r\n\r\n".len() + VALUE_BYTES,
};

fn digits(number: usize) -> usize {
    number.to_string().len()
}

/// Requests that are sent in one write, and how long all their answers are.
struct Batch {
    requests: Vec<u8>,
    answer_bytes: usize,
}

struct Client {
    stream: TcpStream,
    /// Bytes that are still to come.
    awaited: usize,
}

#[expect(clippy::disallowed_methods, reason = "a load generator measures time")]
fn main() {
    // Cargo adds a flag of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let [protocol, address, connections, depth, seconds] = arguments.as_slice() else {
        eprintln!("blast: PROTOCOL ADDRESS CONNECTIONS DEPTH SECONDS");
        return;
    };
    let protocol = if protocol == "redis" { REDIS } else { HTTP };
    let number = |text: &str| text.parse::<usize>().expect("a number");
    let (connections, depth) = (number(connections), number(depth));
    let mut random = fastrand::Rng::with_seed(1);
    let batches: Vec<Batch> = (0..BATCHES)
        .map(|_| {
            let keys: Vec<usize> = (0..depth).map(|_| random.usize(..KEYS)).collect();
            Batch {
                requests: keys.iter().flat_map(|&key| (protocol.request)(key)).collect(),
                answer_bytes: keys.iter().map(|&key| (protocol.answer_bytes)(key)).sum(),
            }
        })
        .collect();

    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll set");
    let mut clients: Vec<Client> = (0..connections)
        .map(|_| Client {
            stream: TcpStream::connect(address.as_str()).expect("a server"),
            awaited: 0,
        })
        .collect();
    let mut next = 0;
    let mut send = |client: &mut Client| {
        next = (next + 1) % batches.len();
        client.stream.write_all(&batches[next].requests).expect("an open connection");
        client.awaited = batches[next].answer_bytes;
    };
    for (at, client) in clients.iter_mut().enumerate() {
        client.stream.set_nodelay(true).expect("a TCP socket");
        let data = epoll::EventData::new_u64(at as u64);
        epoll::add(&epoll, &client.stream, data, epoll::EventFlags::IN).expect("a new socket");
        send(client);
    }
    let start = Instant::now();
    let end = start + Duration::from_secs(number(seconds) as u64);
    let mut answered = 0;
    let mut events = Vec::with_capacity(connections);
    let mut scratch = vec![0; 256 << 10];
    while Instant::now() < end {
        events.clear();
        epoll::wait(&epoll, spare_capacity(&mut events), None).expect("an epoll set");
        for event in &events {
            let at = usize::try_from(event.data.u64()).expect("a client's number");
            let client = &mut clients[at];
            let bytes = client.stream.read(&mut scratch).expect("an open connection");
            assert!(bytes > 0 && bytes <= client.awaited, "an answer has the wrong length");
            client.awaited -= bytes;
            if client.awaited == 0 {
                answered += depth;
                send(client);
            }
        }
    }
    eprintln!("requests {answered} seconds {:.3}", start.elapsed().as_secs_f64());
}
