//! Tokens: who may do what, and what is not done without one.

use crate::{
    common::cluster::{Cluster, End},
    input::{ask, get, health, mdelete, mget, mput, post_to, put},
    tell::{CONTINUE, Told, config, is_problem, read_all, status_of, statuses},
};
use kvcache::{auth::Tokens, shard::Role};

/// What `input` comes to where a token must be brought: on one shard and on two, whole and cut.
fn tell_guarded(role: Role, input: &str) -> Told {
    let tokens = Tokens::parse(b"reader-is-wrong\nread reader\nwrite writer\n").unwrap();
    let tell = |shards, pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut cluster = Cluster::new(&config(shards));
        cluster.set_tokens(&tokens);
        let client = cluster.connect(0, role);
        for piece in pieces {
            cluster.send(client, piece);
        }
        let is_open = cluster.end(client) == End::Open;
        Told { bytes: cluster.output(client), is_open, entries: cluster.entries() }
    };
    let whole = tell(1, &mut std::iter::once(input.as_bytes()));
    assert_eq!(tell(2, &mut input.as_bytes().chunks(1)), whole);
    for cut in (0..input.len()).step_by(7) {
        let (first, second) = input.as_bytes().split_at(cut);
        assert_eq!(tell(2, &mut [first, second].into_iter()), whole, "cut at {cut}");
    }
    whole
}

/// The request with an Authorization field.
fn with(authorization: &str, request: &str) -> String {
    request.replacen("Host: h\r\n", &format!("Host: h\r\nAuthorization: {authorization}\r\n"), 1)
}

#[test]
fn a_token_gives_what_its_line_says() {
    let reading = [get("a"), mget(&["a"]), ask("HEAD", "/get?key=a"), ask("OPTIONS", "/put")];
    let writing = [
        put("a", "b"),
        mput(&[("a", "b")]),
        mdelete(&["a"]),
        post_to("/invalidate", r#"{"tag":"a"}"#),
    ];
    for (requests, reader) in [(&reading, None), (&writing, Some((403, "forbidden")))] {
        for request in requests {
            let is_allowed = |authorization: &str| {
                let told = tell_guarded(Role::Data, &with(authorization, request));
                let status = status_of(&told);
                assert!(matches!(status, 200 | 204 | 404 | 403), "{told:?}");
                assert_eq!(told.is_open, status != 403);
                status != 403
            };
            assert!(is_allowed("Bearer writer") && is_allowed("bearer  reader-is-wrong"));
            assert_eq!(is_allowed("Bearer reader"), reader.is_none(), "{request}");
            if let Some((status, code)) = reader {
                let told = tell_guarded(Role::Data, &with("Bearer reader", request));
                assert_eq!(told.entries, 0);
                is_problem(&told.answers(), status, code, request.as_bytes());
            }
        }
    }
}

#[test]
fn without_a_token_nothing_is_done_and_no_body_is_taken() {
    let bearers = [
        "Bearer",
        "Bearer ",
        "Bearer write",
        "Bearer writerr",
        "Basic writer",
        "writer",
        "Bearer WRITER",
        "Bearer writer,reader",
        "",
    ];
    let smuggled = put("evil", "1");
    let length = smuggled.len();
    let in_query = get("a&token=writer&access_token=writer");
    for request in [
        get("a"),
        in_query,
        ask("GET", "/nowhere"),
        ask("OPTIONS", "*"),
        put("a", "b"),
        mget(&["a"]),
        mput(&[("a", "b")]),
        format!("POST /put HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{smuggled}"),
        format!(
            "POST /mput HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{smuggled}\r\n0\r\n\r\n"
        ),
    ] {
        for bearer in std::iter::once(None).chain(bearers.map(Some)) {
            let input = bearer.map_or(request.clone(), |bearer| with(bearer, &request));
            let told = tell_guarded(Role::Data, &[&input, &*health()].concat());
            let has_body = input.starts_with("POST");
            assert_eq!((told.is_open, told.entries), (!has_body, 0), "{told:?}");
            let answers = told.answers();
            is_problem(&answers[..1], 401, "unauthorized", input.as_bytes());
            assert_eq!(answers[0].field("www-authenticate"), Some("Bearer"));
            assert_eq!(answers.len(), if has_body { 1 } else { 2 });
        }
    }
    let twice = with("Bearer writer", &with("Bearer writer", &get("a")));
    let told = tell_guarded(Role::Data, &twice);
    is_problem(&told.answers(), 400, "repeated_authorization", twice.as_bytes());
}

#[test]
fn who_has_no_token_is_told_before_the_body() {
    let head =
        "POST /put HTTP/1.1\r\nHost: h\r\nContent-Length: 23\r\nExpect: 100-continue\r\n\r\n";
    for (bearer, status, code) in
        [("Bearer no", 401, "unauthorized"), ("Bearer reader", 403, "forbidden")]
    {
        let told = tell_guarded(Role::Data, &with(bearer, head));
        assert!(!told.is_open);
        is_problem(&told.answers(), status, code, head.as_bytes());
    }
    let told = tell_guarded(Role::Data, &with("Bearer writer", head));
    assert_eq!(told.bytes, CONTINUE);
}

#[test]
fn on_the_admin_port_a_token_is_needed_to_change_things() {
    let invalidate = post_to("/invalidate", r#"{"tag":"a"}"#);
    let delete = post_to("/delete-prefix", r#"{"prefix":"a"}"#);
    for request in [post_to("/flush", ""), invalidate, delete] {
        for (bearer, status) in [("Bearer writer", 200), ("Bearer reader", 403), ("Bearer no", 401)]
        {
            let told = tell_guarded(Role::Admin, &with(bearer, &request));
            assert_eq!(status_of(&told), status);
        }
        assert_eq!(status_of(&tell_guarded(Role::Admin, &request)), 401);
    }
    for open in ["/stats", "/healthz"] {
        assert_eq!(status_of(&tell_in_guarded_admin(open)), 200);
    }
    assert_eq!(status_of(&tell_guarded(Role::Data, &health())), 200);
}

/// Statistics differ with the number of shards.
fn tell_in_guarded_admin(path: &str) -> Told {
    let mut cluster = Cluster::new(&config(2));
    cluster.set_tokens(&Tokens::parse(b"secret").unwrap());
    let client = cluster.connect(1, Role::Admin);
    cluster.send(client, ask("GET", path));
    Told { bytes: cluster.output(client), is_open: true, entries: 0 }
}

#[test]
fn new_tokens_are_in_force_from_the_next_request_on() {
    let mut cluster = Cluster::new(&config(2));
    let client = cluster.connect(0, Role::Data);
    let old = with("Bearer old", &get("a"));
    let new = with("Bearer new", &get("a"));
    cluster.send(client, &new);
    for (tokens, statuses_then) in
        [("old", [404, 401]), ("new", [401, 404]), ("new\nold", [404; 2])]
    {
        cluster.output(client);
        cluster.set_tokens(&Tokens::parse(tokens.as_bytes()).unwrap());
        cluster.send(client, [&*old, &new].concat());
        statuses(&read_all(&cluster.output(client)), &statuses_then);
    }
}
