//! Whole servers of one, two and three shards on real sockets.
//!
//! Nothing here waits for time to pass: a test reads until the server has acted.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common {
    pub(crate) mod answer;
    pub(crate) mod client;
}

use common::client::{Client, found, get, put};
use kvcache::{
    config::{AdminAddress, Config},
    server::{Server, ServerError},
};
use socket2::{Domain, SockRef, Socket, Type};
use std::{
    cell::RefCell,
    fs,
    io::{ErrorKind, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr},
    ops::Deref,
    sync::{MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// Short enough to be seen, and longer than a client needs that is on time.
const SHORT: Duration = Duration::from_millis(50);

/// Two keys of which no shard of two owns both.
const KEYS: [&str; 2] = ["a", "b"];

#[expect(clippy::disallowed_types, reason = "tests that count a process's descriptors take turns")]
static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());

thread_local! {
    /// The turn of this thread's test. It ends with the thread, when the test's own sockets are
    /// closed too.
    static HELD: RefCell<Option<MutexGuard<'static, ()>>> = const { RefCell::new(None) };
}

fn take_turn() {
    HELD.with_borrow_mut(|held| {
        held.get_or_insert_with(|| TURN.lock().unwrap_or_else(PoisonError::into_inner));
    });
}

/// A server that is stopped on request.
struct Running {
    server: Server,
}

impl Deref for Running {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

fn config(shards: usize) -> Config {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut config = Config {
        listen: anywhere,
        admin_listen: Some(anywhere.into()),
        shards,
        memory_bytes: shards << 20,
        drain_timeout: Duration::from_mins(1),
        ..Config::default()
    };
    // Deadlines are tested by themselves; elsewhere a slow machine must not meet one.
    config.limits.read_timeout = Duration::from_mins(1);
    config.limits.write_timeout = Duration::from_mins(1);
    config.limits.linger_timeout = SHORT;
    config
}

fn start(shards: usize) -> Running {
    start_with(&config(shards))
}

fn start_with(config: &Config) -> Running {
    take_turn();
    Running { server: Server::start(config).unwrap() }
}

impl Running {
    fn connect(&self) -> Client {
        Client::connect(self.data_address())
    }

    fn admin_tcp(&self) -> SocketAddr {
        match self.admin_address() {
            Some(AdminAddress::Tcp(address)) => *address,
            other => panic!("no TCP address: {other:?}"),
        }
    }

    fn admin(&self) -> Client {
        Client::connect(self.admin_tcp())
    }

    fn stop(self) {
        self.server.stop().unwrap();
    }
}

/// A connection whose kernel takes few bytes that are not read.
fn connect_narrow(address: SocketAddr) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    socket.connect(&address.into()).unwrap();
    Client::on(socket.into())
}

/// Closes the client's side and waits for the server's.
fn close(mut client: Client) {
    client.stream.shutdown(Shutdown::Write).unwrap();
    client.expect_end();
}

/// Breaks the connection: the server gets RST.
fn reset(client: Client) {
    SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
}

/// So many idle connections that every shard has one, beside `others` that are open. When each of
/// them has ended, every shard drains.
fn idle_everywhere(server: &Running, others: usize) -> Vec<Client> {
    let shards = stats(&mut server.admin())["shards"].as_array().unwrap().len();
    let idle = (0..shards * (others + 1)).map(|_| {
        let mut client = server.connect();
        assert_eq!(client.ask(get("nothing")).status, 404);
        client
    });
    idle.collect()
}

/// The statistics, asked over and over until they are as wanted.
fn await_stats(admin: &mut Client, wanted: impl Fn(&serde_json::Value) -> bool) {
    for _ in 0..200_000 {
        let stats = stats(admin);
        if wanted(&stats) {
            return;
        }
        thread::yield_now();
    }
    panic!("the statistics stay {}", stats(admin));
}

fn stats(admin: &mut Client) -> serde_json::Value {
    let answer = admin.ask("GET /stats HTTP/1.1\r\nHost: h\r\n\r\n");
    serde_json::from_str(&answer.body).unwrap()
}

fn await_open(admin: &mut Client, accepted: u64, open: u64) {
    await_stats(admin, |stats| {
        let connections = &stats["totals"]["connections"];
        connections["accepted"] == accepted && connections["open"] == open
    });
}

/// What this process has open, by descriptor.
fn descriptors() -> Vec<String> {
    let mut open = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").unwrap() {
        let path = entry.unwrap().path();
        // The directory that is being read is gone by the time that it is looked at.
        if let Ok(target) = fs::read_link(&path) {
            open.push(format!("{} {}", path.display(), target.display()));
        }
    }
    open.sort();
    open
}

