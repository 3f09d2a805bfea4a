//! `/kv/{key}`: raw bytes, and what is said of them.

use crate::{
    common::answer::Answer,
    common::cluster::{Cluster, End},
    input::{get, put, request},
    talk::{KEYS, Talk},
    tell::{
        ABSENT, config, declined, is_problem, kept, read_all, refused, statuses, tell_to, value_of,
    },
};
use kvcache::{
    config::{Config, Limits},
    shard::Role,
};
use std::time::Duration;

#[test]
fn bytes_come_back_as_they_were_put() {
    let all: Vec<u8> = (0..=255).collect();
    for key in KEYS {
        let input = [
            request("PUT", key, "", &all),
            request("PUT", key, "", ""),
            request("DELETE", key, "", ""),
            request("DELETE", key, "", ""),
            request("GET", key, "", ""),
        ];
        let answers = kept(input.concat());
        statuses(&answers, &[201, 204, 204, 404, 404]);
        assert_eq!(answers[3].body, ABSENT);
        assert_eq!(answers[4].body, ABSENT);

        let mut talk = Talk::new();
        assert_eq!(talk.put(key, "Content-Type: Image/X; a=\"b\"\r\n", &all), 201);
        let answer = talk.get(key, "");
        assert_eq!(answer.bytes, all);
        assert_eq!(answer.field("content-type"), Some("Image/X; a=\"b\""));
        assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.field("cache-control"), Some("no-cache"));
        assert_eq!(talk.put(key, "Content-Type:\r\n", ""), 204);
        let answer = talk.get(key, "");
        assert_eq!(answer.bytes, b"");
        assert_eq!(answer.field("content-type"), Some("application/octet-stream"));
    }
}

