//! `kvcache doctor`: what this host offers and lacks, and what to do about it.

use crate::{
    auth::Tokens,
    clock::Clock,
    config::{AdminAddress, Config, Restore},
    driver,
    preflight::{self, Lack},
    server, snapshot,
};
use rustix::fs::{Access, access};
use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, BufReader},
    path::Path,
};

/// What was found.
#[derive(Debug)]
pub struct Diagnosis {
    /// One line for each thing looked at.
    pub text: String,
    /// Whether the server would start.
    pub is_well: bool,
}

/// A line: what was looked at, whether the server could not start without, what was found.
struct Check {
    subject: &'static str,
    verdict: CheckVerdict,
    text: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CheckVerdict {
    Ok,
    /// It starts, but not as well as it could.
    Hint,
    Lack,
}

/// Looks at the host as a server with this configuration would.
#[must_use]
pub fn examine(config: &Config) -> Diagnosis {
    let checks = [
        kernel(),
        io_uring(),
        required("locked memory", preflight::locked_memory(config), || limit("Max locked memory")),
        required("descriptors", preflight::descriptors(config), || limit("Max open files")),
        cpus(config),
        memory(config),
        huge_pages(),
        port("listen", Some(&config.listen.into())),
        port("admin-listen", config.admin_listen.as_ref()),
        tokens(config),
        snapshots(config),
        time_source(),
        container(),
    ];
    let is_well = checks.iter().all(|check| check.verdict != CheckVerdict::Lack);
    let mut text = String::new();
    for Check { subject, verdict, text: found } in &checks {
        let mark = match verdict {
            CheckVerdict::Ok => "ok",
            CheckVerdict::Hint => "hint",
            CheckVerdict::Lack => "LACK",
        };
        writeln!(text, "{mark:<5}{subject:<15}{found}").expect("a String takes everything");
    }
    let verdict = if is_well { "The server would start." } else { "The server would not start." };
    text.push_str(verdict);
    text.push('\n');
    Diagnosis { text, is_well }
}

impl Check {
    fn ok(subject: &'static str, text: impl Into<String>) -> Self {
        Self { subject, verdict: CheckVerdict::Ok, text: text.into() }
    }

    fn hint(subject: &'static str, text: impl Into<String>) -> Self {
        Self { subject, verdict: CheckVerdict::Hint, text: text.into() }
    }

