//! What a running server tells of itself: `/metrics`, `/latency`, `/readyz` and `/config`, and the
//! dashboard and alert rules that rely on it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "other tests need more of it")]
mod common {
    pub(crate) mod answer;
    pub(crate) mod client;
}

use common::{
    answer::Answer,
    client::{Client, get, put},
};
use kvcache::{
    config::{AdminAddress, Config, SETTINGS},
    server::{Server, ServerError},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr},
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    path::PathBuf,
    process::{Command, Stdio},
    thread,
};

fn config(shards: usize) -> Config {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Config {
        listen: anywhere,
        admin_listen: Some(anywhere.into()),
        shards,
        memory_bytes: shards << 20,
        ..Config::default()
    }
}

/// A server that serves on every shard.
fn start(config: &Config) -> Server {
    let server = Server::start(config).unwrap();
    let mut admin = admin(&server);
    for _ in 0..200_000 {
        if look(&mut admin, "/readyz").status == 200 {
            return server;
        }
        thread::yield_now();
    }
    panic!("it stays {}", look(&mut admin, "/readyz").body);
}

fn data(server: &Server) -> Client {
    Client::connect(server.data_address())
}

fn admin(server: &Server) -> Client {
    let Some(AdminAddress::Tcp(address)) = server.admin_address() else { panic!("no address") };
    Client::connect(*address)
}

fn look(admin: &mut Client, target: &str) -> Answer {
    admin.ask(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"))
}

/// The samples of a scrape by name and labels.
fn samples(text: &str) -> BTreeMap<&str, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.map(|line| {
        let (sample, value) = line.rsplit_once(' ').unwrap();
        (sample, value.parse().unwrap())
    });
    samples.collect()
}

/// The names of the samples of a scrape.
fn names(text: &str) -> BTreeSet<&str> {
    samples(text).into_keys().map(|sample| sample.split('{').next().unwrap()).collect()
}

/// A server that has answered something of each kind, and what it tells.
fn busy_scrape(server: &Server) -> String {
    let mut client = data(server);
    for key in ["a", "b", "c"] {
        assert_eq!(client.ask(put(key, "v")).status, 200);
        assert_eq!(client.ask(get(key)).status, 200);
    }
    assert_eq!(client.ask(get("nobody")).status, 404);
    assert_eq!(client.ask("GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n").status, 404);
    look(&mut admin(server), "/metrics").body
}

/// Runs promtool, from Debian's prometheus, where it is; in CI it has to be.
fn promtool(arguments: &[&str], input: &str) -> Option<String> {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            assert!(env::var_os("CI").is_none(), "promtool: {error}");
            return None;
        }
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
    Some(said)
}

#[test]
fn prometheus_finds_nothing_to_say_about_a_scrape() {
    for shards in 1..=2 {
        let server = start(&config(shards));
        let text = busy_scrape(&server);
        if let Some(said) = promtool(&["check", "metrics"], &text) {
            assert_eq!(said, "");
        }
        server.stop().unwrap();
    }
}

#[test]
fn a_scrape_is_of_the_type_that_prometheus_wants_plain_and_packed() {
    let server = start(&config(1));
    let mut admin = admin(&server);
    let plain = look(&mut admin, "/metrics");
    let request = "GET /metrics HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n";
    let packed = admin.ask(request);
    for answer in [&plain, &packed] {
        let content_type = answer.field("content-type").unwrap();
        assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
    }
    assert_eq!(packed.field("content-encoding"), Some("gzip"));
    assert!(packed.bytes.len() < plain.bytes.len() / 2);
    assert!(names(&packed.body).is_superset(&names(&plain.body)));
    server.stop().unwrap();
}