#[test]
fn what_is_put_through_one_connection_is_got_through_all() {
    for shards in 1..=3 {
        let server = start(shards);
        let mut clients: Vec<Client> = (0..2 * shards).map(|_| server.connect()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            for key in ["a", "b", "c", "d", "e"] {
                let key = format!("{key}{number}");
                assert_eq!(client.ask(put(&key, &format!("value of {key}"))).status, 200);
            }
        }
        for number in 0..2 * shards {
            for client in &mut clients {
                for key in ["a", "b", "c", "d", "e"] {
                    let key = format!("{key}{number}");
                    let answer = client.ask(get(&key));
                    assert_eq!(answer.body, found(&key, &format!("value of {key}")));
                }
            }
        }
        assert_eq!(clients[0].ask(get("nothing")).status, 404);
        let stats = stats(&mut server.admin());
        let entries = |shard: &serde_json::Value| shard["store"]["entries"].as_u64().unwrap();
        let held: Vec<u64> = stats["shards"].as_array().unwrap().iter().map(entries).collect();
        assert_eq!(held.iter().sum::<u64>(), 10 * shards as u64);
        assert!(held.iter().all(|&entries| entries > 0), "{held:?}");
        clients.into_iter().for_each(close);
        server.stop();
    }
}

#[test]
fn connections_are_spread_evenly() {
    for shards in [2, 3] {
        let server = start(shards);
        let mut admin = server.admin();
        let mut clients = Vec::new();
        for count in 1..=16 {
            let mut client = server.connect();
            assert_eq!(client.ask(get("a")).status, 404);
            clients.push(client);
            let stats = stats(&mut admin);
            let open = |shard: &serde_json::Value| shard["connections"]["open"].as_u64().unwrap();
            let open: Vec<u64> = stats["shards"].as_array().unwrap().iter().map(open).collect();
            assert_eq!(open.iter().sum::<u64>(), count);
            let (fewest, most) = (open.iter().min().unwrap(), open.iter().max().unwrap());
            assert!(most - fewest <= 1, "{count} connections: {open:?}");
        }
        drop((admin, clients));
        server.stop();
    }
}

#[test]
fn a_connection_above_the_limit_reads_why() {
    for shards in [1, 2] {
        let mut config = config(shards);
        config.limits.connections_max = 3;
        let server = start_with(&config);
        let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
        for client in &mut clients {
            assert_eq!(client.ask(get("a")).status, 404);
        }
        for _ in 0..20 {
            let mut refused = server.connect();
            refused.send(get("a"));
            let answer = refused.answer();
            assert_eq!((answer.status, answer.code().as_str()), (503, "too_many_connections"));
            assert_eq!(answer.field("retry-after"), Some("1"));
            assert!(answer.says_close());
            refused.expect_end();
        }
        for client in &mut clients {
            assert_eq!(client.ask(get("a")).status, 404, "the others go on");
        }
        let totals = stats(&mut server.admin())["totals"]["connections"].clone();
        assert_eq!((&totals["refused"], &totals["open"]), (&20.into(), &3.into()));
        // Room comes back; the server may still be counting when we come back too.
        close(clients.pop().unwrap());
        let admitted = (0..10_000).any(|_| {
            let mut client = server.connect();
            client.send(get("a"));
            client.answer().status == 404
        });
        assert!(admitted);
        drop(clients);
        server.stop();
    }
}

