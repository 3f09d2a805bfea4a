//! One request of each kind, right or wrong, with what it wants.

use super::{
    Author, Demand, Draft, SMALL_BYTES_MAX, Script, TAGS, Value, Visit, Want, json, names, seconds,
};
use crate::history::Life;
use std::fmt::Write as _;

impl Author {
    pub(super) fn touch(&mut self, key: usize, ttl_ms: Option<u64>) -> Draft {
        let target = format!("{}/touch?ttl={}", self.path(key), seconds(ttl_ms.unwrap_or(0)));
        Draft::new("POST", target, Want::Touch { key, ttl_ms })
    }

    pub(super) fn errand(&mut self) -> Draft {
        let key = self.random.usize(..self.keys.len());
        match self.random.u8(..if self.is_plain { 60 } else { 110 }) {
            0..24 => self.put(),
            24..48 => self.get(key, None),
            48..52 => {
                let target = self.get(key, None).target;
                Draft::new("HEAD", target, Want::Head { key })
            }
            52..55 => Draft::new("GET", "/healthz", Want::Health),
            55 => Draft::new("OPTIONS", "/put", Want::Options),
            56 => self.mput(),
            57 => self.mget(),
            58..60 => self.mistake(),
            60 | 61 => self.invalidate(),
            62 => self.mdelete(),
            63..68 => {
                let lease_ms = self.span_ms();
                self.get(key, Some(lease_ms))
            }
            68..72 if self.counts => self.incr(0),
            _ => self.entry(key),
        }
    }

    /// To the admin listener, which must not store.
    pub(super) fn question(&mut self) -> Draft {
        match self.random.u8(..10) {
            0..4 => Draft::new("GET", "/stats", Want::Stats),
            4 if !self.is_plain => self.invalidate(),
            5 if !self.is_plain => self.delete_prefix(),
            4..9 => Draft::new("GET", "/healthz", Want::Health),
            _ => Draft { want: Want::Problem(404, "no_such_route"), ..self.put() },
        }
    }

    /// One of the routes under `/kv/`.
    fn entry(&mut self, key: usize) -> Draft {
        let demand = match self.random.u8(..14) {
            0 => Demand::Present,
            1 => Demand::Absent,
            2..6 => Demand::Match,
            6..8 => Demand::NoneMatch,
            _ => Demand::Nothing,
        };
        let path = self.path(key);
        let draft = match self.random.u8(..14) {
            0..4 => self.write(),
            4..7 => Draft::new("GET", path, Want::Read { key, lease_ms: None }),
            7 => {
                let lease_ms = self.span_ms();
                let target = format!("{path}?lease={}", seconds(lease_ms));
                Draft::new("GET", target, Want::Read { key, lease_ms: Some(lease_ms) })
            }
            8 => {
                // A HEAD never takes the lease.
                let lease = if self.random.bool() { "?lease=50" } else { "" };
                Draft::new("HEAD", path + lease, Want::Peek { key })
            }
            9 | 10 => Draft::new("DELETE", path, Want::Delete { key }),
            11 => self.incr(key),
            _ => {
                let ttl_ms = if self.one_in(3) { None } else { Some(self.span_ms()) };
                self.touch(key, ttl_ms)
            }
        };
        draft.demanding(demand)
    }

    fn write(&mut self) -> Draft {
        let ttl = self.one_in(3);
        let value = self.value(ttl);
        self.write_of(value)
    }

    pub(super) fn write_of(&mut self, value: usize) -> Draft {
        let Value { key, text, life, tags } = &self.values[value];
        let (key, text, life, tags) = (*key, text.clone(), *life, *tags);
        let mut target = self.path(key);
        if let Some(ttl_ms) = life.ttl_ms {
            write!(target, "?ttl={}", seconds(ttl_ms)).expect("a String takes everything");
            if life.stale_ms > 0 {
                let stale = seconds(life.stale_ms);
                write!(target, "&stale_ttl={stale}").expect("a String takes everything");
            }
        }
        let draft = Draft::new("PUT", target, Want::Write { key, value }).body(text);
        if tags == 0 { draft } else { draft.field(&format!("Kv-Tags: {}", names(tags).join(", "))) }
    }

    pub(super) fn incr(&mut self, key: usize) -> Draft {
        let by = self.random.i64(1..100);
        let target = format!("{}/incr?by={by}", self.path(key));
        Draft::new("POST", target, Want::Add { key, by })
    }

