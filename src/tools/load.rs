//! `kvcache load`: load on a server, and whether its answers are right.
//!
//! Each thread has a share of the connections and of the keys and shares nothing with the others. A
//! second's counts travel to the main thread as a message. What bytes mean is plain code fed by
//! arguments (`session` and below); `worker` has the sockets.
//!
//! On a schedule (`--rate`) latency counts from when a request was to be sent, whether or not a
//! connection had room for it then, so that a server that stalls is not spared (this corrects what
//! is called coordinated omission). Without a rate it counts from when it was sent.
//!
//! `ledger` has the rule of what a read may find.

mod report;
mod worker;
mod session;
mod ledger;
mod tally;
mod workload;
mod settings;
mod protocol;
mod distribution;
mod mix;
mod keys;
mod value;

use crate::{
    clock::Clock,
    config::{Config, ConfigError, Limits},
    preflight,
};
use report::Results;
use settings::{LoadInvocation, LoadSettings};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{self, Write as _},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, UNIX_EPOCH},
};
use tally::Tally;
use worker::{Phase, PhaseSecond, SecondReport, Worker};

/// What is to be printed at the end.
#[derive(Debug)]
pub struct LoadOutcome {
    pub text: String,
    /// Whether there was no error.
    pub is_clean: bool,
}

/// What kept a run from its end.
#[derive(Debug)]
pub enum LoadFailure {
    /// A flag is wrong.
    Usage(ConfigError),
    Io(io::Error),
}

/// Runs to the end what stands behind `kvcache load`; reports each second on standard error.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<LoadOutcome, LoadFailure> {
    match settings::read(arguments).map_err(LoadFailure::Usage)? {
        LoadInvocation::Print(text) => Ok(LoadOutcome { text, is_clean: true }),
        LoadInvocation::Load(settings) => load(&settings).map_err(LoadFailure::Io),
    }
}

fn load(settings: &LoadSettings) -> io::Result<LoadOutcome> {
    let limits = Limits { connections_max: settings.connections, ..Limits::default() };
    preflight::descriptors(&Config { limits, ..Config::default() })
        .map_err(|lack| io::Error::other(lack.to_string()))?;
    let clock = Clock::start();
    let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    let since_1970 = Clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    let run = crc32fast::hash(&since_1970.as_nanos().to_le_bytes());
    let mut workers = (0..settings.threads)
        .map(|thread| Worker::new(settings, thread, run, clock))
        .collect::<io::Result<Vec<_>>>()?;
    let mut results = Results::new(settings);
    if settings.fill {
        together(&mut workers, Phase::Fill { start_us: clock.micros() }, &mut results)?;
    }
    results.begin(Clock::wall() + settings.warmup);
    let start_us = clock.micros();
    let from_us = start_us + micros(settings.warmup);
    let end_us = from_us + micros(settings.duration);
    together(&mut workers, Phase::Load { start_us, from_us, end_us }, &mut results)?;
    results.span = Duration::from_micros(clock.micros() - from_us);
    if let Some(directory) = &settings.out {
        results.write(directory, settings)?;
    }
    Ok(LoadOutcome { text: results.table(settings), is_clean: results.errors() == 0 })
}

/// All workers do a phase.
fn together(workers: &mut [Worker], phase: Phase, results: &mut Results) -> io::Result<()> {
    thread::scope(|scope| {
        let (sender, reports) = mpsc::channel();
        let threads = workers.len();
        for worker in workers {
            let sender: Sender<SecondReport> = sender.clone();
            thread::Builder::new().spawn_scoped(scope, move || worker.run(phase, &sender))?;
        }
        drop(sender);
        listen(threads, &reports, results);
        Ok(())
    })
}

/// Takes up every second when all threads have reported it, and in the end what is left.
fn listen(threads: usize, reports: &Receiver<SecondReport>, results: &mut Results) {
    let mut seconds: BTreeMap<PhaseSecond, (usize, Tally)> = BTreeMap::new();
    let mut take_up = |second, tally: &Tally| {
        results.add(second, tally);
        let line = report::progress(second, tally) + "\n";
        // A standard error that is gone is no reason to stop.
        drop(io::stderr().write_all(line.as_bytes()));
    };
    for SecondReport { second, tally } in reports {
        let (count, sum) = seconds.entry(second).or_default();
        *count += 1;
        sum.add(&tally);
        if *count == threads
            && let Some((_, sum)) = seconds.remove(&second)
        {
            take_up(second, &sum);
        }
    }
    for (second, (_, sum)) in seconds {
        take_up(second, &sum);
    }
}
