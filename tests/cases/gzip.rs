//! Compressed responses: to whom, of what, and under which entity tag.

use crate::{
    talk::Talk,
    tell::{value_of, with_limits},
};
use kvcache::config::Limits;

const GZIP: &str = "Accept-Encoding: gzip\r\n";

fn large(limits: &mut Limits) {
    limits.value_bytes_max = 128 << 10;
    limits.body_bytes_max = 1 << 20;
    limits.hop_bytes_max = 4 << 20;
}

fn talk() -> Talk {
    Talk::with(&with_limits(2, large))
}

#[test]
fn a_long_value_is_compressed_for_who_wants_it() {
    for (key, length, is_coded) in [
        ("a", 1023, false),
        ("a", 1024, true),
        ("b", 1024, true),
        ("a", 64 << 10, true),
        ("b", (64 << 10) + 1, false),
    ] {
        let (target, text) = (format!("/kv/{key}"), "t".repeat(length));
        let mut talk = talk();
        talk.ask("PUT", &target, "Content-Type: text/plain\r\n", &text);
        for (fields, accepts) in
            [("", false), (GZIP, true), ("Accept-Encoding: gzip;q=0\r\n", false)]
        {
            let answer = talk.ask("GET", &target, fields, "");
            assert_eq!(answer.body, text);
            assert_eq!(answer.bytes.len() < length, is_coded && accepts, "{length} {fields}");
            assert_eq!(answer.field("content-encoding").is_some(), is_coded && accepts);
            assert_eq!(answer.field("vary"), Some("Accept-Encoding"));
            assert_eq!(answer.field("content-type"), Some("text/plain"));
            let head = talk.ask("HEAD", &target, fields, "");
            for name in ["content-encoding", "content-length", "etag", "vary"] {
                assert_eq!(head.field(name), answer.field(name), "{length} {fields}");
            }
        }
    }
}

#[test]
fn what_would_not_become_shorter_goes_as_it_is() {
    let mut talk = talk();
    let mut random = fastrand::Rng::with_seed(1);
    let noise: Vec<u8> = (0..5_000).map(|_| random.u8(..)).collect();
    talk.ask("PUT", "/kv/a", "", &noise);
    let answer = talk.ask("GET", "/kv/a", GZIP, "");
    assert_eq!(answer.field("content-encoding"), None);
    assert_eq!(answer.bytes, noise);
    for (content_type, is_coded) in
        [("image/png", false), ("Application/ZIP;x=y", false), ("image/svg+xml", true)]
    {
        let fields = format!("Content-Type: {content_type}\r\n");
        talk.ask("PUT", "/kv/b", &fields, "t".repeat(5_000));
        let answer = talk.ask("GET", "/kv/b", GZIP, "");
        assert_eq!(answer.field("content-encoding").is_some(), is_coded, "{content_type}");
        assert_eq!(answer.field("content-type"), Some(content_type));
    }
}

#[test]
fn json_is_compressed_and_varies_only_where_it_is_long() {
    let mut talk = talk();
    let text = "t".repeat(2_000);
    talk.ask("POST", "/put", "", format!(r#"{{"key":"a","value":"{text}"}}"#));
    talk.ask("POST", "/put", "", r#"{"key":"b","value":"short"}"#);
    for (fields, is_coded) in [("", false), (GZIP, true)] {
        let answer = talk.ask("GET", "/get?key=a", fields, "");
        assert_eq!(value_of(&answer), text);
        assert_eq!(answer.field("content-encoding").is_some(), is_coded);
        assert_eq!(answer.field("vary"), Some("Accept-Encoding"));
        for target in ["/get?key=b", "/get?key=c"] {
            let answer = talk.ask("GET", target, fields, "");
            assert_eq!((answer.field("vary"), answer.field("content-encoding")), (None, None));
        }
    }
}

#[test]
fn each_form_has_its_own_tag_and_both_are_known() {
    let mut talk = talk();
    talk.ask("PUT", "/kv/a", "", "t".repeat(5_000));
    let plain = talk.ask("GET", "/kv/a", "", "").field("etag").unwrap().to_owned();
    let coded = talk.ask("GET", "/kv/a", GZIP, "").field("etag").unwrap().to_owned();
    assert_eq!(coded, format!("{}-gzip\"", plain.strip_suffix('"').unwrap()));
    for (list, fields, named) in [
        (plain.clone(), "", &plain),
        (plain.clone(), GZIP, &plain),
        (coded.clone(), "", &coded),
        (format!("W/{coded}"), GZIP, &coded),
        (format!("{plain}, {coded}"), "", &plain),
        (format!("{plain}, {coded}"), GZIP, &coded),
    ] {
        let fields = format!("{fields}If-None-Match: {list}\r\n");
        let answer = talk.ask("GET", "/kv/a", &fields, "");
        assert_eq!((answer.status, answer.field("etag")), (304, Some(named.as_str())), "{fields}");
    }
}
