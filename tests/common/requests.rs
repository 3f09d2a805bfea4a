//! Requests of every kind, right and wrong, one a line: what must be answered the same however it
//! arrives.

use kvcache::shard::Role;

/// What the store holds before each of them: two keys, one of each shard of two, and a number.
pub(crate) const BEFORE: &[(&str, &str, &str)] = &[
    ("POST /put", "", r#"{"key":"a","value":"1"}"#),
    ("POST /put", "", r#"{"key":"b","value":"two","ttl":60}"#),
];

/// Method and target, further fields, body. Each is sent with a Content-Length, and again in
/// chunks if it has a body.
const DATA: &[(&str, &str, &str)] = &[
    // Strings in JSON.
    ("POST /put", "", r#"{"key":"c","value":"3"}"#),
    ("POST /put", "Content-Type: application/json\r\n", r#"{"key":"a","value":"4"}"#),
    ("POST /put", "", r#"{ "value" : "\ud83d\ude00\n", "key" : "k\u00e9y", "ttl": 1.5 }"#),
    ("POST /put", "", "{\"key\":\"ü\",\"value\":\"é\",\"more\":[{}]}"),
    ("POST /put", "", r#"{"key":"","value":"v"}"#),
    ("POST /put", "", r#"{"key":"a","value":"v","ttl":0}"#),
    ("POST /put", "", r#"{"key":"a","key":"a","value":"v"}"#),
    ("POST /put", "", r#"{"key":"a","value":"v""#),
    ("POST /put", "", r#"{"key":"a","value":"\ud800"}"#),
    ("POST /put", "", r#"{"key":"t","value":"v","tags":["x","y"],"stale_ttl":5}"#),
    ("POST /put", "", "[]"),
    ("POST /put", "", ""),
    ("POST /put", "Content-Type: text/plain\r\n", "v"),
    ("POST /put", "Content-Encoding: gzip\r\n", "v"),
    ("GET /put", "", ""),
    ("GET /get?key=a", "", ""),
    ("GET /get?key=b", "Accept-Encoding: gzip\r\n", ""),
    ("GET /get?key=nobody", "", ""),
    ("GET /get?key=nobody&lease=5", "", ""),
    ("GET /get?key=a+b%2Bc&x=%C3%A9", "", ""),
    ("GET /get?key=%zz", "", ""),
    ("GET /get?key=%ff", "", ""),
    ("GET /get?key=a&key=b", "", ""),
    ("GET /get?key=", "", ""),
    ("GET /get", "", ""),
    ("GET /get?key=a", "", "a body that GET has no use for"),
    ("DELETE /get?key=a", "", "left over"),
    // Raw bytes.
    ("PUT /kv/a", "", "raw"),
    ("PUT /kv/c?ttl=9", "Content-Type: image/png\r\n", "\u{0}\u{1}\r\n\r\nGET / HTTP/1.1\r\n"),
    ("PUT /kv/c", "Cache-Control: max-age=9\r\nKv-Tags: x, y\r\n", "v"),
    ("PUT /kv/a", "If-None-Match: *\r\n", "v"),
    ("PUT /kv/c", "If-None-Match: *\r\n", "v"),
    ("PUT /kv/a", "If-Match: \"no such version\"\r\n", "v"),
    ("PUT /kv/a?ttl=0", "", "v"),
    ("PUT /kv/%2F%00%ff", "", "v"),
    ("PUT /kv/%zz", "", "v"),
    ("PUT /kv/", "", "v"),
    ("GET /kv/a", "", ""),
    ("GET /kv/b", "If-None-Match: \"x\", W/\"y\"\r\n", ""),
    ("GET /kv/a", "If-None-Match: *\r\n", ""),
    ("GET /kv/nobody", "", ""),
    ("DELETE /kv/b", "", ""),
    ("DELETE /kv/nobody", "", ""),
    ("POST /kv/a/incr?by=5", "", ""),
    ("POST /kv/b/incr", "", ""),
    ("POST /kv/n/incr?by=-9223372036854775808", "", ""),
    ("POST /kv/a/touch?ttl=5", "", ""),
    ("POST /kv/nobody/touch?ttl=5", "", ""),
    ("PATCH /kv/a", "", "v"),
    // Batches.
    ("POST /mget", "", r#"{"keys":["a","b","nobody","a"]}"#),
    ("POST /mget", "", r#"{"keys":[]}"#),
    ("POST /mget", "", r#"{"keys":["a",""]}"#),
    ("POST /mput", "", r#"{"entries":[{"key":"c","value":"1"},{"key":"d","value":"2","ttl":3}]}"#),
    ("POST /mput", "", r#"{"entries":[{"key":"c","value":"1"},{"key":1}]}"#),
    ("POST /mdelete", "", r#"{"keys":["a","b","nobody"]}"#),
    ("POST /mdelete", "", r#"{"keys":"a"}"#),
    // Methods, routes and fields that hold everywhere.
    ("OPTIONS *", "", ""),
    ("OPTIONS /get", "", ""),
    ("OPTIONS /kv/a", "", ""),
    ("OPTIONS /mput", "", "a body"),
    ("GET /healthz", "", ""),
    ("GET /stats", "", ""),
    ("GET /", "", ""),
    ("BREW /get?key=a", "", "tea"),
    ("TRACE /get", "", ""),
    ("GET http://other/get?key=a", "", ""),
    ("GET /get?key=a", "Connection: close\r\n", ""),
    ("POST /put", "Expect: 100-continue\r\n", r#"{"key":"c","value":"3"}"#),
    ("GET /get?key=a", "Expect: more\r\n", ""),
    ("GET /get?key=a", "Upgrade: h2c\r\nConnection: Upgrade\r\n", ""),
    ("GET /get?key=a", "X: \t a\tb \u{ff} \t\r\nY:\r\n", ""),
    // What cannot be framed.
    ("CONNECT h:80", "", ""),
    ("GET *", "", ""),
    ("GET /a b", "", ""),
    ("GET /a#b", "", ""),
    ("G@T /get?key=a", "", ""),
    ("GET /get?key=a", "Host: again\r\n", ""),
    ("GET /get?key=a", "Content-Length: 0\r\n", "x"),
    ("POST /put", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
    ("POST /put", "Transfer-Encoding: gzip, chunked\r\n", ""),
    ("POST /put", "Transfer-Encoding: chunked, chunked\r\n", ""),
    ("GET /get?key=a", "Content-Length : 0\r\n", ""),
    ("GET /get?key=a", "X: a\r\n folded\r\n", ""),
    ("GET /get?key=a", " X: a\r\n", ""),
    ("GET /get?key=a", "X: a\nY: b\r\n", ""),
    ("GET /get?key=a", "X: a\rb\r\n", ""),
    ("GET /get?key=a", "X: a\0b\r\n", ""),
    ("GET /get?key=a", "no colon\r\n", ""),
];

const ADMIN: &[(&str, &str, &str)] = &[
    ("GET /healthz", "", ""),
    ("GET /readyz", "", ""),
    ("GET /get?key=a", "", ""),
    ("POST /stats", "", "x"),
    ("POST /delete-prefix", "", r#"{"prefix":"a","dry_run":true}"#),
    ("POST /delete-prefix", "", r#"{"prefix":"a"}"#),
    ("POST /invalidate", "", r#"{"tag":"x"}"#),
    ("POST /flush", "", ""),
];

/// As they are, with framing of their own.
const RAW: &[&str] = &[
    "GET /get?key=a HTTP/1.1\r\n\r\n",
    "GET /get?key=a HTTP/1.0\r\n\r\n",
    "GET /get?key=a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "GET /get?key=a HTTP/1.2\r\nHost: h\r\n\r\n",
    "GET /get?key=a HTTP/2.0\r\nHost: h\r\n\r\n",
    "GET /get?key=a http/1.1\r\nHost: h\r\n\r\n",
    "GET /get?key=a\r\n\r\n",
    "GET /get?key=a HTTP/1.1\r\nHost: a,b\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "\r\n\r\nGET /get?key=a HTTP/1.1\r\nHost: h\r\n\r\n",
    "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\nGET /get?key=a HTTP/1.1\r\nHost: h\r\n\r\n",
    "\nGET /get?key=a HTTP/1.1\r\nHost: h\r\n\r\n",
    "POST /put HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\nhello",
    "POST /put HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 5\r\n\r\nhello",
    "POST /put HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\nhello",
    "POST /put HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "POST /put HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /put HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
        a;x=\"y;\\\"\"\r\n{\"key\":\"c\"\r\n00D ; n = v\r\n,\"value\":\"3\"}\r\n000\r\nT: u\r\nHost: x\r\n\r\n",
    "POST /put HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
    "POST /put HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n",
    "POST /put HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
    "POST /put HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nbad trailer\r\n\r\n",
    "POST /put HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
];

/// The request with its Content-Length, where it has a body.
pub(crate) fn sized(&(line, fields, body): &(&str, &str, &str)) -> String {
    let length = match body.len() {
        0 => String::new(),
        bytes => format!("Content-Length: {bytes}\r\n"),
    };
    format!("{line} HTTP/1.1\r\nHost: h\r\n{fields}{length}\r\n{body}")
}

/// The request with its body in two chunks.
fn chunked(&(line, fields, body): &(&str, &str, &str)) -> String {
    let half = body.floor_char_boundary(body.len() / 2);
    let chunk = |part: &str| match part.len() {
        0 => String::new(),
        bytes => format!("{bytes:x}\r\n{part}\r\n"),
    };
    let body = chunk(&body[..half]) + &chunk(&body[half..]);
    let coding = "Transfer-Encoding: chunked\r\n";
    format!("{line} HTTP/1.1\r\nHost: h\r\n{fields}{coding}\r\n{body}0\r\n\r\n")
}

/// All of them, and the listener that each is for.
pub(crate) fn all() -> Vec<(Role, String)> {
    let on = |role: Role, rows: &[(&str, &str, &str)]| -> Vec<(Role, String)> {
        let with_body = rows.iter().filter(|(_, _, body)| !body.is_empty());
        rows.iter().map(sized).chain(with_body.map(chunked)).map(|text| (role, text)).collect()
    };
    let raw = RAW.iter().map(|text| (Role::Data, (*text).to_owned())).collect();
    [on(Role::Data, DATA), on(Role::Admin, ADMIN), raw].concat()
}
