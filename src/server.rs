//! The process: one pinned executor per shard, its listeners and channels, start and stop.
//!
//! The main thread binds the ports, starts the shards, waits until every one of them is ready and
//! only then lets them listen. From there on it waits: for a signal, or for a shard to end.

mod restore;

use crate::{
    auth::Tokens,
    clock::Clock,
    config::{AdminAddress, Config},
    disk::Disk,
    driver::{
        ASK, DRAIN, Driver, FINISH, News, PARCELS_MAX, Parcel, Parts, RELOADED, Reloaded, SAVE,
        START,
    },
    link::Links,
    log::{self, Level},
    metrics::Reload,
    notify::{self, Watchdog},
    preflight::{self, Lack},
    shard::{Clocks, Shard, WRITER},
    snapshot::Block,
    store::KeyHasher,
};
use glommio::{LocalExecutorBuilder, io::PollableFd};
use rustix::{fs::Mode, process::umask};
use signal_hook::{consts, iterator::Signals};
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use std::{
    fmt, fs,
    io::{self, PipeReader, PipeWriter, Write},
    net::{SocketAddr, TcpListener},
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender},
    },
    thread::{self, JoinHandle},
    time::{Duration, UNIX_EPOCH},
};

/// Connections that the kernel completes before they are accepted.
const BACKLOG: i32 = 4096;
const TCP_KEEPALIVE: Duration = Duration::from_mins(3);

/// Registered I/O memory of one executor; the least, as sockets do not use it.
const IO_MEMORY_BYTES: usize = 64 << 10;
/// How long tasks may run before the executor looks at its rings again. Ours end by themselves
/// after a bounded turn, so this is out of reach on purpose: an executor whose timer has run out
/// before it came to run the tasks that it has just woken (a busy host takes the CPU away for that
/// long) goes to sleep on them instead.
const PREEMPT: Duration = Duration::from_mins(1);
/// What the main thread allows beyond the drain timeout for the shards to end by themselves.
const GRACE: Duration = Duration::from_millis(500);

/// Why the server did not start or did not go on.
#[derive(Debug)]
pub enum Error {
    /// The host lacks something.
    Host(Lack),
    Bind {
        address: AdminAddress,
        error: io::Error,
    },
    /// The file of tokens cannot be used.
    Tokens(String),
    /// The snapshot cannot be restored, or could not be written.
    Snapshot(String),
    /// A shard's executor did not start.
    Shard {
        shard: usize,
        error: String,
    },
    /// A shard ended by itself.
    Ended {
        shard: usize,
    },
    Io(io::Error),
}

