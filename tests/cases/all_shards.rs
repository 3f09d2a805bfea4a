//! What is asked of all shards: prefixes, tags, and everything.

use crate::{
    common::answer::Answer,
    common::cluster::{Client, Cluster},
    input::{get, mget, mput, post, post_to, put},
    tell::{
        ABSENT, HEALTHY, STORED, config, declined, is_problem, kept, read_all, statuses, tell_to,
    },
};
use kvcache::{shard::Role, store::SCAN_STEPS_MAX};

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

pub(crate) fn body_of(cluster: &mut Cluster, client: Client, input: &str) -> String {
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
