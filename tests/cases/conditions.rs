//! Entity tags, and what may be demanded by them.

use crate::{
    input::request,
    talk::{KEYS, Talk},
    tell::declined,
};

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