impl Error {
    /// Whether only a change of the configuration or the host can help.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        !matches!(self, Self::Ended { .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(lack) => write!(out, "{lack}"),
            Self::Bind { address, error } if error.kind() == io::ErrorKind::AddrInUse => {
                write!(out, "{address} is in use; stop what listens there, or choose another")
            }
            Self::Bind { address, error } => write!(out, "cannot listen on {address}: {error}"),
            Self::Tokens(error) => write!(out, "--auth-token-file: {error}"),
            Self::Snapshot(error) => write!(out, "--snapshot-path: {error}"),
            Self::Shard { shard, error } => {
                let error = error.replace('\n', " ");
                write!(out, "shard {shard} does not start: {error}")
            }
            Self::Ended { shard } => write!(out, "shard {shard} ended"),
            Self::Io(error) => write!(out, "cannot start: {error}"),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Something that the main thread waits for.
enum Event {
    Ready,
    News {
        shard: usize,
        news: News,
    },
    Failed {
        shard: usize,
        error: String,
    },
    Ended {
        shard: usize,
    },
    /// The end is asked for.
    Signal,
    /// The settings and the tokens are to be read again.
    Reload,
}

/// A running server.
pub struct Server {
    data: SocketAddr,
    admin: Option<AdminAddress>,
    /// Goes with the server.
    _admin_file: Option<SocketFile>,
    drain_timeout: Duration,
    /// What came of reading the settings that can change, the last time.
    reload: Reload,
    saves_last: bool,
    controls: Vec<Control>,
    threads: Vec<JoinHandle<()>>,
    events: Receiver<Event>,
    reports: Sender<Event>,
}

/// The main thread's way to one shard.
struct Control {
    words: PipeWriter,
    reloads: Sender<Reloaded>,
    blocks: SyncSender<(Arc<Block>, Clocks)>,
}

/// Serves until SIGTERM or SIGINT, then drains. A second signal ends the process at once. SIGHUP
/// has the tokens and, with `read`, the settings read again.
pub fn run(mut config: Config, read: impl Fn() -> Result<Config, String>) -> Result<(), Error> {
    preflight::check(&config).map_err(Error::Host)?;
    // A limit on the size of files must fail a snapshot and not end the process.
    let heeded = [consts::SIGTERM, consts::SIGINT, consts::SIGHUP, consts::SIGXFSZ];
    let mut signals = Signals::new(heeded)?;
    let mut server = Server::start(&config)?;
    let reports = server.reports.clone();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let mut is_ending = false;
        for signal in signals.forever() {
            let event = match signal {
                consts::SIGXFSZ => continue,
                consts::SIGHUP => Event::Reload,
                _ => Event::Signal,
            };
            let is_end = matches!(event, Event::Signal);
            if is_end && is_ending || reports.send(event).is_err() {
                std::process::exit(1);
            }
            is_ending |= is_end;
        }
    })?;
    let serving = server.serving();
    notify::ready(&serving);
    let Config { shards, memory_bytes, eviction, limits, .. } = &config;
    config.log.line(
        Level::Info,
        &serving,
        &[
            ("version", &env!("CARGO_PKG_VERSION")),
            ("shards", shards),
            ("memory_bytes", memory_bytes),
            ("eviction", &eviction.name()),
            ("key_bytes_max", &limits.key_bytes_max),
            ("value_bytes_max", &limits.value_bytes_max),
            ("connections_max", &limits.connections_max),
        ],
    );
    server.wait(&mut config, &read)?;
    notify::stopping();
    config.log.line(Level::Info, "draining", &[]);
    server.stop()
}

impl Server {
    /// Binds the ports, starts every shard and lets them listen.
    pub fn start(config: &Config) -> Result<Self, Error> {
        let tokens = config.auth_token_file.as_deref().map(Tokens::read).transpose();
        let tokens = tokens.map_err(Error::Tokens)?;
        let (data, listeners) = bind_all(config)?;
        let mut admin = config.admin_listen.as_ref().map(Admin::bind).transpose()?;

        let (reports, events) = mpsc::channel();
        let found = restore::open(config)?;
        let hasher = KeyHasher::random();
        let hasher = match &found {
            Some(found) => hasher.with_tag_key(found.tag_key()),
            None => hasher,
        };
        let clock = Clock::start();
        let mut server = Self {
            data,
            admin: admin.as_ref().map(|admin| admin.address.clone()),
            _admin_file: admin.as_mut().and_then(|admin| admin.file.take()),
            drain_timeout: config.drain_timeout,
            reload: Reload::default(),
            saves_last: config.snapshot_path.is_some(),
            controls: Vec::new(),
            threads: Vec::new(),
            events,
            reports,
        };
        let links = Links::between(config.shards, PARCELS_MAX)?;
        let cpus = cpus_for(config.shards);
        for ((shard, links), listener) in links.into_iter().enumerate().zip(&listeners) {
            let (control, words) = io::pipe()?;
            let (sender, receiver) = mpsc::channel();
            let (blocks, incoming) = mpsc::sync_channel(restore::BLOCKS_MAX);
            server.controls.push(Control { words, reloads: sender, blocks });
            let plan = Plan {
                shard,
                config: config.clone(),
                hasher: hasher.clone(),
                clock,
                data: listener.try_clone()?.into(),
                admin: admin.take().map(|admin| admin.socket.into()),
                control,
                reloads: receiver,
                blocks: incoming,
                links,
            };
            let cpu = cpus.as_ref().map(|cpus| cpus[shard]);
            let reports = server.reports.clone();
            let thread = thread::Builder::new()
                .name(format!("shard-{shard}"))
                .spawn(move || plan.run(cpu, &reports))?;
            server.threads.push(thread);
        }
        server.wait_until_ready(config.shards)?;
        if let Some(found) = found {
            restore::restore(&mut server, found, config, clock)?;
        }
        for listener in &listeners {
            listener.listen(BACKLOG).map_err(|error| cannot_bind(data, error))?;
        }
        server.read_at_start(tokens);
        for control in &mut server.controls {
            control.words.write_all(&[START])?;
        }
        Ok(server)
    }

