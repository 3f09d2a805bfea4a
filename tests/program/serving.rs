//! The program as a process that serves, or that complains and ends.

use crate::common::client::Client;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    io::{BufRead as _, BufReader, Read as _},
    net,
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    time::Duration,
};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_kvcache");

/// Long enough to tell a hang from a slow machine.
pub(crate) const HANG: Duration = Duration::from_secs(30);

/// Nothing that a restart could cure.
pub(crate) const MISCONFIGURED: i32 = 78;

pub(crate) fn program() -> Command {
    with_our_flags(Command::new(PROGRAM))
}

/// A small server on free ports, whatever the environment says.
pub(crate) fn with_our_flags(mut command: Command) -> Command {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("KVCACHE_")) {
        command.env_remove(name);
    }
    command.args(["--listen", "127.0.0.1:0", "--admin-listen", "none"]);
    command.args(["--shards", "2", "--memory", "8MiB", "--connections-max", "100"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A program that serves. It is killed should its test fail.
pub(crate) struct Serving {
    pub(crate) child: Child,
    pub(crate) stderr: BufReader<ChildStderr>,
    pub(crate) address: net::SocketAddr,
}

impl Serving {
    pub(crate) fn start(flags: &[&str]) -> Self {
        let mut command = program();
        command.args(flags);
        Self::of(command)
    }

    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut greeting = String::new();
        while !greeting.contains("listening on ") {
            assert_ne!(stderr.read_line(&mut greeting).unwrap(), 0, "not a greeting: {greeting}");
        }
        let address =
            greeting.split("listening on ").nth(1).and_then(|rest| rest.split(',').next());
        Self { address: address.unwrap().parse().unwrap(), child, stderr }
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The exit status, and what was said after the greeting.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap(), said)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // After `end` there is nothing left to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs to the end; it must not serve, but say one line and exit with 78.
#[track_caller]
pub(crate) fn complaint(mut command: Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(MISCONFIGURED), "{said}");
    assert_eq!(said.matches('\n').count(), 1, "{said}");
    assert!(said.starts_with("kvcache: ") && said.ends_with('\n'), "{said}");
    assert_eq!(output.stdout, b"");
    said
}
