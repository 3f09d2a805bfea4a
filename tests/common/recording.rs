//! Recordings of what the shards answered to every client of these tests, and the check of a run
//! against them.
//!
//! An exchange is all that one client sent, all that it got, and how its connection ended. Equal
//! exchanges are one, so that an input that is cut at every offset stands here once. The files in
//! `tests/recordings` are a set, keyed by what was sent and not by who sent it: a test may move
//! and change its name. What a run makes must be in the set ([`check`], as each cluster ends), and
//! at the end of a whole run all of the set must have been made ([`finish`]).
//!
//! With `KVCACHE_RECORD=1` a whole run writes the files anew.
//!
//! What is left out:
//! - the texts of `message`, which may be improved, and the lengths of bodies that have one;
//! - versions, which start at random: they are numbered as they come up in the exchange;
//! - the bodies of `/stats` and `/metrics`: measurements, some of them times;
//! - clusters whose stores are filled, by `Cluster::leave_unrecorded`.

#![expect(clippy::disallowed_types, reason = "tests run in threads and make one set")]

use super::cluster::Exchange;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt::Write as _,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    sync::{LazyLock, Mutex, PoisonError},
};

const DIRECTORY: &str = "tests/recordings";
/// Longer than this, what was sent or an answer is shortened to its ends and a hash.
const SHOWN_BYTES_MAX: usize = 1_200;
/// Longer than this, what was answered to one client is shortened so.
const ANSWERED_BYTES_MAX: usize = 8_000;
/// From so many times on, a byte that repeats is written once.
const RUN_BYTES_MIN: usize = 24;

/// What was sent, and all that has been answered to it.
type Set = BTreeMap<String, BTreeSet<String>>;

static RECORDED: LazyLock<Set> = LazyLock::new(read);
static MADE: LazyLock<Mutex<Set>> = LazyLock::new(Mutex::default);
/// Hashes of exchanges as they were, which need not be looked at again.
static SEEN: LazyLock<Mutex<HashSet<u64>>> = LazyLock::new(Mutex::default);

fn is_recording() -> bool {
    std::env::var_os("KVCACHE_RECORD").is_some_and(|value| value == "1")
}

/// Fails unless the exchange is among the recorded ones.
pub(crate) fn check(exchange: &Exchange<'_>) {
    let mut hasher = DefaultHasher::new();
    (&exchange.client, exchange.sent, exchange.got, &exchange.end).hash(&mut hasher);
    if !SEEN.lock().unwrap_or_else(PoisonError::into_inner).insert(hasher.finish()) {
        return;
    }
    let (key, answered) = normal(exchange);
    if !is_recording() {
        let told = compare(&key, &answered, &RECORDED);
        assert!(told.is_ok(), "{}", told.unwrap_err());
    }
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    made.entry(key).or_default().insert(answered);
}

/// Fails if an exchange was recorded that this run, of all tests, has not made; or records.
pub(crate) fn finish() {
    let made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if is_recording() {
        write(&made);
        return;
    }
    let missing: Vec<String> = RECORDED
        .iter()
        .flat_map(|(key, answers)| answers.iter().map(move |answer| (key, answer)))
        .filter(|(key, answer)| !made.get(*key).is_some_and(|made| made.contains(*answer)))
        .map(|(key, answer)| format!("{key}{answer}"))
        .collect();
    assert!(
        missing.is_empty(),
        "{} recorded exchanges were not made by any test; the first is\n{}",
        missing.len(),
        missing[0]
    );
}

/// The lines of what was sent and of what was answered.
fn normal(exchange: &Exchange<'_>) -> (String, String) {
    let mut versions = HashMap::new();
    let mut answered = String::new();
    let mut last = (String::new(), 0);
    let mut rest = exchange.got;
    while !rest.is_empty() {
        let (answer, length) = take_answer(rest);
        rest = &rest[length..];
        let shown = shorten(&number_versions(&answer, &mut versions));
        if shown != last.0 {
            push(&mut answered, &last);
            last = (shown, 0);
        }
        last.1 += 1;
    }
    push(&mut answered, &last);
    let Exchange { client, end, .. } = exchange;
    writeln!(answered, "= {end}").expect("a string takes all");
    let answered = with_hash(answered, ANSWERED_BYTES_MAX);
    let sent = shorten(&number_versions(exchange.sent, &mut versions));
    (format!("{client}\n> {sent}\n"), answered)
}

/// A line for an answer that came so many times in a row.
fn push(answered: &mut String, (answer, times): &(String, usize)) {
    let line = match times {
        0 => return,
        1 => format!("< {answer}"),
        _ => format!("< {times} times {answer}"),
    };
    writeln!(answered, "{line}").expect("a string takes all");
}

