//! `/kv/{key}`: raw bytes, what is said about them, and what may be demanded of them.

use crate::{
    ABSENT, STORED, UNSENT_MAX, cluster_of_large_values,
    common::{
        answer::Answer,
        cluster::{Client, Cluster, End},
    },
    config, declined, get, is_problem, kept, lent, post, put, read_all, refused, statuses, tell_to,
    value_of,
};
use kvcache::{
    config::{Config, Limits},
    shard::Role,
};
use std::time::Duration;

/// A request; each of `fields` ends in CRLF.
pub(crate) fn request(method: &str, target: &str, fields: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = match body.len() {
        0 => String::new(),
        length => format!("Content-Length: {length}\r\n"),
    };
    let head = format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{fields}{length}\r\n");
    [head.as_bytes(), body].concat()
}

/// One client that waits for each of its answers.
pub(crate) struct Talk {
    cluster: Cluster,
    client: Client,
}

impl Talk {
    pub(crate) fn new() -> Self {
        Self::with(&config(2))
    }

    pub(crate) fn with(config: &Config) -> Self {
        let mut cluster = Cluster::new(config);
        let client = cluster.connect(0, Role::Data);
        Self { cluster, client }
    }

    pub(crate) fn ask(
        &mut self,
        method: &str,
        target: &str,
        fields: &str,
        body: impl AsRef<[u8]>,
    ) -> Answer {
        self.cluster.send(self.client, request(method, target, fields, body));
        let output = self.cluster.output(self.client);
        let (answer, length) = Answer::read(&output, method == "HEAD").unwrap();
        assert_eq!(length, output.len(), "{}", output.escape_ascii());
        assert_eq!(self.cluster.end(self.client), End::Open);
        answer
    }

    fn get(&mut self, target: &str, fields: &str) -> Answer {
        self.ask("GET", target, fields, "")
    }

    fn put(&mut self, target: &str, fields: &str, body: impl AsRef<[u8]>) -> u16 {
        self.ask("PUT", target, fields, body).status
    }

    fn tag(&mut self, target: &str) -> String {
        self.get(target, "").field("etag").unwrap().to_owned()
    }

    fn pass(&mut self, millis: u64) {
        self.cluster.pass(Duration::from_millis(millis));
    }
}

/// Both keys, of which each lies on a shard of its own.
const KEYS: [&str; 2] = ["/kv/a", "/kv/b"];

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
fn row_10_no_length_is_an_empty_value() {
    for key in ["a", "b"] {
        let input = format!("PUT /kv/{key} HTTP/1.1\r\nHost: h\r\n\r\n{}", get(key));
        let answers = kept(input);
        assert_eq!((answers[0].status, value_of(&answers[1]).as_str()), (201, ""));
    }
}

#[test]
fn row_11_a_chunked_value() {
    let input = "PUT /kv/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
        3;x=\"y\"\r\na\r\n\r\n2\r\n\u{e9}\r\n0\r\nETag: x\r\n\r\n";
    let answers = kept([input.as_bytes(), get("a").as_bytes()].concat());
    assert_eq!((answers[0].status, value_of(&answers[1])), (201, "a\r\n\u{e9}".to_owned()));
}