    pub(super) fn path(&mut self, key: usize) -> String {
        let mut path = "/kv/".to_owned();
        for byte in self.keys[key].bytes() {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'+' | b'&' if self.random.bool() => {
                    path.push(byte.into());
                }
                _ => write!(path, "%{byte:02x}").expect("a String takes everything"),
            }
        }
        path
    }

    pub(super) fn invalidate(&mut self) -> Draft {
        let tags = 1 << self.random.usize(..TAGS.len());
        let body = serde_json::json!({ "tag": names(tags)[0] }).to_string();
        Draft::new("POST", "/invalidate", Want::Invalidate { tags }).body(body)
    }

    fn delete_prefix(&mut self) -> Draft {
        let key = self.keys[self.random.usize(..self.keys.len())];
        let prefix = if self.one_in(3) { key } else { &key[..key.ceil_char_boundary(1)] };
        let matching = (0..self.keys.len()).filter(|&at| self.keys[at].starts_with(prefix));
        let keys = matching.fold(0, |keys, at| keys | 1 << at);
        let is_dry = self.one_in(4);
        let body = serde_json::json!({ "prefix": prefix, "dry_run": is_dry }).to_string();
        Draft::new("POST", "/delete-prefix", Want::DeletePrefix { keys, is_dry }).body(body)
    }

    fn value(&mut self, ttl: bool) -> usize {
        let ttl_ms = ttl.then(|| self.random.u64(1..300));
        let may_be_stale = ttl && !self.is_plain && !self.one_in(3);
        let stale_ms = if may_be_stale { self.span_ms() } else { 0 };
        let key = self.random.usize(..self.keys.len());
        self.value_of(key, Life { ttl_ms, stale_ms })
    }

    pub(super) fn value_of(&mut self, key: usize, life: Life) -> usize {
        const PALETTE: [&str; 12] =
            ["x", "7", " ", "\"", "\\", "\n", "\u{0}", "\u{1f}", "/", "é", "😀", "\u{2028}"];
        let value = self.values.len();
        let mut text = format!("{value}|");
        for _ in 0..[0, 3, 20, 60][self.random.usize(..4)] {
            text.push_str(PALETTE[self.random.usize(..PALETTE.len())]);
        }
        if self.value_bytes_max > SMALL_BYTES_MAX && self.random.bool() {
            let unit = text.clone();
            let bytes = self.random.usize(2_000..self.value_bytes_max / 2);
            text.extend(std::iter::repeat_n(unit.as_str(), bytes / unit.len()));
        }
        // The length of an answer to HEAD tells which value it is about, for as long as there are
        // lengths left.
        while text.len() < 250 && !self.lengths.insert((key, json(&text).len())) {
            text.push('x');
        }
        let tags = if self.is_plain || self.random.bool() { 0 } else { self.random.u8(..8) };
        self.values.push(Value { key, text, life, tags });
        value
    }

    /// The text as JSON, escaped as little or as much as can be.
    fn any_json(&mut self, text: &str) -> String {
        if !self.one_in(4) {
            return json(text);
        }
        let mut json = "\"".to_owned();
        for unit in text.encode_utf16() {
            write!(json, "\\u{unit:04x}").expect("a String takes everything");
        }
        json + "\""
    }

    /// Mostly as short as what it stands beside, sometimes longer than a whole run.
    pub(super) fn span_ms(&mut self) -> u64 {
        let most = [50, 300, 3_000, 60_000][self.random.usize(..4)];
        self.random.u64(1..most)
    }

    pub(super) fn put(&mut self) -> Draft {
        let ttl = self.one_in(if self.is_plain { 8 } else { 4 });
        let value = self.value(ttl);
        self.put_of(value)
    }

    pub(super) fn put_of(&mut self, value: usize) -> Draft {
        let body = self.put_body(value);
        Draft::new("POST", "/put", Want::Put { value }).body(body)
    }

    fn mput(&mut self) -> Draft {
        let first = self.values.len();
        let count = self.random.usize(1..5);
        let entries: Vec<String> = (0..count)
            .map(|_| {
                let ttl = self.one_in(8);
                let value = self.value(ttl);
                self.put_body(value)
            })
            .collect();
        let body = format!("{{\"entries\":[{}]}}", entries.join(","));
        Draft::new("POST", "/mput", Want::Mput { first, count }).body(body)
    }

    fn mget(&mut self) -> Draft {
        let (keys, body) = self.some_keys();
        Draft::new("POST", "/mget", Want::Mget { keys }).body(body)
    }

    fn mdelete(&mut self) -> Draft {
        let (keys, body) = self.some_keys();
        Draft::new("POST", "/mdelete", Want::Mdelete { keys }).body(body)
    }

    fn some_keys(&mut self) -> (u8, String) {
        let keys = self.random.u8(..) & ((1 << self.keys.len()) - 1);
        let named = (0..self.keys.len()).filter(|key| keys >> key & 1 == 1);
        let named: Vec<&str> = named.map(|key| self.keys[key]).collect();
        (keys, format!("{{\"keys\":{}}}", serde_json::json!(named)))
    }

    fn put_body(&mut self, value: usize) -> String {
        let Value { key, text, life, tags } = &self.values[value];
        let (key, text, life, tags) = (self.keys[*key], text.clone(), *life, *tags);
        let (key, text) = (self.any_json(key), self.any_json(&text));
        let mut more = String::new();
        if let Some(ttl_ms) = life.ttl_ms {
            write!(more, ",\"ttl\":{}", seconds(ttl_ms)).expect("a String takes everything");
        }
        if life.stale_ms > 0 {
            let stale = seconds(life.stale_ms);
            write!(more, ",\"stale_ttl\":{stale}").expect("a String takes everything");
        }
        if tags != 0 {
            let names = serde_json::json!(names(tags));
            write!(more, ",\"tags\":{names}").expect("a String takes everything");
        }
        if self.one_in(4) {
            format!(" {{ \"value\" :{text}, \"x\":[1,{{}}] {more},\r\n\"key\": {key}}} ")
        } else {
            format!("{{\"key\":{key}{more},\"value\":{text}}}")
        }
    }

    pub(super) fn get(&mut self, key: usize, lease_ms: Option<u64>) -> Draft {
        let mut target = "/get?key=".to_owned();
        for byte in self.keys[key].bytes() {
            match byte {
                b' ' if self.random.bool() => target.push('+'),
                b'a'..=b'z' | b'0'..=b'9' if self.random.bool() => target.push(byte.into()),
                _ => write!(target, "%{byte:02X}").expect("a String takes everything"),
            }
        }
        if let Some(lease_ms) = lease_ms {
            let lease = seconds(lease_ms);
            write!(target, "&lease={lease}").expect("a String takes everything");
        }
        Draft::new("GET", target, Want::Get { key, lease_ms })
    }

    /// A request that is framed well and wrong all the same. Where it has a body, the body holds
    /// a value that must never be stored.
    fn mistake(&mut self) -> Draft {
        let value = self.value(false);
        let mut inner = Script::new(Visit::Data);
        let good = Draft::new("POST", "/put", Want::Put { value }).body(self.put_body(value));
        let text = json(&self.values[value].text);
        let key = json(self.keys[self.values[value].key]);
        let too_long = self.value_bytes_max + 44;
        let bad =
            |code, body: String| Draft::new("POST", "/put", Want::Problem(400, code)).body(body);
        match self.random.u8(..13) {
            0 => Draft {
                target: "/nowhere".into(),
                want: Want::Problem(404, "no_such_route"),
                ..good
            },
            1 => bad("bad_json", format!("{{\"key\":{key},\"value\":{text}")),
            2 => bad("bad_json", format!("{{\"key\":{key},\"value\":{text},\"key\":{key}}}")),
            3 => bad("missing_key", format!("{{\"value\":{text}}}")),
            4 => bad("bad_ttl", format!("{{\"key\":{key},\"value\":{text},\"ttl\":0}}")),
            5 => bad(
                "value_too_long",
                format!("{{\"key\":{key},\"value\":\"{value}|{}\"}}", "v".repeat(too_long)),
            ),
            6 => Draft::new("GET", "/get", Want::Problem(400, "missing_key")),
            7 => Draft::new("GET", "/get?key=a&key=b", Want::Problem(400, "duplicate_key")),
            8 => Draft::new("GET", "/get?key=%zz", Want::Problem(400, "bad_percent_encoding")),
            9 => Draft { want: Want::Problem(415, "unsupported_media_type"), ..good }
                .field("Content-Type: text/plain"),
            smuggled => {
                self.add(&mut inner, good);
                let (method, target, status, code) = match smuggled {
                    10 => ("PUT", "/put", 405, "method_not_allowed"),
                    11 => ("FOO", "/put", 501, "not_implemented"),
                    _ => ("POST", "/get?key=a", 405, "method_not_allowed"),
                };
                Draft::new(method, target, Want::Problem(status, code)).body(inner.bytes)
            }
        }
    }
}