/// The first answer in `bytes` without what is not recorded, and how many bytes it had. An answer
/// that breaks off goes to the end.
fn take_answer(bytes: &[u8]) -> (Vec<u8>, usize) {
    const HEAD_END: &[u8] = b"\r\n\r\n";
    let Some(head) = find(bytes, HEAD_END) else { return (bytes.to_vec(), bytes.len()) };
    let (head, rest) = bytes.split_at(head + HEAD_END.len());
    let text = String::from_utf8_lossy(head);
    let field = |name: &str| {
        let after = text.split_once(&format!("\r\n{name}: "))?.1;
        after.split_once("\r\n").map(|(value, _)| value)
    };
    let length: usize = field("Content-Length").map_or(0, |length| length.parse().expect("digits"));
    let length = if field("Transfer-Encoding").is_some() {
        find(rest, b"\r\n0\r\n\r\n").map_or(rest.len(), |at| at + 7)
    } else if rest.starts_with(b"HTTP/1.1 ") {
        // The answer to HEAD, which has no body.
        0
    } else {
        length.min(rest.len())
    };
    let body = &rest[..length];
    let is_measured = body.starts_with(br#"{"shards":["#) || body.starts_with(b"# HELP ");
    let message = br#""message":""#;
    let said = find(body, message).filter(|_| field("Content-Type") == Some("application/json"));
    let is_error = text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.1 5");
    let mut head = text.replace("Date: Sun, 06 Nov 1994 08:49:37 GMT", "Date: .");
    if let Some(length) =
        field("Content-Length").filter(|_| is_measured || is_error || said.is_some())
    {
        head = head.replace(&format!("Content-Length: {length}\r"), "Content-Length: .\r");
    }
    let mut answer = head.into_bytes();
    match said {
        _ if is_measured => answer.extend(b"(measured)"),
        None => answer.extend(body),
        Some(at) => {
            let (before, text) = body.split_at(at + message.len());
            let mut is_escaped = false;
            let end = text.iter().position(|byte| {
                let ends = *byte == b'"' && !is_escaped;
                is_escaped = *byte == b'\\' && !is_escaped;
                ends
            });
            answer.extend(before);
            answer.extend(&text[end.unwrap_or(text.len())..]);
        }
    }
    (answer, bytes.len() - rest.len() + length)
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// Replaces what stands for a version in an entity tag by its number in `versions`.
fn number_versions(bytes: &[u8], versions: &mut HashMap<Vec<u8>, usize>) -> Vec<u8> {
    const DIGITS: usize = 16;
    let mut numbered = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        numbered.push(byte);
        rest = after;
        if byte != b'"' {
            continue;
        }
        if let Some(digits) = after.get(..DIGITS)
            && digits.iter().all(u8::is_ascii_hexdigit)
            && matches!(after.get(DIGITS), Some(b'"' | b'-'))
        {
            let next = versions.len() + 1;
            let number = *versions.entry(digits.to_vec()).or_insert(next);
            numbered.extend(format!("version {number}").bytes());
            rest = &after[DIGITS..];
        }
    }
    numbered
}

/// The bytes in one line. Runs are written once, and what is still long as its ends and a hash.
fn shorten(bytes: &[u8]) -> String {
    let mut shown = String::new();
    for run in bytes.chunk_by(|one, other| one == other) {
        let times = if run.len() < RUN_BYTES_MIN { run.len() } else { 1 };
        for byte in &run[..times] {
            match byte {
                b'"' | b'\'' => shown.push(char::from(*byte)),
                byte => write!(shown, "{}", byte.escape_ascii()).expect("a string takes all"),
            }
        }
        if times < run.len() {
            write!(shown, "(times {})", run.len()).expect("a string takes all");
        }
    }
    with_hash(shown, SHOWN_BYTES_MAX)
}

/// Of a text that is longer than that: its ends, and a hash of all of it.
fn with_hash(text: String, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text;
    }
    // All is ASCII here, so every index is between two characters.
    let (start, end) = (&text[..bytes_max / 2], &text[text.len() - bytes_max / 6..]);
    let hash = crc32fast::hash(text.as_bytes());
    format!("{start}({} bytes, CRC32 {hash:08x}){end}", text.len())
}

/// Whether that was recorded; if not, what differs, for a person to read.
fn compare(key: &str, answered: &str, set: &Set) -> Result<(), String> {
    let hint = "KVCACHE_RECORD=1 records anew what all tests make";
    let Some(recorded) = set.get(key) else {
        return Err(format!("no such exchange is recorded ({hint}):\n{key}{answered}"));
    };
    if recorded.contains(answered) {
        return Ok(());
    }
    let common = |one: &str| one.bytes().zip(answered.bytes()).take_while(|(a, b)| a == b).count();
    let nearest = recorded.iter().max_by_key(|answer| common(answer)).expect("one was recorded");
    let at = common(nearest);
    let around = |text: &str| {
        let start = at.saturating_sub(60).min(text.len());
        text[start..(at + 60).min(text.len())].to_owned()
    };
    Err(format!(
        "another answer than was recorded ({hint}):\n{key}\nrecorded:\n{nearest}\nnow:\n{answered}\n\
         The first difference is at byte {at}:\nrecorded: {}\nnow:      {}\n",
        around(nearest),
        around(answered)
    ))
}