#[test]
fn a_scrape_counts_what_was_done() {
    for shards in 1..=2 {
        let server = start(&config(shards));
        let text = busy_scrape(&server);
        let samples = samples(&text);
        let of = |operation: &str| format!("protocol=\"http\",operation=\"{operation}\"");
        let requests = |operation: &str, outcome: &str| {
            format!("kvcache_requests_total{{{},outcome=\"{outcome}\"}}", of(operation))
        };
        let durations =
            |of: &str, part: &str| format!("kvcache_request_duration_seconds_{part}{{{of}}}");
        let exact = [
            ("kvcache_ready", 1),
            ("kvcache_config_last_reload_successful", 1),
            (&requests("put", "ok"), 3),
            (&requests("get", "ok"), 3),
            (&requests("get", "not_found"), 1),
            (&requests("other", "not_found"), 1),
            (&durations(&of("put"), "count"), 3),
            (&durations(&of("get"), "count"), 4),
            (&durations(&(of("get") + ",le=\"+Inf\""), "bucket"), 4),
            ("kvcache_lookups_total{result=\"hit\"}", 3),
            ("kvcache_lookups_total{result=\"miss\"}", 1),
            ("kvcache_writes_total{result=\"created\"}", 3),
            ("kvcache_items", 3),
            ("kvcache_items_with_ttl", 0),
            ("kvcache_connections", 1),
            ("kvcache_connections_limit", 10_000),
            ("kvcache_auth_failures_total", 0),
            ("kvcache_overloaded", 0),
            ("kvcache_overload_steps_total{step=\"no_writes\"}", 0),
            ("kvcache_shed_requests_total{reason=\"memory\"}", 0),
        ];
        for (sample, expected) in exact {
            let found = samples.get(sample).unwrap_or_else(|| panic!("no {sample} in {text}"));
            assert!((found - f64::from(expected)).abs() < 1e-9, "{sample}: {found}");
        }
        for name in [
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_max_fds",
            "process_start_time_seconds",
            "process_cpu_seconds_total",
            "kvcache_host_memory_bytes",
            "kvcache_memory_limit_bytes",
            "kvcache_config_last_reload_success_timestamp_seconds",
        ] {
            assert!(samples[name] > 0.0, "{name}");
        }
        let of_shards = |name: &str| {
            let values = samples.iter().filter(|(sample, _)| sample.starts_with(name));
            values.map(|(_, value)| *value).collect::<Vec<f64>>()
        };
        assert_eq!(of_shards("kvcache_shard_items{").iter().sum::<f64>().to_string(), "3");
        assert_eq!(of_shards("kvcache_shard_busy_seconds_total{").len(), shards);
        assert_eq!(of_shards("kvcache_shard_loop_delay_seconds_count{").len(), shards);
        server.stop().unwrap();
    }
}

#[test]
fn no_label_has_a_value_that_a_client_made_up() {
    let file = temporary("token");
    fs::write(&file, "write tokenofaclient\n").unwrap();
    let server = start(&Config { auth_token_file: Some(file.clone()), ..config(2) });
    let mut client = data(&server);
    assert_eq!(client.ask(get("keyofaclient")).status, 401);
    let request = put("keyofaclient", "v")
        .replace("Host: h", "Authorization: Bearer tokenofaclient\r\nHost: h");
    assert_eq!(client.ask(request).status, 200);
    let mut admin = admin(&server);
    let text = look(&mut admin, "/metrics").body;
    assert!(text.contains("kvcache_auth_failures_total 1\n"), "{text}");
    assert!(text.contains("kvcache_items 1\n"));
    for target in ["/metrics", "/config", "/latency", "/stats"] {
        let body = look(&mut admin, target).body;
        assert!(!body.contains("ofaclient"), "{target}: {body}");
    }
    let known = [
        "version",
        "revision",
        "protocol",
        "operation",
        "outcome",
        "op",
        "le",
        "reason",
        "result",
        "kind",
        "mode",
        "by",
        "shard",
        "step",
    ];
    let labels = samples(&text);
    let labels = labels.keys().filter_map(|sample| sample.split_once('{'));
    for (sample, labels) in labels {
        for label in labels.trim_end_matches('}').split("\",") {
            let name = label.split('=').next().unwrap();
            assert!(known.contains(&name), "{sample} has {name}");
        }
    }
    server.stop().unwrap();
    fs::remove_file(file).unwrap();
}

/// The metrics that are told under an old name for the last time.
fn deprecated(text: &str) -> Vec<&str> {
    let helps = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '));
    helps.filter(|(_, help)| help.starts_with("Deprecated: ")).map(|(name, _)| name).collect()
}

/// The samples of a metric, each with what stands for it under another name.
fn samples_of<'a>(text: &'a str, metric: &str, labels: (&str, &str)) -> Vec<(String, &'a str)> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(metric));
    let samples = lines.filter(|line| line.starts_with(['{', '_', ' ']));
    let samples = samples.filter_map(|line| line.rsplit_once(' '));
    samples.map(|(sample, value)| (sample.replace(labels.0, labels.1), value)).collect()
}