    /// The settings that can change were read for the first time.
    fn read_at_start(&mut self, tokens: Option<Tokens>) {
        self.reload = Reload { is_good: 1, good_seconds: wall_seconds() };
        self.hand_out(tokens, None);
    }

    fn hand_out(&mut self, tokens: Option<Tokens>, config: Option<&Config>) {
        let config = config.map(|config| Box::new(config.clone()));
        let reloaded = Reloaded { state: self.reload, tokens, config };
        for control in &mut self.controls {
            // A shard that is gone needs nothing.
            drop(control.reloads.send(reloaded.clone()));
        }
        self.tell(RELOADED);
    }

    /// Reads the settings and the tokens again. Where that fails, those that are in force stay.
    fn reload(&mut self, config: &mut Config, read: impl Fn() -> Result<Config, String>) {
        notify::reloading(Clock::monotonic_micros());
        let mut wanted = config.clone();
        let found = read().and_then(|read| {
            let waiting = wanted.reload(read);
            preflight::descriptors(&wanted).map_err(|lack| lack.to_string())?;
            let tokens = wanted.auth_token_file.as_deref().map(Tokens::read).transpose()?;
            Ok((waiting, tokens))
        });
        self.reload.is_good = u64::from(found.is_ok());
        if found.is_ok() {
            self.reload.good_seconds = wall_seconds();
        }
        match found {
            Ok((waiting, tokens)) => {
                *config = wanted;
                self.drain_timeout = config.drain_timeout;
                let count = tokens.as_ref().map_or(0, Tokens::count);
                self.hand_out(tokens, Some(config));
                let message = "the settings that can change were read again";
                config.log.line(Level::Info, message, &[("tokens", &count)]);
                if !waiting.is_empty() {
                    let fields: log::Fields<'_> = &[("settings", &waiting.join(","))];
                    config.log.line(Level::Warn, "some settings wait for a restart", fields);
                }
            }
            Err(error) => {
                self.hand_out(None, None);
                let fields: log::Fields<'_> = &[("reason", &error)];
                config.log.line(Level::Error, "the old settings stay in force", fields);
            }
        }
        notify::ready(&self.serving());
    }

    fn wait_until_ready(&self, shards: usize) -> Result<(), Error> {
        for _ in 0..shards {
            match self.events.recv() {
                Ok(Event::Ready) => {}
                Ok(Event::Failed { shard, error }) => return Err(Error::Shard { shard, error }),
                Ok(Event::Ended { shard }) => return Err(Error::Ended { shard }),
                Ok(Event::Signal | Event::Reload | Event::News { .. }) | Err(_) => {
                    unreachable!("nobody sends it yet, and we could")
                }
            }
        }
        Ok(())
    }

