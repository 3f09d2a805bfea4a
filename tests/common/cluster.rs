//! Shards without sockets: bytes, messages and time move only when a test says so.

use super::recording;
use kvcache::{
    auth::Tokens,
    clock::Millis,
    config::Config,
    metrics::Report,
    shard::{BEAT_MS, ConnectionId, Message, Role, Shard},
    store::KeyHasher,
    wire::Intent,
};
use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};

/// One client's side of a connection, as it was.
pub(crate) struct Exchange<'a> {
    /// To whom it was connected, and whether it closed its side.
    pub(crate) client: String,
    pub(crate) sent: &'a [u8],
    pub(crate) got: &'a [u8],
    pub(crate) end: String,
}

/// A connection of a [`Cluster`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client(usize);

/// Blanks what differs between two clusters that were told the same: versions start at random.
pub(crate) fn blank_versions(answers: &mut [u8]) {
    const TAG: &[u8] = b"\r\nETag: \"";
    for at in TAG.len()..answers.len() {
        if answers[..at].ends_with(TAG) {
            let version = answers[at..].iter_mut().take_while(|byte| byte.is_ascii_hexdigit());
            version.for_each(|digit| *digit = b'0');
        }
    }
}

/// What a client sees of the server's side of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Open,
    /// The server sends no more but still reads.
    HalfClosed,
    Closed,
}

/// The client's side of a connection.
struct Wire {
    shard: usize,
    id: ConnectionId,
    /// What it is connected to.
    port: String,
    /// All that was ever sent, and all that ever came.
    sent: Vec<u8>,
    got: Vec<u8>,
    was_reset: bool,
    /// Sent by the client and not yet read by the server.
    arrived: VecDeque<u8>,
    finished: bool,
    finish_was_read: bool,
    /// Bytes of answers that the client still takes.
    window: usize,
    output: Vec<u8>,
    end: End,
}

pub(crate) struct Cluster {
    shards: Vec<Shard>,
    mail: VecDeque<(usize, usize, Message)>,
    wires: Vec<Wire>,
    now: Millis,
    read_bytes_max: usize,
    is_recorded: bool,
}

/// Sun, 06 Nov 1994 08:49:37 GMT, always.
fn date() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)
}

impl Cluster {
    pub(crate) fn new(config: &Config) -> Self {
        let hasher = KeyHasher::random();
        let now = Millis(1_000);
        let shard = |me| Shard::new(me, config.clone(), hasher.clone(), now, date());
        Self {
            shards: (0..config.shards).map(shard).collect(),
            mail: VecDeque::new(),
            wires: Vec::new(),
            now,
            read_bytes_max: config.limits.read_bytes_max,
            is_recorded: true,
        }
    }

    /// For a store that is filled: its hash is random, so how much fits is not always the same, and
    /// what is answered from there on is not recorded.
    pub(crate) fn leave_unrecorded(&mut self) {
        self.is_recorded = false;
    }

    /// From here on clients need one of these tokens.
    pub(crate) fn set_tokens(&mut self, tokens: &Tokens) {
        self.shards.iter_mut().for_each(|shard| shard.set_tokens(tokens.clone()));
    }

    pub(crate) fn connect(&mut self, shard: usize, role: Role) -> Client {
        self.open(shard, format!("{role:?}"), |shard| shard.open(role))
    }

    /// A connection above the limit.
    pub(crate) fn connect_in_vain(&mut self, shard: usize) -> Client {
        self.open(shard, "Above the limit".to_owned(), |shard| shard.open(Role::Refused))
    }

    fn open(
        &mut self,
        shard: usize,
        port: String,
        open: impl FnOnce(&mut Shard) -> ConnectionId,
    ) -> Client {
        let id = open(&mut self.shards[shard]);
        self.wires.push(Wire {
            shard,
            id,
            port,
            sent: Vec::new(),
            got: Vec::new(),
            was_reset: false,
            arrived: VecDeque::new(),
            finished: false,
            finish_was_read: false,
            window: usize::MAX,
            output: Vec::new(),
            end: End::Open,
        });
        self.settle();
        Client(self.wires.len() - 1)
    }

    /// Sends bytes and lets everything happen that follows from them.
    pub(crate) fn send(&mut self, client: Client, bytes: impl AsRef<[u8]>) {
        self.send_bytes(client, bytes);
        self.settle();
    }

    /// Sends bytes that nobody reads for now.
    pub(crate) fn send_bytes(&mut self, client: Client, bytes: impl AsRef<[u8]>) {
        let wire = &mut self.wires[client.0];
        wire.arrived.extend(bytes.as_ref());
        wire.sent.extend_from_slice(bytes.as_ref());
    }

    /// Sends bytes, and every shard takes one turn.
    pub(crate) fn send_only(&mut self, client: Client, bytes: impl AsRef<[u8]>) {
        self.send_bytes(client, bytes);
        self.turn();
    }

    /// Closes the client's side.
    pub(crate) fn finish(&mut self, client: Client) {
        self.wires[client.0].finished = true;
        self.settle();
    }

    /// The connection breaks.
    pub(crate) fn reset(&mut self, client: Client) {
        let wire = &mut self.wires[client.0];
        wire.was_reset = wire.end != End::Closed;
        wire.end = End::Closed;
        self.shards[wire.shard].forget(wire.id);
        self.settle();
    }

