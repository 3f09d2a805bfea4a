//! Tells an input to shards in every way that must not matter, and reads what they answer.

use crate::{
    common::answer::Answer,
    common::cluster::{Cluster, End},
    input::health,
};
use kvcache::{
    config::{Config, Limits},
    shard::Role,
};
use std::time::Duration;

pub(crate) const STORED: &str = r#"{"status":"OK","message":"Key inserted/updated successfully."}"#;

pub(crate) const ABSENT: &str =
    r#"{"status":"ERROR","message":"Key not found.","code":"not_found"}"#;

pub(crate) const HEALTHY: &str = r#"{"status":"OK"}"#;

pub(crate) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The longest that a deadline can be late: one beat, rounded up.
pub(crate) const SLACK: Duration = Duration::from_millis(600);

pub(crate) fn config(shards: usize) -> Config {
    Config { shards, memory_bytes: shards << 20, ..Config::default() }
}

pub(crate) fn with_limits(shards: usize, change: impl FnOnce(&mut Limits)) -> Config {
    let mut config = config(shards);
    change(&mut config.limits);
    config
}

/// All answers in `bytes`, none of them to HEAD; nothing may be left over.
pub(crate) fn read_all(bytes: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let read = Answer::read(rest, false);
        let (answer, length) =
            read.unwrap_or_else(|| panic!("half an answer: {}", rest.escape_ascii()));
        answers.push(answer);
        rest = &rest[length..];
    }
    answers
}

/// What an input came to.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_open: bool,
    pub(crate) entries: u64,
}

impl std::fmt::Debug for Told {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { bytes, is_open, entries } = self;
        write!(out, "{} [open: {is_open}, entries: {entries}]", bytes.escape_ascii())
    }
}

impl Told {
    pub(crate) fn answers(&self) -> Vec<Answer> {
        let answers = read_all(&self.bytes);
        for (index, answer) in answers.iter().enumerate() {
            let is_last = index + 1 == answers.len();
            assert_eq!(answer.says_close(), is_last && !self.is_open, "{answers:?}");
        }
        answers
    }
}

pub(crate) fn tell_in<'a>(
    config: &Config,
    home: usize,
    role: Role,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Told {
    let mut cluster = Cluster::new(config);
    let client = cluster.connect(home, role);
    for piece in pieces {
        cluster.send(client, piece);
    }
    let is_open = cluster.end(client) == End::Open;
    Told { bytes: cluster.output(client), is_open, entries: cluster.entries() }
}

/// Runs `input` in every way that must not matter.
pub(crate) fn tell_to(role: Role, input: &[u8], change: impl Fn(&mut Limits)) -> Told {
    let one = with_limits(1, &change);
    let two = with_limits(2, &change);
    let whole = tell_in(&one, 0, role, std::iter::once(input));
    let stride = match input.len() {
        0..=300 => 1,
        301..=1500 => 7,
        length => length / 29,
    };
    for (config, home) in [(&one, 0), (&two, 0), (&two, 1)] {
        let ways = format!("shard {home} of {}: {}", config.shards, shown(input));
        for cut in (0..input.len()).step_by(stride) {
            let (first, second) = input.split_at(cut);
            let told = tell_in(config, home, role, [first, second].into_iter());
            assert_eq!(told, whole, "cut at {cut}, {ways}");
        }
        let piece = if input.len() <= 1500 { 1 } else { 701 };
        assert_eq!(tell_in(config, home, role, input.chunks(piece)), whole, "in bits, {ways}");
    }
    whole
}

pub(crate) fn tell(input: impl AsRef<[u8]>) -> Told {
    tell_to(Role::Data, input.as_ref(), |_| {})
}

pub(crate) fn shown(input: &[u8]) -> String {
    input[..input.len().min(300)].escape_ascii().to_string()
}

/// The answers to `input`, after which the connection stays open.
#[track_caller]
pub(crate) fn kept(input: impl AsRef<[u8]>) -> Vec<Answer> {
    let told = tell(&input);
    assert!(told.is_open, "closed after {}", shown(input.as_ref()));
    told.answers()
}

/// The answers to `input`, after which the connection is closed.
#[track_caller]
pub(crate) fn closed(input: impl AsRef<[u8]>) -> Vec<Answer> {
    let told = tell(&input);
    assert!(!told.is_open, "open after {}", shown(input.as_ref()));
    told.answers()
}

#[track_caller]
pub(crate) fn is_problem(answers: &[Answer], status: u16, code: &str, input: &[u8]) {
    assert_eq!(answers.len(), 1, "{}: {answers:?}", shown(input));
    let found = (answers[0].status, answers[0].code());
    assert_eq!(found, (status, code.to_owned()), "{}", shown(input));
}

/// One error that closes the connection; nothing is stored.
#[track_caller]
pub(crate) fn refused(input: impl AsRef<[u8]>, status: u16, code: &str) {
    let input = input.as_ref();
    let told = tell(input);
    assert!(!told.is_open, "open after {}", shown(input));
    assert_eq!(told.entries, 0, "stored by {}", shown(input));
    is_problem(&told.answers(), status, code, input);
}

/// One error that leaves the connection open, in step for the next request; nothing is stored.
#[track_caller]
pub(crate) fn declined(input: impl AsRef<[u8]>, status: u16, code: &str) {
    let input = input.as_ref();
    let told = tell([input, health().as_bytes()].concat());
    assert!(told.is_open, "closed after {}", shown(input));
    assert_eq!(told.entries, 0, "stored by {}", shown(input));
    let answers = told.answers();
    let (last, first) = answers.split_last().unwrap();
    assert_eq!(last.body, HEALTHY, "{}", shown(input));
    is_problem(first, status, code, input);
}

#[track_caller]
pub(crate) fn statuses(answers: &[Answer], expected: &[u16]) {
    let found: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(found, expected, "{answers:?}");
}

pub(crate) fn value_of(answer: &Answer) -> String {
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    body["value"].as_str().unwrap_or_else(|| panic!("no value: {}", answer.body)).to_owned()
}

pub(crate) fn message_of(answer: &Answer) -> String {
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    body["message"].as_str().unwrap().to_owned()
}

pub(crate) fn status_of(told: &Told) -> u16 {
    std::str::from_utf8(&told.bytes[9..12]).unwrap().parse().unwrap()
}
