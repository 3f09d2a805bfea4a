//! The process: one pinned executor per shard, its listeners and channels, start and stop.
//!
//! The main thread binds the ports, starts the shards, waits until every one of them is ready and
//! only then lets them listen. From there on it waits: for a signal, or for a shard to end.

use crate::{
    clock::Clock,
    config::Config,
    driver::{Arrival, DRAIN, Driver, PARCELS_MAX, Parcel, Parts, SOCKETS_MAX, START, Usher},
    http::response::Date,
    placement::Placement,
    preflight::{self, Lack},
    shard::{BEAT_MS, Shard},
    store::KeyHasher,
};
use glommio::{
    LocalExecutorBuilder, Task,
    channels::shared_channel::{self, ConnectedReceiver, SharedReceiver, SharedSender},
    io::PollableFd,
    timer::Timer,
};
use signal_hook::{consts, iterator::Signals};
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use std::{
    cell::RefCell,
    fmt,
    future::{Future, poll_fn},
    io::{self, PipeReader, PipeWriter, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    pin::Pin,
    rc::Rc,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    task::{Context, Poll},
    thread::{self, JoinHandle},
    time::Duration,
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
/// Wakes an executor that waits for its peers at the start, should that happen all the same.
const CONNECT_BEAT: Duration = Duration::from_millis(50);
/// Messages of one other shard taken in one turn.
const PARCELS_PER_TURN_MAX: usize = 512;
/// How often a shard that drains looks whether it is done.
const ENDING_BEAT: Duration = Duration::from_millis(10);
/// What the main thread allows beyond the drain timeout for the shards to end by themselves.
const GRACE: Duration = Duration::from_millis(500);

/// Why the server did not start or did not go on.
#[derive(Debug)]
pub enum Error {
    /// The host lacks something.
    Host(Lack),
    Bind {
        address: SocketAddr,
        error: io::Error,
    },
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
    Failed { shard: usize, error: String },
    Ended { shard: usize },
    Signal,
}

/// A running server.
pub struct Server {
    data: SocketAddr,
    admin: Option<SocketAddr>,
    drain_timeout: Duration,
    controls: Vec<PipeWriter>,
    threads: Vec<JoinHandle<()>>,
    events: Receiver<Event>,
    reports: Sender<Event>,
}

/// Serves until SIGTERM or SIGINT, then drains. A second signal ends the process at once.
pub fn run(config: &Config) -> Result<(), Error> {
    preflight::check(config).map_err(Error::Host)?;
    let mut signals = Signals::new([consts::SIGTERM, consts::SIGINT])?;
    let server = Server::start(config)?;
    eprintln!("{}", server.greeting(config));
    let reports = server.reports.clone();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for (count, _) in signals.forever().enumerate() {
            if count > 0 || reports.send(Event::Signal).is_err() {
                std::process::exit(1);
            }
        }
    })?;
    match server.events.recv() {
        Ok(Event::Signal) => server.stop(),
        Ok(Event::Ended { shard }) => Err(Error::Ended { shard }),
        Ok(Event::Failed { shard, error }) => Err(Error::Shard { shard, error }),
        Ok(Event::Ready) | Err(_) => unreachable!("every shard was ready, and we hold a sender"),
    }
}

