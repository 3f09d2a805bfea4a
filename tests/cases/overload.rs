//! What a shard with too much to do still takes on: less with each step, all again afterwards.

use crate::{
    common::{
        answer::Answer,
        cluster::{Cluster, End},
    },
    input::{get, mdelete, mget, mput, post_to, put, request},
    tell::{config, read_all, with_limits},
};
use kvcache::{
    config::{Config, Limits},
    metrics::{Overload, Step},
    shard::Role,
};
use std::time::Duration;

/// Beats after which a delay leads to the next step.
const BEATS: usize = 4;
const CLOSING: Duration = Duration::from_millis(250);
const NO_WRITES: Duration = Duration::from_millis(375);
const NO_READS: Duration = Duration::from_millis(500);

/// A body of this length is judged by its head.
const LONG: usize = 90_000;

fn ask_of(cluster: &mut Cluster, role: Role, input: &[u8]) -> (Answer, End) {
    let client = cluster.connect(0, role);
    cluster.send(client, input);
    let mut answers = read_all(&cluster.output(client));
    assert_eq!(answers.len(), 1, "{}", input.escape_ascii());
    let end = cluster.end(client);
    if end != End::Closed {
        cluster.reset(client);
    }
    (answers.remove(0), end)
}

/// The status that a new client gets.
fn status(cluster: &mut Cluster, input: impl AsRef<[u8]>) -> u16 {
    ask_of(cluster, Role::Data, input.as_ref()).0.status
}

fn admin(cluster: &mut Cluster, method: &str, target: &str) -> (Answer, End) {
    ask_of(cluster, Role::Admin, &request(method, target, "", ""))
}

/// Every way to change entries by their keys, on a key of either shard.
fn writes() -> Vec<Vec<u8>> {
    let both = |key: &str| {
        vec![
            put(key, "new").into_bytes(),
            request("PUT", &format!("/kv/{key}"), "", "new"),
            request("DELETE", &format!("/kv/{key}"), "", ""),
            request("POST", &format!("/kv/{key}/incr"), "", ""),
            request("POST", &format!("/kv/{key}/touch?ttl=5"), "", ""),
            mput(&[(key, "new")]).into_bytes(),
            mdelete(&[key]).into_bytes(),
        ]
    };
    [both("1"), both("2")].concat()
}

fn reads() -> [Vec<u8>; 4] {
    [
        get("1").into_bytes(),
        get("2").into_bytes(),
        mget(&["1", "2"]).into_bytes(),
        request("GET", "/kv/1", "", ""),
    ]
}

fn overload(cluster: &Cluster) -> Overload {
    let mut total = Overload::default();
    for report in cluster.reports() {
        total += report.counters.overload;
    }
    total
}

fn steps(cluster: &Cluster) -> Vec<Step> {
    cluster.reports().iter().map(|report| report.counters.step).collect()
}

/// Clusters of one and two shards that hold the keys 1 and 2, each with the value `7`.
fn clusters() -> impl Iterator<Item = Cluster> {
    (1..=2).map(|shards| {
        let mut cluster = Cluster::new(&config(shards));
        for key in ["1", "2"] {
            assert_eq!(status(&mut cluster, put(key, "7")), 200);
        }
        cluster
    })
}