#[test]
fn a_metric_under_its_old_name_tells_the_same() {
    let server = start(&config(2));
    let text = busy_scrape(&server);
    server.stop().unwrap();
    let (old, new) = ("kvcache_http_request_duration_seconds", "kvcache_request_duration_seconds");
    let of_new = samples_of(&text, new, ("", ""));
    assert_eq!(samples_of(&text, old, ("{op=", "{protocol=\"http\",operation=")), of_new);
    assert!(of_new.len() > 3 * 16, "{of_new:?}");
    let (old_in_flight, in_flight) =
        ("kvcache_http_requests_in_flight", "kvcache_requests_in_flight");
    let of_new = samples_of(&text, in_flight, ("", ""));
    assert_eq!((samples_of(&text, old_in_flight, ("", "")), of_new.len()), (of_new, 1));
    let mut told = deprecated(&text);
    told.sort_unstable();
    assert_eq!(told, [old, old_in_flight]);
}

/// What stands in an expression and begins like a metric of ours or of the process.
fn metrics_of(expression: &str) -> Vec<&str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("kvcache_") || word.starts_with("process_")).collect()
}

fn expressions(value: &Value) -> Vec<&str> {
    let here = value.get("expr").and_then(Value::as_str);
    let members = value.as_object().into_iter().flat_map(serde_json::Map::values);
    let below = members.chain(value.as_array().into_iter().flatten()).flat_map(expressions);
    here.into_iter().chain(below).collect()
}

#[test]
fn the_dashboard_and_the_alerts_are_about_metrics_that_there_are() {
    let server = start(&config(2));
    let text = busy_scrape(&server);
    server.stop().unwrap();
    let deprecated = deprecated(&text);
    let mut live = names(&text);
    live.retain(|name| !deprecated.iter().any(|metric| name.starts_with(metric)));
    let dashboard = fs::read_to_string("monitoring/dashboard.json").unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let shown = expressions(&dashboard);
    assert!(shown.len() > 40, "{}", shown.len());
    for expression in &shown {
        let metrics = metrics_of(expression);
        assert!(!metrics.is_empty(), "{expression}");
        for metric in metrics {
            assert!(
                live.contains(metric),
                "{metric} of the dashboard is not told, or not for long"
            );
        }
    }
    // Nearly everything that is told is shown: what is not has its reason.
    let shown: BTreeSet<&str> =
        shown.iter().flat_map(|expression| metrics_of(expression)).collect();
    let series = live.iter().filter(|name| !name.ends_with("_sum") && !name.ends_with("_count"));
    let hidden: Vec<&&str> = series.filter(|name| !shown.contains(**name)).collect();
    assert!(hidden.is_empty(), "{hidden:?} are not on the dashboard");

    let alerts = fs::read_to_string("monitoring/alerts.yml").unwrap();
    let rules = alerts.lines().filter(|line| !line.trim_start().starts_with(['#', '-'])).count();
    let alerted = metrics_of(&alerts);
    assert!(rules > 20 && alerted.len() > 10, "{alerted:?}");
    for metric in alerted {
        assert!(live.contains(metric), "{metric} of the alerts is not told, or not for long");
    }
    if let Some(said) = promtool(&["check", "rules", "monitoring/alerts.yml"], "") {
        assert!(said.contains("SUCCESS"), "{said}");
    }
}