impl Server {
    /// Binds the ports, starts every shard and lets them listen.
    pub fn start(config: &Config) -> Result<Self, Error> {
        let first = bind(config.listen)?;
        let data = first.local_addr()?.as_socket().expect("a TCP socket");
        let mut listeners = vec![first];
        for _ in 1..config.shards {
            listeners
                .push(bind_shared(data).map_err(|error| Error::Bind { address: data, error })?);
        }
        let admin_listener = config.admin_listen.map(bind).transpose()?;
        let admin = match &admin_listener {
            Some(listener) => {
                listener.listen(BACKLOG)?;
                listener.local_addr()?.as_socket()
            }
            None => None,
        };

        let (reports, events) = mpsc::channel();
        let hasher = KeyHasher::random();
        let clock = Clock::start();
        let mut server = Self {
            data,
            admin,
            drain_timeout: config.drain_timeout,
            controls: Vec::new(),
            threads: Vec::new(),
            events,
            reports,
        };
        let mut admin_listener = admin_listener;
        let ends = link_shards(config.shards);
        let cpus = cpus_for(config.shards);
        for ((shard, ends), listener) in ends.into_iter().enumerate().zip(&listeners) {
            let (control, writer) = io::pipe()?;
            server.controls.push(writer);
            let plan = Plan {
                shard,
                config: config.clone(),
                hasher: hasher.clone(),
                clock,
                data: listener.try_clone()?.into(),
                admin: admin_listener.take().map(TcpListener::from),
                control,
                ends,
            };
            let cpu = cpus.as_ref().map(|cpus| cpus[shard]);
            let reports = server.reports.clone();
            let thread = thread::Builder::new()
                .name(format!("shard-{shard}"))
                .spawn(move || plan.run(cpu, &reports))?;
            server.threads.push(thread);
        }
        server.wait_until_ready(config.shards)?;
        for listener in &listeners {
            listener.listen(BACKLOG).map_err(|error| Error::Bind { address: data, error })?;
        }
        for control in &mut server.controls {
            control.write_all(&[START])?;
        }
        Ok(server)
    }

    fn wait_until_ready(&self, shards: usize) -> Result<(), Error> {
        for _ in 0..shards {
            match self.events.recv() {
                Ok(Event::Ready) => {}
                Ok(Event::Failed { shard, error }) => return Err(Error::Shard { shard, error }),
                Ok(Event::Ended { shard }) => return Err(Error::Ended { shard }),
                Ok(Event::Signal) | Err(_) => unreachable!("nobody sends it yet, and we could"),
            }
        }
        Ok(())
    }

    /// Where keys and values are served.
    #[must_use]
    pub fn data_address(&self) -> SocketAddr {
        self.data
    }

