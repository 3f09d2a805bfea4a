//! Files of tokens and of settings, which are read again at SIGHUP.

use crate::{
    common::client::{Client, get},
    serving::{HANG, Serving, complaint, program},
    signals::told,
};
use rustix::process::Signal;
use std::{
    fs,
    io::BufRead as _,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

/// A file of tokens that is removed with its test.
struct TokenFile(std::path::PathBuf);

impl TokenFile {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("kvcache-{}-{name}.tokens", std::process::id());
        let file = Self(std::env::temp_dir().join(name));
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
    }

    fn name(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

#[test]
fn tokens_are_read_again_at_sighup_and_stay_where_that_fails() {
    let file = TokenFile::new("reload", "first-secret\n");
    let mut serving = Serving::start(&["--auth-token-file", file.name()]);
    let ask = |token: &str| {
        let field = format!("Host: h\r\nAuthorization: Bearer {token}\r\n");
        get("a").replacen("Host: h\r\n", &field, 1)
    };
    // One connection on each shard.
    let mut clients = [serving.connect(), serving.connect()];
    let statuses = |clients: &mut [Client], token| {
        clients.iter_mut().map(|client| client.ask(ask(token)).status).collect::<Vec<_>>()
    };
    assert_eq!(statuses(&mut clients, "first-secret"), [404, 404]);
    assert_eq!(statuses(&mut clients, "second-secret"), [401, 401]);

    let reload = |serving: &mut Serving| {
        serving.signal(Signal::HUP);
        let mut said = String::new();
        serving.stderr.read_line(&mut said).unwrap();
        assert!(!said.contains("secret"), "{said}");
        said
    };
    file.write("second-secret\nread third-secret");
    assert!(reload(&mut serving).ends_with(" were read again tokens=2\n"));
    while statuses(&mut clients, "second-secret") != [404, 404] {}
    assert_eq!(statuses(&mut clients, "first-secret"), [401, 401]);

    file.write("first-secret\nno secret");
    let said = reload(&mut serving);
    assert!(said.contains(&format!("{}: line 2: ", file.name())), "{said}");
    assert!(said.contains(" error the old settings stay in force "), "{said}");
    assert_eq!(statuses(&mut clients, "second-secret"), [404, 404]);
    assert_eq!(statuses(&mut clients, "first-secret"), [401, 401]);

    serving.signal(Signal::TERM);
    let (status, said) = serving.end();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.ends_with(" info draining\n") && said.matches('\n').count() == 1, "{said}");
}

#[test]
fn settings_that_can_change_are_read_again_at_sighup() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reload.toml");
    let set = |text: &str| fs::write(&file, text).unwrap();
    set("");
    let name = format!("kvcache-reload-{}", std::process::id());
    let manager = SocketAddr::from_abstract_name(&name).unwrap();
    let manager = UnixDatagram::bind_addr(&manager).unwrap();
    manager.set_read_timeout(Some(HANG)).unwrap();
    let mut command = program();
    command.args(["--config", file.to_str().unwrap()]).env("NOTIFY_SOCKET", format!("@{name}"));
    let mut serving = Serving::of(command);
    told(&manager, "READY=1");
    let next_line = |serving: &mut Serving| {
        let mut said = String::new();
        serving.stderr.read_line(&mut said).unwrap();
        said
    };
    // One connection on each shard.
    let mut clients = [serving.connect(), serving.connect()];
    let key = "k".repeat(200);
    for client in &mut clients {
        assert_eq!(client.ask(get(&key)).status, 404);
    }

    set("slow-log-us = 1\nkey-bytes-max = 100\n");
    serving.signal(Signal::HUP);
    assert!(next_line(&mut serving).ends_with(" were read again tokens=0\n"));
    told(&manager, "READY=1");
    let said = next_line(&mut serving);
    assert!(
        said.contains(" warn some settings wait for a restart settings=key-bytes-max,"),
        "{said}"
    );
    // The shards hear of it a little later.
    let done = AtomicBool::new(false);
    let slow = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for client in &mut clients {
                    assert_eq!(client.ask(get(&key)).status, 404);
                }
            }
        });
        let slow = next_line(&mut serving);
        done.store(true, Ordering::Relaxed);
        slow
    });
    assert!(slow.contains(" warn slow request protocol=http operation=get us="), "{slow}");
    assert!(slow.contains(" outcome=not_found bytes=") && slow.contains(" shard="), "{slow}");
    assert!(!slow.contains(&key), "{slow}");

    set("log-level = 7\n");
    serving.signal(Signal::HUP);
    let refused = std::iter::repeat_with(|| next_line(&mut serving));
    let refused = refused.into_iter().find(|line| !line.contains("slow request")).unwrap();
    assert!(refused.contains(" error the old settings stay in force reason="), "{refused}");
    assert!(refused.contains("reload.toml: log-level: "), "{refused}");
    told(&manager, "READY=1");

    set("log-level = \"error\"\n");
    serving.signal(Signal::HUP);
    told(&manager, "RELOADING=1");
    told(&manager, "READY=1");
    serving.signal(Signal::TERM);
    drop(clients);
    let (status, said) = serving.end();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(!said.contains("read again") && !said.contains("draining"), "{said}");
}

#[test]
fn a_sighup_without_tokens_changes_nothing() {
    let mut serving = Serving::start(&[]);
    serving.signal(Signal::HUP);
    let mut said = String::new();
    serving.stderr.read_line(&mut said).unwrap();
    assert!(
        said.ends_with(" info the settings that can change were read again tokens=0\n"),
        "{said}"
    );
    assert_eq!(serving.connect().ask(get("a")).status, 404);
}

#[test]
fn a_bad_file_of_tokens_is_one_line() {
    for (text, named) in [("a\nb c\n", "line 2: "), ("# none\n", "no token")] {
        let file = TokenFile::new("bad", text);
        let mut command = program();
        command.args(["--auth-token-file", file.name()]);
        let said = complaint(command);
        assert!(said.contains("--auth-token-file: ") && said.contains(named), "{said}");
    }
    let mut command = program();
    command.args(["--auth-token-file", "/nonexistent/tokens"]);
    assert!(complaint(command).contains("/nonexistent/tokens"));
}

#[test]
fn the_configuration_names_the_file_of_tokens_and_no_token() {
    let file = TokenFile::new("print", "the-secret\n");
    let mut command = program();
    command.args(["--auth-token-file", file.name(), "--print-config"]);
    let printed = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(printed.contains(&format!("auth-token-file = \"{}\"", file.name())), "{printed}");
    assert!(!printed.contains("the-secret"), "{printed}");
}