    /// Waits for a signal, and feeds the watchdog meanwhile.
    fn wait(
        &mut self,
        config: &mut Config,
        read: impl Fn() -> Result<Config, String>,
    ) -> Result<(), Error> {
        let mut watchdog = Watchdog::from_environment(config.shards);
        loop {
            let event = match &watchdog {
                Some(watchdog) => self.events.recv_timeout(watchdog.interval()),
                None => self.events.recv().map_err(RecvTimeoutError::from),
            };
            match event {
                Ok(Event::Signal) => return Ok(()),
                Ok(Event::Reload) => self.reload(config, &read),
                Ok(Event::News { shard, news: News::Alive }) => {
                    if let Some(watchdog) = &mut watchdog {
                        watchdog.is_alive(shard);
                    }
                }
                Ok(Event::News { .. }) => unreachable!("nothing else is asked of a shard yet"),
                Ok(Event::Ended { shard }) => return Err(Error::Ended { shard }),
                Ok(Event::Failed { shard, error }) => return Err(Error::Shard { shard, error }),
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(watchdog) = &mut watchdog {
                        watchdog.feed();
                        self.tell(ASK);
                    }
                }
                Ok(Event::Ready) | Err(RecvTimeoutError::Disconnected) => {
                    unreachable!("every shard was ready, and we hold a sender")
                }
            }
        }
    }

    /// Says a word to every shard.
    fn tell(&mut self, word: u8) {
        for control in &mut self.controls {
            // A shard that is gone already has closed its end.
            drop(control.words.write_all(&[word]));
        }
    }

    /// Where keys and values are served.
    #[must_use]
    pub fn data_address(&self) -> SocketAddr {
        self.data
    }

    /// Where health and statistics are served.
    #[must_use]
    pub fn admin_address(&self) -> Option<&AdminAddress> {
        self.admin.as_ref()
    }

    fn serving(&self) -> String {
        let admin = self.admin.as_ref().map_or("none".to_owned(), ToString::to_string);
        format!("listening on {}, admin on {admin}", self.data)
    }

    /// Answers what has arrived, closes every connection, writes the last snapshot and ends every
    /// shard.
    pub fn stop(mut self) -> Result<(), Error> {
        self.tell(DRAIN);
        let mut running = self.threads.len();
        let mut draining = if self.saves_last { running } else { 0 };
        while running > 0 {
            match self.events.recv_timeout(self.drain_timeout + GRACE) {
                Ok(Event::Failed { shard, error }) => return Err(Error::Shard { shard, error }),
                Ok(Event::Ended { .. }) => running -= 1,
                Ok(Event::News { news: News::Drained, .. }) => {
                    draining -= 1;
                    if draining == 0 {
                        notify::saving();
                        self.controls[WRITER].words.write_all(&[SAVE])?;
                    }
                }
                Ok(Event::News { news: News::Saving, .. }) => notify::saving(),
                Ok(Event::News { news: News::Saved, .. }) => self.tell(FINISH),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
        for thread in self.threads {
            thread.join().expect("a panic aborts the process");
        }
        Ok(())
    }
}

/// The CPUs to pin to, one per shard; `None` where there are more shards than CPUs.
fn cpus_for(shards: usize) -> Option<Vec<usize>> {
    let cpus: Vec<usize> = core_affinity::get_core_ids()?.iter().map(|core| core.id).collect();
    (cpus.len() >= shards).then_some(cpus)
}

/// The address for keys and values, and a listener for each shard, none of which listens yet.
fn bind_all(config: &Config) -> Result<(SocketAddr, Vec<Socket>), Error> {
    let first = bind(config.listen)?;
    let data = first.local_addr()?.as_socket().expect("a TCP socket");
    let mut listeners = vec![first];
    for _ in 1..config.shards {
        listeners.push(bind_shared(data).map_err(|error| cannot_bind(data, error))?);
    }
    Ok((data, listeners))
}

/// Whether an address could be listened on.
pub fn try_bind(address: &AdminAddress) -> Result<(), Error> {
    Admin::bind(address).map(drop)
}

/// Binds an address that nobody else may have, and frees it for sharing among our own shards.
fn bind(address: SocketAddr) -> Result<Socket, Error> {
    let alone = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&SockAddr::from(address))?;
        Ok(socket)
    };
    let bound = alone().map_err(|error| cannot_bind(address, error))?;
    let address = bound.local_addr()?.as_socket().expect("a TCP socket");
    drop(bound);
    bind_shared(address).map_err(|error| cannot_bind(address, error))
}

fn cannot_bind(address: SocketAddr, error: io::Error) -> Error {
    Error::Bind { address: address.into(), error }
}

/// The admin listener.
struct Admin {
    address: AdminAddress,
    /// Where it is a socket file the driver has it as a TCP one, and does only what both can.
    socket: Socket,
    file: Option<SocketFile>,
}