    /// Where health and statistics are served.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    fn greeting(&self, config: &Config) -> String {
        let admin = self.admin.map_or("none".to_owned(), |address| address.to_string());
        format!(
            "kvcache {}: listening on {}, admin on {admin}, {} shards, {} MiB for entries, lru",
            env!("CARGO_PKG_VERSION"),
            self.data,
            config.shards,
            config.memory_bytes >> 20,
        )
    }

    /// Answers what has arrived, closes every connection and ends every shard.
    pub fn stop(mut self) -> Result<(), Error> {
        for control in &mut self.controls {
            // A shard that is gone already has closed its end.
            drop(control.write_all(&[DRAIN]));
        }
        for _ in 0..self.threads.len() {
            match self.events.recv_timeout(self.drain_timeout + GRACE) {
                Ok(Event::Failed { shard, error }) => return Err(Error::Shard { shard, error }),
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

/// Binds an address that nobody else may have, and frees it for sharing among our own shards.
fn bind(address: SocketAddr) -> Result<Socket, Error> {
    let alone = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&SockAddr::from(address))?;
        Ok(socket)
    };
    let bound = alone().map_err(|error| Error::Bind { address, error })?;
    let address = bound.local_addr()?.as_socket().expect("a TCP socket");
    drop(bound);
    bind_shared(address).map_err(|error| Error::Bind { address, error })
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

/// One shard's ends of the channels, before its executor has connected them.
struct Ends {
    /// To and from each other shard.
    senders: Vec<Option<SharedSender<Parcel>>>,
    receivers: Vec<Option<SharedReceiver<Parcel>>>,
    usher: UsherEnds,
}

/// The first shard places all connections; the others have one channel to it and one from it.
enum UsherEnds {
    Here {
        arrivals: Vec<Option<SharedReceiver<Arrival>>>,
        adopters: Vec<Option<SharedSender<TcpStream>>>,
    },
    Away {
        arrivals: SharedSender<Arrival>,
        adopted: SharedReceiver<TcpStream>,
    },
}

fn none<T>(shards: usize) -> Vec<Option<T>> {
    (0..shards).map(|_| None).collect()
}

fn link_shards(shards: usize) -> Vec<Ends> {
    let mut arrivals: Vec<_> = none(shards);
    let mut adopters: Vec<_> = none(shards);
    let mut others: Vec<UsherEnds> = Vec::new();
    for shard in 1..shards {
        let (arrival_sender, arrival_receiver) = shared_channel::new_bounded(SOCKETS_MAX);
        let (adopter, adopted) = shared_channel::new_bounded(SOCKETS_MAX);
        arrivals[shard] = Some(arrival_receiver);
        adopters[shard] = Some(adopter);
        others.push(UsherEnds::Away { arrivals: arrival_sender, adopted });
    }
    let first = UsherEnds::Here { arrivals, adopters };
    let mut ends: Vec<Ends> = std::iter::once(first)
        .chain(others)
        .map(|usher| Ends { senders: none(shards), receivers: none(shards), usher })
        .collect();
    for from in 0..shards {
        for to in (0..shards).filter(|&to| to != from) {
            let (sender, receiver) = shared_channel::new_bounded(PARCELS_MAX);
            ends[from].senders[to] = Some(sender);
            ends[to].receivers[from] = Some(receiver);
        }
    }
    ends
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
    ends: Ends,
}

impl Plan {
    fn run(self, cpu: Option<usize>, reports: &Sender<Event>) {
        let shard = self.shard;
        let placement = cpu.map_or(glommio::Placement::Unbound, glommio::Placement::Fixed);
        let mut builder = LocalExecutorBuilder::new(placement)
            .name(&format!("shard-{shard}"))
            .io_memory(IO_MEMORY_BYTES)
            .preempt_timer(PREEMPT);
        if !self.config.spin.is_zero() {
            builder = builder.spin_before_park(self.config.spin);
        }
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
        let Self { shard, config, hasher, clock, data, admin, control, ends } = self;
        let waker = glommio::spawn_local(async {
            loop {
                Timer::new(CONNECT_BEAT).await;
            }
        });
        let links = Links::connect(ends, shard, &config).await;
        waker.cancel().await;
        let date = Date::of(Clock::wall());
        let parts = Parts {
            shard: Shard::new(shard, config.clone(), hasher, clock.now(), date),
            clock,
            data,
            admin,
            control,
            links: links.senders,
            usher: links.usher,
        };
        let driver = Driver::new(parts, &config)?;
        let sockets = driver.pollable()?;
        let driver = Rc::new(RefCell::new(driver));
        let mut tasks = vec![glommio::spawn_local(serve_sockets(driver.clone(), sockets))];
        for (from, receiver) in links.receivers {
            tasks.push(spawn_intake(&driver, receiver, move |driver, parcel| {
                driver.deliver(from, parcel);
            }));
        }
        for (from, receiver) in links.arrivals {
            tasks.push(spawn_intake(&driver, receiver, move |driver, arrival| {
                driver.usher(from, arrival);
            }));
        }
        if let Some(receiver) = links.adopted {
            tasks.push(spawn_intake(&driver, receiver, Driver::adopt));
        }
        drop(reports.send(Event::Ready));
        loop {
            let ending = driver.borrow().is_ending();
            let beat = if ending { ENDING_BEAT } else { Duration::from_millis(BEAT_MS) };
            Timer::new(beat).await;
            if driver.borrow_mut().beat() {
                break;
            }
        }
        for task in tasks {
            task.cancel().await;
        }
        Ok(())
    }
}

/// One shard's connected channels.
struct Links {
    senders: Vec<Option<shared_channel::ConnectedSender<Parcel>>>,
    receivers: Vec<(usize, ConnectedReceiver<Parcel>)>,
    usher: Usher,
    arrivals: Vec<(usize, ConnectedReceiver<Arrival>)>,
    adopted: Option<ConnectedReceiver<TcpStream>>,
}

impl Links {
    /// Connects all ends at once: each waits until the other side has connected its own.
    async fn connect(ends: Ends, shard: usize, config: &Config) -> Self {
        let senders = spawn_senders(ends.senders);
        let receivers = spawn_receivers(ends.receivers);
        let (usher, arrivals, adopted) = match ends.usher {
            UsherEnds::Here { arrivals, adopters } => {
                let adopters = spawn_senders(adopters);
                let arrivals = spawn_receivers(arrivals);
                let placement = Placement::new(config.shards, config.limits.connections_max);
                let adopters = join_senders(adopters).await;
                (Usher::Here { placement, adopters }, join_receivers(arrivals).await, None)
            }
            UsherEnds::Away { arrivals, adopted } => {
                let arrivals = glommio::spawn_local(arrivals.connect());
                let adopted = glommio::spawn_local(adopted.connect());
                (Usher::Away(arrivals.await), Vec::new(), Some(adopted.await))
            }
        };
        let senders = join_senders(senders).await;
        debug_assert!(senders[shard].is_none(), "nobody sends to itself");
        Self { senders, receivers: join_receivers(receivers).await, usher, arrivals, adopted }
    }
}

type Connecting<T> = Vec<Option<Task<T>>>;

fn spawn_senders<T: Send + 'static>(
    ends: Vec<Option<SharedSender<T>>>,
) -> Connecting<shared_channel::ConnectedSender<T>> {
    ends.into_iter().map(|end| end.map(|end| glommio::spawn_local(end.connect()))).collect()
}

fn spawn_receivers<T: Send + 'static>(
    ends: Vec<Option<SharedReceiver<T>>>,
) -> Connecting<ConnectedReceiver<T>> {
    ends.into_iter().map(|end| end.map(|end| glommio::spawn_local(end.connect()))).collect()
}