#[test]
fn latencies_are_of_every_request_since_the_reset_or_the_last_interval() {
    let server = start(&config(2));
    let (mut client, mut admin) = (data(&server), admin(&server));
    let counts = |admin: &mut Client, method: &str, target: &str| {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        let answer: Value = serde_json::from_str(&admin.ask(request).body).unwrap();
        let count = |operation: &str| answer["operations"][operation]["count"].as_u64();
        (count("get").unwrap_or(0), count("put").unwrap_or(0))
    };
    for key in ["a", "b", "c"] {
        client.ask(put(key, "v"));
    }
    assert_eq!(counts(&mut admin, "GET", "/latency?format=json&interval=1"), (0, 3));
    for key in ["a", "b"] {
        client.ask(get(key));
    }
    assert_eq!(counts(&mut admin, "GET", "/latency?format=json&interval=1"), (2, 0));
    assert_eq!(counts(&mut admin, "GET", "/latency?format=json&interval=1"), (0, 0));
    assert_eq!(counts(&mut admin, "GET", "/latency?format=json"), (2, 3));
    assert_eq!(counts(&mut admin, "POST", "/latency/reset?format=json"), (2, 3));
    client.ask(get("a"));
    assert_eq!(counts(&mut admin, "GET", "/latency?format=json&op=get"), (1, 0));
    let samples = look(&mut admin, "/metrics").body;
    let of_gets = "kvcache_request_duration_seconds_count{protocol=\"http\",operation=\"get\"} 3\n";
    assert!(samples.contains(of_gets), "{samples}");

    let text = look(&mut admin, "/latency?op=get").body;
    assert!(text.contains("Total count    =            1]"), "{text}");
    let log = look(&mut admin, "/latency?format=hlog&op=get").body;
    assert!(log.lines().any(|line| line.starts_with("Tag=get,0")), "{log}");
    for (target, name) in
        [("op=nothing", "op"), ("format=xml", "format"), ("interval=2", "interval")]
    {
        let answer = look(&mut admin, &format!("/latency?{target}"));
        assert_eq!(answer.status, 400);
        assert!(answer.body.contains("bad_parameter") && answer.body.contains(name));
    }
    server.stop().unwrap();
}

#[test]
fn a_head_ends_no_interval() {
    let server = start(&config(1));
    assert_eq!(data(&server).ask(get("a")).status, 404);
    let mut admin = admin(&server);
    admin.send("HEAD /latency?interval=1&op=get HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let mut head = String::new();
    admin.stream.read_to_string(&mut head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    let mut admin = self::admin(&server);
    let text = look(&mut admin, "/latency?interval=1&op=get").body;
    assert!(text.contains("Total count    =            1]"), "{text}");
    server.stop().unwrap();
}

#[test]
fn a_server_that_serves_is_ready_and_shows_its_settings() {
    let server = start(&config(2));
    let mut admin = admin(&server);
    let ready = look(&mut admin, "/readyz");
    assert_eq!((ready.status, ready.body.as_str()), (200, "{\"status\":\"OK\"}"));
    let shown: BTreeMap<String, Value> =
        serde_json::from_str(&look(&mut admin, "/config").body).unwrap();
    let names: BTreeSet<&str> = shown.keys().map(String::as_str).collect();
    assert_eq!(names, SETTINGS.iter().map(|setting| setting.name).collect());
    assert_eq!((&shown["shards"], &shown["auth-token-file"]), (&2.into(), &"none".into()));
    assert_eq!((&shown["read-timeout"], &shown["memory"]), (&"2s".into(), &(2 << 20).into()));
    server.stop().unwrap();
}

/// A path that nobody else has.
fn temporary(name: &str) -> PathBuf {
    env::temp_dir().join(format!("kvcache-{}-{name}", std::process::id()))
}

#[test]
fn the_admin_listener_may_be_a_socket_file_of_its_owner() {
    let path = temporary("socket");
    let config = Config { admin_listen: Some(AdminAddress::Unix(path.clone())), ..config(2) };
    // What a server that was killed leaves behind is replaced.
    drop(UnixListener::bind(&path).unwrap());
    let server = Server::start(&config).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let ask = |request: &str| {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(ask("GET /config HTTP/1.1\r\nHost: admin\r\n\r\n").starts_with("HTTP/1.1 200 "));
    assert!(ask("GET /readyz HTTP/1.1\r\n\r\n").contains("\"missing_host\""));
    match Server::start(&config).err().unwrap() {
        ServerError::Bind { address, error } => {
            assert_eq!(address, AdminAddress::Unix(path.clone()));
            assert_eq!(error.kind(), ErrorKind::AddrInUse);
        }
        error => panic!("{error}"),
    }
    assert!(ask("GET /healthz HTTP/1.1\r\nHost: admin\r\n\r\n").starts_with("HTTP/1.1 200 "));
    server.stop().unwrap();
    assert!(!path.exists(), "it is removed in the end");

    fs::write(&path, "a file of somebody's").unwrap();
    assert!(Server::start(&config).is_err());
    assert_eq!(fs::read_to_string(&path).unwrap(), "a file of somebody's");
    fs::remove_file(&path).unwrap();
}
