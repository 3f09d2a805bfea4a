//! The bytes of requests and of their answers.
//!
//! An answer is understood whole or not at all: what is neither expected nor a plain refusal is
//! [`Malformed`], after which the connection is of no use.

mod http;
mod memcached;
mod redis;
mod answer;

pub(super) use answer::{Answer, Found, Malformed, Verdict};

use super::{keys::Keys, mix::LoadOperation};
use answer::Target;
use std::net::SocketAddr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoadProtocol {
    /// JSON, as kvcache speaks it.
    Http,
    /// HTTP where the path names the key and the body is the value.
    Rest,
    Redis,
    Memcached,
}

impl LoadProtocol {
    pub(super) const NAMES: [(&'static str, Self); 4] = [
        ("http", Self::Http),
        ("rest", Self::Rest),
        ("redis", Self::Redis),
        ("memcached", Self::Memcached),
    ];
}

/// One protocol and what its requests have in common.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    protocol: LoadProtocol,
    target: Target,
    /// Of the last answer over HTTP.
    head: http::Head,
}

impl Wire {
    /// `path`: what stands before the key where a path names it.
    pub(super) fn new(protocol: LoadProtocol, keys: Keys, path: &str, address: SocketAddr) -> Self {
        let tail = format!(" HTTP/1.1\r\nHost: {address}\r\n").into_bytes();
        let target = Target { keys, path: path.as_bytes().to_vec(), tail };
        Self { protocol, target, head: http::Head::default() }
    }

    pub(super) fn get(&self, key: u32, out: &mut Vec<u8>) {
        match self.protocol {
            LoadProtocol::Http => http::get(&self.target, key, out),
            LoadProtocol::Rest => http::rest(&self.target, "GET", key, out),
            LoadProtocol::Redis => redis::command(&self.target, "GET", [key], out),
            LoadProtocol::Memcached => memcached::get(&self.target, [key], out),
        }
    }

    pub(super) fn mget(&self, keys: impl ExactSizeIterator<Item = u32>, out: &mut Vec<u8>) {
        match self.protocol {
            LoadProtocol::Http => http::batch(&self.target, "/mget", keys, out),
            LoadProtocol::Rest => unreachable!("settings refuse it"),
            LoadProtocol::Redis => redis::command(&self.target, "MGET", keys, out),
            LoadProtocol::Memcached => memcached::get(&self.target, keys, out),
        }
    }

    pub(super) fn delete(&self, key: u32, out: &mut Vec<u8>) {
        match self.protocol {
            LoadProtocol::Http => http::batch(&self.target, "/mdelete", [key].into_iter(), out),
            LoadProtocol::Rest => http::rest(&self.target, "DELETE", key, out),
            LoadProtocol::Redis => redis::command(&self.target, "DEL", [key], out),
            LoadProtocol::Memcached => memcached::delete(&self.target, key, out),
        }
    }

    /// `ttl_ms` of 0: for ever.
    pub(super) fn put(&self, key: u32, value: &[u8], ttl_ms: u64, out: &mut Vec<u8>) {
        match self.protocol {
            LoadProtocol::Http => http::put(&self.target, key, value, ttl_ms, out),
            LoadProtocol::Rest => http::rest_put(&self.target, key, value, ttl_ms, out),
            LoadProtocol::Redis => redis::set(&self.target, key, value, ttl_ms, out),
            LoadProtocol::Memcached => memcached::set(&self.target, key, value, ttl_ms, out),
        }
    }

    /// Reads the answer at the front of `bytes` to an operation on these keys; `None`: it is not
    /// whole yet. `found` is filled anew where the answer is to a read.
    pub(super) fn read(
        &mut self,
        operation: LoadOperation,
        asked: impl ExactSizeIterator<Item = u32> + Clone,
        bytes: &[u8],
        found: &mut Found,
    ) -> Result<Option<Answer>, Malformed> {
        found.clear();
        match self.protocol {
            LoadProtocol::Http => {
                http::read(&self.target, &mut self.head, operation, asked, bytes, found)
            }
            LoadProtocol::Rest => http::read_rest(&mut self.head, operation, bytes, found),
            LoadProtocol::Redis => redis::read(operation, asked.len(), bytes, found),
            LoadProtocol::Memcached => {
                memcached::read(&self.target, operation, asked, bytes, found)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Found, LoadProtocol, Malformed, Verdict, Wire};
    use crate::tools::load::{keys::Keys, mix::LoadOperation};
    use std::net::{Ipv4Addr, SocketAddr};

    fn wire(protocol: LoadProtocol) -> Wire {
        let keys = Keys { count: 100, bytes: 3 };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 7171));
        Wire::new(protocol, keys, "/kv/", address)
    }