    fn lack(subject: &'static str, text: impl Into<String>) -> Self {
        Self { subject, verdict: CheckVerdict::Lack, text: text.into() }
    }
}

fn required(
    subject: &'static str,
    checked: Result<(), Lack>,
    found: impl FnOnce() -> String,
) -> Check {
    match checked {
        Ok(()) => Check::ok(subject, found()),
        Err(lack) => Check::lack(subject, lack.to_string()),
    }
}

/// The one line of a file of the kernel.
fn line(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The first kernel whose rings can do what the runtime asks of them.
const KERNEL_MIN: [u32; 2] = [5, 8];

fn kernel() -> Check {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let text = format!(
        "{} {} on {}",
        uname.sysname().to_string_lossy(),
        release,
        uname.machine().to_string_lossy()
    );
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match [numbers.next(), numbers.next()] {
        [Some(Ok(major)), Some(Ok(minor))] if [major, minor] < KERNEL_MIN => {
            Check::lack("kernel", format!("{text}; it needs Linux 5.8 or later"))
        }
        _ => Check::ok("kernel", text),
    }
}

fn io_uring() -> Check {
    let disabled = line("/proc/sys/kernel/io_uring_disabled");
    let seccomp = status_field("Seccomp:").is_some_and(|mode| mode == "2");
    let mut about = match disabled.as_deref() {
        Some("0") | None => "usable".to_owned(),
        Some(level) => format!("usable here, though kernel.io_uring_disabled is {level}"),
    };
    if seccomp {
        about.push_str("; a seccomp filter is in force and lets it through");
    }
    match preflight::io_uring() {
        Ok(()) => Check::ok("io_uring", about),
        Err(lack) => {
            let mut text = lack.to_string();
            if let Some(level) = disabled.filter(|level| level != "0") {
                write!(text, " (kernel.io_uring_disabled is {level})").expect("a String");
            }
            if seccomp {
                text.push_str(" (a seccomp filter is in force)");
            }
            Check::lack("io_uring", text)
        }
    }
}

/// A field of this process's status, such as `CapEff:`.
fn status_field(name: &str) -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
}

/// Soft and hard limit, as the kernel prints them.
fn limit(name: &str) -> String {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let found = limits.lines().find_map(|line| line.strip_prefix(name));
    let mut words = found.unwrap_or_default().split_whitespace();
    let (soft, hard) = (words.next().unwrap_or("?"), words.next().unwrap_or("?"));
    format!("{soft}, at most {hard}")
}

fn cpus(config: &Config) -> Check {
    let cpus = core_affinity::get_core_ids().unwrap_or_default();
    let ids: Vec<String> = cpus.iter().map(|cpu| cpu.id.to_string()).collect();
    let text = format!("{} shards; we may run on CPU {}", config.shards, ids.join(", "));
    if let Err(lack) = preflight::pinning(config) {
        Check::lack("CPUs", lack.to_string())
    } else if config.shards <= cpus.len() {
        Check::ok("CPUs", text)
    } else {
        Check::hint("CPUs", format!("{text}: shards share CPUs; lower --shards"))
    }
}

fn memory(config: &Config) -> Check {
    let host = crate::config::Host::read();
    let text = format!(
        "{} MiB for entries of the {} MiB that host and cgroup allow",
        config.memory_bytes >> 20,
        host.memory_bytes >> 20
    );
    if let Err(lack) = preflight::memory(config) {
        Check::lack("memory", lack.to_string())
    } else if config.memory_bytes / 4 <= host.memory_bytes / 5 {
        Check::ok("memory", text)
    } else {
        let advice = "connections need some too; stay at or below 80 % with --memory";
        Check::hint("memory", format!("{text}: {advice}"))
    }
}

fn huge_pages() -> Check {
    const SUBJECT: &str = "huge pages";
    match line("/sys/kernel/mm/transparent_hugepage/enabled") {
        Some(modes) if modes.contains("[never]") => Check::hint(
            SUBJECT,
            "never: gets cost more in a large store; write madvise to /sys/kernel/mm/transparent_hugepage/enabled",
        ),
        Some(modes) => Check::ok(SUBJECT, modes),
        None => Check::hint(SUBJECT, "this kernel has none"),
    }
}

fn port(subject: &'static str, address: Option<&AdminAddress>) -> Check {
    let Some(address) = address else { return Check::ok(subject, "none") };
    match server::try_bind(address) {
        Ok(()) => Check::ok(subject, format!("{address} is free")),
        Err(error) => Check::lack(subject, error.to_string()),
    }
}

fn tokens(config: &Config) -> Check {
    const SUBJECT: &str = "tokens";
    match config.auth_token_file.as_deref().map(Tokens::read) {
        None => Check::ok(SUBJECT, "none: everybody may do everything"),
        Some(Ok(tokens)) => Check::ok(SUBJECT, format!("{} in the file", tokens.count())),
        Some(Err(error)) => Check::lack(SUBJECT, error),
    }
}

fn snapshots(config: &Config) -> Check {
    const SUBJECT: &str = "snapshots";
    let Some(file) = &config.snapshot_path else {
        return Check::ok(SUBJECT, "none: a restart starts empty");
    };
    let directory = driver::directory(file);
    if !directory.is_dir() {
        let advice = "make it, or change --snapshot-path";
        return Check::lack(SUBJECT, format!("no directory {}; {advice}", directory.display()));
    }
    if let Err(damage) = sound(file) {
        let damage = format!("{}: {damage}", file.display());
        return match config.restore {
            Restore::Strict => Check::lack(
                SUBJECT,
                format!("{damage}; set it aside with --restore best-effort, or remove it"),
            ),
            Restore::BestEffort => Check::hint(SUBJECT, format!("{damage}; it will be set aside")),
        };
    }
    match access(directory, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Check::ok(SUBJECT, file.display().to_string()),
        Err(error) => {
            let what = format!("{}: {error}: none can be written", directory.display());
            Check::hint(SUBJECT, what)
        }
    }
}

/// Whether there is no snapshot, or one that can be restored. The whole file is read.
fn sound(file: &Path) -> Result<(), String> {
    let open = match File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(|error| error.to_string())?,
    };
    let bytes = open.metadata().map_err(|error| error.to_string())?.len();
    let found = snapshot::inspect(BufReader::new(open), bytes, Clock::wall());
    if found.is_sound { Ok(()) } else { Err("it is damaged".to_owned()) }
}

fn time_source() -> Check {
    const SUBJECT: &str = "time source";
    match line("/sys/devices/system/clocksource/clocksource0/current_clocksource") {
        Some(source) if ["tsc", "kvm-clock", "arch_sys_counter"].contains(&source.as_str()) => {
            Check::ok(SUBJECT, source)
        }
        Some(source) => {
            let advice = "reading the time is a system call with this one; tsc or kvm-clock is not";
            Check::hint(SUBJECT, format!("{source}: {advice}"))
        }
        None => Check::hint(SUBJECT, "not told by this kernel"),
    }
}

fn container() -> Check {
    let by_file = [("/.dockerenv", "docker"), ("/run/.containerenv", "podman")];
    let kind = std::env::var("container").ok().or_else(|| {
        let found = by_file.iter().find(|(path, _)| fs::exists(path).unwrap_or(false));
        found.map(|(_, kind)| (*kind).to_owned())
    });
    let text = match kind {
        Some(kind) => format!("{kind}; its seccomp profile must allow the io_uring_* calls"),
        None => "none that shows".to_owned(),
    };
    Check::ok("container", text)
}
