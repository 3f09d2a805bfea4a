//! Routes, methods and targets: what is known, and what is said of it.

use crate::{
    common::answer::Answer,
    common::cluster::Cluster,
    input::{get, health, post, put, request},
    tell::{
        HEALTHY, config, declined, is_problem, kept, read_all, refused, statuses, tell, tell_in,
        tell_to, value_of,
    },
};
use kvcache::shard::Role;

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
fn unknown_and_malformed_methods_are_told_apart() {
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
fn head_is_get_without_the_body() {
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
fn options_names_the_methods() {
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
fn connect_trace_and_star_are_refused() {
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
fn the_absolute_form_is_served_as_the_origin_form() {
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
fn operations_are_counted_by_what_they_do() {
    let mut cluster = Cluster::new(&config(2));
    let client = cluster.connect(0, Role::Data);
    for (method, target) in [
        ("PUT", "/kv/a"),
        ("GET", "/kv/a"),
        ("GET", "/kv/b"),
        ("DELETE", "/kv/a"),
        ("POST", "/kv/a/incr"),
        ("POST", "/kv/a/touch?ttl=x"),
    ] {
        cluster.send(client, request(method, target, "", ""));
    }
    let admin = cluster.connect(1, Role::Admin);
    cluster.send(admin, request("GET", "/stats", "", ""));
    let answers = read_all(&cluster.output(admin));
    let stats: serde_json::Value = serde_json::from_str(&answers[0].body).unwrap();
    for (operation, outcome, count) in [
        ("put", "ok", 1),
        ("get", "ok", 1),
        ("get", "not_found", 1),
        ("delete", "ok", 1),
        ("incr", "ok", 1),
        ("touch", "client_error", 1),
        ("other", "ok", 0),
    ] {
        assert_eq!(stats["totals"]["requests"][operation][outcome], count, "{operation}");
    }
}
