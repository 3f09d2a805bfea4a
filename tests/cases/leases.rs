//! Who is to renew what is missing or stale.

use crate::{
    common::answer::Answer,
    input::{post, request},
    talk::Talk,
    tell::{ABSENT, value_of},
};

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
