//! What good and bad input, slow clients and broken connections must get, case by case.
//!
//! Each input runs on one shard and on both of two, so that keys are local and foreign, whole and
//! cut anywhere; all of these must say the same, byte for byte.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common"]
mod common {
    pub(crate) mod answer;
    pub(crate) mod cluster;
    pub(crate) mod recording;
    pub(crate) mod requests;
}
#[path = "../routes"]
mod routes {
    mod events;
    mod gzip;
    mod kv;
    mod overload;
    mod unsent;
}
mod whole_run;

use common::{
    answer::Answer,
    cluster::{Client, Cluster, End, blank_versions},
    requests,
};
use kvcache::{
    auth::Tokens,
    clock::Millis,
    config::{Config, Limits},
    shard::{BEAT_MS, Role, Shard},
    store::{Eviction, KeyHasher, SCAN_STEPS_MAX},
};
use std::time::{Duration, SystemTime};

const STORED: &str = r#"{"status":"OK","message":"Key inserted/updated successfully."}"#;
const ABSENT: &str = r#"{"status":"ERROR","message":"Key not found.","code":"not_found"}"#;
const HEALTHY: &str = r#"{"status":"OK"}"#;
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// The longest that a deadline can be late: one beat, rounded up.
const SLACK: Duration = Duration::from_millis(600);

fn config(shards: usize) -> Config {
    Config { shards, memory_bytes: shards << 20, ..Config::default() }
}

fn with_limits(shards: usize, change: impl FnOnce(&mut Limits)) -> Config {
    let mut config = config(shards);
    change(&mut config.limits);
    config
}

/// All answers in `bytes`, none of them to HEAD; nothing may be left over.
fn read_all(bytes: &[u8]) -> Vec<Answer> {
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
struct Told {
    bytes: Vec<u8>,
    is_open: bool,
    entries: u64,
}

impl std::fmt::Debug for Told {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { bytes, is_open, entries } = self;
        write!(out, "{} [open: {is_open}, entries: {entries}]", bytes.escape_ascii())
    }
}

impl Told {
    fn answers(&self) -> Vec<Answer> {
        let answers = read_all(&self.bytes);
        for (index, answer) in answers.iter().enumerate() {
            let is_last = index + 1 == answers.len();
            assert_eq!(answer.says_close(), is_last && !self.is_open, "{answers:?}");
        }
        answers
    }
}