    /// The client takes `bytes` more of its answers, then no more.
    pub(crate) fn take_only(&mut self, client: Client, bytes: usize) {
        self.wires[client.0].window = bytes;
        self.settle();
    }

    /// Time passes, beat by beat.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now.after(time);
        while self.now < end {
            self.now = Millis(end.0.min(self.now.0 + BEAT_MS));
            self.beat();
        }
    }

    /// So many beats pass in which nothing waits for less than `delay`.
    pub(crate) fn pass_delayed(&mut self, beats: usize, delay: Duration) {
        for _ in 0..beats {
            for shard in &mut self.shards {
                shard.record_queue_delay(u64::try_from(delay.as_micros()).unwrap());
            }
            self.pass(Duration::from_millis(BEAT_MS));
        }
    }

    /// Time passes while the process is stopped.
    pub(crate) fn freeze(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.beat();
    }

    fn beat(&mut self) {
        for shard in &mut self.shards {
            shard.begin_turn(self.now);
            shard.beat(self.now, date());
        }
        self.settle();
    }

    pub(crate) fn drain(&mut self) {
        self.shards.iter_mut().for_each(Shard::drain);
        for at in 0..self.wires.len() {
            self.read(at);
        }
        self.settle();
    }

    /// What has come back since the last call.
    pub(crate) fn output(&mut self, client: Client) -> Vec<u8> {
        std::mem::take(&mut self.wires[client.0].output)
    }

    pub(crate) fn end(&self, client: Client) -> End {
        self.wires[client.0].end
    }

    /// Bytes that the server has not read.
    pub(crate) fn unread(&self, client: Client) -> usize {
        self.wires[client.0].arrived.len()
    }

    /// Bytes that wait for the client to take them.
    pub(crate) fn unsent(&mut self, client: Client) -> usize {
        let wire = &self.wires[client.0];
        self.shards[wire.shard].unsent(wire.id).len()
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.shards.iter().all(Shard::is_quiet)
    }

    pub(crate) fn reports(&self) -> Vec<Report> {
        self.shards.iter().map(Shard::report).collect()
    }

    pub(crate) fn entries(&self) -> u64 {
        self.reports().iter().map(|report| report.store.entries).sum()
    }

    /// Serves until nothing moves any more.
    fn settle(&mut self) {
        while self.turn() {}
    }

    /// Every shard takes a turn. Returns whether anything moved.
    pub(crate) fn turn(&mut self) -> bool {
        let mut moved = false;
        for shard in &mut self.shards {
            moved |= shard.begin_turn(self.now);
        }
        for at in 0..self.wires.len() {
            moved |= self.serve(at);
        }
        for (from, shard) in self.shards.iter_mut().enumerate() {
            shard.take_listed(&mut Vec::new());
            shard.flush(|to, message| {
                self.mail.push_back((from, to, message));
                Ok(())
            });
        }
        while let Some((from, to, message)) = self.mail.pop_front() {
            self.shards[to].deliver(from, message);
            moved = true;
        }
        moved
    }

    /// Reads, writes and closes as the owner of a socket does. Returns whether anything moved.
    fn serve(&mut self, at: usize) -> bool {
        let wire = &mut self.wires[at];
        let shard = &mut self.shards[wire.shard];
        if wire.end == End::Closed {
            return false;
        }
        let mut moved = false;
        if matches!(shard.intent(wire.id), Intent::Wait { read: true, .. }) {
            moved = self.read(at);
        }
        let wire = &mut self.wires[at];
        let shard = &mut self.shards[wire.shard];
        loop {
            let unsent = shard.unsent(wire.id);
            if unsent.is_empty() {
                break;
            }
            let taken = unsent.len().min(wire.window);
            wire.output.extend_from_slice(&unsent[..taken]);
            wire.got.extend_from_slice(&unsent[..taken]);
            wire.window -= if wire.window == usize::MAX { 0 } else { taken };
            shard.sent(wire.id, taken);
            moved |= taken > 0;
            if taken == 0 {
                break;
            }
        }
        if shard.intent(wire.id) == Intent::CloseWrite {
            wire.end = End::HalfClosed;
            shard.linger(wire.id);
            moved = true;
        }
        if shard.intent(wire.id) == Intent::Close {
            wire.end = End::Closed;
            shard.forget(wire.id);
            moved = true;
        }
        moved
    }

    /// One read of a socket. Returns whether it brought anything.
    fn read(&mut self, at: usize) -> bool {
        let wire = &mut self.wires[at];
        let shard = &mut self.shards[wire.shard];
        if wire.end == End::Closed || wire.finish_was_read {
            return false;
        }
        let length = wire.arrived.len().min(self.read_bytes_max);
        if length > 0 {
            let bytes: Vec<u8> = wire.arrived.drain(..length).collect();
            shard.receive(wire.id, &bytes, length == self.read_bytes_max);
        } else if wire.finished {
            wire.finish_was_read = true;
            shard.end_input(wire.id);
        } else {
            shard.exhausted(wire.id);
            return false;
        }
        true
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.is_recorded || std::thread::panicking() {
            return;
        }
        for Wire { port, sent, got, finished, was_reset, end, .. } in &self.wires {
            let client = if *finished { format!("{port}, closes") } else { port.clone() };
            let end = if *was_reset { "Reset".to_owned() } else { format!("{end:?}") };
            recording::check(&Exchange { client, sent, got, end });
        }
    }
}