#[test]
fn a_request_that_does_not_go_on_is_408() {
    for shards in [1, 2] {
        let mut config = config(shards);
        config.limits.read_timeout = SHORT;
        let server = start_with(&config);
        let request = put("a", "b");
        let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
        for (client, sent) in clients.iter_mut().zip([1, 20, request.len() - 5, request.len() - 1])
        {
            client.send(&request[..sent]);
        }
        for client in &mut clients {
            let answer = client.answer();
            assert_eq!((answer.status, answer.code().as_str()), (408, "request_timeout"));
            assert!(answer.says_close());
            client.expect_end();
        }
        assert_eq!(server.connect().ask(get("a")).status, 404, "nothing was stored");
        drop(clients);
        server.stop();
    }
}

#[test]
fn an_idle_connection_ends_without_a_word() {
    for shards in [1, 2] {
        let mut config = config(shards);
        config.limits.idle_timeout = SHORT;
        let server = start_with(&config);
        let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
        for client in &mut clients[..2] {
            client.send(get("a"));
            assert_eq!(client.answer().status, 404);
        }
        clients.iter_mut().for_each(Client::expect_end);
        await_open(&mut server.admin(), 4, 0);
        server.stop();
    }
}

#[test]
fn a_client_that_never_reads_is_closed() {
    const VALUE_BYTES: usize = 64 << 10;
    let mut config = config(2);
    config.memory_bytes = 8 << 20;
    config.limits.value_bytes_max = VALUE_BYTES;
    config.limits.write_timeout = SHORT;
    let server = start_with(&config);
    let mut reader = server.connect();
    for key in KEYS {
        assert_eq!(reader.ask(put(key, &"v".repeat(VALUE_BYTES))).status, 200);
        let mut client = connect_narrow(server.data_address());
        let requests = get(key).repeat(1_000);
        let error = loop {
            if let Err(error) = client.stream.write_all(requests.as_bytes()) {
                break error.kind();
            }
        };
        assert!(matches!(error, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    }
    for key in KEYS {
        assert_eq!(reader.ask(get(key)).body, found(key, &"v".repeat(VALUE_BYTES)));
    }
    await_open(&mut server.admin(), 3, 1);
    close(reader);
    server.stop();
}

#[test]
fn stopping_closes_idle_connections_and_waits_for_half_a_request() {
    for shards in 1..=3 {
        let mut config = config(shards);
        config.limits.linger_timeout = Duration::from_mins(1);
        let server = start_with(&config);
        let mut admin = server.admin();
        let mut half = server.connect();
        assert_eq!(half.ask(put("a", "b")).status, 200);
        let request = get("a");
        half.send(&request[..10]);
        half.await_arrival();
        let mut idle = idle_everywhere(&server, 1);
        let admin_address = server.admin_tcp();
        let Running { server } = server;
        thread::scope(|scope| {
            let stopped = scope.spawn(move || server.stop().unwrap());
            idle.iter_mut().for_each(Client::expect_end);
            // The admin listener answers until the end, on old connections and on new ones.
            for admin in [&mut admin, &mut Client::connect(admin_address)] {
                let answer = admin.ask("GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n");
                assert_eq!(answer.status, 503);
                assert!(answer.body.contains("\"code\":\"draining\""), "{}", answer.body);
                admin.expect_end();
            }
            let answer = half.ask(&request[10..]);
            assert_eq!(answer.body, found("a", "b"));
            assert!(answer.says_close());
            half.expect_end();
            drop((idle, half, admin));
            stopped.join().unwrap();
        });
    }
}

#[test]
fn stopping_does_not_wait_for_ever_for_half_a_request() {
    let mut config = config(2);
    config.limits.read_timeout = SHORT;
    let server = start_with(&config);
    let mut client = server.connect();
    client.send("GET /get");
    client.await_arrival();
    server.stop();
    assert_eq!(client.answer().status, 408);
    client.expect_end();
}

#[test]
fn stopping_answers_every_request_that_has_arrived() {
    // The first are read at once, and their answers are more than the sockets hold: the rest stays
    // in the receive buffer.
    const READ: usize = 500;
    const REQUESTS: usize = 700;
    const VALUE_BYTES: usize = 16 << 10;
    let request =
        |key| format!("GET /get?key={key} HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(23));
    for shards in 1..=3 {
        let mut config = config(shards);
        config.memory_bytes = 8 << 20;
        config.limits.value_bytes_max = VALUE_BYTES;
        let server = start_with(&config);
        let mut writer = server.connect();
        let mut clients: Vec<(Client, &str)> = Vec::new();
        for key in KEYS {
            assert_eq!(request(key).len(), 64);
            assert_eq!(writer.ask(put(key, &"v".repeat(VALUE_BYTES))).status, 200);
            // It cannot be sent everything before it reads.
            let mut client = connect_narrow(server.data_address());
            client.send(request(key).repeat(READ));
            assert_eq!(client.answer().status, 200);
            client.send(request(key).repeat(REQUESTS - READ));
            client.await_arrival();
            clients.push((client, key));
        }
        // Few small answers are sent at once.
        let mut client = server.connect();
        client.send(get("nothing").repeat(REQUESTS));
        assert_eq!(client.answer().status, 404);
        client.await_arrival();
        clients.push((client, "nothing"));
        let mut idle = idle_everywhere(&server, 4);
        let Running { server } = server;
        thread::scope(|scope| {
            let stopped = scope.spawn(move || server.stop().unwrap());
            idle.iter_mut().for_each(Client::expect_end);
            for (mut client, key) in clients {
                for number in 2..=REQUESTS {
                    let answer = client.answer();
                    assert_eq!(answer.status, if key == "nothing" { 404 } else { 200 });
                    // What fits in the socket buffers may have been answered before the stop.
                    let may_say_close = number == REQUESTS;
                    let must_say_close = may_say_close && key != "nothing";
                    assert!(answer.says_close() || !must_say_close, "{number} of {key}");
                    assert!(!answer.says_close() || may_say_close, "{number} of {key}");
                }
                client.expect_end();
            }
            drop((idle, writer));
            stopped.join().unwrap();
        });
    }
}

#[test]
fn a_port_is_free_again_after_the_stop_and_not_before() {
    for shards in [1, 2] {
        let first = start(shards);
        let mut again = config(shards);
        again.listen = first.data_address();
        let mut client = first.connect();
        assert_eq!(client.ask(get("a")).status, 404);
        for shards in [1, 2] {
            let second = Server::start(&Config { shards, ..again.clone() });
            let Err(ServerError::Bind { address, error }) = second else {
                panic!("two servers on one port")
            };
            assert_eq!((address, error.kind()), (again.listen.into(), ErrorKind::AddrInUse));
        }
        let second = Server::start(&Config {
            admin_listen: first.admin_address().cloned(),
            ..config(shards)
        });
        assert!(matches!(second, Err(ServerError::Bind { .. })));
        assert_eq!(client.ask(get("a")).status, 404);
        first.stop();
        client.expect_end();
        let second = start_with(&again);
        assert_eq!(second.connect().ask(get("a")).status, 404);
        second.stop();
    }
}

#[test]
fn a_server_that_stopped_leaves_no_descriptor() {
    take_turn();
    // An executor that ends while another wakes it can leave its event descriptor behind, which
    // the end of the process closes.
    let ours = || -> Vec<String> {
        descriptors().into_iter().filter(|open| !open.ends_with("[eventfd]")).collect()
    };
    let before = ours();
    for shards in 1..=3 {
        let server = Server::start(&config(shards)).unwrap();
        let mut client = Client::connect(server.data_address());
        assert_eq!(client.ask(get("a")).status, 404);
        close(client);
        server.stop().unwrap();
        assert_eq!(ours(), before, "after {shards} shards");
    }
}

#[test]
fn connections_that_come_and_go_leave_no_descriptor() {
    const CYCLES: u64 = 2_000;
    for shards in [1, 2] {
        let server = start(shards);
        let mut admin = server.admin();
        close(server.connect());
        await_open(&mut admin, 1, 0);
        let before = descriptors();
        for cycle in 0..CYCLES {
            let mut client = server.connect();
            match cycle % 4 {
                0 => {}
                1 => assert_eq!(client.ask(get(KEYS[0])).status, 404),
                2 => assert_eq!(client.ask(get(KEYS[1])).status, 404),
                _ => client.send("GET /get"),
            }
        }
        await_open(&mut admin, 1 + CYCLES, 0);
        assert_eq!(descriptors(), before);
        drop(admin);
        server.stop();
    }
}

#[test]
fn broken_connections_leave_nothing_open() {
    const VALUE_BYTES: usize = 64 << 10;
    const CYCLES: u64 = 50;
    for shards in [1, 2] {
        let mut config = config(shards);
        config.memory_bytes = 8 << 20;
        config.limits.value_bytes_max = VALUE_BYTES;
        let server = start_with(&config);
        let mut admin = server.admin();
        let mut writer = server.connect();
        for key in KEYS {
            assert_eq!(writer.ask(put(key, &"v".repeat(VALUE_BYTES))).status, 200);
        }
        close(writer);
        await_open(&mut admin, 1, 0);
        let before = descriptors();
        let many: String = KEYS.map(get).concat().repeat(100);
        let large = put("large", &"v".repeat(VALUE_BYTES));
        let points = ["", "GET /get?k", &large[..50_000], &many, "\n", "GET /"];
        for _ in 0..CYCLES {
            for point in points {
                let mut client = server.connect();
                // A reset can overtake the answer to what was just sent, never the other way round.
                drop(client.stream.write_all(point.as_bytes()));
                reset(client);
            }
            let mut client = server.connect();
            client.send(&many);
            assert_eq!(client.answer().status, 200);
            reset(client);
        }
        await_open(&mut admin, 1 + CYCLES * (points.len() as u64 + 1), 0);
        assert_eq!(descriptors(), before);
        assert_eq!(server.connect().ask(get("large")).status, 404, "stored by half a request");
        drop(admin);
        server.stop();
    }
}

#[test]
fn a_long_run_over_both_shards_loses_no_answer() {
    const REQUESTS: usize = 20_000;
    let server = start(2);
    let mut client = server.connect();
    let keys: Vec<String> = (0..100).map(|number| format!("key{number}")).collect();
    for key in &keys {
        assert_eq!(client.ask(put(key, key)).status, 200);
    }
    let mut sender = client.stream.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            for batch in (0..REQUESTS).collect::<Vec<_>>().chunks(500) {
                let requests = batch.iter().map(|number| get(&keys[number % keys.len()]));
                sender.write_all(requests.collect::<String>().as_bytes()).unwrap();
            }
        });
        for number in 0..REQUESTS {
            let key = &keys[number % keys.len()];
            assert_eq!(client.answer().body, found(key, key));
        }
    });
    let hops = stats(&mut server.admin())["totals"]["hops"]["calls"].as_u64().unwrap();
    assert!(hops > REQUESTS as u64 / 4, "{hops} hops");
    close(client);
    server.stop();
}

#[test]
fn shards_that_sleep_between_requests_wake_up_for_each() {
    for shards in [2, 3] {
        let server = start(shards);
        let mut clients: Vec<Client> = (0..shards).map(|_| server.connect()).collect();
        for number in 0..600 {
            let key = format!("key{number}");
            let value = number.to_string();
            let turn = number % shards;
            assert_eq!(clients[turn].ask(put(&key, &value)).status, 200);
            for client in &mut clients {
                assert_eq!(client.ask(get(&key)).body, found(&key, &value));
            }
        }
        clients.into_iter().for_each(close);
        server.stop();
    }
}
