//! Clients that ask before they send a body.

use crate::{
    common::cluster::{Cluster, End},
    input::{BODY, get, put},
    tell::{
        CONTINUE, STORED, config, declined, is_problem, kept, read_all, refused, statuses, tell_in,
    },
};
use kvcache::{config::Limits, shard::Role};

/// A put that announces its body and waits.
fn expecting(version: &str, target: &str, fields: &str, body: &str) -> (String, String) {
    let head = format!(
        "POST {target} HTTP/{version}\r\nHost: h\r\nExpect: 100-Continue\r\n{fields}\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    (head, body.to_owned())
}

#[test]
fn continue_is_said_before_the_body() {
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
fn a_body_that_is_there_needs_no_continue() {
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
fn http_1_0_never_gets_an_interim_answer() {
    let (head, body) = expecting("1.0", "/put", "Connection: keep-alive\r\n", BODY);
    let answers = kept(head + &body);
    assert_eq!(answers[0].body, STORED);
    assert_eq!(answers[0].field("connection"), Some("keep-alive"));
}

#[test]
fn a_refusal_comes_instead_and_the_body_is_never_a_request() {
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
fn other_expectations_fail() {
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
fn continue_is_said_before_a_raw_value() {
    let mut cluster = Cluster::new(&config(2));
    let client = cluster.connect(0, Role::Data);
    let head = "PUT /kv/b HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    cluster.send(client, head);
    assert_eq!(cluster.output(client), CONTINUE);
    cluster.send(client, "abc");
    statuses(&read_all(&cluster.output(client)), &[201]);
}