fn tell_in<'a>(
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
fn tell_to(role: Role, input: &[u8], change: impl Fn(&mut Limits)) -> Told {
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

fn tell(input: impl AsRef<[u8]>) -> Told {
    tell_to(Role::Data, input.as_ref(), |_| {})
}

fn shown(input: &[u8]) -> String {
    input[..input.len().min(300)].escape_ascii().to_string()
}

/// The answers to `input`, after which the connection stays open.
#[track_caller]
fn kept(input: impl AsRef<[u8]>) -> Vec<Answer> {
    let told = tell(&input);
    assert!(told.is_open, "closed after {}", shown(input.as_ref()));
    told.answers()
}

/// The answers to `input`, after which the connection is closed.
#[track_caller]
fn closed(input: impl AsRef<[u8]>) -> Vec<Answer> {
    let told = tell(&input);
    assert!(!told.is_open, "open after {}", shown(input.as_ref()));
    told.answers()
}

#[track_caller]
fn is_problem(answers: &[Answer], status: u16, code: &str, input: &[u8]) {
    assert_eq!(answers.len(), 1, "{}: {answers:?}", shown(input));
    let found = (answers[0].status, answers[0].code());
    assert_eq!(found, (status, code.to_owned()), "{}", shown(input));
}

/// One error that closes the connection; nothing is stored.
#[track_caller]
fn refused(input: impl AsRef<[u8]>, status: u16, code: &str) {
    let input = input.as_ref();
    let told = tell(input);
    assert!(!told.is_open, "open after {}", shown(input));
    assert_eq!(told.entries, 0, "stored by {}", shown(input));
    is_problem(&told.answers(), status, code, input);
}

/// One error that leaves the connection open, in step for the next request; nothing is stored.
#[track_caller]
fn declined(input: impl AsRef<[u8]>, status: u16, code: &str) {
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
fn statuses(answers: &[Answer], expected: &[u16]) {
    let found: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(found, expected, "{answers:?}");
}

fn get(key: &str) -> String {
    format!("GET /get?key={key} HTTP/1.1\r\nHost: h\r\n\r\n")
}

fn health() -> String {
    "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n".to_owned()
}

fn post(body: &str) -> String {
    format!("POST /put HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn put(key: &str, value: &str) -> String {
    post(&serde_json::json!({ "key": key, "value": value }).to_string())
}

fn value_of(answer: &Answer) -> String {
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    body["value"].as_str().unwrap_or_else(|| panic!("no value: {}", answer.body)).to_owned()
}

/// A put with one more field.
fn put_with(field: &str) -> String {
    let body = r#"{"key":"a","value":"b"}"#;
    format!(
        "POST /put HTTP/1.1\r\nHost: h\r\n{field}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn chunked(body: &str) -> String {
    format!("POST /put HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

// The contract of /put and /get.

#[test]
fn put_and_get_say_exactly_this() {
    let told = tell([put("K", "V"), get("K"), get("L")].concat());
    let expected = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
        Content-Type: application/json\r\nContent-Length: 62\r\n\r\n\
        {\"status\":\"OK\",\"message\":\"Key inserted/updated successfully.\"}\
        HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
        Content-Type: application/json\r\nContent-Length: 37\r\n\r\n\
        {\"status\":\"OK\",\"key\":\"K\",\"value\":\"V\"}\
        HTTP/1.1 404 Not Found\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
        Content-Type: application/json\r\nContent-Length: 64\r\n\r\n\
        {\"status\":\"ERROR\",\"message\":\"Key not found.\",\"code\":\"not_found\"}";
    assert_eq!(String::from_utf8(told.bytes).unwrap(), expected);
    assert!(told.is_open);
}

#[test]
fn a_put_replaces() {
    let answers = kept([put("K", "1"), put("K", ""), get("K")].concat());
    assert_eq!(answers[1].body, STORED);
    assert_eq!(answers[2].body, r#"{"status":"OK","key":"K","value":""}"#);
}

#[test]
fn an_entry_expires_when_its_time_is_over() {
    for shards in [1, 2] {
        let mut cluster = Cluster::new(&config(shards));
        let client = cluster.connect(0, Role::Data);
        cluster.send(client, post(r#"{"key":"K","value":"V","ttl":1.5}"#));
        cluster.send(client, post(r#"{"key":"L","value":"V","ttl":0.5}"#));
        cluster.send(client, post(r#"{"key":"M","value":"V","ttl":0.5}"#));
        cluster.send(client, post(r#"{"key":"M","value":"V"}"#));
        cluster.pass(Duration::from_millis(1_499));
        cluster.output(client);
        cluster.send(client, [get("K"), get("L"), get("M")].concat());
        statuses(&read_all(&cluster.output(client)), &[200, 404, 200]);
        cluster.pass(Duration::from_millis(1));
        cluster.send(client, [get("K"), get("M")].concat());
        let answers = read_all(&cluster.output(client));
        statuses(&answers, &[404, 200]);
        assert_eq!(answers[0].body, ABSENT);
    }
}

#[test]
fn the_default_time_to_live_counts_where_none_is_named() {
    let default_ttl = Some(Duration::from_secs(2));
    let mut cluster = Cluster::new(&Config { default_ttl, ..config(2) });
    let client = cluster.connect(1, Role::Data);
    cluster.send(client, put("K", "V"));
    cluster.send(client, post(r#"{"key":"L","value":"V","ttl":3}"#));
    cluster.pass(Duration::from_secs(2));
    cluster.output(client);
    cluster.send(client, [get("K"), get("L")].concat());
    statuses(&read_all(&cluster.output(client)), &[404, 200]);
}

#[test]
fn a_time_to_live_is_a_number_above_zero_and_at_most_ten_years() {
    for ttl in ["0", "-1", "0.0", "-0", "315576000.1", "1e300", "\"1\"", "null", "true", "[1]"] {
        let input = post(&format!(r#"{{"key":"a","value":"b","ttl":{ttl}}}"#));
        declined(input, 400, "bad_ttl");
    }
    for ttl in ["315576000", "1e-9", "0.25", "1E2"] {
        let input = post(&format!(r#"{{"key":"a","value":"b","ttl":{ttl}}}"#));
        assert_eq!(kept(input)[0].body, STORED);
    }
}

#[test]
fn put_takes_json_or_no_type_at_all() {
    for line in [
        "X-Type: text/plain",
        "Content-Type: application/json",
        "content-type: Application/JSON; charset=utf-8",
        "Content-Type:\tapplication/json ;charset=latin1; x=\"y\"",
        "Content-Encoding: identity",
    ] {
        assert_eq!(kept(put_with(line))[0].body, STORED, "{line}");
    }
    for line in ["text/plain", "application/jsonx", "application/", "json", "text/json", ""] {
        declined(put_with(&format!("Content-Type: {line}")), 415, "unsupported_media_type");
    }
    declined(put_with("Content-Encoding: gzip"), 415, "unsupported_content_encoding");
}

#[test]
fn unknown_members_are_ignored() {
    let body = r#"{"x":{"key":"no","key":[1]},"value":"V","y":null,"key":"K","Key":"no"}"#;
    let answers = kept([post(body), get("K")].concat());
    assert_eq!(value_of(&answers[1]), "V");
}

#[test]
fn an_empty_key_is_refused_and_an_empty_value_is_not() {
    declined(put("", "v"), 400, "empty_key");
    assert_eq!(kept(put("k", ""))[0].body, STORED);
}

#[test]
fn strings_come_back_as_they_were_stored() {
    let stored =
        r#"{"key":"k\u00e9y","value":"\ud83d\ude00 \"\\\/\b\f\n\r\t\u0000\u001f\u007f</é"}"#;
    let answers = kept([post(stored), get("k%C3%A9y")].concat());
    let expected = "{\"status\":\"OK\",\"key\":\"kéy\",\"value\":\"😀 \\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f\u{7f}</é\"}";
    assert_eq!(answers[1].body, expected);
}

#[test]
fn the_query_is_decoded_once() {
    let answers = kept([put("a b+c%25", "V"), get("a+b%2Bc%2525"), get("a%20b%2bc%2525")].concat());
    statuses(&answers, &[200, 200, 200]);
    assert_eq!(answers[1].body, r#"{"status":"OK","key":"a b+c%25","value":"V"}"#);
    let others = "GET /get?x=1&%6bey=a%00b&&y HTTP/1.1\r\nHost: h\r\n\r\n";
    let answers = kept([put("a\0b", "V"), others.to_owned()].concat());
    assert_eq!(answers[1].body, r#"{"status":"OK","key":"a\u0000b","value":"V"}"#);
}

#[test]
fn limits_of_key_and_value_can_be_raised() {
    let input = [put(&"k".repeat(300), &"v".repeat(5_000)), get(&"k".repeat(300))].concat();
    let told = tell_to(Role::Data, input.as_bytes(), |limits| {
        limits.key_bytes_max = 300;
        limits.value_bytes_max = 5_000;
    });
    statuses(&told.answers(), &[200, 200]);
}

#[test]
fn health_is_told_on_both_listeners_and_statistics_on_one() {
    let stats = "GET /stats HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_eq!(kept(health())[0].body, HEALTHY);
    declined(stats, 404, "no_such_route");
    for input in [get("a"), put("a", "b")] {
        let told = tell_to(Role::Admin, input.as_bytes(), |_| {});
        assert!(told.is_open);
        is_problem(&told.answers(), 404, "no_such_route", input.as_bytes());
    }
    let told = tell_to(Role::Admin, health().as_bytes(), |_| {});
    assert_eq!(told.answers()[0].body, HEALTHY);
}

#[test]
fn statistics_count_what_was_answered() {
    for shards in 1..=3 {
        let mut cluster = Cluster::new(&config(shards));
        let client = cluster.connect(0, Role::Data);
        for key in ["a", "b", "c", "d"] {
            cluster.send(client, put(key, "V"));
            cluster.send(client, get(key));
            cluster.send(client, get(&format!("no{key}")));
        }
        cluster.send(client, post("{"));
        let admin = cluster.connect(shards - 1, Role::Admin);
        let ask = "GET /stats HTTP/1.1\r\nHost: h\r\n\r\n";
        cluster.send(admin, [ask, ask].concat());
        let answers = read_all(&cluster.output(admin));
        statuses(&answers, &[200, 200]);
        let stats: serde_json::Value = serde_json::from_str(&answers[0].body).unwrap();
        assert_eq!(stats["shards"].as_array().unwrap().len(), shards);
        let totals = &stats["totals"];
        let requests = &totals["requests"];
        assert_eq!(requests["put"]["ok"], 4);
        assert_eq!(requests["put"]["client_error"], 1);
        assert_eq!(requests["get"]["ok"], 4);
        assert_eq!(requests["get"]["not_found"], 4);
        assert_eq!(totals["store"]["entries"], 4);
        assert_eq!(totals["store"]["hits"], 4);
        assert_eq!(totals["store"]["misses"], 4);
        assert_eq!(totals["connections"]["open"], 1);
        assert_eq!(stats["shards"][0]["connections"]["open"], 1);
        let sum = |group: &str, name: &str| -> u64 {
            let shards = stats["shards"].as_array().unwrap();
            shards.iter().map(|shard| shard[group][name].as_u64().unwrap()).sum()
        };
        assert_eq!(totals["store"]["entries"], sum("store", "entries"));
        assert_eq!(totals["hops"]["calls"], sum("hops", "calls"));
    }
}

// Rules that hold on every route.

#[test]
fn every_route_knows_its_methods() {
    let tokens = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE"];
    let routes = [
        (Role::Data, "/get", "GET, HEAD, OPTIONS", &["GET", "HEAD"][..]),
        (Role::Data, "/put", "POST, OPTIONS", &["POST"]),
        (Role::Data, "/mget", "POST, OPTIONS", &["POST"]),
        (Role::Data, "/mput", "POST, OPTIONS", &["POST"]),
        (Role::Data, "/mdelete", "POST, OPTIONS", &["POST"]),
        (Role::Data, "/invalidate", "POST, OPTIONS", &["POST"]),
        (Role::Admin, "/invalidate", "POST, OPTIONS", &["POST"]),
        (Role::Admin, "/delete-prefix", "POST, OPTIONS", &["POST"]),
        (Role::Admin, "/flush", "POST, OPTIONS", &["POST"]),
        (Role::Data, "/healthz", "GET, HEAD, OPTIONS", &["GET", "HEAD"]),
        (Role::Admin, "/healthz", "GET, HEAD, OPTIONS", &["GET", "HEAD"]),
        (Role::Admin, "/stats", "GET, HEAD, OPTIONS", &["GET", "HEAD"]),
    ];
    for (role, path, allow, allowed) in routes {
        for token in tokens {
            let input =
                format!("{token} {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{{}}");
            let told = tell_in(&config(2), 1, role, input.as_bytes().chunks(9));
            assert!(told.is_open);
            let (answer, length) = Answer::read(&told.bytes, token == "HEAD").unwrap();
            assert_eq!(length, told.bytes.len());
            assert_eq!(answer.status != 405, allowed.contains(&token), "{token} {path}");
            if answer.status == 405 {
                assert_eq!(answer.field("allow"), Some(allow));
            }
        }
    }
}

#[test]
fn an_unknown_route_is_404_for_every_known_method() {
    for input in [
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /get/ HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET //get?key=a HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /%67et?key=a HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /GET?key=a HTTP/1.1\r\nHost: h\r\n\r\n",
        "DELETE /nowhere HTTP/1.1\r\nHost: h\r\n\r\n",
        "OPTIONS /nowhere HTTP/1.1\r\nHost: h\r\n\r\n",
        "PUT /nowhere HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nGET",
    ] {
        declined(input, 404, "no_such_route");
    }
}

#[test]
fn bodies_are_framed_for_every_method() {
    let smuggled = get("a");
    let input = format!(
        "GET /get?key=a HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{smuggled}",
        smuggled.len()
    );
    declined(input, 404, "not_found");
    let input = "GET /get?key=a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nGET\r\n0\r\n\r\n";
    declined(input, 404, "not_found");
}

#[test]
fn a_full_way_between_shards_is_503_and_the_connection_stays() {
    let config = with_limits(2, |limits| limits.hop_requests_max = 2);
    // Two keys of each shard: CRC16 of "a" and "b" lie in different halves.
    let input = [get("a"), get("b")].concat().repeat(4);
    for home in [0, 1] {
        let mut cluster = Cluster::new(&config);
        let client = cluster.connect(home, Role::Data);
        cluster.send(client, &input);
        let answers = read_all(&cluster.output(client));
        let overloaded: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
        assert_eq!((answers.len(), overloaded.len()), (8, 2));
        for answer in overloaded {
            assert_eq!(
                (answer.code().as_str(), answer.field("retry-after")),
                ("overloaded", Some("1"))
            );
        }
        cluster.send(client, get("a"));
        assert_eq!(read_all(&cluster.output(client))[0].body, ABSENT);
        assert_eq!(cluster.end(client), End::Open);
    }
}

// Request heads.

#[test]
fn row_01_no_host() {
    refused("GET /get?key=a HTTP/1.1\r\n\r\n", 400, "missing_host");
    refused("GET http://h/get?key=a HTTP/1.1\r\nAccept: */*\r\n\r\n", 400, "missing_host");
}

#[test]
fn row_02_two_host_lines() {
    refused(put_with("Host: h"), 400, "repeated_host");
    refused(put_with("HOST: other"), 400, "repeated_host");
}

#[test]
fn row_03_host_must_be_a_host() {
    for host in ["", " ", "user@h", "h/path", "a,b", "h:x", "[::1", "h?", "h#", "ü", "a b"] {
        refused(format!("GET /get?key=a HTTP/1.1\r\nHost: {host}\r\n\r\n"), 400, "bad_host");
    }
}

#[test]
fn row_04_http_1_0_needs_no_host() {
    let answers = closed("GET /get?key=a HTTP/1.0\r\n\r\n");
    assert_eq!(answers[0].body, ABSENT);
}

#[test]
fn row_05_content_length_and_transfer_encoding() {
    let body = "0\r\n\r\n";
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 0\r\nTransfer-Encoding: identity",
    ] {
        let input = format!("POST /put HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n{body}");
        refused(input, 400, "length_and_transfer_encoding");
    }
}

#[test]
fn row_06_different_content_lengths() {
    refused(put_with("Content-Length: 5"), 400, "repeated_content_length");
}

#[test]
fn row_07_equal_content_lengths() {
    refused(put_with("Content-Length: 23"), 400, "repeated_content_length");
    let input = "POST /put HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 5\r\n\r\nhello";
    refused(input, 400, "bad_content_length");
}

#[test]
fn row_08_content_length_is_digits() {
    for length in [
        "+5",
        "-1",
        "-0",
        "0x5",
        "0o5",
        "1_0",
        "1 0",
        "",
        "5.0",
        "18446744073709551616",
        "99999999999999999999",
        "٥",
    ] {
        let input =
            format!("POST /put HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\nhello");
        refused(input, 400, "bad_content_length");
    }
}

#[test]
fn row_09_content_length_above_the_limit() {
    for length in [Limits::DEFAULT.body_bytes_max as u64 + 1, u64::MAX] {
        let head = format!("POST /put HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
        refused(&head, 413, "body_too_large");
        refused(head + &get("a"), 413, "body_too_large");
    }
}

#[test]
fn row_10_no_length_is_an_empty_body() {
    declined("POST /put HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_json");
    declined("POST /put HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", 400, "bad_json");
}

#[test]
fn row_11_chunks_extensions_and_trailers() {
    for coding in ["chunked", "Chunked", "CHUNKED", "\t chunked \t"] {
        let head = format!("POST /put HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: {coding}\r\n\r\n");
        for body in [
            "17\r\n{\"key\":\"a\",\"value\":\"b\"}\r\n0\r\n\r\n",
            "0000000000000017\r\n{\"key\":\"a\",\"value\":\"b\"}\r\n000\r\n\r\n",
            "A\r\n{\"key\":\"a\"\r\n00D\r\n,\"value\":\"b\"}\r\n0\r\n\r\n",
            "a;x;y=z;q=\"a;\\\"b\"\r\n{\"key\":\"a\"\r\nd ; n = v\r\n,\"value\":\"b\"}\r\n0;last\r\n\r\n",
            "17\r\n{\"key\":\"a\",\"value\":\"b\"}\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n",
        ] {
            let answers = kept(format!("{head}{body}{}", get("a")));
            assert_eq!(answers[0].body, STORED);
            assert_eq!(value_of(&answers[1]), "b");
        }
    }
}

#[test]
fn row_12_another_coding_before_chunked() {
    for codings in ["gzip, chunked", "deflate,gzip,chunked", "x;q=1, Chunked"] {
        let field = format!("Transfer-Encoding: {codings}");
        let input = format!("POST /put HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n0\r\n\r\n");
        refused(input, 501, "transfer_coding_not_supported");
    }
}

#[test]
fn row_13_transfer_encoding_without_a_reliable_end() {
    for (lines, code) in [
        ("Transfer-Encoding: chunked, gzip", "bad_transfer_encoding"),
        ("Transfer-Encoding: xchunked", "bad_transfer_encoding"),
        ("Transfer-Encoding: chunked, chunked", "bad_transfer_encoding"),
        ("Transfer-Encoding:", "bad_transfer_encoding"),
        ("Transfer-Encoding: , chunked", "bad_transfer_encoding"),
        ("Transfer-Encoding: chunked,", "bad_transfer_encoding"),
        ("Transfer-Encoding: identity", "bad_transfer_encoding"),
        ("Transfer-Encoding: \"chunked\"", "bad_transfer_encoding"),
        ("Transfer-Encoding: \u{b}chunked", "control_character"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "bad_transfer_encoding"),
        ("Transfer-Encoding: gzip\r\ntransfer-encoding: chunked", "bad_transfer_encoding"),
        ("Transfer-Encoding:\r\n chunked", "bad_field_name"),
    ] {
        let input = format!("POST /put HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n0\r\n\r\n");
        refused(input, 400, code);
    }
}

#[test]
fn row_14_transfer_encoding_in_http_1_0() {
    let input = "POST /put HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    refused(input, 400, "transfer_encoding_in_http_1_0");
}

#[test]
fn row_15_chunk_sizes() {
    for size in ["0x5", "+5", "-1", " 5", "1_0", "", "5.", "g", "00000000000000005"] {
        refused(chunked(&format!("{size}\r\nhello\r\n0\r\n\r\n")), 400, "bad_chunk_size");
    }
    // White space after the size may only lead to an extension.
    refused(chunked("5 \r\nhello\r\n0\r\n\r\n"), 400, "bad_chunk_extension");
    refused(chunked("ffffffffffffffff\r\n"), 413, "body_too_large");
}

#[test]
fn row_16_chunk_data_ends_where_its_size_says() {
    for body in
        ["5\r\nhello!\r\n", "5\r\nhell\r\n0\r\n\r\n", "5\r\nhello0\r\n\r\n", "5\r\nhello\n0\r\n"]
    {
        refused(chunked(body), 400, "bad_chunk_data");
    }
    refused(chunked("5\r\nhello\rX0\r\n\r\n"), 400, "bad_chunk_data");
    for body in ["5\nhello\r\n0\r\n\r\n", "5\rXhello\r\n0\r\n\r\n"] {
        refused(chunked(body), 400, "bad_chunk_size");
    }
    for body in ["0\r\n\n", "0\r\n\rX"] {
        refused(chunked(body), 400, "bad_trailer");
    }
}

#[test]
fn row_17_chunk_extensions() {
    for extension in [";", ";bad[=x", ";a=", ";a=\"b", ";a\u{1}", ";a=\"\u{7f}\"", "; ;"] {
        refused(
            chunked(&format!("5{extension}\r\nhello\r\n0\r\n\r\n")),
            400,
            "bad_chunk_extension",
        );
    }
    refused(chunked("5;a\rb\r\nhello\r\n0\r\n\r\n"), 400, "bad_chunk_size");
    let long = |bytes| format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(bytes));
    declined(chunked(&long(1023)), 400, "bad_json");
    refused(chunked(&long(1024)), 400, "chunk_extension_too_long");
    refused(chunked(&long(64 << 10)), 400, "chunk_extension_too_long");
    let many = "1;aa\r\nx\r\n".repeat(342) + "0\r\n\r\n";
    refused(chunked(&many), 400, "chunk_extension_too_long");
}

#[test]
fn row_18_trailers() {
    let body = "17\r\n{\"key\":\"a\",\"value\":\"b\"}\r\n0\r\n";
    let trailers = "Content-Length: 9\r\nTransfer-Encoding: gzip\r\nHost: x\r\nHost: y\r\n\
        Authorization: Bearer t\r\nConnection: close\r\nExpect: x\r\nContent-Type: text/plain\r\n\r\n";
    let answers = kept(chunked(&format!("{body}{trailers}")) + &get("a"));
    assert_eq!(answers[0].body, STORED);
    assert_eq!(value_of(&answers[1]), "b");
    refused(chunked(&format!("{body}X: {}\r\n\r\n", "a".repeat(4096))), 431, "trailer_too_large");
    refused(chunked(&format!("{body}{}\r\n", "X: y\r\n".repeat(700))), 431, "trailer_too_large");
    for trailer in ["X y: z", " folded: x", ": x", "X: \u{1}"] {
        refused(chunked(&format!("{body}{trailer}\r\n\r\n")), 400, "bad_trailer");
    }
}

#[test]
fn row_19_a_chunked_body_above_the_limit() {
    let told = |body: &str| {
        tell_to(Role::Data, chunked(body).as_bytes(), |limits| limits.body_bytes_max = 1_000)
    };
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    for body in [format!("{chunk}{chunk}1\r\nx\r\n0\r\n\r\n"), "3e9\r\n".to_owned()] {
        let told = told(&body);
        assert!(!told.is_open);
        is_problem(&told.answers(), 413, "body_too_large", body.as_bytes());
    }
    let told = told(&format!("{chunk}{chunk}0\r\n\r\n"));
    is_problem(&told.answers(), 400, "bad_json", chunk.as_bytes());
}

#[test]
fn row_20_folded_lines() {
    for field in ["X: a\r\n b", "X: a\r\n\tb", "X:\r\n \r\nY: b"] {
        refused(put_with(field), 400, "bad_field_name");
    }
}

#[test]
fn row_21_field_names_are_tokens() {
    for field in ["Content-Length : 5", ": x", "no colon", "Bad[Name: x", "\u{e4}: x", "a b: c"] {
        refused(put_with(field), 400, "bad_field_name");
    }
    let input = [b"GET / HTTP/1.1\r\nHost: h\r\nX\x80: y\r\n\r\n".as_slice(), b"x"].concat();
    refused(input, 400, "bad_field_name");
}

#[test]
fn row_22_white_space_before_the_first_field() {
    for line in [" ", "\t", " Host: x", "\tX: y"] {
        let input = format!("GET /get?key=a HTTP/1.1\r\n{line}\r\nHost: h\r\n\r\n");
        refused(input, 400, "bad_field_name");
    }
}

#[test]
fn row_23_bare_cr() {
    for input in [
        "GET /get?key=a HTTP/1.1\rHost: h\r\n\r\n",
        "GET /get?key=a HTTP/1.1\r\nHost: h\rX: y\r\n\r\n",
        "GET /get?key=a HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n",
        "GET /get?key=a HTTP/1.1\r\nHost: h\r\n\rX\r\n",
        "\rGET /get?key=a HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /get?key=a\r HTTP/1.1\r\nHost: h\r\n\r\n",
    ] {
        let told = tell(input);
        assert!(!told.is_open);
        statuses(&told.answers(), &[400]);
    }
}

#[test]
fn row_24_bare_lf() {
    for input in [
        "GET /get?key=a HTTP/1.1\nHost: h\r\n\r\n",
        "GET /get?key=a HTTP/1.1\r\nHost: h\n\r\n",
        "GET /get?key=a HTTP/1.1\r\nHost: h\r\n\n",
        "GET /get?key=a HTTP/1.1\n\n",
        "\nGET /get?key=a HTTP/1.1\r\nHost: h\r\n\r\n",
    ] {
        let told = tell(input);
        assert!(!told.is_open);
        statuses(&told.answers(), &[400]);
    }
}

#[test]
fn row_25_control_characters() {
    for control in ["\0", "\u{1}", "\u{8}", "\u{b}", "\u{1f}", "\u{7f}"] {
        let code = if control == "\u{7f}" { "bad_field_value" } else { "control_character" };
        refused(put_with(&format!("X: a{control}b")), 400, code);
        let told = tell(get(&format!("a{control}")));
        assert!(!told.is_open);
        statuses(&told.answers(), &[400]);
    }
    assert_eq!(kept(put_with("X: a\tb"))[0].body, STORED);
}

#[test]
fn row_26_bytes_that_no_target_has() {
    for key in ["ü", "a b", "a\\b", "a#b", "a\u{7f}"] {
        let told = tell(get(key));
        assert!(!told.is_open, "{key}");
        statuses(&told.answers(), &[400]);
    }
    refused(b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_target");
}

#[test]
fn row_27_empty_lines_before_the_request_line() {
    for lines in [1, 2, 8] {
        let input = "\r\n".repeat(lines) + &get("a");
        declined(input, 404, "not_found");
    }
    refused("\r\n".repeat(9) + &get("a"), 400, "too_many_empty_lines");
}

#[test]
fn row_28_the_longest_target() {
    let target = |path: &str, bytes: usize| {
        let padding = "x".repeat(bytes - path.len());
        format!("GET {path}{padding} HTTP/1.1\r\nHost: h\r\n\r\n")
    };
    declined(target("/", 7_900), 404, "no_such_route");
    declined(target("/get?key=a&x=", 7_900), 404, "not_found");
    declined(target("/get?key=a&x=", 8_192), 404, "not_found");
    refused(target("/get?key=a&x=", 8_193), 414, "target_too_long");
    refused(target("/", 100_000), 414, "target_too_long");
}

#[test]
fn row_29_too_many_or_too_large_fields() {
    let fields = |count: usize| put_with(&vec!["X: y"; count - 2].join("\r\n"));
    assert_eq!(kept(fields(64))[0].body, STORED);
    refused(fields(65), 431, "too_many_fields");
    refused(fields(10_000), 431, "too_many_fields");
    refused(put_with(&format!("X: {}", "y".repeat(16 << 10))), 431, "head_too_large");
    refused(put_with(&format!("X: {}", "y".repeat(100_000))), 431, "head_too_large");
    refused(put_with(&format!("{}: y", "X".repeat(100_000))), 431, "head_too_large");
}

#[test]
fn row_30_methods() {
    for method in ["FOO", "get", "PROPFIND", "M-SEARCH", &"M".repeat(32)] {
        for input in [
            format!("{method} /get?key=a HTTP/1.1\r\nHost: h\r\n\r\n"),
            format!("{method} /nowhere HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"),
        ] {
            declined(input, 501, "not_implemented");
        }
    }
    refused(format!("{} / HTTP/1.1\r\nHost: h\r\n\r\n", "M".repeat(33)), 501, "method_too_long");
    for method in ["", "G(T", "\"GET\"", "GET,"] {
        let input = format!("{method} /get?key=a HTTP/1.1\r\nHost: h\r\n\r\n");
        refused(input, 400, "bad_method");
    }
    declined("DELETE /get?key=a HTTP/1.1\r\nHost: h\r\n\r\n", 405, "method_not_allowed");
}

#[test]
fn row_31_head_is_get_without_the_body() {
    for target in ["/get?key=a", "/get?key=no", "/get", "/healthz", "/nowhere"] {
        let ask = |method: &str| {
            let input = format!("{method} {target} HTTP/1.1\r\nHost: h\r\n\r\n");
            let told = tell([put("a", "b"), input, health()].concat());
            assert!(told.is_open);
            let (_, length) = Answer::read(&told.bytes, false).unwrap();
            told.bytes[length..].to_vec()
        };
        let (with_body, without) = (ask("GET"), ask("HEAD"));
        let (answer, length) = Answer::read(&without, true).unwrap();
        assert_eq!(without[..length], with_body[..length], "{target}");
        assert_eq!(Answer::read(&with_body, false).unwrap().0.status, answer.status);
        assert_eq!(read_all(&without[length..])[0].body, HEALTHY, "{target}");
    }
    let told = tell("HEAD /put HTTP/1.1\r\nHost: h\r\n\r\n");
    let (answer, length) = Answer::read(&told.bytes, true).unwrap();
    assert_eq!((answer.status, length), (405, told.bytes.len()));
}

#[test]
fn row_32_options() {
    for (target, allow) in [
        ("*", "GET, HEAD, POST, PUT, DELETE, OPTIONS"),
        ("/get", "GET, HEAD, OPTIONS"),
        ("/get?key=", "GET, HEAD, OPTIONS"),
        ("/put", "POST, OPTIONS"),
        ("/healthz", "GET, HEAD, OPTIONS"),
    ] {
        let input = format!("OPTIONS {target} HTTP/1.1\r\nHost: h\r\n\r\n{}", health());
        let answers = kept(input);
        assert_eq!((answers[0].status, answers[0].field("allow")), (204, Some(allow)));
        assert_eq!(answers[1].body, HEALTHY);
    }
}

#[test]
fn row_33_connect_trace_and_star() {
    refused("CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", 501, "not_implemented");
    refused(
        format!("CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n{}", get("a")),
        501,
        "not_implemented",
    );
    declined("TRACE /get HTTP/1.1\r\nHost: h\r\nX: secret\r\n\r\n", 405, "method_not_allowed");
    for target in ["*", "*?x", "get", "h:80", ""] {
        refused(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"), 400, "bad_target");
    }
}

#[test]
fn row_34_absolute_form() {
    for origin in ["http://h", "HTTP://other:80", "https://[::1]:7171"] {
        let input = format!("GET {origin}/get?key=a HTTP/1.1\r\nHost: h\r\n\r\n");
        let answers = kept(put("a", "b") + &input);
        assert_eq!(value_of(&answers[1]), "b");
    }
    for target in ["ftp://h/get?key=a", "http:///get?key=a", "http://u@h/get?key=a"] {
        refused(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"), 400, "bad_target");
    }
}

#[test]
fn row_35_versions() {
    let line = |version: &str| format!("GET /get?key=a {version}\r\nHost: h\r\n\r\n");
    declined(line("HTTP/1.2"), 404, "not_found");
    declined(line("HTTP/1.9"), 404, "not_found");
    for version in ["HTTP/2.0", "HTTP/9.9", "HTTP/0.9"] {
        refused(line(version), 505, "version_not_supported");
    }
    refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "version_not_supported");
    for version in ["http/1.1", "HTTP/01.1", "HTTP/1", "HTTP/1.10", "HTTP/1.1 ", "HTTP 1.1", "x"] {
        refused(line(version), 400, "bad_version");
    }
    refused("GET /get?key=a\r\n\r\n", 400, "bad_request_line");
}

/// A put that announces its body and waits.
fn expecting(version: &str, target: &str, fields: &str, body: &str) -> (String, String) {
    let head = format!(
        "POST {target} HTTP/{version}\r\nHost: h\r\nExpect: 100-Continue\r\n{fields}\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    (head, body.to_owned())
}

const BODY: &str = r#"{"key":"a","value":"b"}"#;

#[test]
fn row_36_continue_is_said_before_the_body() {
    for (shards, home) in [(1, 0), (2, 0), (2, 1)] {
        let (head, body) = expecting("1.1", "/put", "", BODY);
        let coded = "POST /put HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\
            Transfer-Encoding: chunked\r\n\r\n";
        let chunks = format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len());
        for (head, body) in [(head, body), (coded.to_owned(), chunks)] {
            let mut cluster = Cluster::new(&config(shards));
            let client = cluster.connect(home, Role::Data);
            cluster.send(client, &head[..head.len() - 1]);
            assert_eq!(cluster.output(client), b"");
            cluster.send(client, &head[head.len() - 1..]);
            assert_eq!(cluster.output(client), CONTINUE);
            cluster.send(client, &body[..5]);
            assert_eq!(cluster.output(client), b"");
            cluster.send(client, &body[5..]);
            let answers = read_all(&cluster.output(client));
            assert_eq!((answers.len(), answers[0].body.as_str()), (1, STORED));
            // The answers before it come first.
            cluster.send(client, [get("a"), get("b"), head].concat());
            let answers = read_all(&cluster.output(client));
            statuses(&answers, &[200, 404, 100]);
            assert_eq!(cluster.end(client), End::Open);
        }
    }
}

#[test]
fn row_36_a_body_that_is_there_needs_no_word() {
    let (head, body) = expecting("1.1", "/put", "", BODY);
    for config in [config(1), config(2)] {
        for cut in 1..head.len() {
            let input = head.clone() + &body;
            let pieces = [&input.as_bytes()[..cut], &input.as_bytes()[cut..]];
            let told = tell_in(&config, 0, Role::Data, pieces.into_iter());
            assert_eq!(told.answers()[0].body, STORED);
        }
    }
    let (head, _) = expecting("1.1", "/put", "", "");
    declined(head, 400, "bad_json");
}

#[test]
fn row_36_http_1_0_never_gets_an_interim_answer() {
    let (head, body) = expecting("1.0", "/put", "Connection: keep-alive\r\n", BODY);
    let answers = kept(head + &body);
    assert_eq!(answers[0].body, STORED);
    assert_eq!(answers[0].field("connection"), Some("keep-alive"));
}

#[test]
fn row_36_a_refusal_comes_instead_and_the_body_is_never_a_request() {
    let smuggled = put("evil", "1");
    let large = Limits::DEFAULT.body_bytes_max + 1;
    let too_large = format!(
        "POST /put HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: {large}\r\n\r\n"
    );
    let of = |target: &str, fields: &str| expecting("1.1", target, fields, &smuggled).0;
    for (head, status, code) in [
        (too_large, 413, "body_too_large"),
        (of("/nowhere", ""), 404, "no_such_route"),
        (of("/get", ""), 405, "method_not_allowed"),
        (of("/put", "Content-Type: text/plain\r\n"), 415, "unsupported_media_type"),
        (of("/put", "Content-Encoding: br\r\n"), 415, "unsupported_content_encoding"),
        (of("/put", "Expect: x\r\n"), 417, "expectation_failed"),
    ] {
        for (shards, home) in [(1, 0), (2, 0), (2, 1)] {
            let mut cluster = Cluster::new(&config(shards));
            let client = cluster.connect(home, Role::Data);
            cluster.send(client, &head);
            let output = cluster.output(client);
            assert_eq!(cluster.end(client), End::HalfClosed, "{head}");
            let answers = read_all(&output);
            is_problem(&answers, status, code, head.as_bytes());
            assert!(answers[0].says_close());
            cluster.send(client, &smuggled);
            assert_eq!((cluster.output(client), cluster.entries()), (Vec::new(), 0));
        }
    }
}

#[test]
fn row_37_other_expectations() {
    declined(
        "GET /get?key=a HTTP/1.1\r\nHost: h\r\nExpect: foo\r\n\r\n",
        417,
        "expectation_failed",
    );
    let head = "POST /put HTTP/1.1\r\nHost: h\r\nExpect: foo\r\nContent-Length: 23\r\n\r\n";
    refused(head, 417, "expectation_failed");
    let told =
        tell_in(&config(1), 0, Role::Data, std::iter::once([head, BODY].concat().as_bytes()));
    assert!(told.is_open && told.entries == 0);
    is_problem(&told.answers(), 417, "expectation_failed", head.as_bytes());
}

#[test]
fn row_38_upgrade_is_ignored() {
    for upgrade in ["websocket", "h2c\r\nHTTP2-Settings: AAMAAABk"] {
        let field = format!("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}");
        assert_eq!(kept(put_with(&field))[0].body, STORED);
    }
}

#[test]
fn row_39_connection_options() {
    let ask = |version: &str, field: &str| {
        format!("GET /get?key=a HTTP/{version}\r\nHost: h\r\n{field}\r\n")
    };
    for field in
        ["close", "Close", "keep-alive, close", "x ,\tCLOSE", "close\r\nConnection: keep-alive"]
    {
        let field = format!("Connection: {field}\r\n");
        for version in ["1.0", "1.1"] {
            let answers = closed(ask(version, &field));
            assert_eq!(answers[0].body, ABSENT);
        }
    }
    for field in ["", "Connection: x\r\n", "Keep-Alive: timeout=5\r\n"] {
        assert_eq!(closed(ask("1.0", field))[0].body, ABSENT);
        let answers = kept(ask("1.1", field));
        assert_eq!((answers[0].body.as_str(), answers[0].field("connection")), (ABSENT, None));
    }
    let keep_alive = "Connection: Keep-Alive\r\n";
    let answers = kept(ask("1.0", keep_alive) + &ask("1.1", keep_alive));
    statuses(&answers, &[404, 404]);
    assert_eq!(answers[0].field("connection"), Some("keep-alive"));
    assert_eq!(answers[1].field("connection"), None);
}

#[test]
fn row_40_cuts_do_not_matter() {
    let body = "a;x=\"y\"\r\n{\"key\":\"a\"\r\nd\r\n,\"value\":\"c\"}\r\n0\r\nT: u\r\n\r\n";
    let input = [
        put("a", "b"),
        "\r\n".to_owned(),
        get("a"),
        chunked(body),
        get("a"),
        "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        post("[]"),
        get("b"),
    ];
    let input = input.concat();
    let whole = tell(&input);
    let answers = whole.answers();
    statuses(&answers, &[200, 200, 200, 200, 204, 400, 404]);
    assert_eq!((value_of(&answers[1]), value_of(&answers[3])), ("b".to_owned(), "c".to_owned()));
    for (shards, home) in [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)] {
        for cut in 1..input.len() {
            let pieces = [&input.as_bytes()[..cut], &input.as_bytes()[cut..]];
            let told = tell_in(&config(shards), home, Role::Data, pieces.into_iter());
            assert_eq!(told, whole, "cut at {cut}, shard {home} of {shards}");
        }
    }
}

/// Sends the pieces of one request to a store that holds something, then asks for health.
fn tell_pieces(config: &Config, home: usize, role: Role, pieces: &[&[u8]]) -> Told {
    let mut cluster = Cluster::new(config);
    let before = cluster.connect(0, Role::Data);
    cluster.send(before, requests::BEFORE.iter().map(requests::sized).collect::<String>());
    cluster.reset(before);
    let client = cluster.connect(home, role);
    for piece in pieces {
        cluster.send(client, piece);
    }
    cluster.send(client, health());
    let mut bytes = cluster.output(client);
    // Nothing but this depends on whether the body has arrived with the head.
    if bytes.starts_with(CONTINUE) {
        bytes.drain(..CONTINUE.len());
    }
    blank_versions(&mut bytes);
    Told { bytes, is_open: cluster.end(client) == End::Open, entries: cluster.entries() }
}

#[test]
fn row_40_every_request_may_be_cut_anywhere() {
    let requests = requests::all();
    assert!(requests.len() >= 60);
    for (role, request) in requests {
        let request = request.as_bytes();
        for (shards, home) in [(1, 0), (2, 0), (2, 1)] {
            let config = config(shards);
            let ways = format!("shard {home} of {shards}: {}", shown(request));
            let whole = tell_pieces(&config, home, role, &[request]);
            assert!(whole.bytes.starts_with(b"HTTP/1.1 "), "no answer, {ways}");
            let bits: Vec<&[u8]> = request.chunks(1).collect();
            assert_eq!(tell_pieces(&config, home, role, &bits), whole, "in bits, {ways}");
            for cut in 1..request.len() {
                let (first, second) = request.split_at(cut);
                let told = tell_pieces(&config, home, role, &[first, second]);
                assert_eq!(told, whole, "cut at {cut}, {ways}");
            }
        }
    }
}

// Connections, bodies and the interface.

#[test]
fn row_41_pipelined_requests_are_answered_in_order() {
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let puts: String = keys.iter().map(|key| put(key, &format!("value of {key}"))).collect();
    let gets: String = keys.iter().map(|key| get(key)).collect();
    let answers = kept(puts + &gets);
    for (key, answer) in keys.iter().zip(&answers[keys.len()..]) {
        assert_eq!(value_of(answer), format!("value of {key}"));
    }
}

#[test]
fn row_41_answers_that_wait_for_a_shard_hold_up_the_later_ones() {
    let mut cluster = Cluster::new(&config(2));
    let (one, two) = (cluster.connect(0, Role::Data), cluster.connect(1, Role::Data));
    let input: String = ["a", "b", "b", "a", "a", "b"].map(get).concat();
    for client in [one, two] {
        cluster.send(client, put("a", "1") + &put("b", "2"));
        cluster.output(client);
        cluster.send(client, &input);
        let answers = read_all(&cluster.output(client));
        let values: String = answers.iter().map(value_of).collect();
        assert_eq!(values, "122112");
    }
}

/// A cluster in which every key holds a value of `value_bytes`.
fn cluster_of_large_values(shards: usize, value_bytes: usize) -> Cluster {
    let mut config = with_limits(shards, |limits| {
        limits.value_bytes_max = value_bytes;
        limits.body_bytes_max = 8 << 20;
    });
    config.memory_bytes = 32 << 20;
    let mut cluster = Cluster::new(&config);
    let client = cluster.connect(0, Role::Data);
    for key in ["a", "b"] {
        cluster.send(client, put(key, &"v".repeat(value_bytes)));
    }
    statuses(&read_all(&cluster.output(client)), &[200, 200]);
    cluster.reset(client);
    cluster
}

/// Values on loan, and loans that were revoked.
fn lent(cluster: &Cluster) -> (u64, u64) {
    let stores = cluster.reports().into_iter().map(|report| report.store);
    stores.fold((0, 0), |(lent, revoked), store| (lent + store.lent, revoked + store.revoked))
}

/// What waits in memory for a client that takes nothing of its large values.
const UNSENT_MAX: usize = Limits::DEFAULT.piece_bytes_max + 1_000;

#[test]
fn row_42_a_client_that_never_reads_is_not_read_either() {
    for (shards, key) in [(1, "a"), (2, "a"), (2, "b")] {
        for value_bytes in [64 << 10, 1 << 20] {
            let mut cluster = cluster_of_large_values(shards, value_bytes);
            let client = cluster.connect(0, Role::Data);
            cluster.take_only(client, 0);
            let input = get(key).repeat(100_000);
            cluster.send(client, &input);
            let unread = cluster.unread(client);
            assert!(unread > input.len() - 3 * Limits::DEFAULT.read_bytes_max, "{unread} unread");
            // Another byte is taken, and another piece comes.
            cluster.take_only(client, 1_000);
            let unsent = cluster.unsent(client);
            assert!(unsent <= UNSENT_MAX, "{unsent} bytes wait for a client that does not read");
            assert_eq!(lent(&cluster), (1, 0));
            cluster.pass(Limits::DEFAULT.write_timeout);
            assert_eq!(cluster.end(client), End::Open);
            cluster.pass(SLACK);
            assert_eq!(cluster.end(client), End::Closed);
            assert!(cluster.is_quiet());
            assert_eq!(lent(&cluster), (0, 0));
        }
    }
}

#[test]
fn a_large_value_leaves_in_pieces_whatever_becomes_of_it() {
    let plain = "v".repeat(300_000);
    let mixed = "v\u{e9}\u{1f600}x\"\n\u{1}".repeat(20_000);
    for (shards, key) in [(1, "a"), (2, "a"), (2, "b")] {
        for (value, fate) in [(&plain, 0), (&mixed, 1), (&mixed, 2)] {
            let mut cluster = cluster_of_large_values(shards, 1 << 20);
            let (client, writer) = (cluster.connect(0, Role::Data), cluster.connect(0, Role::Data));
            let body = serde_json::json!({ "key": key, "value": value }).to_string();
            cluster.send(writer, post(&body));
            cluster.take_only(client, 0);
            cluster.send(client, get(key) + &get("b") + &health() + &get(key));
            let mut output = Vec::new();
            for step in 0.. {
                cluster.take_only(client, 9_999);
                let taken = cluster.output(client);
                if taken.is_empty() {
                    break;
                }
                output.extend(taken);
                assert!(cluster.unsent(client) <= UNSENT_MAX);
                if step == 5 && fate > 0 {
                    let fresh = if fate == 1 { "small".to_owned() } else { "n".repeat(400_000) };
                    cluster.send(writer, put(key, &fresh));
                }
            }
            let answers = read_all(&output);
            statuses(&answers, &[200, 200, 200, 200]);
            for answer in [&answers[0], &answers[3]] {
                let found: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
                assert_eq!(found["value"], serde_json::Value::from(value.as_str()));
            }
            assert_eq!((cluster.end(client), lent(&cluster)), (End::Open, (0, 0)));
        }
    }
}

#[test]
fn a_reader_whose_value_is_revoked_is_cut_off() {
    for (shards, key) in [(1, "a"), (2, "a"), (2, "b")] {
        let mut cluster = cluster_of_large_values(shards, 1 << 20);
        let (client, writer) = (cluster.connect(0, Role::Data), cluster.connect(0, Role::Data));
        cluster.take_only(client, 50_000);
        cluster.send(client, get(key) + &health());
        // The reader of each value keeps it; the oldest is the first to go.
        for _ in 0..6 {
            cluster.send(writer, put(key, &"w".repeat(1 << 20)));
            let reader = cluster.connect(0, Role::Data);
            cluster.take_only(reader, 0);
            cluster.send(reader, get(key));
        }
        assert!(lent(&cluster).1 > 0, "{:?}", lent(&cluster));
        cluster.take_only(client, usize::MAX);
        let output = cluster.output(client);
        assert_eq!(cluster.end(client), End::Closed);
        assert!((50_000..1 << 20).contains(&output.len()), "{} bytes", output.len());
        assert!(output.ends_with(b"vvvv"), "something follows half an answer");
        cluster.pass(Limits::DEFAULT.write_timeout + SLACK);
        assert_eq!(lent(&cluster).0, 0);
    }
}

#[test]
fn head_of_a_large_value_lends_nothing() {
    for (shards, key) in [(1, "a"), (2, "a"), (2, "b")] {
        let mut cluster = cluster_of_large_values(shards, 1 << 20);
        let client = cluster.connect(0, Role::Data);
        cluster.send(client, get(key).replacen("GET", "HEAD", 1));
        let output = cluster.output(client);
        let (answer, length) = Answer::read(&output, true).unwrap();
        assert_eq!((answer.status, length), (200, output.len()));
        let body = 1 << 20 | br#"{"status":"OK","key":"a","value":""}"#.len();
        assert_eq!(answer.field("content-length"), Some(body.to_string().as_str()));
        assert_eq!(lent(&cluster), (0, 0));
    }
}

#[test]
fn foreign_requests_leave_together_where_values_may_be_large() {
    let mut cluster = cluster_of_large_values(2, 1 << 20);
    let client = cluster.connect(0, Role::Data);
    cluster.send(client, put("a", "small") + &put("b", "small"));
    cluster.output(client);
    let messages = |cluster: &Cluster| cluster.reports()[0].hops.messages;
    let before = messages(&cluster);
    for key in ["a", "b"] {
        cluster.send(client, get(key).repeat(16));
        assert_eq!(read_all(&cluster.output(client)).len(), 16);
    }
    assert_eq!(messages(&cluster) - before, 4);
}

#[test]
fn row_42_a_client_that_reads_late_gets_every_answer() {
    for key in ["a", "b"] {
        let mut cluster = cluster_of_large_values(2, 1_000);
        let client = cluster.connect(0, Role::Data);
        cluster.take_only(client, 0);
        cluster.send(client, get(key).repeat(3_000));
        while cluster.unread(client) > 0 {
            cluster.pass(Duration::from_secs(1));
            cluster.take_only(client, 10_000);
        }
        cluster.take_only(client, usize::MAX);
        let answers = read_all(&cluster.output(client));
        assert_eq!(answers.len(), 3_000);
        assert!(answers.iter().all(|answer| answer.status == 200));
        assert_eq!(cluster.end(client), End::Open);
    }
}

#[test]
fn row_43_nothing_is_taken_after_a_broken_request() {
    let input = [put("a", "b"), "GET / HTTP/1.1\r\n\r\n".to_owned(), put("b", "c")].concat();
    let told = tell(input);
    assert!(!told.is_open);
    statuses(&told.answers(), &[200, 400]);
    assert_eq!(told.entries, 1);
}

#[test]
fn row_43_nothing_is_taken_after_a_request_to_close() {
    let last = "GET /get?key=a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    for rest in [put("b", "c"), "garbage\n".to_owned()] {
        let told = tell([put("a", "b"), last.to_owned(), rest].concat());
        assert!(!told.is_open);
        statuses(&told.answers(), &[200, 200]);
        assert_eq!(told.entries, 1);
    }
}

#[test]
fn row_44_bad_json() {
    for body in [
        "",
        " ",
        "{",
        r#"{"key":"a","value":"b""#,
        r#"{"key":"a","value":"b"}x"#,
        r#"{"key":"a","value":"b"}{}"#,
        r#"{"key":"a","value":"\ud800"}"#,
        r#"{"key":"a","value":"\ude00\ud83d"}"#,
        r#"{"key":"\udc00","value":"b"}"#,
        r#"{"key":"a","value":"\x"}"#,
        "\u{feff}{\"key\":\"a\",\"value\":\"b\"}",
        r#"{"key":NaN,"value":"b"}"#,
        r#"{"key":"a","value":"b","x":NaN}"#,
        r#"{"key":"a","value":"b","x":01}"#,
        r#"{"key":"a","value":"b","key":"a"}"#,
        r#"{"key":"a","value":"b","value":"b"}"#,
        r#"["a","b"]"#,
        r#"[{"key":"a","value":"b"}]"#,
        r#"{"key":1,"value":"b"}"#,
        r#"{"key":"a","value":null}"#,
        r#"{"key":"a","value":["b"]}"#,
        r#"{"key":"a","value":"b",}"#,
        r"{'key':'a','value':'b'}",
        "{\"key\":\"a\tb\",\"value\":\"b\"}",
        "null",
        "\"a\"",
    ] {
        declined(post(body), 400, "bad_json");
    }
    let deep = "[".repeat(100_000);
    declined(post(&deep), 400, "bad_json");
    declined(post(&format!(r#"{{"key":"a","value":"b","x":{deep}"#)), 400, "bad_json");
    let head = "POST /put HTTP/1.1\r\nHost: h\r\nContent-Length: 23\r\n\r\n";
    for bad in [b'\xff', b'\x80'] {
        let mut input = [head.as_bytes(), BODY.as_bytes()].concat();
        let value = input.len() - 3;
        input[value] = bad;
        declined(input, 400, "bad_json");
    }
    declined(post(r#"{"value":"b"}"#), 400, "missing_key");
    declined(post(r#"{"key":"a"}"#), 400, "missing_value");
}

#[test]
fn row_45_the_body_of_a_refused_request_is_never_a_request() {
    let smuggled = put("evil", "1");
    let length = smuggled.len();
    for (line, status, code) in [
        ("POST /nowhere HTTP/1.1", 404, "no_such_route"),
        ("DELETE /put HTTP/1.1", 405, "method_not_allowed"),
        ("FOO /put HTTP/1.1", 501, "not_implemented"),
        ("POST /put HTTP/1.1\r\nContent-Type: text/plain", 415, "unsupported_media_type"),
        ("POST /put HTTP/1.1", 400, "bad_json"),
    ] {
        let sized = format!("{line}\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{smuggled}");
        declined(sized, status, code);
        let coding = "Transfer-Encoding: chunked";
        let chunks = format!("{length:x}\r\n{smuggled}\r\n0\r\n\r\n");
        declined(format!("{line}\r\nHost: h\r\n{coding}\r\n\r\n{chunks}"), status, code);
    }
}

#[test]
fn row_46_bad_queries() {
    let ask = |query: &str| format!("GET /get{query} HTTP/1.1\r\nHost: h\r\n\r\n");
    for query in ["", "?", "?Key=a", "?x=1", "?keys=a"] {
        declined(ask(query), 400, "missing_key");
    }
    for query in ["?key=a&key=b", "?key=a&key=a", "?key=a&%6Bey=b"] {
        declined(ask(query), 400, "duplicate_key");
    }
    for query in ["?key=%zz", "?key=%4", "?key=%", "?key=a&x=%zz", "?key=%+1"] {
        declined(ask(query), 400, "bad_percent_encoding");
    }
    for query in ["?key=%ff", "?key=%C0%80", "?key=%ED%A0%80", "?key=%F5%80%80%80", "?key=a%C3"] {
        declined(ask(query), 400, "bad_utf8");
    }
    for query in ["?key=", "?key", "?key&x=1"] {
        declined(ask(query), 400, "empty_key");
    }
    declined(ask("?key=%00"), 404, "not_found");
}

#[test]
fn row_48_limits_of_key_and_value() {
    let (key, value) = ("k".repeat(256), "v".repeat(256));
    let answers = kept([put(&key, &value), get(&key)].concat());
    assert_eq!(value_of(&answers[1]), value);
    // Bytes count, not characters, and not what it takes to write them.
    let (key, value) = ("é".repeat(128), "\u{1}".repeat(256));
    let query: String = "%C3%A9".repeat(128);
    let answers = kept([put(&key, &value), get(&query)].concat());
    assert_eq!(value_of(&answers[1]), value);
    declined(put(&"k".repeat(257), "v"), 400, "key_too_long");
    declined(put(&"é".repeat(129), "v"), 400, "key_too_long");
    declined(get(&"k".repeat(257)), 400, "key_too_long");
    declined(put("k", &"v".repeat(257)), 400, "value_too_long");
}

#[test]
fn row_49_a_connection_that_breaks_leaves_nothing_behind() {
    for shards in [1, 2] {
        let mut cluster = Cluster::new(&config(shards));
        let input = [put("a", "b"), put("b", "c"), get("a"), get("b")].concat();
        for cut in 0..input.len() {
            let client = cluster.connect(0, Role::Data);
            cluster.send(client, &input[..cut]);
            cluster.reset(client);
        }
        assert!(cluster.is_quiet());
        let open: u64 = cluster.reports().iter().map(|r| r.counters.connections.open).sum();
        assert_eq!(open, 0);
    }
}

#[test]
fn row_50_the_end_of_input() {
    for (shards, home) in [(1, 0), (2, 0), (2, 1)] {
        for (input, expected) in [(put("a", "b"), STORED), (get("a"), ABSENT)] {
            let mut cluster = Cluster::new(&config(shards));
            let client = cluster.connect(home, Role::Data);
            cluster.send(client, &input);
            cluster.finish(client);
            let answers = read_all(&cluster.output(client));
            assert_eq!((answers.len(), answers[0].body.as_str()), (1, expected));
            assert_eq!(cluster.end(client), End::Closed);
        }
        for input in [put("a", "b"), chunked(&format!("17\r\n{BODY}\r\n0\r\n\r\n"))] {
            for cut in 0..input.len() {
                let mut cluster = Cluster::new(&config(shards));
                let client = cluster.connect(home, Role::Data);
                cluster.send(client, &input[..cut]);
                cluster.finish(client);
                assert_eq!(cluster.end(client), End::Closed, "cut at {cut}");
                assert_eq!(cluster.output(client), b"", "cut at {cut}");
                assert_eq!(cluster.entries(), 0);
            }
        }
    }
}

#[test]
fn row_50_the_end_of_input_before_the_answers_are_taken() {
    for key in ["a", "b"] {
        let mut cluster = cluster_of_large_values(2, 10_000);
        let client = cluster.connect(0, Role::Data);
        cluster.take_only(client, 0);
        cluster.send(client, get(key).repeat(100));
        cluster.finish(client);
        cluster.take_only(client, usize::MAX);
        assert_eq!(read_all(&cluster.output(client)).len(), 100);
        assert_eq!(cluster.end(client), End::Closed);
    }
}

/// Sends `byte by byte` with a pause after each until the server ends the connection. Returns how
/// long that took.
fn trickle(cluster: &mut Cluster, client: Client, input: &str, pause: Duration) -> Duration {
    let mut spent = Duration::ZERO;
    for byte in input.bytes() {
        cluster.send(client, [byte]);
        if cluster.end(client) != End::Open {
            return spent;
        }
        cluster.pass(pause);
        spent += pause;
    }
    panic!("still open after {spent:?}");
}

#[test]
fn row_51_a_head_that_trickles_is_408() {
    let limit = Limits::DEFAULT.read_timeout;
    for input in [get(&"k".repeat(100)), "GET ".to_owned() + &"/".repeat(200)] {
        for first in ["", &get("a")] {
            let mut cluster = Cluster::new(&config(2));
            let client = cluster.connect(0, Role::Data);
            cluster.send(client, first);
            cluster.output(client);
            let spent = trickle(&mut cluster, client, &input, Duration::from_millis(100));
            assert!(spent > limit && spent <= limit + SLACK, "{spent:?}");
            let answers = read_all(&cluster.output(client));
            is_problem(&answers, 408, "request_timeout", input.as_bytes());
            assert!(answers[0].says_close());
        }
    }
}

#[test]
fn row_51_many_that_are_late_at_once_do_not_fill_a_turn() {
    const LATE: usize = 2_000;
    let date = || SystemTime::UNIX_EPOCH;
    let mut now = Millis(1_000);
    let mut shard = Shard::new(0, config(1), KeyHasher::random(), now, date());
    for _ in 0..LATE {
        let id = shard.open(Role::Data);
        shard.receive(id, b"G", false);
    }
    let mut listed = Vec::new();
    while !shard.has_listed() {
        shard.take_listed(&mut Vec::new());
        now.0 += BEAT_MS;
        shard.beat(now, date());
    }
    let mut turns = 0;
    while listed.len() < LATE {
        let before = listed.len();
        shard.take_listed(&mut listed);
        assert!(listed.len() > before && listed.len() - before <= 64, "turn {turns}");
        assert_eq!(shard.has_unswept(), listed.len() < LATE);
        shard.begin_turn(now);
        turns += 1;
    }
    assert!(listed.iter().all(|id| shard.unsent(*id).starts_with(b"HTTP/1.1 408 ")));
}

#[test]
fn row_52_a_body_that_stalls_is_408() {
    let limit = Limits::DEFAULT.read_timeout;
    for (shards, home) in [(1, 0), (2, 1)] {
        for input in [put("a", "b"), chunked(&format!("17\r\n{BODY}\r\n0\r\n\r\n"))] {
            let mut cluster = Cluster::new(&config(shards));
            let client = cluster.connect(home, Role::Data);
            cluster.send(client, &input[..input.len() - 1]);
            cluster.pass(limit);
            assert_eq!(cluster.end(client), End::Open);
            cluster.pass(SLACK);
            assert_eq!(cluster.end(client), End::HalfClosed);
            let answers = read_all(&cluster.output(client));
            is_problem(&answers, 408, "request_timeout", input.as_bytes());
            assert!(answers[0].says_close());
            cluster.send(client, &input[input.len() - 1..]);
            assert_eq!((cluster.entries(), cluster.output(client)), (0, Vec::new()));
        }
    }
}

#[test]
fn row_52_a_large_body_has_more_time() {
    let body = format!(r#"{{"key":"a","value":"b"{}}}"#, " ".repeat(256 << 10));
    let input = post(&body);
    let stretch = Duration::from_secs(4);
    let mut cluster = Cluster::new(&config(1));
    let client = cluster.connect(0, Role::Data);
    cluster.send(client, &input[..200]);
    cluster.pass(Limits::DEFAULT.read_timeout + stretch);
    assert_eq!(cluster.end(client), End::Open);
    let late = cluster.connect(0, Role::Data);
    cluster.send(late, &input[..200]);
    cluster.send(client, &input[200..]);
    assert_eq!(read_all(&cluster.output(client))[0].body, STORED);
    cluster.pass(Limits::DEFAULT.read_timeout + stretch + SLACK);
    assert_eq!(cluster.end(late), End::HalfClosed);
}

#[test]
fn row_52_head_and_body_each_have_their_time() {
    let input = put("a", "b");
    let body = input.find("\r\n\r\n").unwrap() + 4;
    let mut cluster = Cluster::new(&config(1));
    let client = cluster.connect(0, Role::Data);
    for piece in [&input[..10], &input[10..=body], &input[body + 1..]] {
        cluster.send(client, piece);
        assert_eq!(cluster.end(client), End::Open);
        cluster.pass(Limits::DEFAULT.read_timeout.saturating_sub(SLACK));
    }
    assert_eq!(read_all(&cluster.output(client))[0].body, STORED);
}

#[test]
fn row_53_a_client_that_stops_reading_is_closed() {
    const VALUE_BYTES: usize = 1 << 20;
    for (shards, key) in [(1, "a"), (2, "a"), (2, "b")] {
        let mut cluster = cluster_of_large_values(shards, VALUE_BYTES);
        let client = cluster.connect(0, Role::Data);
        cluster.take_only(client, 1_000);
        cluster.send(client, get(key));
        cluster.pass(Limits::DEFAULT.write_timeout.saturating_sub(SLACK));
        cluster.take_only(client, 1);
        let unsent = cluster.unsent(client);
        assert!(unsent <= UNSENT_MAX, "{unsent} bytes wait for a client that does not read");
        cluster.pass(Limits::DEFAULT.write_timeout);
        assert_eq!((cluster.end(client), lent(&cluster)), (End::Open, (1, 0)), "a byte in time");
        cluster.pass(SLACK);
        assert_eq!((cluster.end(client), lent(&cluster)), (End::Closed, (0, 0)));
        assert_eq!(cluster.output(client).len(), 1_001);
        assert!(cluster.is_quiet());
    }
}

#[test]
fn row_54_an_idle_connection_is_closed_without_a_word() {
    for config in [config(1), config(2)] {
        let mut cluster = Cluster::new(&config);
        let clients = [cluster.connect(0, Role::Data), cluster.connect(0, Role::Data)];
        cluster.send(clients[1], [get("a"), get("b")].concat());
        assert_eq!(read_all(&cluster.output(clients[1])).len(), 2);
        cluster.pass(Limits::DEFAULT.idle_timeout);
        let busy = cluster.connect(0, Role::Data);
        assert!(clients.iter().all(|client| cluster.end(*client) == End::Open));
        cluster.pass(SLACK);
        for client in clients {
            assert_eq!((cluster.end(client), cluster.output(client)), (End::Closed, Vec::new()));
        }
        cluster.send(busy, get("a"));
        assert_eq!(read_all(&cluster.output(busy))[0].body, ABSENT);
        assert_eq!(cluster.end(busy), End::Open);
    }
}

#[test]
fn row_54_empty_lines_after_an_answer_are_no_late_request() {
    let mut cluster = Cluster::new(&config(1));
    let client = cluster.connect(0, Role::Data);
    cluster.send(client, get("a") + "\r\n");
    assert_eq!(read_all(&cluster.output(client)).len(), 1);
    cluster.pass(Limits::DEFAULT.read_timeout + SLACK);
    assert_eq!((cluster.end(client), cluster.output(client)), (End::Open, Vec::new()));
    cluster.send(client, get("a"));
    assert_eq!(read_all(&cluster.output(client))[0].body, ABSENT);
}

#[test]
fn row_54_a_connection_above_the_limit_is_told_so() {
    let mut cluster = Cluster::new(&config(1));
    let client = cluster.connect_in_vain(0);
    let answers = read_all(&cluster.output(client));
    is_problem(&answers, 503, "too_many_connections", b"");
    assert_eq!(answers[0].field("retry-after"), Some("1"));
    assert!(answers[0].says_close());
    assert_eq!(cluster.end(client), End::HalfClosed);
    cluster.send(client, get("a"));
    assert_eq!(cluster.output(client), b"");
    cluster.finish(client);
    assert_eq!(cluster.end(client), End::Closed);
    assert_eq!(cluster.reports()[0].counters.connections.open, 0);
}

#[test]
fn row_55_the_budget_holds_and_nothing_is_missing_before_it_is_reached() {
    for shards in [1, 2] {
        let mut cluster = Cluster::new(&config(shards));
        let client = cluster.connect(0, Role::Data);
        cluster.leave_unrecorded("how many entries fit into the memory");
        let key = |number: u32| format!("key-{number:012}");
        let within = |cluster: &Cluster, percent: u64| {
            let reports = cluster.reports();
            reports.iter().all(|r| r.store.used_bytes * 100 <= r.store.budget_bytes * percent)
        };
        let mut count = 0;
        while within(&cluster, 70) {
            cluster.send(client, put(&key(count), &"v".repeat(128)));
            count += 1;
        }
        cluster.output(client);
        for number in 0..count {
            cluster.send(client, get(&key(number)));
        }
        let answers = read_all(&cluster.output(client));
        assert!(count > 1_000 && answers.iter().all(|answer| answer.status == 200));
        for number in count..4 * count {
            cluster.send(client, put(&key(number), &"v".repeat(128)));
            assert!(within(&cluster, 100), "after {number} puts");
        }
        let answers = read_all(&cluster.output(client));
        assert!(answers.iter().all(|answer| answer.body == STORED));
        cluster.send(client, get(&key(4 * count - 1)) + &get(&key(0)));
        statuses(&read_all(&cluster.output(client)), &[200, 404]);
    }
}

/// Shards of 1 MiB and a client that has filled them with small entries until they evict, but for
/// `None`, or put a few.
fn cluster_of_small_values(shards: usize, eviction: Eviction, puts: usize) -> (Cluster, Client) {
    let mut config = with_limits(shards, |limits| {
        limits.value_bytes_max = LARGE_BYTES;
        limits.body_bytes_max = 4 * LARGE_BYTES;
    });
    config.eviction = eviction;
    let mut cluster = Cluster::new(&config);
    let client = cluster.connect(0, Role::Data);
    let small = "s".repeat(100);
    for first in (0..puts).step_by(100) {
        let input: String = (first..first + 100).map(|id| put(&id.to_string(), &small)).collect();
        cluster.send(client, input);
        cluster.output(client);
    }
    (cluster, client)
}

const LARGE_BYTES: usize = 150 << 10;

fn evictions(cluster: &Cluster) -> Vec<u64> {
    cluster.reports().iter().map(|report| report.store.evictions).collect()
}

#[test]
fn room_is_made_on_every_shard_while_a_large_body_arrives() {
    let whole = put("large", &"v".repeat(LARGE_BYTES));
    let (_, body) = whole.split_once("\r\n\r\n").unwrap();
    let size = body.len();
    let chunks = chunked(&format!("{size:x}\r\n{body}\r\n0\r\n\r\n"));
    for (shards, input) in [(1, &whole), (2, &whole), (1, &chunks), (2, &chunks)] {
        let (mut cluster, client) = cluster_of_small_values(shards, Eviction::Lru, 20_000);
        let before = evictions(&cluster);
        assert!(before.iter().all(|evictions| *evictions > 0));
        cluster.send(client, &input[..80 << 10]);
        while cluster.turn() {}
        let after = evictions(&cluster);
        assert!(before.iter().zip(&after).all(|(before, after)| before < after));
        for report in cluster.reports() {
            let free = report.store.budget_bytes - report.store.used_bytes;
            assert!(free >= LARGE_BYTES as u64, "{free} bytes are free");
        }
        cluster.send(client, &input[80 << 10..]);
        statuses(&read_all(&cluster.output(client)), &[200]);
        assert_eq!(evictions(&cluster), after);
    }
}

#[test]
fn no_room_is_made_where_none_is_needed_or_none_can_be_made() {
    let body = "v".repeat(LARGE_BYTES);
    let large = put("large", &body);
    let elsewhere = large.replacen("/put", "/get", 1);
    for (eviction, puts, input) in [
        (Eviction::Lru, 100, &large),
        (Eviction::None, 20_000, &large),
        (Eviction::Lru, 20_000, &elsewhere),
    ] {
        let (mut cluster, client) = cluster_of_small_values(2, eviction, puts);
        let before = evictions(&cluster);
        cluster.send(client, &input[..100 << 10]);
        assert!(!cluster.turn(), "a shard goes on for nothing");
        assert_eq!(evictions(&cluster), before);
    }
}

#[test]
fn row_68_a_stopped_process_does_not_find_its_clients_late() {
    let mut cluster = Cluster::new(&config(2));
    let clients = [cluster.connect(0, Role::Data), cluster.connect(1, Role::Data)];
    cluster.send(clients[0], &put("a", "b")[..70]);
    cluster.freeze(Duration::from_hours(1));
    assert!(clients.iter().all(|client| cluster.end(*client) == End::Open));
    cluster.send(clients[0], &put("a", "b")[70..]);
    assert_eq!(read_all(&cluster.output(clients[0]))[0].body, STORED);
}

// How connections end.

#[test]
fn what_comes_after_the_last_answer_is_drained_within_bounds() {
    let limits = Limits::DEFAULT;
    let broken = "GET / HTTP/1.1\r\n\r\n";
    let mut cluster = Cluster::new(&config(1));
    let [patient, flooded, slow] = [(); 3].map(|()| cluster.connect(0, Role::Data));
    for client in [patient, flooded, slow] {
        cluster.send(client, broken);
        assert_eq!(cluster.end(client), End::HalfClosed);
        cluster.output(client);
    }
    cluster.send(patient, vec![b'x'; limits.linger_bytes_max]);
    cluster.send(flooded, vec![b'x'; limits.linger_bytes_max]);
    assert_eq!(cluster.end(flooded), End::HalfClosed);
    cluster.send(flooded, "x");
    assert_eq!(cluster.end(flooded), End::Closed);
    cluster.finish(patient);
    assert_eq!(cluster.end(patient), End::Closed);
    cluster.pass(limits.linger_timeout);
    assert_eq!(cluster.end(slow), End::HalfClosed);
    cluster.pass(SLACK);
    assert_eq!(cluster.end(slow), End::Closed);
    for client in [patient, flooded, slow] {
        assert_eq!(cluster.output(client), b"");
    }
}

#[test]
fn a_server_that_drains_answers_what_has_arrived() {
    for (shards, home) in [(1, 0), (2, 0), (2, 1)] {
        let mut cluster = Cluster::new(&config(shards));
        let [idle, half, busy] = [(); 3].map(|()| cluster.connect(home, Role::Data));
        let request = put("a", "b");
        cluster.send(half, &request[..40]);
        cluster.take_only(busy, 0);
        cluster.send(busy, get("a").repeat(500));
        cluster.drain();
        assert_eq!(cluster.end(idle), End::HalfClosed);
        assert_eq!((cluster.end(half), cluster.end(busy)), (End::Open, End::Open));

        cluster.send(half, &request[40..]);
        let answers = read_all(&cluster.output(half));
        assert_eq!((answers[0].body.as_str(), answers[0].says_close()), (STORED, true));
        assert_eq!(cluster.end(half), End::HalfClosed);

        cluster.take_only(busy, usize::MAX);
        let answers = read_all(&cluster.output(busy));
        assert_eq!(answers.len(), 500);
        assert!(answers[499].says_close(), "the last answer says so");
        assert!(answers[..499].iter().all(|answer| !answer.says_close()));
        assert_eq!(cluster.end(busy), End::HalfClosed);
        assert_eq!(cluster.output(idle), b"");
        for client in [idle, half, busy] {
            cluster.finish(client);
        }
        assert!(cluster.is_quiet());
    }
}

#[test]
fn a_server_that_drains_reads_all_that_was_sent_before() {
    // Requests of 64 bytes: a read ends where a request ends.
    let request = "GET /get?key=a HTTP/1.1\r\nHost: h\r\nX: 01234567890123456789012\r\n\r\n";
    assert_eq!(request.len(), 64);
    for (shards, home) in [(1, 0), (2, 0), (2, 1)] {
        let mut cluster = Cluster::new(&config(shards));
        let client = cluster.connect(home, Role::Data);
        cluster.take_only(client, 0);
        cluster.send(client, request.repeat(4_096));
        assert!(cluster.unread(client) > 0);
        cluster.drain();
        cluster.take_only(client, usize::MAX);
        let answers = read_all(&cluster.output(client));
        assert_eq!(answers.len(), 4_096);
        assert_eq!(cluster.end(client), End::HalfClosed);
    }
}

// Batches.

fn post_to(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn mget(keys: &[&str]) -> String {
    post_to("/mget", &serde_json::json!({ "keys": keys }).to_string())
}

fn mdelete(keys: &[&str]) -> String {
    post_to("/mdelete", &serde_json::json!({ "keys": keys }).to_string())
}

fn mput(entries: &[(&str, &str)]) -> String {
    let entry = |&(key, value): &(&str, &str)| serde_json::json!({ "key": key, "value": value });
    let entries: Vec<_> = entries.iter().map(entry).collect();
    post_to("/mput", &serde_json::json!({ "entries": entries }).to_string())
}

fn message_of(answer: &Answer) -> String {
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    body["message"].as_str().unwrap().to_owned()
}

#[test]
fn batches_say_exactly_this() {
    let input = [
        mput(&[("a", "1"), ("b\"", "2\n"), ("é", "")]),
        mget(&["b\"", "nobody", "é", "a"]),
        mdelete(&["b\"", "nobody", "é"]),
        mget(&["a", "b\""]),
        mget(&[]),
        mput(&[]),
        mdelete(&[]),
    ];
    let answers = kept(input.concat());
    let bodies: Vec<&str> = answers.iter().map(|answer| answer.body.as_str()).collect();
    let expected = [
        r#"{"status":"OK","stored":3}"#,
        r#"{"status":"OK","values":{"b\"":"2\n","nobody":null,"é":"","a":"1"}}"#,
        r#"{"status":"OK","deleted":2}"#,
        r#"{"status":"OK","values":{"a":"1","b\"":null}}"#,
        r#"{"status":"OK","values":{}}"#,
        r#"{"status":"OK","stored":0}"#,
        r#"{"status":"OK","deleted":0}"#,
    ];
    assert_eq!(bodies, expected);
    statuses(&answers, &[200; 7]);
}

#[test]
fn what_stands_twice_in_a_batch_is_done_in_order() {
    let input = [
        mput(&[("a", "1"), ("b", "1"), ("a", "2"), ("b", "2"), ("a", "3")]),
        mget(&["a", "b", "a"]),
        mdelete(&["a", "a", "b", "a"]),
        mget(&["b", "a", "b"]),
    ];
    let answers = kept(input.concat());
    let bodies: Vec<&str> = answers.iter().map(|answer| answer.body.as_str()).collect();
    let expected = [
        r#"{"status":"OK","stored":5}"#,
        r#"{"status":"OK","values":{"a":"3","b":"2"}}"#,
        r#"{"status":"OK","deleted":2}"#,
        r#"{"status":"OK","values":{"b":null,"a":null}}"#,
    ];
    assert_eq!(bodies, expected);
}

#[test]
fn the_entries_of_a_batch_expire_each_in_its_time() {
    let default_ttl = Some(Duration::from_secs(2));
    let mut cluster = Cluster::new(&Config { default_ttl, ..config(2) });
    let client = cluster.connect(1, Role::Data);
    let entries = r#"{"entries":[{"key":"a","value":"1","ttl":1},{"key":"b","value":"2"},{"ttl":3.0,"key":"c","value":"3"}]}"#;
    cluster.send(client, post_to("/mput", entries));
    for (seconds, found) in [(0, 3), (1, 2), (2, 1), (3, 0)] {
        cluster.output(client);
        cluster.send(client, mget(&["a", "b", "c"]));
        let answers = read_all(&cluster.output(client));
        assert_eq!(answers[0].body.matches("null").count(), 3 - found, "after {seconds} s");
        cluster.pass(Duration::from_secs(1));
    }
}

#[test]
fn answers_to_batches_keep_their_place() {
    let input = [
        put("a", "1"),
        mput(&[("b", "2")]),
        mget(&["a", "b"]),
        get("b"),
        health(),
        mdelete(&["b"]),
        get("b"),
        mget(&["b", "a"]),
        get("a"),
    ];
    let answers = kept(input.concat());
    statuses(&answers, &[200, 200, 200, 200, 200, 200, 404, 200, 200]);
    assert_eq!(answers[2].body, r#"{"status":"OK","values":{"a":"1","b":"2"}}"#);
    assert_eq!(answers[7].body, r#"{"status":"OK","values":{"b":null,"a":"1"}}"#);
}

#[test]
fn a_batch_is_one_message_for_each_other_shard() {
    let mut cluster = Cluster::new(&config(3));
    let keys: Vec<String> = (0..100).map(|number| format!("key-{number}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let entries: Vec<(&str, &str)> = keys.iter().map(|key| (*key, "v")).collect();
    let client = cluster.connect(1, Role::Data);
    for (batches, input) in [mput(&entries), mget(&keys), mdelete(&keys)].iter().enumerate() {
        cluster.send(client, input);
        let hops = cluster.reports()[1].hops;
        assert_eq!(hops.messages, 2 * (batches as u64 + 1));
        let foreign = cluster.reports()[1].hops.calls / (batches as u64 + 1);
        assert!((40..90).contains(&foreign), "{foreign} of 100 keys are foreign");
    }
    let answers = read_all(&cluster.output(client));
    assert_eq!(answers[0].body, r#"{"status":"OK","stored":100}"#);
    assert_eq!(answers[1].body.matches("\"v\"").count(), 100);
    assert_eq!(answers[2].body, r#"{"status":"OK","deleted":100}"#);
}

#[test]
fn a_batch_that_does_not_fit_the_way_is_refused_as_a_whole() {
    let bounds: [fn(&mut Limits); 2] =
        [|limits| limits.hop_requests_max = 3, |limits| limits.hop_bytes_max = 3 * 11];
    let value = "v".repeat(10);
    for bound in bounds {
        for home in [0, 1] {
            let mut cluster = Cluster::new(&with_limits(2, bound));
            let client = cluster.connect(home, Role::Data);
            let entries = [("a", &*value), ("b", &*value)].repeat(4);
            cluster.send(client, mput(&entries));
            let answers = read_all(&cluster.output(client));
            assert_eq!((answers[0].status, answers[0].code().as_str()), (503, "overloaded"));
            assert_eq!(cluster.entries(), 0);
            // What fits is done, and what comes right behind it is not.
            cluster.send(client, [mput(&entries[..6]), mput(&entries[..2])].concat());
            let answers = read_all(&cluster.output(client));
            statuses(&answers, &[200, 503]);
            assert_eq!(answers[0].body, r#"{"status":"OK","stored":6}"#);
            cluster.send(client, mput(&entries[..6]));
            statuses(&read_all(&cluster.output(client)), &[200]);
            assert!(cluster.end(client) == End::Open);
        }
    }
}

#[test]
fn a_full_store_says_where_the_batch_failed_and_how_much_is_stored() {
    let settings = Config { eviction: Eviction::None, ..config(2) };
    let mut cluster = Cluster::new(&settings);
    let client = cluster.connect(0, Role::Data);
    let value = "v".repeat(200);
    for batch in 0.. {
        let keys: Vec<String> = (0..500).map(|number| format!("{batch}-{number}")).collect();
        let entries: Vec<_> = keys.iter().map(|key| (key.as_str(), value.as_str())).collect();
        let before = cluster.entries();
        cluster.send(client, mput(&entries));
        let answer = read_all(&cluster.output(client)).remove(0);
        let stored = cluster.entries() - before;
        if answer.status == 200 {
            assert_eq!((answer.body, stored), (r#"{"status":"OK","stored":500}"#.to_owned(), 500));
            continue;
        }
        assert_eq!((answer.status, answer.code().as_str()), (507, "full"));
        let message = message_of(&answer);
        assert!(message.ends_with(&format!(" Stored: {stored}.")), "{message}: {stored}");
        let index = message.strip_prefix("entries[").unwrap().split(']').next().unwrap();
        let index: usize = index.parse().unwrap();
        cluster.send(client, mget(&keys[..=index].iter().map(|key| &**key).collect::<Vec<_>>()));
        let found = read_all(&cluster.output(client)).remove(0).body;
        assert_eq!(found.matches(":null").count(), 1, "the first that is missing is {index}");
        assert!(found.ends_with(":null}}"));
        break;
    }
}

#[test]
fn row_44_bad_json_in_batches() {
    for (path, list) in [("/mget", "keys"), ("/mdelete", "keys"), ("/mput", "entries")] {
        let good = if list == "keys" { r#""a""# } else { r#"{"key":"a","value":"b"}"# };
        for body in [
            String::new(),
            "[]".to_owned(),
            "null".to_owned(),
            format!("[{good}]"),
            format!(r#"{{"{list}":[{good}]"#),
            format!(r#"{{"{list}":[{good}}}"#),
            format!(r#"{{"{list}":[{good},]}}"#),
            format!(r#"{{"{list}":[{good}]}}x"#),
            format!(r#"{{"{list}":[{good}],"{list}":[{good}]}}"#),
            format!(r#"{{"{list}":{good}}}"#),
            format!(r#"{{"{list}":null}}"#),
            format!(r#"{{"{list}":{{"0":{good}}}}}"#),
            format!(r#"{{"{list}":[{good}],"x":NaN}}"#),
            format!("\u{feff}{{\"{list}\":[{good}]}}"),
            format!(r#"{{"{list}":{}"#, "[".repeat(1_000)),
        ] {
            declined(post_to(path, &body), 400, "bad_json");
        }
        for bad in [r#""\ud800""#, "1", "null", "[]", r#"{"key":1,"value":"b"}"#, "NaN"] {
            let input = post_to(path, &format!(r#"{{"x":[],"{list}":[{good},{good},{bad}]}}"#));
            declined(&input, 400, "bad_json");
            let message = message_of(&kept(&input)[0]);
            assert!(message.contains(&format!("{list}[2]: ")), "{message}");
        }
        declined(post_to(path, "{}"), 400, &format!("missing_{list}"));
        declined(post_to(path, r#"{"Keys":[],"entry":[]}"#), 400, &format!("missing_{list}"));
        let typed = post_to(path, &format!(r#"{{"{list}":[]}}"#))
            .replace("Host: h", "Host: h\r\nContent-Type: text/json");
        declined(typed, 415, "unsupported_media_type");
    }
}

#[test]
fn row_45_the_body_of_a_refused_batch_is_never_a_request() {
    let smuggled = put("evil", "1");
    for path in ["/mget", "/mput", "/mdelete"] {
        declined(post_to(path, &smuggled), 400, "bad_json");
        let chunks = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
        let input = format!(
            "POST {path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
        );
        declined(input, 400, "bad_json");
    }
}

#[test]
fn row_47_a_batch_has_at_most_so_many_items() {
    let keys = ["a", "b", "c", "d"];
    let entries = keys.map(|key| (key, "v"));
    let limit = |limits: &mut Limits| limits.batch_items_max = 3;
    for (fits, exceeds) in [
        (mget(&keys[..3]), mget(&keys)),
        (mdelete(&keys[..3]), mdelete(&keys)),
        (mput(&entries[..3]), mput(&entries)),
        // What is past the limit is not even looked at.
        (mget(&["a", "a", "a"]), post_to("/mget", r#"{"keys":["a","a","a",1,{}]}"#)),
    ] {
        statuses(&tell_to(Role::Data, fits.as_bytes(), limit).answers(), &[200]);
        let told = tell_to(Role::Data, exceeds.as_bytes(), limit);
        assert!(told.is_open && told.entries == 0);
        is_problem(&told.answers(), 413, "batch_too_large", exceeds.as_bytes());
        let message = message_of(&told.answers()[0]);
        assert!(message.contains("at most 3 "), "{message}");
    }
}

#[test]
fn row_47_a_reply_is_as_long_as_is_allowed_and_no_longer() {
    let values = ["v".repeat(100), "\u{1}".repeat(90)];
    let entries = [("a", &*values[0]), ("b", &*values[1]), ("c", &*values[0])];
    let ask = mget(&["a", "b", "c", "nobody"]);
    let input = [mput(&entries), ask, health()].concat();
    let told = tell(&input);
    let length = told.answers()[1].body.len();
    let exact = |limits: &mut Limits| limits.reply_bytes_max = length;
    assert_eq!(tell_to(Role::Data, input.as_bytes(), exact), told);
    for reply_bytes_max in [length - 1, 100, 1] {
        let short = |limits: &mut Limits| limits.reply_bytes_max = reply_bytes_max;
        let told = tell_to(Role::Data, input.as_bytes(), short);
        assert!(told.is_open);
        let answers = told.answers();
        statuses(&answers, &[200, 413, 200]);
        assert_eq!(answers[1].code(), "reply_too_large");
        assert!(message_of(&answers[1]).contains(&format!(" {reply_bytes_max} bytes")));
    }
}

#[test]
fn row_48_limits_of_key_and_value_in_batches() {
    let long = "k".repeat(257);
    let value = "v".repeat(257);
    for (input, code, place) in [
        (mget(&["a", &long]), "key_too_long", "keys[1]: "),
        (mdelete(&["a", "b", ""]), "empty_key", "keys[2]: "),
        (mput(&[("a", "1"), (&long, "1")]), "key_too_long", "entries[1]: "),
        (mput(&[("", "1"), ("a", "1")]), "empty_key", "entries[0]: "),
        (mput(&[("a", "1"), ("b", &value), ("", "")]), "value_too_long", "entries[1]: "),
        (post_to("/mput", r#"{"entries":[{"key":"a"}]}"#), "missing_value", "entries[0]: "),
        (post_to("/mput", r#"{"entries":[{"value":"a"}]}"#), "missing_key", "entries[0]: "),
        (
            post_to(
                "/mput",
                r#"{"entries":[{"key":"a","value":""},{"key":"a","value":"","ttl":0}]}"#,
            ),
            "bad_ttl",
            "entries[1]: ",
        ),
    ] {
        declined(&input, 400, code);
        let message = message_of(&kept(&input)[0]);
        assert!(message.starts_with(place), "{message}");
    }
}

// What is asked of all shards.

/// A cluster that holds these keys, a client of its data port and one of its admin port.
fn cluster_of(shards: usize, keys: &[String]) -> (Cluster, Client, Client) {
    let mut cluster = Cluster::new(&config(shards));
    let (data, admin) = (cluster.connect(0, Role::Data), cluster.connect(0, Role::Admin));
    for keys in keys.chunks(1000) {
        let entries: Vec<_> = keys.iter().map(|key| (key.as_str(), "v")).collect();
        cluster.send(data, mput(&entries));
    }
    assert_eq!(cluster.entries(), keys.len() as u64);
    cluster.output(data);
    (cluster, data, admin)
}

fn keys_of(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number}")).collect()
}

fn body_of(cluster: &mut Cluster, client: Client, input: &str) -> String {
    cluster.send(client, input);
    let mut answers = read_all(&cluster.output(client));
    assert_eq!(answers.len(), 1, "{answers:?}");
    answers.remove(0).body
}

#[test]
fn a_prefix_is_counted_and_deleted_on_all_shards() {
    for shards in [1, 2, 3] {
        let keys = [keys_of("user:", 2_000), keys_of("use", 300), keys_of("é:", 10)].concat();
        let (mut cluster, data, admin) = cluster_of(shards, &keys);
        let ask = |body: &str| post_to("/delete-prefix", body);
        for (body, expected, left) in [
            (r#"{"prefix":"user:","dry_run":true}"#, r#"{"status":"OK","matched":2000}"#, 2_310),
            (r#"{"prefix":"user:1","dry_run":false}"#, r#"{"status":"OK","deleted":1111}"#, 1_199),
            (r#"{"prefix":"user:","x":[]}"#, r#"{"status":"OK","deleted":889}"#, 310),
            (r#"{"prefix":"user:"}"#, r#"{"status":"OK","deleted":0}"#, 310),
            (r#"{"prefix":"\u00e9"}"#, r#"{"status":"OK","deleted":10}"#, 300),
            (r#"{"prefix":"use7"}"#, r#"{"status":"OK","deleted":11}"#, 289),
        ] {
            assert_eq!(body_of(&mut cluster, admin, &ask(body)), expected);
            assert_eq!(cluster.entries(), left);
        }
        let found = body_of(&mut cluster, data, &mget(&["user:1", "use6", "use7", "use77"]));
        let expected =
            r#"{"status":"OK","values":{"user:1":null,"use6":"v","use7":null,"use77":null}}"#;
        assert_eq!(found, expected);
    }
}

#[test]
fn a_long_removal_is_done_in_slices() {
    let keys = keys_of("k", 6_000);
    let (mut cluster, data, admin) = cluster_of(2, &keys);
    cluster.send_only(admin, post_to("/delete-prefix", r#"{"prefix":"k"}"#));
    let mut turns = 0;
    let mut left = cluster.entries();
    while left > 0 {
        // A client is served in between.
        cluster.send_only(data, get("nobody"));
        assert_eq!(read_all(&cluster.output(data)).len(), 1);
        turns += 1;
        let now = cluster.entries();
        assert!(left - now <= 2 * u64::from(SCAN_STEPS_MAX), "{} in one turn", left - now);
        left = now;
    }
    assert!(turns > 6, "{turns} turns");
}

#[test]
fn a_prefix_must_be_there_and_not_too_long() {
    let long = "k".repeat(257);
    for (body, code) in [
        ("{}", "missing_prefix"),
        (r#"{"tag":"a"}"#, "missing_prefix"),
        (r#"{"prefix":""}"#, "empty_prefix"),
        (&format!(r#"{{"prefix":"{long}"}}"#), "prefix_too_long"),
        (r#"{"prefix":1}"#, "bad_json"),
        (r#"{"prefix":"a","dry_run":"yes"}"#, "bad_json"),
        (r#"{"prefix":"a","dry_run":null}"#, "bad_json"),
        (r#"{"prefix":"a","prefix":"b"}"#, "bad_json"),
        (r#"{"prefix":"a","dry_run":true,"dry_run":true}"#, "bad_json"),
        (r#""a""#, "bad_json"),
        ("", "bad_json"),
    ] {
        let input = post_to("/delete-prefix", body);
        let told = tell_to(Role::Admin, input.as_bytes(), |_| {});
        assert!(told.is_open);
        is_problem(&told.answers(), 400, code, input.as_bytes());
    }
    // Never on the port that everybody may reach.
    declined(post_to("/delete-prefix", r#"{"prefix":"a"}"#), 404, "no_such_route");
    declined(post_to("/flush", ""), 404, "no_such_route");
}

#[test]
fn a_flush_forgets_every_entry() {
    for shards in [1, 2] {
        let (mut cluster, data, admin) = cluster_of(shards, &keys_of("k", 500));
        let flush = post_to("/flush", "");
        let body = body_of(&mut cluster, admin, &flush);
        assert_eq!(body, r#"{"status":"OK","flushed":500}"#);
        assert_eq!(cluster.entries(), 0);
        assert_eq!(body_of(&mut cluster, data, &get("k1")), ABSENT);
        assert_eq!(body_of(&mut cluster, data, &put("k1", "v")), STORED);
        assert_eq!(body_of(&mut cluster, admin, &flush), r#"{"status":"OK","flushed":1}"#);
    }
}

#[test]
fn an_invalidation_names_a_tag() {
    for role in [Role::Data, Role::Admin] {
        for (body, code) in [
            ("{}", "missing_tag"),
            (r#"{"tag":""}"#, "empty_tag"),
            (&format!(r#"{{"tag":"{}"}}"#, "t".repeat(65)), "tag_too_long"),
            (r#"{"tag":["a"]}"#, "bad_json"),
            (r#"{"tag":"a","tag":"a"}"#, "bad_json"),
            ("a", "bad_json"),
        ] {
            let input = post_to("/invalidate", body);
            let told = tell_to(role, input.as_bytes(), |_| {});
            assert!(told.is_open);
            is_problem(&told.answers(), 400, code, input.as_bytes());
        }
        let longest = format!(r#"{{"tag":"{}"}}"#, "t".repeat(64));
        for body in [&longest, r#"{"tag":"a"}"#] {
            let told = tell_to(role, post_to("/invalidate", body).as_bytes(), |_| {});
            assert_eq!(told.answers()[0].body, HEALTHY);
        }
    }
}

#[test]
fn too_many_invalidations_at_once_are_refused_and_may_come_again() {
    for shards in [1, 2] {
        let mut cluster = Cluster::new(&config(shards));
        let client = cluster.connect(0, Role::Data);
        let all: Vec<String> = keys_of("tag-", 60)
            .iter()
            .map(|tag| post_to("/invalidate", &format!(r#"{{"tag":"{tag}"}}"#)))
            .collect();
        cluster.send(client, all.concat());
        let answers = read_all(&cluster.output(client));
        let done = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(answers.len(), 60);
        assert!((10..60).contains(&done), "{done} of 60");
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            let told = (answer.status, answer.code(), answer.field("retry-after"));
            assert_eq!(told, (503, "overloaded".to_owned(), Some("1")));
        }
        assert_eq!(body_of(&mut cluster, client, &all[59]), HEALTHY);
    }
}

// Tokens.

/// What `input` comes to where a token must be brought: on one shard and on two, whole and cut.
fn tell_guarded(role: Role, input: &str) -> Told {
    let tokens = Tokens::parse(b"reader-is-wrong\nread reader\nwrite writer\n").unwrap();
    let tell = |shards, pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut cluster = Cluster::new(&config(shards));
        cluster.set_tokens(&tokens);
        let client = cluster.connect(0, role);
        for piece in pieces {
            cluster.send(client, piece);
        }
        let is_open = cluster.end(client) == End::Open;
        Told { bytes: cluster.output(client), is_open, entries: cluster.entries() }
    };
    let whole = tell(1, &mut std::iter::once(input.as_bytes()));
    assert_eq!(tell(2, &mut input.as_bytes().chunks(1)), whole);
    for cut in (0..input.len()).step_by(7) {
        let (first, second) = input.as_bytes().split_at(cut);
        assert_eq!(tell(2, &mut [first, second].into_iter()), whole, "cut at {cut}");
    }
    whole
}

/// The request with an Authorization field.
fn with(authorization: &str, request: &str) -> String {
    request.replacen("Host: h\r\n", &format!("Host: h\r\nAuthorization: {authorization}\r\n"), 1)
}

#[test]
fn a_token_gives_what_its_line_says() {
    let reading = [get("a"), mget(&["a"]), ask("HEAD", "/get?key=a"), ask("OPTIONS", "/put")];
    let writing = [
        put("a", "b"),
        mput(&[("a", "b")]),
        mdelete(&["a"]),
        post_to("/invalidate", r#"{"tag":"a"}"#),
    ];
    for (requests, reader) in [(&reading, None), (&writing, Some((403, "forbidden")))] {
        for request in requests {
            let is_allowed = |authorization: &str| {
                let told = tell_guarded(Role::Data, &with(authorization, request));
                let status = status_of(&told);
                assert!(matches!(status, 200 | 204 | 404 | 403), "{told:?}");
                assert_eq!(told.is_open, status != 403);
                status != 403
            };
            assert!(is_allowed("Bearer writer") && is_allowed("bearer  reader-is-wrong"));
            assert_eq!(is_allowed("Bearer reader"), reader.is_none(), "{request}");
            if let Some((status, code)) = reader {
                let told = tell_guarded(Role::Data, &with("Bearer reader", request));
                assert_eq!(told.entries, 0);
                is_problem(&told.answers(), status, code, request.as_bytes());
            }
        }
    }
}

fn ask(method: &str, target: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: h\r\n\r\n")
}

fn status_of(told: &Told) -> u16 {
    std::str::from_utf8(&told.bytes[9..12]).unwrap().parse().unwrap()
}

#[test]
fn row_45_without_a_token_nothing_is_done_and_no_body_is_taken() {
    let bearers = [
        "Bearer",
        "Bearer ",
        "Bearer write",
        "Bearer writerr",
        "Basic writer",
        "writer",
        "Bearer WRITER",
        "Bearer writer,reader",
        "",
    ];
    let smuggled = put("evil", "1");
    let length = smuggled.len();
    let in_query = get("a&token=writer&access_token=writer");
    for request in [
        get("a"),
        in_query,
        ask("GET", "/nowhere"),
        ask("OPTIONS", "*"),
        put("a", "b"),
        mget(&["a"]),
        mput(&[("a", "b")]),
        format!("POST /put HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{smuggled}"),
        format!(
            "POST /mput HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{smuggled}\r\n0\r\n\r\n"
        ),
    ] {
        for bearer in std::iter::once(None).chain(bearers.map(Some)) {
            let input = bearer.map_or(request.clone(), |bearer| with(bearer, &request));
            let told = tell_guarded(Role::Data, &[&input, &*health()].concat());
            let has_body = input.starts_with("POST");
            assert_eq!((told.is_open, told.entries), (!has_body, 0), "{told:?}");
            let answers = told.answers();
            is_problem(&answers[..1], 401, "unauthorized", input.as_bytes());
            assert_eq!(answers[0].field("www-authenticate"), Some("Bearer"));
            assert_eq!(answers.len(), if has_body { 1 } else { 2 });
        }
    }
    let twice = with("Bearer writer", &with("Bearer writer", &get("a")));
    let told = tell_guarded(Role::Data, &twice);
    is_problem(&told.answers(), 400, "repeated_authorization", twice.as_bytes());
}

#[test]
fn row_36_who_has_no_token_is_told_before_the_body() {
    let head =
        "POST /put HTTP/1.1\r\nHost: h\r\nContent-Length: 23\r\nExpect: 100-continue\r\n\r\n";
    for (bearer, status, code) in
        [("Bearer no", 401, "unauthorized"), ("Bearer reader", 403, "forbidden")]
    {
        let told = tell_guarded(Role::Data, &with(bearer, head));
        assert!(!told.is_open);
        is_problem(&told.answers(), status, code, head.as_bytes());
    }
    let told = tell_guarded(Role::Data, &with("Bearer writer", head));
    assert_eq!(told.bytes, CONTINUE);
}

#[test]
fn on_the_admin_port_a_token_is_needed_to_change_things() {
    let invalidate = post_to("/invalidate", r#"{"tag":"a"}"#);
    let delete = post_to("/delete-prefix", r#"{"prefix":"a"}"#);
    for request in [post_to("/flush", ""), invalidate, delete] {
        for (bearer, status) in [("Bearer writer", 200), ("Bearer reader", 403), ("Bearer no", 401)]
        {
            let told = tell_guarded(Role::Admin, &with(bearer, &request));
            assert_eq!(status_of(&told), status);
        }
        assert_eq!(status_of(&tell_guarded(Role::Admin, &request)), 401);
    }
    for open in ["/stats", "/healthz"] {
        assert_eq!(status_of(&tell_in_guarded_admin(open)), 200);
    }
    assert_eq!(status_of(&tell_guarded(Role::Data, &health())), 200);
}

/// Statistics differ with the number of shards.
fn tell_in_guarded_admin(path: &str) -> Told {
    let mut cluster = Cluster::new(&config(2));
    cluster.set_tokens(&Tokens::parse(b"secret").unwrap());
    let client = cluster.connect(1, Role::Admin);
    cluster.send(client, ask("GET", path));
    Told { bytes: cluster.output(client), is_open: true, entries: 0 }
}

#[test]
fn new_tokens_are_in_force_from_the_next_request_on() {
    let mut cluster = Cluster::new(&config(2));
    let client = cluster.connect(0, Role::Data);
    let old = with("Bearer old", &get("a"));
    let new = with("Bearer new", &get("a"));
    cluster.send(client, &new);
    for (tokens, statuses_then) in
        [("old", [404, 401]), ("new", [401, 404]), ("new\nold", [404; 2])]
    {
        cluster.output(client);
        cluster.set_tokens(&Tokens::parse(tokens.as_bytes()).unwrap());
        cluster.send(client, [&*old, &new].concat());
        statuses(&read_all(&cluster.output(client)), &statuses_then);
    }
}

// Tags.

#[test]
fn an_invalidation_ends_every_entry_with_the_tag_for_every_reader() {
    for (shards, home) in [(1, 0), (2, 0), (2, 1), (3, 2)] {
        let mut cluster = Cluster::new(&config(shards));
        let client = cluster.connect(home, Role::Data);
        let entry = |key: &str, tags: &[&str]| serde_json::json!({ "key": key, "value": "v", "tags": tags });
        let keys = keys_of("k", 40);
        let entries: Vec<_> = keys
            .iter()
            .enumerate()
            .map(|(at, key)| entry(key, [&["news"][..], &["a", "news"], &["a"], &[]][at % 4]))
            .collect();
        let body = serde_json::json!({ "entries": entries }).to_string();
        assert_eq!(
            body_of(&mut cluster, client, &post_to("/mput", &body)),
            r#"{"status":"OK","stored":40}"#
        );
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let invalidate = post_to("/invalidate", r#"{"tag":"news"}"#);
        // One connection's requests are done in their order, whatever waits for other shards.
        let again = post(&entry("k0", &["news"]).to_string());
        let input = [mget(&keys), invalidate, mget(&keys), again, mget(&keys)].concat();
        for reader in 0..shards {
            let client = cluster.connect(reader, Role::Data);
            cluster.send(client, post_to("/mput", &body));
            cluster.output(client);
            cluster.send(client, &input);
            let answers = read_all(&cluster.output(client));
            statuses(&answers, &[200; 5]);
            let found = |answer: &Answer| answer.body.matches("\"v\"").count();
            assert_eq!([0, 2, 4].map(|at| found(&answers[at])), [40, 20, 21], "reader {reader}");
        }
        let after = body_of(&mut cluster, client, &mget(&keys));
        assert_eq!(after.matches("\"v\"").count(), 21);
        assert!(after.contains(r#""k0":"v","k1":null,"k2":"v","k3":"v""#), "{after}");
    }
}

#[test]
fn a_batch_may_name_what_a_put_may() {
    let entries = r#"{"entries":[{"key":"a","value":"1","ttl":1,"stale_ttl":2,"tags":["x"]}]}"#;
    let mut cluster = Cluster::new(&config(2));
    let client = cluster.connect(1, Role::Data);
    cluster.send(client, post_to("/mput", entries));
    cluster.pass(Duration::from_secs(2));
    cluster.output(client);
    let found = body_of(&mut cluster, client, &mget(&["a"]));
    assert_eq!(found, r#"{"status":"OK","values":{"a":"1"}}"#, "stale entries are told");
    cluster.pass(Duration::from_secs(1));
    assert_eq!(
        body_of(&mut cluster, client, &mget(&["a"])),
        r#"{"status":"OK","values":{"a":null}}"#
    );
    for (tags, code) in [("[\"\"]", "empty_tag"), ("1", "bad_tags"), ("[1]", "bad_tags")] {
        let entry = format!(r#"{{"key":"a","value":"1","tags":{tags}}}"#);
        declined(post_to("/mput", &format!(r#"{{"entries":[{entry}]}}"#)), 400, code);
    }
}

#[test]
fn a_value_that_is_no_text_is_named_in_a_batch() {
    let raw =
        "PUT /kv/b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nx\u{0}".replace('\0', "\u{7f}");
    let mut input = [put("a", "1"), raw].concat().into_bytes();
    *input.last_mut().unwrap() = 0xff;
    input.extend_from_slice(mget(&["a", "b", "nobody"]).as_bytes());
    let answers = kept(&input);
    assert_eq!((answers[2].status, answers[2].code().as_str()), (406, "not_text"));
    assert!(message_of(&answers[2]).contains(r#""b""#));
}

#[test]
fn an_invalidation_stands_in_the_order_of_its_connections_requests() {
    let tagged = |key: &str| post(&format!(r#"{{"key":"{key}","value":"v","tags":["t"]}}"#));
    let invalidate = post_to("/invalidate", r#"{"tag":"t"}"#);
    for key in ["a", "b"] {
        let input = [
            tagged(key),
            get(key),
            invalidate.clone(),
            get(key),
            tagged(key),
            get(key),
            invalidate.clone(),
            invalidate.clone(),
            tagged(key),
            get(key),
        ];
        let answers = kept(input.concat());
        statuses(&answers, &[200, 200, 200, 404, 200, 200, 200, 200, 200, 200]);
    }
}
