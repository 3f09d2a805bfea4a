//! The program: arguments become a configuration, that runs, and the outcome is an exit code.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use kvcache::{
    config::{self, Host, Invocation},
    doctor, server,
};

/// `EX_CONFIG` of sysexits: nothing that a restart could cure.
const MISCONFIGURED: u8 = 78;

fn main() -> ExitCode {
    match config::read(std::env::args_os(), std::env::vars_os(), Host::read()) {
        Ok(Invocation::Serve(config)) => match server::run(&config) {
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
        Ok(Invocation::Print(text)) => print(&text),
        Err(error) => {
            eprintln!("kvcache: {error}");
            ExitCode::from(MISCONFIGURED)
        }
    }
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