async fn join_senders<T>(connecting: Connecting<T>) -> Vec<Option<T>> {
    let mut connected = Vec::new();
    for task in connecting {
        connected.push(match task {
            Some(task) => Some(task.await),
            None => None,
        });
    }
    connected
}

async fn join_receivers<T>(connecting: Connecting<T>) -> Vec<(usize, T)> {
    let connected = join_senders(connecting).await;
    connected.into_iter().enumerate().filter_map(|(from, end)| Some((from, end?))).collect()
}

/// Awaits the epoll set and serves what it reports.
async fn serve_sockets(driver: Rc<RefCell<Driver>>, sockets: std::os::fd::OwnedFd) {
    let sockets = PollableFd::new(sockets).expect("we are on an executor");
    loop {
        // An interrupted wait is a wake-up like any other. Every turn waits anew, even where more
        // is ready: only then does the executor see what other shards have sent.
        drop(sockets.readable().await);
        driver.borrow_mut().turn();
    }
}

/// Takes in what one channel brings, a bounded number of items in each turn. It alone polls its
/// receiver and never waits for anything else.
fn spawn_intake<T: Send + 'static>(
    driver: &Rc<RefCell<Driver>>,
    receiver: ConnectedReceiver<T>,
    take: impl Fn(&mut Driver, T) + 'static,
) -> Task<()> {
    let driver = driver.clone();
    glommio::spawn_local(poll_fn(move |context| {
        let mut driver = driver.borrow_mut();
        let mut taken = 0;
        let outcome = loop {
            if taken == PARCELS_PER_TURN_MAX {
                context.waker().wake_by_ref();
                break Poll::Pending;
            }
            match poll_receive(&receiver, context) {
                Poll::Ready(Some(item)) => {
                    if taken == 0 {
                        driver.begin_turn();
                    }
                    take(&mut driver, item);
                    taken += 1;
                }
                Poll::Ready(None) => break Poll::Ready(()),
                Poll::Pending => break Poll::Pending,
            }
        };
        if taken > 0 {
            driver.end_turn();
        }
        outcome
    }))
}

fn poll_receive<T: Send>(
    receiver: &ConnectedReceiver<T>,
    context: &mut Context<'_>,
) -> Poll<Option<T>> {
    let mut next = std::pin::pin!(receiver.recv());
    Pin::as_mut(&mut next).poll(context)
}
