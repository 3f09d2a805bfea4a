//! Start, stop, reload, and the wait in between.

use super::{
    error::ServerError,
    restore,
    runtime::{ServerEvent, ShardThread},
    shards::{BLOCKS_MAX, Control, Shards},
    sockets::{Admin, BACKLOG, SocketFile, bind_all, cannot_bind},
};
use crate::{
    auth::Tokens,
    clock::Clock,
    config::{AdminAddress, Config},
    driver::{
        ASK, DRAIN, DRIVER_MESSAGES_MAX, DriverEvent, FINISH, RELOADED, Reloaded, SAVE, START,
    },
    link::Links,
    log::{self, Level},
    metrics::Reload,
    notify::{self, Watchdog},
    preflight,
    shard::WRITER,
    store::KeyHasher,
};
use signal_hook::{consts, iterator::Signals};
use std::{
    io::{self, Write as _},
    net::SocketAddr,
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, UNIX_EPOCH},
};

/// What the main thread allows beyond the drain timeout for the shards to end by themselves.
const GRACE: Duration = Duration::from_millis(500);

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
    shards: Shards,
    threads: Vec<JoinHandle<()>>,
    reports: Sender<ServerEvent>,
}

/// Serves until SIGTERM or SIGINT, then drains. A second signal ends the process at once. SIGHUP
/// has the tokens and, with `read`, the settings read again.
pub fn run(
    mut config: Config,
    read: impl Fn() -> Result<Config, String>,
) -> Result<(), ServerError> {
    preflight::check(&config).map_err(ServerError::Host)?;
    // A limit on the size of files must fail a snapshot and not end the process.
    let handled = [consts::SIGTERM, consts::SIGINT, consts::SIGHUP, consts::SIGXFSZ];
    let mut signals = Signals::new(handled)?;
    let mut server = Server::start(&config)?;
    let reports = server.reports.clone();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let mut is_ending = false;
        for signal in signals.forever() {
            let event = match signal {
                consts::SIGXFSZ => continue,
                consts::SIGHUP => ServerEvent::Reload,
                _ => ServerEvent::Signal,
            };
            let is_end = matches!(event, ServerEvent::Signal);
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
    pub fn start(config: &Config) -> Result<Self, ServerError> {
        let tokens = config.auth_token_file.as_deref().map(Tokens::read).transpose();
        let tokens = tokens.map_err(ServerError::Tokens)?;
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
            shards: Shards { controls: Vec::new(), events },
            threads: Vec::new(),
            reports,
        };
        let links = Links::between(config.shards, DRIVER_MESSAGES_MAX)?;
        let cpus = cpus_for(config.shards);
        for ((shard, links), listener) in links.into_iter().enumerate().zip(&listeners) {
            let (control, pipe) = io::pipe()?;
            let (sender, receiver) = mpsc::channel();
            let (blocks, incoming) = mpsc::sync_channel(BLOCKS_MAX);
            server.shards.controls.push(Control { pipe, reloads: sender, blocks });
            let shard_thread = ShardThread {
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
                .spawn(move || shard_thread.run(cpu, &reports))?;
            server.threads.push(thread);
        }
        server.shards.wait_until_ready()?;
        if let Some(found) = found {
            restore::restore(&mut server.shards, found, config, clock)?;
        }
        for listener in &listeners {
            listener.listen(BACKLOG).map_err(|error| cannot_bind(data, error))?;
        }
        server.read_at_start(tokens);
        for control in &mut server.shards.controls {
            control.pipe.write_all(&[START])?;
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
        for control in &mut self.shards.controls {
            // A shard that is gone needs nothing.
            drop(control.reloads.send(reloaded.clone()));
        }
        self.shards.send(RELOADED);
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

    /// Waits for a signal, and feeds the watchdog meanwhile.
    fn wait(
        &mut self,
        config: &mut Config,
        read: impl Fn() -> Result<Config, String>,
    ) -> Result<(), ServerError> {
        let mut watchdog = Watchdog::from_environment(config.shards);
        loop {
            let event = match &watchdog {
                Some(watchdog) => self.shards.events.recv_timeout(watchdog.interval()),
                None => self.shards.events.recv().map_err(RecvTimeoutError::from),
            };
            match event {
                Ok(ServerEvent::Signal) => return Ok(()),
                Ok(ServerEvent::Reload) => self.reload(config, &read),
                Ok(ServerEvent::Driver { shard, event: DriverEvent::Alive }) => {
                    if let Some(watchdog) = &mut watchdog {
                        watchdog.is_alive(shard);
                    }
                }
                Ok(ServerEvent::Driver { .. }) => {
                    unreachable!("nothing else is asked of a shard yet")
                }
                Ok(ServerEvent::Ended { shard }) => return Err(ServerError::Ended { shard }),
                Ok(ServerEvent::Failed { shard, error }) => {
                    return Err(ServerError::Shard { shard, error });
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(watchdog) = &mut watchdog {
                        watchdog.feed();
                        self.shards.send(ASK);
                    }
                }
                Ok(ServerEvent::Ready) | Err(RecvTimeoutError::Disconnected) => {
                    unreachable!("every shard was ready, and we hold a sender")
                }
            }
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
    pub fn stop(mut self) -> Result<(), ServerError> {
        self.shards.send(DRAIN);
        let mut running = self.threads.len();
        let mut draining = if self.saves_last { running } else { 0 };
        while running > 0 {
            match self.shards.events.recv_timeout(self.drain_timeout + GRACE) {
                Ok(ServerEvent::Failed { shard, error }) => {
                    return Err(ServerError::Shard { shard, error });
                }
                Ok(ServerEvent::Ended { .. }) => running -= 1,
                Ok(ServerEvent::Driver { event: DriverEvent::Drained, .. }) => {
                    draining -= 1;
                    if draining == 0 {
                        notify::saving();
                        self.shards.controls[WRITER].pipe.write_all(&[SAVE])?;
                    }
                }
                Ok(ServerEvent::Driver { event: DriverEvent::Saving, .. }) => notify::saving(),
                Ok(ServerEvent::Driver { event: DriverEvent::Saved, .. }) => {
                    self.shards.send(FINISH);
                }
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

fn wall_seconds() -> u64 {
    Clock::wall().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
