//! `/put` and `/get`: what they say, what they take, and what they refuse.

use crate::{
    common::cluster::Cluster,
    input::{BODY, get, post, put, put_with, request},
    tell::{ABSENT, STORED, config, declined, kept, read_all, statuses, tell, tell_to, value_of},
};
use kvcache::{config::Config, shard::Role};
use std::time::Duration;

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
fn bad_json_is_refused() {
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
fn bad_queries_are_refused() {
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
fn keys_and_values_are_bounded_in_bytes() {
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
