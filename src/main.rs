//! The program: arguments become a configuration, that runs, and the outcome is an exit code.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, BufReader, Write as _},
    path::Path,
    process::ExitCode,
};

use kvcache::{
    clock::Clock,
    config::{self, Config, Host, Invocation},
    server, snapshot,
    tools::{doctor, health, load},
};

/// `EX_CONFIG` of sysexits: nothing that a restart could cure.
const MISCONFIGURED: u8 = 78;

fn main() -> ExitCode {
    match invocation() {
        Ok(Invocation::Serve(config)) => match server::run(*config, read_again) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("kvcache: {error}");
                if error.is_configuration() {
                    ExitCode::from(MISCONFIGURED)
                } else {
                    ExitCode::FAILURE
                }
            }
        },
        Ok(Invocation::Doctor(config)) => {
            let report = doctor::examine(&config);
            match print(&report.text) {
                ExitCode::SUCCESS if !report.is_well => ExitCode::from(MISCONFIGURED),
                printed => printed,
            }
        }
        Ok(Invocation::Health(config)) => match health::ask(&config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("kvcache: {error}");
                ExitCode::FAILURE
            }
        },
        Ok(Invocation::Inspect(file)) => inspect(&file),
        Ok(Invocation::Load(arguments)) => load(arguments),
        Ok(Invocation::Print(text)) => print(&text),
        Err(error) => {
            eprintln!("kvcache: {error}");
            ExitCode::from(MISCONFIGURED)
        }
    }
}

/// What the command line, the environment and the file of settings ask for, now.
fn invocation() -> Result<Invocation, config::ConfigError> {
    config::read(std::env::args_os(), std::env::vars_os(), Host::read())
}

fn read_again() -> Result<Config, String> {
    match invocation() {
        Ok(Invocation::Serve(config)) => Ok(*config),
        Ok(_) => unreachable!("the command line of a process does not change"),
        Err(error) => Err(error.to_string()),
    }
}

fn inspect(file: &Path) -> ExitCode {
    let opened = File::open(file).and_then(|open| Ok((open.metadata()?.len(), open)));
    match opened {
        Ok((bytes, open)) => {
            let found = snapshot::inspect(BufReader::new(open), bytes, Clock::wall());
            match print(&found.text) {
                ExitCode::SUCCESS if !found.is_sound => ExitCode::FAILURE,
                printed => printed,
            }
        }
        Err(error) => {
            eprintln!("kvcache: {}: {error}", file.display());
            ExitCode::FAILURE
        }
    }
}

fn load(arguments: Vec<OsString>) -> ExitCode {
    match load::run(arguments) {
        Ok(outcome) => match print(&outcome.text) {
            ExitCode::SUCCESS if !outcome.is_clean => ExitCode::FAILURE,
            printed => printed,
        },
        Err(load::LoadFailure::Usage(error)) => {
            eprintln!("kvcache load: {error}");
            ExitCode::from(MISCONFIGURED)
        }
        Err(load::LoadFailure::Io(error)) => {
            eprintln!("kvcache load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
