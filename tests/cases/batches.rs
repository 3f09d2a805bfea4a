//! `/mget`, `/mput` and `/mdelete`: their order, their limits, and how they fail.

use crate::{
    all_shards::body_of,
    common::cluster::{Cluster, End},
    input::{get, health, mdelete, mget, mput, post_to, put},
    tell::{
        config, declined, is_problem, kept, message_of, read_all, statuses, tell, tell_to,
        with_limits,
    },
};
use kvcache::{
    config::{Config, Limits},
    shard::Role,
    store::Eviction,
};
use std::time::Duration;

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
    cluster.leave_unrecorded();
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
fn bad_json_in_batches_is_refused_with_its_place() {
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
fn the_body_of_a_refused_batch_is_never_a_request() {
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
fn a_batch_has_at_most_so_many_items() {
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
fn a_reply_is_as_long_as_is_allowed_and_no_longer() {
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
fn keys_and_values_of_batches_are_bounded_in_bytes() {
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