#[test]
fn both_ways_lead_to_the_same_entries() {
    let mut talk = Talk::new();
    talk.ask("POST", "/put", "", r#"{"key":"a b","value":"é"}"#);
    assert_eq!(talk.get("/kv/a%20b", "").body, "é");
    talk.put("/kv/%C3%A9", "", "\"\\");
    assert_eq!(value_of(&talk.get("/get?key=%C3%A9", "")), "\"\\");
}

#[test]
fn a_value_that_is_no_text_is_406_for_get() {
    for key in ["a", "b"] {
        let answers = kept(
            [
                request("PUT", &format!("/kv/{key}"), "", b"ab\xff"),
                get(key).into_bytes(),
                request("PUT", &format!("/kv/{key}"), "", "ab"),
                get(key).into_bytes(),
            ]
            .concat(),
        );
        statuses(&answers, &[201, 406, 204, 200]);
        assert_eq!(answers[1].code(), "not_text");
        assert!(answers[1].body.contains("from byte 2 on"), "{}", answers[1].body);
    }
}

#[test]
fn a_key_is_one_segment_decoded_once() {
    let mut talk = Talk::new();
    for (at, target) in [
        "/kv/a+b",
        "/kv/a%20b",
        "/kv/a%2Fincr",
        "/kv/.",
        "/kv/..",
        "/kv/%2525",
        "/kv/incr",
        "/kv/%00%ff",
        "/kv/a;b=c",
        "/kv/~",
        "/kv/kv",
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(talk.put(target, "", at.to_string()), 201, "{target}");
        assert_eq!(talk.get(target, "").body, at.to_string(), "{target}");
    }
    assert_eq!(talk.get("/kv/a%2bb", "").body, "0");
    assert_eq!(talk.get("/kv/%61+b?x=/y", "").body, "0");
    assert_eq!(talk.get("/kv/%7e", "").body, "9");
    for target in ["/kv", "/kv/a/b", "/kv/a/", "/kv/a/incr/", "/kv/a/Incr", "/kv/a/b/incr", "/KV/a"]
    {
        let answer = talk.get(target, "");
        assert_eq!((answer.status, answer.code().as_str()), (404, "no_such_route"), "{target}");
    }
}

#[test]
fn every_method_of_the_route_is_known() {
    const ENTRY: &str = "GET, HEAD, PUT, DELETE, OPTIONS";
    for (target, allow, methods) in [
        ("/kv/a", ENTRY, &["GET", "HEAD", "PUT", "DELETE"][..]),
        ("/kv/a/incr", "POST, OPTIONS", &["POST"]),
        ("/kv/a/touch?ttl=1", "POST, OPTIONS", &["POST"]),
    ] {
        let mut talk = Talk::new();
        for method in ["GET", "HEAD", "PUT", "DELETE", "POST", "PATCH", "TRACE"] {
            let answer = talk.ask(method, target, "", "");
            assert_eq!(answer.status != 405, methods.contains(&method), "{method} {target}");
            if answer.status == 405 {
                assert_eq!(answer.field("allow"), Some(allow));
            }
        }
        let answer = talk.ask("OPTIONS", target, "", "");
        assert_eq!((answer.status, answer.field("allow")), (204, Some(allow)));
    }
    declined("BREW /kv/a HTTP/1.1\r\nHost: h\r\n\r\n", 501, "not_implemented");
}

#[test]
fn without_a_length_the_raw_value_is_empty() {
    for key in ["a", "b"] {
        let input = format!("PUT /kv/{key} HTTP/1.1\r\nHost: h\r\n\r\n{}", get(key));
        let answers = kept(input);
        assert_eq!((answers[0].status, value_of(&answers[1]).as_str()), (201, ""));
    }
}

#[test]
fn a_raw_value_may_come_in_chunks() {
    let input = "PUT /kv/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
        3;x=\"y\"\r\na\r\n\r\n2\r\n\u{e9}\r\n0\r\nETag: x\r\n\r\n";
    let answers = kept([input.as_bytes(), get("a").as_bytes()].concat());
    assert_eq!((answers[0].status, value_of(&answers[1])), (201, "a\r\n\u{e9}".to_owned()));
}

#[test]
fn head_says_what_get_says() {
    let text = "word ".repeat(50);
    for fields in ["", "Accept-Encoding: gzip\r\n"] {
        let mut talk = Talk::new();
        talk.put("/kv/a?ttl=9", "Content-Type: text/plain\r\n", &text);
        talk.put("/kv/b", "", &text);
        for target in ["/kv/a", "/kv/b", "/kv/c", "/kv/a?lease=x", "/get?key=a"] {
            let mut full = talk.get(target, fields);
            let head = talk.ask("HEAD", target, fields, "");
            (full.body, full.bytes) = Default::default();
            assert_eq!(head, full, "{target}");
        }
    }
}

#[test]
fn head_is_no_use_and_asks_for_no_lease() {
    // One entry fits beside another: the third put drops what was used least recently.
    let config = Config { entries_max: 2, ..config(1) };
    for (method, kept) in [("GET", "/kv/a"), ("HEAD", "/kv/b")] {
        let mut talk = Talk::with(&config);
        talk.put("/kv/a", "", "1");
        talk.put("/kv/b", "", "1");
        assert_eq!(talk.ask(method, "/kv/a", "", "").status, 200);
        talk.put("/kv/c", "", "1");
        assert_eq!(talk.get(kept, "").status, 200, "{method}");
        let others = KEYS.iter().filter(|key| **key != kept);
        for other in others {
            assert_eq!(talk.get(other, "").status, 404, "{method}");
        }
    }
    let mut talk = Talk::new();
    for target in ["/kv/a?lease=9", "/get?key=a&lease=9"] {
        assert_eq!(talk.ask("HEAD", target, "", "").field("kv-lease"), None);
    }
    assert_eq!(talk.get("/kv/a?lease=9", "").field("kv-lease"), Some("granted"));
}

#[test]
fn a_raw_value_that_is_too_long_is_refused_unread() {
    let limit = Limits::DEFAULT.value_bytes_max;
    let smuggled = put("evil", "1");
    let value = smuggled.repeat(1 + limit / smuggled.len());
    refused(request("PUT", "/kv/a", "", &value), 413, "value_too_long");
    let value_of_limit = &value[..limit];
    statuses(&kept(request("PUT", "/kv/a", "", value_of_limit)), &[201]);

    for expect in ["", "Expect: 100-continue\r\n"] {
        for (shards, home) in [(1, 0), (2, 0), (2, 1)] {
            let mut cluster = Cluster::new(&config(shards));
            let client = cluster.connect(home, Role::Data);
            let head = format!(
                "PUT /kv/a HTTP/1.1\r\nHost: h\r\n{expect}Content-Length: {}\r\n\r\n",
                limit + 1
            );
            cluster.send(client, &head);
            let answers = read_all(&cluster.output(client));
            is_problem(&answers, 413, "value_too_long", head.as_bytes());
            assert!(answers[0].says_close());
            assert!(answers[0].body.contains(&format!("at most {limit} ")), "{answers:?}");
            assert_eq!(cluster.end(client), End::HalfClosed);
            cluster.send(client, &value);
            assert_eq!((cluster.output(client), cluster.entries()), (Vec::new(), 0));
        }
    }
    let chunks = format!("{:x}\r\n{value}\r\n0\r\n\r\n", value.len());
    let head = "PUT /kv/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    refused([head, &chunks].concat(), 413, "value_too_long");
    let told = tell_to(Role::Data, &request("PUT", "/kv/a", "", &value), |limits| {
        limits.value_bytes_max = 2 * limit;
        limits.body_bytes_max = 1 << 20;
    });
    statuses(&told.answers(), &[201]);
    // No other method stores what it brings.
    let input =
        format!("DELETE /kv/a HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", limit + 1);
    declined([input.as_bytes(), &vec![b'x'; limit + 1]].concat(), 404, "not_found");
}

#[test]
fn bad_keys_and_parameters_are_refused() {
    let long = "k".repeat(Limits::DEFAULT.key_bytes_max + 1);
    for (method, target, code) in [
        ("GET", "/kv/%zz", "bad_percent_encoding"),
        ("PUT", "/kv/a%4", "bad_percent_encoding"),
        ("POST", "/kv/%/incr", "bad_percent_encoding"),
        ("DELETE", "/kv/a?x=%", "bad_percent_encoding"),
        ("GET", "/kv/", "empty_key"),
        ("POST", "/kv//incr", "empty_key"),
        ("PUT", &format!("/kv/{long}"), "key_too_long"),
        ("PUT", "/kv/a?ttl=0", "bad_ttl"),
        ("PUT", "/kv/a?ttl", "bad_ttl"),
        ("PUT", "/kv/a?ttl=-1", "bad_ttl"),
        ("PUT", "/kv/a?ttl=315576001", "bad_ttl"),
        ("PUT", "/kv/a?ttl=1&ttl=1", "duplicate_parameter"),
        ("PUT", "/kv/a?ttl=1&stale_ttl=0", "bad_stale_ttl"),
        ("PUT", "/kv/a?stale_ttl=x", "bad_stale_ttl"),
        ("GET", "/kv/a?lease=0", "bad_lease"),
        ("GET", "/kv/a?lease=1&lease=1", "duplicate_parameter"),
        ("GET", "/get?key=a&lease=-1", "bad_lease"),
        ("POST", "/kv/a/touch", "bad_ttl"),
        ("POST", "/kv/a/touch?ttl=x", "bad_ttl"),
        ("POST", "/kv/a/touch?ttl=315576001", "bad_ttl"),
        ("POST", "/kv/a/incr?by=", "bad_by"),
        ("POST", "/kv/a/incr?by=1.5", "bad_by"),
        ("POST", "/kv/a/incr?by=9223372036854775808", "bad_by"),
        ("POST", "/kv/a/incr?by=1&by=1", "duplicate_parameter"),
    ] {
        declined(request(method, target, "", ""), 400, code);
    }
    statuses(&kept(request("PUT", "/kv/a?x=1&x=2&TTL=0", "", "")), &[201]);
    declined(request("PUT", "/kv/a", "Content-Encoding: gzip\r\n", ""), 415, UNENCODED);
    let fields = format!("Content-Type: a/{}\r\n", "b".repeat(254));
    declined(request("PUT", "/kv/a", &fields, ""), 400, "content_type_too_long");
    let fields = format!("Content-Type: a/{}\r\n", "b".repeat(253));
    statuses(&kept(request("PUT", "/kv/a", &fields, "")), &[201]);
    let fields = "Cache-Control: max-age=0\r\n";
    declined(request("PUT", "/kv/a", fields, ""), 400, "bad_ttl");
}

const UNENCODED: &str = "unsupported_content_encoding";

#[test]
fn the_nearest_time_to_live_counts() {
    let default_ttl = Some(Duration::from_secs(20));
    let config = Config { default_ttl, ..config(2) };
    for (target, fields, seconds) in [
        ("/kv/a?ttl=5.5", "Cache-Control: max-age=10\r\n", 5),
        ("/kv/a?ttl=5", "Cache-Control: max-age=0\r\n", 5),
        ("/kv/a", "Cache-Control: no-store, max-age=10\r\n", 10),
        ("/kv/a", "Cache-Control: no-cache\r\n", 20),
        ("/kv/a", "", 20),
    ] {
        let mut talk = Talk::with(&config);
        assert_eq!(talk.put(target, fields, "1"), 201);
        let age = |answer: &Answer| answer.field("cache-control").unwrap().to_owned();
        assert_eq!(age(&talk.get("/kv/a", "")), format!("max-age={seconds}"), "{target}");
        talk.pass(1_600);
        assert_eq!(age(&talk.get("/kv/a", "")), format!("max-age={}", seconds - 2));
        let not_modified = talk.get("/kv/a", "If-None-Match: *\r\n");
        assert_eq!(not_modified.status, 304);
        assert_eq!(age(&not_modified), age(&talk.get("/kv/a", "")));
        talk.pass(18_400);
        assert_eq!(talk.get("/kv/a", "").status, 404);
    }
}

#[test]
fn touch_changes_the_time_to_live_and_nothing_else() {
    for key in KEYS {
        let mut talk = Talk::new();
        let touch = |ttl: &str| format!("{key}/touch?ttl={ttl}");
        assert_eq!(talk.ask("POST", &touch("1"), "", "").status, 404);
        talk.put(key, "Content-Type: a/b\r\n", "1");
        let tag = talk.tag(key);
        assert_eq!(talk.ask("POST", &touch("1.5"), "", "").status, 204);
        assert_eq!(talk.get(key, "").field("cache-control"), Some("max-age=1"));
        talk.pass(1_000);
        assert_eq!(talk.ask("POST", &touch("0"), "", "").status, 204);
        talk.pass(100_000);
        let answer = talk.get(key, "");
        assert_eq!(answer.field("cache-control"), Some("no-cache"));
        assert_eq!(answer.field("content-type"), Some("a/b"));
        assert_eq!((answer.body.as_str(), answer.field("etag")), ("1", Some(tag.as_str())));
        talk.ask("POST", &touch("1"), "", "");
        talk.pass(1_000);
        assert_eq!(talk.get(key, "").status, 404);
    }
}

#[test]
fn numbers_are_added_up() {
    for key in KEYS {
        let mut talk = Talk::new();
        let mut add = |by: &str| {
            let answer = talk.ask("POST", &format!("{key}/incr{by}"), "", "");
            if answer.status == 200 {
                assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
                assert_eq!(answer.field("content-type"), Some("text/plain"));
            }
            (answer.status, answer.body)
        };
        for (by, sum) in [("", "1"), ("?by=41", "42"), ("?by=-43", "-1"), ("?by=0&x=1", "-1")] {
            assert_eq!(add(by), (200, sum.to_owned()));
        }
        assert_eq!(add("?by=-9223372036854775807").1, "-9223372036854775808");
        let (status, body) = add("?by=-1");
        assert_eq!((status, body.contains("\"overflow\"")), (409, true));
        assert_eq!(talk.get(key, "").body, "-9223372036854775808");
        for value in ["x", "", "1.0", " 1", "01", "9223372036854775808"] {
            talk.put(key, "", value);
            let answer = talk.ask("POST", &format!("{key}/incr"), "", "");
            assert_eq!((answer.status, answer.code().as_str()), (409, "not_an_integer"), "{value}");
            assert_eq!(talk.get(key, "").body, value);
        }
    }
}