/// The file that an exchange stands in: the first path that was asked for.
fn file_of(key: &str) -> String {
    let target = key.split_once("> ").map_or("", |(_, sent)| sent).split(' ').nth(1);
    let path = target.unwrap_or("").trim_start_matches("http://h").trim_start_matches('/');
    let name: String = path.chars().take_while(char::is_ascii_lowercase).collect();
    let routes = ["delete", "events", "flush", "get", "invalidate", "kv", "mdelete", "mget"];
    let is_known = routes.contains(&&*name) || ["mput", "put"].contains(&&*name);
    format!("{DIRECTORY}/{}.txt", if is_known { &*name } else { "other" })
}

fn read() -> Set {
    let mut set = Set::new();
    let Ok(files) = fs::read_dir(DIRECTORY) else { return set };
    for file in files {
        let path = file.expect("a directory that can be read").path();
        let text = fs::read_to_string(&path).expect("a recording is text");
        for exchange in text.split_terminator("\n\n") {
            let sent = exchange.match_indices('\n').nth(1).expect("two lines of what was sent").0;
            let (key, answered) = exchange.split_at(sent + 1);
            set.entry(key.to_owned()).or_default().insert(format!("{answered}\n"));
        }
    }
    set
}

fn write(set: &Set) {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for (key, answers) in set {
        for answered in answers {
            let text = files.entry(file_of(key)).or_default();
            writeln!(text, "{key}{answered}").expect("a string takes all");
        }
    }
    if Path::new(DIRECTORY).exists() {
        fs::remove_dir_all(DIRECTORY).expect("the recordings can be replaced");
    }
    fs::create_dir_all(DIRECTORY).expect("a directory for recordings");
    for (path, text) in files {
        fs::write(path, text).expect("a recording can be written");
    }
}

#[test]
fn texts_of_messages_and_versions_are_not_recorded_and_all_else_is() {
    let normal_of = |sent: &str, got: &str| {
        let (sent, got) = (sent.as_bytes(), got.as_bytes());
        let (client, end) = ("Data".to_owned(), "Open".to_owned());
        normal(&Exchange { client, sent, got, end })
    };
    let answer = |message: &str, tag: &str| {
        let body = format!(r#"{{"message":"{message}","code":"x"}}"#);
        let fields = format!("Content-Type: application/json\r\nContent-Length: {}", body.len());
        let error = format!("HTTP/1.1 400 Bad Request\r\n{fields}\r\n\r\n{body}");
        let found = format!("HTTP/1.1 200 OK\r\nETag: \"{tag}\"\r\nContent-Length: 1\r\n\r\nv");
        error + &found.repeat(2)
    };
    let ask = |tag: &str| format!("GET / HTTP/1.1\r\nIf-None-Match: \"{tag}\"\r\n\r\n");
    let (one, other) = ("0123456789abcdef", "fedcba9876543210");
    let (key, recorded) = normal_of(&ask(one), &answer("A.", one));
    let (same, again) = normal_of(&ask(other), &answer("Say \\\" more.", other));
    assert_eq!((&key, &recorded), (&same, &again));
    assert!(key.contains("\"version 1\"") && recorded.contains("< 2 times "), "{key}{recorded}");

    let set = Set::from([(key.clone(), BTreeSet::from([recorded.clone()]))]);
    assert_eq!(compare(&key, &recorded, &set), Ok(()));
    let changed = answer("A.", one).replacen("OK", "Ok", 1);
    let told = compare(&key, &normal_of(&ask(one), &changed).1, &set).unwrap_err();
    assert!(told.contains("The first difference is at byte "), "{told}");
    let told = compare(&normal_of("", &changed).0, &recorded, &set).unwrap_err();
    assert!(told.starts_with("no such exchange is recorded"), "{told}");
}

#[test]
fn what_repeats_and_what_is_long_is_written_short() {
    assert_eq!(shorten(&[b'v'; 30]), "v(times 30)");
    let long = |last: char| {
        (b'a'..=b'z').cycle().take(2_000).map(char::from).collect::<String>() + &last.to_string()
    };
    let (one, other) = (shorten(long('x').as_bytes()), shorten(long('y').as_bytes()));
    assert!(one.len() < 1_000 && one.starts_with("abc") && one.contains("(2001 bytes, CRC32 "));
    assert_ne!(one.split("CRC32").nth(1).unwrap()[..9], other.split("CRC32").nth(1).unwrap()[..9]);
}