    fn requests(protocol: LoadProtocol) -> Vec<String> {
        let wire = wire(protocol);
        let mut made = vec![Vec::new(); 4];
        wire.get(7, &mut made[0]);
        wire.put(7, b"value", 0, &mut made[1]);
        wire.put(7, b"value", 1500, &mut made[2]);
        wire.delete(7, &mut made[3]);
        if protocol != LoadProtocol::Rest {
            let mut mget = Vec::new();
            wire.mget([7, 42].into_iter(), &mut mget);
            made.push(mget);
        }
        made.into_iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect()
    }

    #[test]
    fn requests_over_http_are_those_of_the_readme() {
        const TAIL: &str = " HTTP/1.1\r\nHost: 127.0.0.1:7171\r\n";
        let post = |path: &str, body: &str| {
            let length = body.len();
            format!(
                "POST {path}{TAIL}Content-Type: application/json\r\n\
                 Content-Length: {length}\r\n\r\n{body}"
            )
        };
        assert_eq!(
            requests(LoadProtocol::Http),
            [
                format!("GET /get?key=k07{TAIL}\r\n"),
                post("/put", r#"{"key":"k07","value":"value"}"#),
                post("/put", r#"{"key":"k07","value":"value","ttl":1.500}"#),
                post("/mdelete", r#"{"keys":["k07"]}"#),
                post("/mget", r#"{"keys":["k07","k42"]}"#),
            ]
        );
        assert_eq!(
            requests(LoadProtocol::Rest),
            [
                format!("GET /kv/k07{TAIL}\r\n"),
                format!("PUT /kv/k07{TAIL}Content-Length: 5\r\n\r\nvalue"),
                format!("PUT /kv/k07?ttl=1.500{TAIL}Content-Length: 5\r\n\r\nvalue"),
                format!("DELETE /kv/k07{TAIL}\r\n"),
            ]
        );
    }

    #[test]
    fn requests_to_redis_and_memcached_are_theirs() {
        assert_eq!(
            requests(LoadProtocol::Redis),
            [
                "*2\r\n$3\r\nGET\r\n$3\r\nk07\r\n",
                "*3\r\n$3\r\nSET\r\n$3\r\nk07\r\n$5\r\nvalue\r\n",
                "*5\r\n$3\r\nSET\r\n$3\r\nk07\r\n$5\r\nvalue\r\n$2\r\nPX\r\n$4\r\n1500\r\n",
                "*2\r\n$3\r\nDEL\r\n$3\r\nk07\r\n",
                "*3\r\n$4\r\nMGET\r\n$3\r\nk07\r\n$3\r\nk42\r\n",
            ]
        );
        assert_eq!(
            requests(LoadProtocol::Memcached),
            [
                "get k07\r\n",
                "set k07 0 0 5\r\nvalue\r\n",
                "set k07 0 2 5\r\nvalue\r\n",
                "delete k07\r\n",
                "get k07 k42\r\n",
            ]
        );
    }

    /// Reads an answer, whole and cut at every offset.
    #[track_caller]
    fn read(
        protocol: LoadProtocol,
        operation: LoadOperation,
        asked: &[u32],
        text: &str,
    ) -> Result<(Verdict, Vec<Option<String>>), Malformed> {
        let (mut fresh, mut used) = (wire(protocol), wire(protocol));
        let mut found = Found::new();
        let mut read = |wire: &mut Wire, bytes: &[u8]| {
            wire.read(operation, asked.iter().copied(), bytes, &mut found)
        };
        let whole = [text.as_bytes(), b"HTTP/1.1 $1 GET more"].concat();
        let answer = read(&mut used, &whole)?.expect("it is whole");
        assert_eq!(answer.bytes, text.len(), "{text}");
        for at in 0..text.len() {
            for wire in [&mut fresh, &mut used] {
                assert_eq!(read(wire, &whole[..at]), Ok(None), "{text} cut at {at}");
            }
        }
        assert_eq!(read(&mut used, text.as_bytes()), Ok(Some(answer)));
        let value = |range: &std::ops::Range<usize>| text[range.clone()].to_owned();
        let values = found.iter().map(|range| range.as_ref().map(value)).collect();
        Ok((answer.verdict, values))
    }

    fn http(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\nDate: now\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    #[test]
    fn answers_over_http() {
        let hit = http("200 OK", r#"{"status":"OK","key":"k07","value":"abc"}"#);
        let one = |text: &str| vec![Some(text.to_owned())];
        let get = |text: &str| read(LoadProtocol::Http, LoadOperation::Get, &[7], text);
        assert_eq!(get(&hit), Ok((Verdict::Read, one("abc"))));
        assert_eq!(get(&http("404 Not Found", "gone")), Ok((Verdict::Read, vec![None])));
        assert_eq!(get(&http("503 Busy", "later")), Ok((Verdict::Refused, vec![])));
        for body in [
            r#"{"status":"OK","key":"k08","value":"abc"}"#,
            r#"{"status":"OK","key":"k07","value":"abc"}}"#,
            r#"{"status":"OK","key":"k07","value":"}"#,
            r#"{"status":"OK","key":"k07","value":null}"#,
            r#"{"status":"OK","key":"k07","value":"#,
            "",
        ] {
            assert_eq!(get(&http("200 OK", body)), Err(Malformed), "{body}");
        }
        let put = |text: &str| read(LoadProtocol::Http, LoadOperation::Put, &[7], text);
        assert_eq!(put(&http("200 OK", "{}")), Ok((Verdict::Done, vec![])));
        assert_eq!(put(&http("507 Full", "{}")), Ok((Verdict::Refused, vec![])));
        let delete = |text: &str| read(LoadProtocol::Http, LoadOperation::Delete, &[7], text);
        assert_eq!(delete(&http("200 OK", "{}")), Ok((Verdict::Done, vec![])));

        let rest = |operation, text: &str| read(LoadProtocol::Rest, operation, &[7], text);
        let hit = http("200 OK", "abc");
        assert_eq!(rest(LoadOperation::Get, &hit), Ok((Verdict::Read, one("abc"))));
        let gone = http("404 Not Found", "");
        assert_eq!(rest(LoadOperation::Get, &gone), Ok((Verdict::Read, vec![None])));
        assert_eq!(rest(LoadOperation::Delete, &gone), Ok((Verdict::Done, vec![])));
        let none = "HTTP/1.1 204 No Content\r\n\r\n";
        assert_eq!(rest(LoadOperation::Put, none), Ok((Verdict::Done, vec![])));
        let full = http("412 No", "");
        assert_eq!(rest(LoadOperation::Put, &full), Ok((Verdict::Refused, vec![])));
    }

    #[test]
    fn a_head_that_differs_from_the_last_is_read_anew() {
        let heads = [
            "200 A\r\nContent-Length: 3",
            "200 A\r\nContent-Length: 2",
            "404 A\r\nContent-Length: 2",
        ]
        .map(|head| format!("HTTP/1.1 {head}\r\n\r\nabc"));
        let last = "HTTP/1.1 200 A\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc".to_owned();
        let all = [&heads[0], &heads[1], &heads[2], &last];
        let (mut used, mut found) = (wire(LoadProtocol::Rest), Found::new());
        for text in all.into_iter().chain(all.into_iter().rev()).flat_map(|text| [text; 2]) {
            let mut read = |wire: &mut Wire| {
                let answer =
                    wire.read(LoadOperation::Get, [7].into_iter(), text.as_bytes(), &mut found);
                (answer, found.clone())
            };
            assert_eq!(read(&mut used), read(&mut wire(LoadProtocol::Rest)), "{text}");
        }
        // What was wrong is not taken for right when it comes again.
        for _ in 0..2 {
            let text = b"HTTP/1.1 200 A\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc";
            let answer = used.read(LoadOperation::Get, [7].into_iter(), text, &mut found);
            assert_eq!(answer, Err(Malformed));
        }
    }

    #[test]
    fn http_that_cannot_be_framed_is_no_answer() {
        for head in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
            "+OK\r\n",
        ] {
            assert_eq!(
                read(LoadProtocol::Rest, LoadOperation::Get, &[7], head),
                Err(Malformed),
                "{head}"
            );
        }
        let endless = "HTTP/1.1 200 OK\r\nX: ".to_owned() + &"x".repeat(20 << 10);
        let mut found = Found::new();
        let asked = [7].into_iter();
        let answer = wire(LoadProtocol::Rest).read(
            LoadOperation::Get,
            asked,
            endless.as_bytes(),
            &mut found,
        );
        assert_eq!(answer, Err(Malformed));
    }

    #[test]
    fn the_last_answer_of_a_connection_is_known() {
        let text = "HTTP/1.1 404 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        let asked = [7].into_iter();
        let mut found = Found::new();
        let answer =
            wire(LoadProtocol::Rest).read(LoadOperation::Get, asked, text.as_bytes(), &mut found);
        let expected = Answer { bytes: text.len(), verdict: Verdict::Read, is_last: true };
        assert_eq!(answer, Ok(Some(expected)));
    }

    #[test]
    fn values_of_many_keys_find_their_keys() {
        const ASKED: [u32; 3] = [7, 42, 8];
        let expected =
            || Ok((Verdict::Read, vec![Some("abc".to_owned()), None, Some("d".to_owned())]));
        let mget = |protocol, text: &str| read(protocol, LoadOperation::Mget, &ASKED, text);
        let body = r#"{"status":"OK","values":{"k07":"abc","k42":null,"k08":"d"}}"#;
        assert_eq!(mget(LoadProtocol::Http, &http("200 OK", body)), expected());
        let redis = "*3\r\n$3\r\nabc\r\n$-1\r\n$1\r\nd\r\n";
        assert_eq!(mget(LoadProtocol::Redis, redis), expected());
        let memcached = "VALUE k07 0 3\r\nabc\r\nVALUE k08 0 1\r\nd\r\nEND\r\n";
        assert_eq!(mget(LoadProtocol::Memcached, memcached), expected());
        for body in [
            r#"{"status":"OK","values":{"k07":"abc","k08":"d"}}"#,
            r#"{"status":"OK","values":{"k42":null,"k07":"abc","k08":"d"}}"#,
            r#"{"status":"OK","values":{"k07":"abc","k42":null,"k08":"d","k09":"x"}}"#,
            r#"{"status":"OK","values":{"k07":"abc","k42":null,"k08":"d"}"#,
            r#"{"status":"OK","values":{"k07":"a\nc","k42":null,"k08":"d"}}"#,
        ] {
            assert_eq!(mget(LoadProtocol::Http, &http("200 OK", body)), Err(Malformed), "{body}");
        }
        for text in ["*2\r\n$3\r\nabc\r\n$-1\r\n", "*3\r\n:1\r\n$-1\r\n$-1\r\n", "$3\r\nabc\r\n"] {
            assert_eq!(mget(LoadProtocol::Redis, text), Err(Malformed), "{text}");
        }
        for text in [
            "VALUE k09 0 3\r\nabc\r\nEND\r\n",
            "VALUE k08 0 1\r\nd\r\nVALUE k07 0 3\r\nabc\r\nEND\r\n",
            "VALUE k07 0 3\r\nabcd\r\nEND\r\n",
            "VALUE k07 0\r\nabc\r\nEND\r\n",
        ] {
            assert_eq!(mget(LoadProtocol::Memcached, text), Err(Malformed), "{text}");
        }
    }

    #[test]
    fn answers_of_redis_and_memcached() {
        let hit = Ok((Verdict::Read, vec![Some("abc".to_owned())]));
        let (miss, done) = (Ok((Verdict::Read, vec![None])), Ok((Verdict::Done, vec![])));
        let refused = Ok((Verdict::Refused, vec![]));
        for (operation, text, expected) in [
            (LoadOperation::Get, "$3\r\nabc\r\n", &hit),
            (LoadOperation::Get, "$-1\r\n", &miss),
            (LoadOperation::Get, "-LOADING wait\r\n", &refused),
            (LoadOperation::Get, "+OK\r\n", &Err(Malformed)),
            (LoadOperation::Get, "$3\r\nabcd\r\n", &Err(Malformed)),
            (LoadOperation::Put, "+OK\r\n", &done),
            (LoadOperation::Put, "-OOM full\r\n", &refused),
            (LoadOperation::Put, ":1\r\n", &Err(Malformed)),
            (LoadOperation::Delete, ":0\r\n", &done),
            (LoadOperation::Delete, ":2\r\n", &Err(Malformed)),
        ] {
            assert_eq!(read(LoadProtocol::Redis, operation, &[7], text), *expected, "{text}");
        }
        for (operation, text, expected) in [
            (LoadOperation::Get, "VALUE k07 0 3\r\nabc\r\nEND\r\n", &hit),
            (LoadOperation::Get, "END\r\n", &miss),
            (LoadOperation::Get, "SERVER_ERROR busy\r\n", &refused),
            (LoadOperation::Get, "STORED\r\n", &Err(Malformed)),
            (LoadOperation::Put, "STORED\r\n", &done),
            (LoadOperation::Put, "SERVER_ERROR out of memory\r\n", &refused),
            (LoadOperation::Put, "END\r\n", &Err(Malformed)),
            (LoadOperation::Delete, "DELETED\r\n", &done),
            (LoadOperation::Delete, "NOT_FOUND\r\n", &done),
        ] {
            assert_eq!(read(LoadProtocol::Memcached, operation, &[7], text), *expected, "{text}");
        }
    }
}
