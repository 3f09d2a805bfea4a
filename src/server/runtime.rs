//! One shard's thread: its executor, and the driver that runs on it.

use crate::{
    clock::Clock,
    config::Config,
    driver::{Disk, Driver, DriverEvent, DriverMessage, DriverParts, Reloaded},
    link::Links,
    shard::{Clocks, Shard, WRITER},
    snapshot::Block,
    store::KeyHasher,
};
use glommio::{LocalExecutorBuilder, io::PollableFd};
use std::{
    io::{self, PipeReader},
    net::TcpListener,
    sync::{
        Arc,
        mpsc::{Receiver, Sender},
    },
    time::Duration,
};

/// Registered I/O memory of one executor; the least, as sockets do not use it.
const IO_MEMORY_BYTES: usize = 64 << 10;
/// How long tasks may run before the executor looks at its rings again. Ours end by themselves
/// after a bounded turn, so this is out of reach on purpose: an executor whose timer has run out
/// before it came to run the tasks that it has just woken (a busy host takes the CPU away for that
/// long) goes to sleep on them instead.
const PREEMPT: Duration = Duration::from_mins(1);
/// Something that the main thread waits for.
pub(super) enum ServerEvent {
    Ready,
    Driver {
        shard: usize,
        event: DriverEvent,
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

/// What a shard's thread is given.
pub(super) struct ShardThread {
    pub(super) shard: usize,
    pub(super) config: Config,
    pub(super) hasher: KeyHasher,
    pub(super) clock: Clock,
    pub(super) data: TcpListener,
    pub(super) admin: Option<TcpListener>,
    pub(super) control: PipeReader,
    pub(super) reloads: Receiver<Reloaded>,
    pub(super) blocks: Receiver<(Arc<Block>, Clocks)>,
    pub(super) links: Links<DriverMessage>,
}

impl ShardThread {
    /// Serves until the end, on `cpu` if there is one for it.
    pub(super) fn run(self, cpu: Option<usize>, reports: &Sender<ServerEvent>) {
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
            Ok(()) => ServerEvent::Ended { shard },
            Err(error) => ServerEvent::Failed { shard, error },
        };
        // Only a main thread that has given up does not listen.
        drop(reports.send(event));
    }

    async fn serve(self, reports: &Sender<ServerEvent>) -> io::Result<()> {
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
        let waker = links.waker().clone();
        let file = config.snapshot_path.clone().filter(|_| number == WRITER);
        let disk = file.map(|file| Disk::start(file, move || waker.signal()));
        let parts =
            DriverParts { shard, clock, data, admin, control, reloads, blocks, disk, links };
        let mut driver = Driver::new(parts, &config)?;
        let ready = PollableFd::new(driver.pollable()?)?;
        drop(reports.send(ServerEvent::Ready));
        loop {
            driver.work();
            while let Some(event) = driver.take_event() {
                drop(reports.send(ServerEvent::Driver { shard: number, event }));
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