#[test]
fn a_standing_delay_ends_connections_first() {
    for mut cluster in clusters() {
        cluster.pass_delayed(BEATS, CLOSING);
        assert!(steps(&cluster).iter().all(|step| *step == Step::Closing));
        for input in [reads().to_vec(), writes()].concat() {
            let (answer, end) = ask_of(&mut cluster, Role::Data, &input);
            assert_ne!(answer.status, 503, "{}", input.escape_ascii());
            assert_eq!((answer.field("connection"), end), (Some("close"), End::HalfClosed));
        }
        // What has arrived behind a request is answered first.
        let client = cluster.connect(0, Role::Data);
        cluster.send(client, [put("1", "8"), get("1")].concat());
        let answers = read_all(&cluster.output(client));
        assert_eq!(answers.len(), 2);
        assert_eq!((answers[0].field("connection"), answers[0].status), (None, 200));
        assert_eq!(answers[1].field("connection"), Some("close"));
        assert!(answers[1].body.contains(r#""value":"8""#));
        // Whoever looks after it stays.
        let (answer, end) = admin(&mut cluster, "GET", "/readyz");
        assert_eq!(answer.body, r#"{"status":"OK","step":"closing"}"#);
        assert_eq!((answer.status, answer.field("connection"), end), (200, None, End::Open));
    }
}

#[test]
fn then_writes_are_refused_and_all_else_is_served() {
    for mut cluster in clusters() {
        cluster.pass_delayed(2 * BEATS, NO_WRITES);
        for input in writes() {
            let (answer, _) = ask_of(&mut cluster, Role::Data, &input);
            assert_eq!(answer.status, 503, "{}", input.escape_ascii());
            assert_eq!(answer.code(), "overloaded");
            assert_eq!(answer.field("retry-after"), Some("1"));
        }
        for input in reads() {
            let (answer, _) = ask_of(&mut cluster, Role::Data, &input);
            assert_eq!(answer.status, 200);
            assert!(answer.body.contains('7'), "{}", answer.body);
        }
        // A refusal ends nothing that has arrived behind it.
        let client = cluster.connect(0, Role::Data);
        cluster.send(client, [put("1", "8"), get("1")].concat());
        let answers = read_all(&cluster.output(client));
        assert_eq!([answers[0].status, answers[1].status], [503, 200]);
        assert_eq!(status(&mut cluster, request("OPTIONS", "/put", "", "")), 204);
        assert_eq!(status(&mut cluster, request("GET", "/healthz", "", "")), 200);
        assert_eq!(status(&mut cluster, post_to("/invalidate", r#"{"tag":"news"}"#)), 200);
        for path in ["/readyz", "/stats", "/metrics", "/healthz"] {
            assert_eq!(admin(&mut cluster, "GET", path).0.status, 200, "{path}");
        }
        let refused = writes().len() as u64 + 1;
        assert_eq!(
            (overload(&cluster).refused_delay, overload(&cluster).refused_memory),
            (refused, 0)
        );
        assert!(admin(&mut cluster, "GET", "/stats").0.body.contains(r#""step":"no_writes""#));
        assert_eq!(admin(&mut cluster, "POST", "/flush").0.body, r#"{"status":"OK","flushed":2}"#);
    }
}

#[test]
fn reads_are_refused_last_and_probes_never() {
    for mut cluster in clusters() {
        cluster.pass_delayed(3 * BEATS, NO_READS);
        for input in [reads().to_vec(), writes()].concat() {
            assert_eq!(status(&mut cluster, input), 503);
        }
        assert_eq!(status(&mut cluster, request("GET", "/healthz", "", "")), 200);
        assert_eq!(status(&mut cluster, post_to("/invalidate", r#"{"tag":"news"}"#)), 200);
        for path in ["/readyz", "/stats", "/metrics", "/healthz"] {
            assert_eq!(admin(&mut cluster, "GET", path).0.status, 200, "{path}");
        }
        let text = admin(&mut cluster, "GET", "/metrics").0.body;
        let refused = reads().len() + writes().len();
        for line in [
            "kvcache_overloaded 1".to_owned(),
            format!("kvcache_shed_requests_total{{reason=\"delay\"}} {refused}"),
        ] {
            assert!(text.lines().any(|told| told == line), "{line} is not in {text}");
        }
    }
}

#[test]
fn a_delay_that_has_passed_leaves_nothing_behind() {
    for mut cluster in clusters() {
        let shards = cluster.reports().len() as u64;
        for (delay, step) in
            [(CLOSING, Step::Closing), (NO_WRITES, Step::NoWrites), (NO_READS, Step::NoReads)]
        {
            cluster.pass_delayed(BEATS - 1, delay);
            assert!(steps(&cluster).iter().all(|below| *below < step));
            cluster.pass_delayed(1, delay);
            assert!(steps(&cluster).iter().all(|reached| *reached == step));
        }
        let told = overload(&cluster);
        assert_eq!((told.closing, told.no_writes, told.no_reads), (shards, shards, shards));
        cluster.pass(Duration::from_secs(1));
        assert!(steps(&cluster).iter().all(|step| *step == Step::Calm));
        for input in [writes(), reads().to_vec()].concat() {
            let (answer, end) = ask_of(&mut cluster, Role::Data, &input);
            assert_ne!(answer.status, 503);
            assert_eq!((answer.field("connection"), end), (None, End::Open));
        }
        let (answer, _) = admin(&mut cluster, "GET", "/readyz");
        assert_eq!(answer.body, r#"{"status":"OK"}"#);
        let told = overload(&cluster);
        assert_eq!((told.closing, told.queue_delay_us, told.refused_delay), (shards, 0, 0));
    }
}

/// Room for about a dozen long bodies.
fn narrow() -> Config {
    let change = |limits: &mut Limits| {
        limits.value_bytes_max = LONG;
        limits.body_bytes_max = 1 << 20;
        limits.reply_bytes_max = 200_000;
        limits.buffered_bytes_max = 1_200_000;
    };
    Config { memory_bytes: 8 << 20, ..with_limits(1, change) }
}

fn buffered(cluster: &Cluster) -> u64 {
    cluster.reports().iter().map(|it| it.counters.connections.buffered_bytes).sum()
}

#[test]
fn long_bodies_that_do_not_end_are_bounded_together() {
    let mut cluster = Cluster::new(&narrow());
    let whole = request("PUT", "/kv/long", "", "v".repeat(LONG));
    // All heads come while there is little yet, and then most of the bodies.
    let clients: Vec<_> = (0..40).map(|_| cluster.connect(0, Role::Data)).collect();
    for &client in &clients {
        cluster.send(client, &whole[..200]);
    }
    assert_eq!(buffered(&cluster), 0);
    for &client in &clients {
        cluster.send(client, &whole[200..LONG - 200]);
        assert!(buffered(&cluster) < 1_200_000 + 2 * LONG as u64, "{}", buffered(&cluster));
    }
    let refused: Vec<Answer> =
        clients.iter().flat_map(|&client| read_all(&cluster.output(client))).collect();
    let is_refusal = |answer: &Answer| {
        (answer.status, answer.code().as_str(), answer.field("connection"))
            == (503, "overloaded", Some("close"))
    };
    assert!(refused.iter().all(is_refusal));
    let kept = clients.len() - refused.len();
    assert!((6..=14).contains(&kept), "{kept}");
    assert_eq!(overload(&cluster).refused_memory, refused.len() as u64);

    // No further one is begun; a short one and one that announces itself neither.
    assert_eq!(steps(&cluster), [Step::NoWrites]);
    let before = buffered(&cluster);
    for input in [
        whole[..200].to_vec(),
        put("short", "v").into_bytes(),
        b"PUT /kv/a HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
            .to_vec(),
        b"PUT /kv/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
    ] {
        let (answer, end) = ask_of(&mut cluster, Role::Data, &input);
        assert!(is_refusal(&answer) && end == End::HalfClosed, "{}", input.escape_ascii());
    }
    assert_eq!(buffered(&cluster), before);
    assert_eq!(status(&mut cluster, get("nobody")), 404);

    // Those that were taken on are finished, and then there is room for all.
    for &client in &clients {
        cluster.send(client, &whole[LONG - 200..]);
    }
    let done: Vec<Answer> =
        clients.iter().flat_map(|&client| read_all(&cluster.output(client))).collect();
    assert_eq!(done.len(), kept);
    assert!(done.iter().all(|answer| matches!(answer.status, 201 | 204)));
    assert_eq!((buffered(&cluster), steps(&cluster)), (0, vec![Step::Calm]));
    assert_eq!(status(&mut cluster, &whole), 204);
}

#[test]
fn many_bodies_that_are_not_long_are_bounded_too() {
    let mut cluster = Cluster::new(&narrow());
    let half = &request("PUT", "/kv/half", "", "v".repeat(40_000))[..20_000];
    let clients: Vec<_> = (0..200).map(|_| cluster.connect(0, Role::Data)).collect();
    for &client in &clients {
        cluster.send(client, half);
        assert!(buffered(&cluster) < 1_200_000 + 40_000, "{}", buffered(&cluster));
    }
    let refused: Vec<u16> = clients
        .iter()
        .flat_map(|&client| read_all(&cluster.output(client)))
        .map(|answer| answer.status)
        .collect();
    assert!((100..180).contains(&refused.len()) && refused.iter().all(|status| *status == 503));
    assert_eq!(status(&mut cluster, get("nobody")), 404);
    cluster.pass(Duration::from_secs(5));
    assert_eq!((buffered(&cluster), steps(&cluster)), (0, vec![Step::Calm]));
}

#[test]
fn one_client_alone_may_send_as_much_as_any() {
    let change = |limits: &mut Limits| {
        limits.value_bytes_max = 1 << 20;
        limits.body_bytes_max = 8 << 20;
        limits.reply_bytes_max = 1 << 20;
        limits.buffered_bytes_max = 1 << 20;
    };
    let mut cluster = Cluster::new(&Config { memory_bytes: 64 << 20, ..with_limits(1, change) });
    let whole = request("PUT", "/kv/long", "", "v".repeat(1 << 20));
    assert_eq!(status(&mut cluster, &whole), 201);
}