#[test]
fn row_31_head_says_what_get_says() {
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
fn row_36_45_48_a_value_that_is_too_long_is_refused_unread() {
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
fn row_36_a_word_is_said_before_a_value() {
    let mut cluster = Cluster::new(&config(2));
    let client = cluster.connect(0, Role::Data);
    let head = "PUT /kv/b HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    cluster.send(client, head);
    assert_eq!(cluster.output(client), crate::CONTINUE);
    cluster.send(client, "abc");
    statuses(&read_all(&cluster.output(client)), &[201]);
}

#[test]
fn row_46_48_bad_keys_and_parameters() {
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

#[test]
fn every_write_changes_the_entity_tag() {
    for key in KEYS {
        let mut talk = Talk::new();
        talk.put(key, "", "1");
        let mut tags = vec![talk.tag(key)];
        assert_eq!(talk.tag(key), tags[0]);
        talk.put(key, "", "1");
        tags.push(talk.tag(key));
        talk.ask("POST", &format!("{key}/incr?by=0"), "", "");
        tags.push(talk.tag(key));
        talk.ask("DELETE", key, "", "");
        talk.put(key, "", "1");
        tags.push(talk.tag(key));
        let is_strong = |tag: &String| tag.len() == 18 && tag.starts_with('"');
        assert!(tags.iter().all(is_strong), "{tags:?}");
        tags.sort();
        tags.dedup();
        assert_eq!(tags.len(), 4, "{tags:?}");
    }
}

#[test]
fn conditional_reads() {
    for key in KEYS {
        let mut talk = Talk::new();
        talk.put(key, "", "1");
        let old = talk.tag(key);
        talk.put(key, "", "2");
        let tag = talk.tag(key);
        for (fields, status) in [
            (format!("If-None-Match: {tag}\r\n"), 304),
            (format!("If-None-Match: W/{tag}\r\n"), 304),
            (format!("If-None-Match: {old}\r\nif-none-match: \"x,y\" , ,{tag}\r\n"), 304),
            ("If-None-Match: *\r\n".to_owned(), 304),
            (format!("If-None-Match: {old}, \"\"\r\n"), 200),
            ("If-None-Match:\r\n".to_owned(), 200),
            (format!("If-Match: {tag}\r\n"), 200),
            ("If-Match: *\r\n".to_owned(), 200),
            (format!("If-Match: W/{tag}\r\n"), 412),
            (format!("If-Match: {old}\r\n"), 412),
            ("If-Match:\r\n".to_owned(), 412),
            (format!("If-None-Match: {tag}\r\nIf-Match: {old}\r\n"), 412),
            (format!("If-None-Match: {tag}\r\nIf-Match: {tag}\r\n"), 304),
            (format!("If-None-Match: {tag}x\r\n"), 400),
            (format!("If-Match: *, {tag}\r\n"), 400),
            ("If-Modified-Since: Sun, 06 Nov 2094 08:49:37 GMT\r\n".to_owned(), 200),
            ("If-Unmodified-Since: Sun, 06 Nov 1984 08:49:37 GMT\r\n".to_owned(), 200),
            (format!("Range: bytes=0-0\r\nIf-Range: {tag}\r\n"), 200),
        ] {
            for method in ["GET", "HEAD"] {
                let answer = talk.ask(method, key, &fields, "");
                assert_eq!(answer.status, status, "{method} {fields}");
                if status == 304 {
                    assert_eq!(answer.field("etag"), Some(tag.as_str()));
                    assert_eq!(answer.field("cache-control"), Some("no-cache"));
                }
            }
            if status == 412 {
                assert_eq!(talk.get(key, &fields).code(), "precondition_failed");
            }
        }
    }
    declined(request("GET", "/kv/a", "If-Match: x\r\n", ""), 400, "bad_entity_tag");
    declined(request("PUT", "/kv/a", "If-None-Match: \"\r\n", ""), 400, "bad_entity_tag");
}

/// What is not there is 404 whatever is demanded of it (RFC 9110, 13.2.1).
#[test]
fn conditions_on_what_is_absent() {
    const TAG: &str = "\"0000000000000001\"";
    for list in ["*", TAG] {
        for (method, target) in [
            ("GET", "/kv/a"),
            ("HEAD", "/kv/a"),
            ("DELETE", "/kv/a"),
            ("POST", "/kv/a/touch?ttl=1"),
        ] {
            for name in ["If-Match", "If-None-Match"] {
                let answer = Talk::new().ask(method, target, &format!("{name}: {list}\r\n"), "");
                assert_eq!(answer.status, 404, "{method} {name}: {list}");
            }
        }
        for (method, target, status) in [("PUT", "/kv/a", 201), ("POST", "/kv/a/incr", 200)] {
            let mut talk = Talk::new();
            let fields = format!("If-Match: {list}\r\n");
            assert_eq!(talk.ask(method, target, &fields, "").status, 412, "{method}");
            let fields = format!("If-None-Match: {list}\r\n");
            assert_eq!(talk.ask(method, target, &fields, "").status, status, "{method}");
        }
    }
}

#[test]
fn conditional_changes() {
    for key in KEYS {
        for (method, suffix, done) in [
            ("PUT", "", 204),
            ("DELETE", "", 204),
            ("POST", "/incr", 200),
            ("POST", "/touch?ttl=9", 204),
        ] {
            let mut talk = Talk::new();
            let target = format!("{key}{suffix}");
            talk.put(key, "", "1");
            let old = talk.tag(key);
            talk.put(key, "", "2");
            let tag = talk.tag(key);
            for fields in [
                format!("If-Match: {old}\r\n"),
                format!("If-Match: W/{tag}\r\n"),
                "If-None-Match: *\r\n".to_owned(),
                format!("If-None-Match: W/{tag}\r\n"),
                format!("If-None-Match: \"x\", {}\r\n", coded(&tag)),
                format!("If-None-Match: {}, {tag}\r\n", coded(&old)),
                format!("If-Match: {tag}\r\nIf-None-Match: {tag}\r\n"),
            ] {
                let answer = talk.ask(method, &target, &fields, "3");
                assert_eq!(answer.status, 412, "{method} {fields}");
                let answer = talk.get(key, "");
                assert_eq!((answer.body.as_str(), answer.field("etag")), ("2", Some(&*tag)));
            }
            for fields in [
                format!("If-Match: {old}, {}\r\n", coded(&tag)),
                format!("If-Match: *\r\nIf-None-Match: {old}\r\n"),
            ] {
                talk.put(key, "", "2");
                let fields = fields.replace(&tag[..17], &talk.tag(key)[..17]);
                assert_eq!(
                    talk.ask(method, &target, &fields, "3").status,
                    done,
                    "{method} {fields}"
                );
            }
        }
    }
}

/// The tag of the compressed form.
fn coded(tag: &str) -> String {
    tag.strip_suffix('"').unwrap().to_owned() + "-gzip\""
}

#[test]
fn a_lease_goes_to_the_first_who_asks() {
    for (first, second) in [("/kv/a", "/get?key=a"), ("/get?key=b", "/kv/b")] {
        let lease = |target: &str, seconds: &str| {
            format!("{target}{}lease={seconds}", if target.contains('?') { '&' } else { '?' })
        };
        let mut talk = Talk::new();
        let said = |answer: &Answer| {
            assert_eq!((answer.status, answer.body.as_str()), (404, ABSENT));
            let field = |name| answer.field(name).map(str::to_owned);
            (field("kv-lease"), field("retry-after"))
        };
        let granted = (Some("granted".to_owned()), None);
        let wait = |seconds: &str| (Some("wait".to_owned()), Some(seconds.to_owned()));
        assert_eq!(said(&talk.get(first, "")), (None, None));
        assert_eq!(said(&talk.get(&lease(first, "2.5"), "")), granted);
        assert_eq!(said(&talk.get(&lease(second, "9"), "")), wait("3"));
        assert_eq!(said(&talk.get(first, "")), (None, None));
        talk.pass(2_000);
        assert_eq!(said(&talk.get(&lease(second, "9"), "")), wait("1"));
        talk.pass(500);
        assert_eq!(said(&talk.get(&lease(second, "9"), "")), granted);
        assert_eq!(said(&talk.get(&lease(first, "9"), "")), wait("9"));
        // A put ends it.
        let key = if first.ends_with('a') { "/kv/a" } else { "/kv/b" };
        assert_eq!(talk.put(key, "", "1"), 201);
        let answer = talk.get(&lease(first, "9"), "");
        assert_eq!((answer.status, answer.field("kv-lease")), (200, None));
        talk.ask("DELETE", key, "", "");
        assert_eq!(said(&talk.get(&lease(first, "9"), "")), granted);
    }
}

#[test]
fn what_is_stale_is_read_and_one_reader_is_to_renew_it() {
    for (target, name) in [("/kv/a", "a"), ("/kv/b", "b")] {
        let query = format!("/get?key={name}");
        let puts = [
            request("PUT", &format!("{target}?ttl=1&stale_ttl=10.5"), "", "1"),
            post(&format!(r#"{{"stale_ttl":10.5,"key":"{name}","value":"1","ttl":1}}"#))
                .into_bytes(),
        ];
        for put in puts {
            let mut talk = Talk::new();
            talk.cluster.send(talk.client, &put);
            talk.cluster.output(talk.client);
            let said = |answer: Answer| {
                let field = |name| answer.field(name).map(str::to_owned);
                (answer.status, field("kv-stale").is_some(), field("kv-lease"))
            };
            let some = |text: &str| Some(text.to_owned());
            assert_eq!(said(talk.get(target, "")), (200, false, None));
            assert_eq!(said(talk.get(&format!("{query}&lease=5"), "")), (200, false, None));
            let tag = talk.tag(target);
            talk.pass(1_000);
            for target in [target, &query] {
                let answer = talk.get(target, "");
                assert_eq!(answer.field("kv-stale"), Some("1"));
                assert_eq!(said(answer), (200, true, None));
                assert!(said(talk.ask("HEAD", target, "", "")).1);
            }
            let fields = format!("If-None-Match: {tag}\r\n");
            assert_eq!(
                said(talk.get(&format!("{target}?lease=5"), &fields)),
                (304, true, some("granted"))
            );
            assert_eq!(said(talk.get(&format!("{target}?lease=5"), "")), (200, true, some("wait")));
            assert_eq!(said(talk.get(&format!("{query}&lease=5"), "")), (200, true, some("wait")));
            assert_eq!(talk.get(target, "").field("cache-control"), Some("max-age=0"));
            assert_eq!(value_of(&talk.get(&query, "")), "1");
            talk.pass(5_000);
            assert_eq!(
                said(talk.get(&format!("{query}&lease=5"), "")),
                (200, true, some("granted"))
            );
            talk.pass(5_500);
            assert_eq!(talk.get(target, "").status, 404);
        }
    }
    // Without a time to live nothing becomes stale.
    let mut talk = Talk::new();
    talk.put("/kv/a?stale_ttl=1", "", "1");
    talk.pass(10_000);
    let answer = talk.get("/kv/a", "");
    assert_eq!((answer.status, answer.field("kv-stale")), (200, None));
}

#[test]
fn bad_members_of_a_put() {
    for (member, code) in [
        (r#""stale_ttl":0"#, "bad_stale_ttl"),
        (r#""stale_ttl":"1""#, "bad_stale_ttl"),
        (r#""ttl":1,"stale_ttl":315576001"#, "bad_stale_ttl"),
        (r#""stale_ttl":1,"stale_ttl":1"#, "bad_json"),
        (r#""tags":"a""#, "bad_tags"),
        (r#""tags":null"#, "bad_tags"),
        (r#""tags":["a",1]"#, "bad_tags"),
        (r#""tags":[""]"#, "empty_tag"),
        (r#""tags":["a"],"tags":["a"]"#, "bad_json"),
        (r#""tags":["1","2","3","4","5","6","7","8","9"]"#, "too_many_tags"),
        (&format!(r#""tags":["a","{}"]"#, "t".repeat(65)), "tag_too_long"),
    ] {
        declined(post(&format!(r#"{{"key":"a","value":"b",{member}}}"#)), 400, code);
    }
    for member in [
        r#""stale_ttl":1"#,
        r#""tags":[]"#,
        r#""tags":["1","2","3","4","5","6","7","8"]"#,
        &format!(r#""tags":["{}"]"#, "t".repeat(64)),
    ] {
        let answers = kept(post(&format!(r#"{{"key":"a","value":"b",{member}}}"#)) + &get("a"));
        assert_eq!((answers[0].body.as_str(), value_of(&answers[1]).as_str()), (STORED, "b"));
    }
    let nine = "Kv-Tags: 1, 2, 3, 4,5\r\nkv-tags: 6, 7, 8, 9\r\n";
    declined(request("PUT", "/kv/a", nine, ""), 400, "too_many_tags");
    let long = format!("Kv-Tags: a, {}\r\n", "t".repeat(65));
    declined(request("PUT", "/kv/a", &long, ""), 400, "tag_too_long");
    let eight = "Kv-Tags: 1,, 2, 3, 4\r\nkv-tags: 5, 6, 7, 8,\r\n";
    statuses(&kept(request("PUT", "/kv/a", eight, "")), &[201]);
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

#[test]
fn a_large_value_leaves_in_pieces_and_with_all_that_is_said_of_it() {
    let value: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
    for (shards, key, fate) in [(1, "a", "PUT"), (2, "a", "DELETE"), (2, "b", "PUT")] {
        let mut cluster = cluster_of_large_values(shards, 1 << 20);
        let (client, writer) = (cluster.connect(0, Role::Data), cluster.connect(0, Role::Data));
        let target = format!("/kv/{key}");
        cluster.send(writer, request("PUT", &target, "Content-Type: image/png\r\n", &value));
        cluster.take_only(client, 0);
        cluster.send(client, request("HEAD", &target, "", ""));
        cluster.send(client, request("GET", &target, "", ""));
        cluster.send(client, request("GET", "/healthz", "", ""));
        let mut output = Vec::new();
        for step in 0.. {
            cluster.take_only(client, 9_999);
            let taken = cluster.output(client);
            if taken.is_empty() {
                break;
            }
            output.extend(taken);
            assert!(cluster.unsent(client) <= UNSENT_MAX, "{} bytes", cluster.unsent(client));
            if step == 5 {
                assert_eq!(lent(&cluster), (1, 0));
                cluster.send(writer, request(fate, &target, "", "fresh"));
            }
        }
        let (head, length) = Answer::read(&output, true).unwrap();
        let (answer, end) = Answer::read(&output[length..], false).unwrap();
        assert!((answer.status, &answer.bytes) == (200, &value));
        for field in ["content-length", "content-type", "etag", "cache-control", "vary"] {
            assert_eq!(answer.field(field), head.field(field), "{field}");
        }
        assert_eq!(answer.field("content-type"), Some("image/png"));
        let (health, _) = Answer::read(&output[length + end..], false).unwrap();
        assert_eq!((health.status, lent(&cluster)), (200, (0, 0)));
    }
}