impl Admin {
    /// From here on the kernel completes connections.
    fn bind(wanted: &AdminAddress) -> Result<Self, Error> {
        let admin = match wanted {
            AdminAddress::Tcp(address) => {
                let socket = bind(*address)?;
                let address = socket.local_addr()?.as_socket().expect("a TCP socket").into();
                Self { address, socket, file: None }
            }
            AdminAddress::Unix(path) => {
                let (socket, file) = bind_file(path)
                    .map_err(|error| Error::Bind { address: wanted.clone(), error })?;
                Self { address: wanted.clone(), socket, file: Some(file) }
            }
        };
        admin.socket.listen(BACKLOG)?;
        Ok(admin)
    }
}

/// A socket file of ours, which is removed in the end.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Whoever removed it before was welcome to.
        drop(fs::remove_file(&self.0));
    }
}

/// Binds a socket file that nobody but its owner may use. One that nobody listens on any more is
/// replaced. No thread of ours may create files at the same time.
fn bind_file(path: &Path) -> io::Result<(Socket, SocketFile)> {
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let bind = || {
        let before = umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
        let bound = socket.bind(&address);
        umask(before);
        bound
    };
    match bind() {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path, &address)? => {
            fs::remove_file(path)?;
            bind()?;
        }
        bound => bound?,
    }
    Ok((socket, SocketFile(path.to_owned())))
}

/// Whether it is a socket that nobody listens on.
fn is_stale(path: &Path, address: &SockAddr) -> io::Result<bool> {
    let is_socket = fs::symlink_metadata(path)?.file_type().is_socket();
    let answer = Socket::new(Domain::UNIX, Type::STREAM, None)?.connect(address);
    Ok(is_socket && answer.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}

fn wall_seconds() -> u64 {
    Clock::wall().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Binds an address that several sockets share. Accepted sockets inherit its options.
fn bind_shared(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(TCP_KEEPALIVE))?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

/// What a shard's thread is given.
struct Plan {
    shard: usize,
    config: Config,
    hasher: KeyHasher,
    clock: Clock,
    data: TcpListener,
    admin: Option<TcpListener>,
    control: PipeReader,
    reloads: Receiver<Reloaded>,
    blocks: Receiver<(Arc<Block>, Clocks)>,
    links: Links<Parcel>,
}

impl Plan {
    fn run(self, cpu: Option<usize>, reports: &Sender<Event>) {
        let shard = self.shard;
        let placement = cpu.map_or(glommio::Placement::Unbound, glommio::Placement::Fixed);
        let builder = LocalExecutorBuilder::new(placement)
            .name(&format!("shard-{shard}"))
            .io_memory(IO_MEMORY_BYTES)
            .preempt_timer(PREEMPT);
        let outcome = match builder.make() {
            Ok(executor) => executor.run(self.serve(reports)).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let event = match outcome {
            Ok(()) => Event::Ended { shard },
            Err(error) => Event::Failed { shard, error },
        };
        // Only a main thread that has given up does not listen.
        drop(reports.send(event));
    }

    async fn serve(self, reports: &Sender<Event>) -> io::Result<()> {
        let Self {
            shard: number,
            config,
            hasher,
            clock,
            data,
            admin,
            control,
            reloads,
            blocks,
            links,
        } = self;
        let wall = Clock::wall();
        let shard = Shard::new(number, config.clone(), hasher, clock.now(), wall);
        let bell = links.bell().clone();
        let file = config.snapshot_path.clone().filter(|_| number == WRITER);
        let disk = file.map(|file| Disk::start(file, move || bell.strike()));
        let parts = Parts { shard, clock, data, admin, control, reloads, blocks, disk, links };
        let mut driver = Driver::new(parts, &config)?;
        let ready = PollableFd::new(driver.pollable()?)?;
        drop(reports.send(Event::Ready));
        loop {
            driver.work();
            while let Some(news) = driver.take_news() {
                drop(reports.send(Event::News { shard: number, news }));
            }
            if driver.is_done() {
                break;
            }
            // An interrupted wait is a wake-up like any other.
            drop(ready.readable().await);
        }
        if let Some(disk) = driver.into_disk() {
            disk.close().await;
        }
        Ok(())
    }
}
