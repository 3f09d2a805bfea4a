//! What simulated clients send: requests as bytes, and what each must be answered with.

mod drafts;

use crate::{history::Life, profile::Profile};
use fastrand::Rng;
use std::{collections::HashSet, fmt::Write as _};

/// Names that JSON and URLs write in different ways.
const KEYS: [&str; 14] = [
    "a",
    "b",
    "key",
    "{tag}1",
    "{tag}2",
    "sp ace",
    "quo\"te",
    "back\\slash",
    "é",
    "😀",
    "per%cent",
    "pl+us",
    "am&p",
    "k\u{1}",
];

/// Most values are no longer than this.
const SMALL_BYTES_MAX: usize = 256;

/// A value that is sent once in a whole run, whatever becomes of it.
#[derive(Debug)]
pub(crate) struct Value {
    pub(crate) key: usize,
    pub(crate) text: String,
    pub(crate) life: Life,
    /// The bits of those of `TAGS` that it carries.
    pub(crate) tags: u8,
}

/// Tags of values.
const TAGS: [&str; 3] = ["t", "news", "z-1"];

/// A condition, as far as it is known before it is sent: which version an entity tag names is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    Nothing,
    /// `If-Match: *`
    Present,
    /// `If-None-Match: *`
    Absent,
    /// `If-Match` with one tag.
    Match,
    /// `If-None-Match` with one tag.
    NoneMatch,
}

/// Where an entity tag will stand.
pub(crate) const TAG_BLANK: &str = "0000000000000000";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Put {
        value: usize,
    },
    Get {
        key: usize,
        lease_ms: Option<u64>,
    },
    Head {
        key: usize,
    },
    /// These are of `/kv`.
    Write {
        key: usize,
        value: usize,
    },
    Read {
        key: usize,
        lease_ms: Option<u64>,
    },
    Peek {
        key: usize,
    },
    Delete {
        key: usize,
    },
    Add {
        key: usize,
        by: i64,
    },
    Touch {
        key: usize,
        ttl_ms: Option<u64>,
    },
    /// Stores `count` values from number `first` on.
    Mput {
        first: usize,
        count: usize,
    },
    /// Of the keys whose bits are set.
    Mget {
        keys: u8,
    },
    Mdelete {
        keys: u8,
    },
    /// Of the tag whose bit is set.
    Invalidate {
        tags: u8,
    },
    /// Of the keys whose bits are set.
    DeletePrefix {
        keys: u8,
        is_dry: bool,
    },
    Health,
    Options,
    /// A JSON object about every shard.
    Stats,
    Problem(u16, &'static str),
}

impl Want {
    /// Of a request that may have a condition.
    pub(crate) fn key(&self) -> Option<usize> {
        match *self {
            Self::Write { key, .. }
            | Self::Read { key, .. }
            | Self::Peek { key }
            | Self::Delete { key }
            | Self::Add { key, .. }
            | Self::Touch { key, .. } => Some(key),
            _ => None,
        }
    }
}

/// What becomes of the connection after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Stays,
    Closes,
    /// It depends on whether the body had arrived.
    MayClose,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// Its last byte stands before this place in the script's bytes, if it is sent at all.
    pub(crate) end: usize,
    /// The answer may come as soon as so many bytes have arrived.
    pub(crate) answerable: usize,
    pub(crate) want: Want,
    pub(crate) demand: Demand,
    /// Where the entity tag of the demand stands.
    pub(crate) tag_at: Option<usize>,
    pub(crate) head_only: bool,
    pub(crate) fate: Fate,
    /// The client asked for a word before it sends the body.
    pub(crate) awaits_continue: bool,
    pub(crate) is_chunked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The client closes its side once all is sent.
    Fin,
    /// The client tears the connection down, when so many bytes are sent or later.
    Reset(usize),
    /// The client waits for the server to close.
    Stay,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    Data,
    Admin,
    /// To a server that has no room for it.
    Refused,
}

/// All that one connection sends.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) visit: Visit,
    pub(crate) bytes: Vec<u8>,
    pub(crate) requests: Vec<Request>,
    pub(crate) ending: Ending,
}

impl Script {
    fn new(visit: Visit) -> Self {
        Self { visit, bytes: Vec::new(), requests: Vec::new(), ending: Ending::Fin }
    }
}

/// Stands for all requests of a connection that is refused.
const REFUSED: Request = Request {
    end: 0,
    answerable: 0,
    want: Want::Problem(503, "too_many_connections"),
    demand: Demand::Nothing,
    tag_at: None,
    head_only: false,
    fate: Fate::Closes,
    awaits_continue: false,
    is_chunked: false,
};

/// Broken framing and the code of its answer. What follows must not be taken for a request.
const BROKEN: [(&str, u16, &str); 9] = [
    ("GET /get?key=a HTTP/1.1\r\n\r\n", 400, "missing_host"),
    (
        "POST /put HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
        "length_and_transfer_encoding",
    ),
    ("GET / HTTP/3.0\r\nHost: h\r\n\r\n", 505, "version_not_supported"),
    ("GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_version"),
    ("GET /healthz HTTP/1.1\r\nHost: h\n\r\n", 400, "bare_lf"),
    ("GET /healthz HTTP/1.1\r\nHost : h\r\n\r\n", 400, "bad_field_name"),
    ("POST /put HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n", 413, "body_too_large"),
    (
        "POST /put HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        400,
        "bad_chunk_size",
    ),
    (
        "POST /put HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n",
        400,
        "bad_chunk_data",
    ),
];

/// Writes scripts over a few keys.
pub(crate) struct Author {
    pub(crate) random: Rng,
    pub(crate) keys: Vec<&'static str>,
    /// All values sent by all scripts, by number.
    pub(crate) values: Vec<Value>,
    /// Of each key's values as JSON.
    lengths: HashSet<(usize, usize)>,
    /// Requests of one connection.
    requests_max: usize,
    value_bytes_max: usize,
    /// Only puts, gets and what changes nothing.
    is_plain: bool,
    /// Whether the first key mostly holds a number.
    counts: bool,
}

/// A request that is being written.
struct Draft {
    method: &'static str,
    target: String,
    fields: String,
    body: Option<Vec<u8>>,
    want: Want,
    demand: Demand,
}

impl Draft {
    fn new(method: &'static str, target: impl Into<String>, want: Want) -> Self {
        let (fields, demand) = (String::new(), Demand::Nothing);
        Self { method, target: target.into(), fields, body: None, want, demand }
    }

    fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: Some(body.into()), ..self }
    }

    fn field(mut self, field: &str) -> Self {
        self.fields.push_str(field);
        self.fields.push_str("\r\n");
        self
    }

    fn demanding(self, demand: Demand) -> Self {
        let field = match demand {
            Demand::Nothing => return self,
            Demand::Present => "If-Match: *".to_owned(),
            Demand::Absent => "If-None-Match: *".to_owned(),
            Demand::Match => format!("If-Match: \"x\", \"{TAG_BLANK}\""),
            Demand::NoneMatch => format!("If-None-Match: \"{TAG_BLANK}\""),
        };
        Self { demand, ..self.field(&field) }
    }
}

impl Author {
    pub(crate) fn new(mut random: Rng, profile: &Profile) -> Self {
        let mut keys = KEYS.to_vec();
        random.shuffle(&mut keys);
        keys.truncate([1, 2, 3, 4, 6][random.usize(..5)]);
        let counts = random.bool();
        Self {
            requests_max: profile.requests_max,
            value_bytes_max: profile.config.limits.value_bytes_max,
            is_plain: profile.is_flood,
            counts,
            ..Self::of(random, keys)
        }
    }

    /// One that only audits.
    pub(crate) fn of(random: Rng, keys: Vec<&'static str>) -> Self {
        let (values, lengths) = (Vec::new(), HashSet::new());
        let (requests_max, value_bytes_max, is_plain, counts) = (0, 0, true, false);
        Self { random, keys, values, lengths, requests_max, value_bytes_max, is_plain, counts }
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.random.u32(..n) == 0
    }

    /// A connection of random requests.
    pub(crate) fn script(&mut self) -> Script {
        let visit = match self.random.u8(..16) {
            0 => Visit::Refused,
            1 | 2 => Visit::Admin,
            _ => Visit::Data,
        };
        let mut script = Script::new(visit);
        if visit == Visit::Refused {
            script.requests.push(REFUSED);
        }
        for _ in 0..self.random.usize(1..=self.requests_max) {
            if visit == Visit::Data && !self.is_plain && self.one_in(5) {
                self.story(&mut script);
            } else {
                self.request(&mut script);
            }
        }
        self.end(&mut script);
        script
    }

    /// Values that no connection puts, by key.
    pub(crate) fn fills(&mut self, count: usize) -> Vec<Vec<usize>> {
        let mut fills = vec![Vec::new(); self.keys.len()];
        for _ in 0..count {
            let ttl_ms = self.one_in(3).then(|| self.random.u64(1..300));
            let key = self.random.usize(..self.keys.len());
            let value = self.value_of(key, Life { ttl_ms, stale_ms: 0 });
            self.values[value].tags = 0;
            fills[key].push(value);
        }
        fills
    }

    /// A connection that reads one key.
    pub(crate) fn audit(&mut self, key: usize) -> Script {
        let mut script = Script::new(Visit::Data);
        let draft = self.get(key, None);
        self.add(&mut script, draft);
        script
    }

    fn end(&mut self, script: &mut Script) {
        match self.random.u8(..12) {
            0 | 1 => self.break_framing(script),
            2 | 3 => {
                // The last request is never complete.
                let whole = script.bytes.len();
                self.request(script);
                let cut = self.random.usize(whole + 1..script.bytes.len());
                script.bytes.truncate(cut);
                let last = script.requests.last_mut().expect("written above");
                if last.answerable == last.end || last.answerable > cut {
                    last.answerable = usize::MAX;
                }
                last.end = usize::MAX;
                last.tag_at = last.tag_at.filter(|at| at + TAG_BLANK.len() <= cut);
            }
            _ => {}
        }
        script.ending = match self.random.u8(..10) {
            0 | 1 => Ending::Reset(self.random.usize(..=script.bytes.len())),
            2 | 3 => Ending::Stay,
            _ => Ending::Fin,
        };
    }

    fn break_framing(&mut self, script: &mut Script) {
        let (text, status, code) = BROKEN[self.random.usize(..BROKEN.len())];
        let start = script.bytes.len();
        script.bytes.extend_from_slice(text.as_bytes());
        script.requests.push(Request {
            end: script.bytes.len(),
            answerable: start + 1,
            want: Want::Problem(status, code),
            demand: Demand::Nothing,
            tag_at: None,
            head_only: false,
            fate: Fate::Closes,
            awaits_continue: false,
            is_chunked: false,
        });
        let draft = self.put();
        self.add(script, draft);
    }

    fn request(&mut self, script: &mut Script) {
        let draft = if script.visit == Visit::Admin { self.question() } else { self.errand() };
        self.add(script, draft);
    }

    /// Requests that mean more one after the other.
    fn story(&mut self, script: &mut Script) {
        let key = self.random.usize(..self.keys.len());
        let soon = Some(self.random.u64(1..20));
        let mut drafts = Vec::new();
        match self.random.u8(..4) {
            0 => {
                // What is soon stale is asked for by many, and touched.
                let life = Life { ttl_ms: soon, stale_ms: self.span_ms() };
                let value = self.value_of(key, life);
                drafts.push(self.put_of(value));
                for _ in 0..self.random.usize(1..7) {
                    let lease_ms = self.span_ms();
                    drafts.push(self.get(key, Some(lease_ms)));
                    if self.one_in(3) {
                        drafts.push(self.touch(key, soon));
                    }
                }
            }
            1 => {
                // What was read is changed if it is still the same.
                let path = self.path(key);
                drafts.push(Draft::new("GET", path, Want::Read { key, lease_ms: None }));
                let value = self.value_of(key, Life::default());
                drafts.push(self.write_of(value).demanding(Demand::Match));
            }
            2 => {
                // A tag is over for what was put before and not for what is put next.
                for _ in 0..2 {
                    drafts.push(self.invalidate());
                    let value = self.value_of(key, Life::default());
                    drafts.push(self.write_of(value));
                }
                drafts.push(self.get(key, None));
            }
            _ => {
                // A number that something is added to keeps its time and its tags.
                let life = Life { ttl_ms: soon.filter(|_| self.random.bool()), stale_ms: 0 };
                let value = self.value_of(key, life);
                self.values[value].text = value.to_string();
                drafts.push(self.write_of(value));
                drafts.push(self.incr(key));
                drafts.push(if self.random.bool() {
                    self.get(key, None)
                } else {
                    self.invalidate()
                });
                drafts.push(self.get(key, None));
            }
        }
        for draft in drafts {
            self.add(script, draft);
        }
    }

    /// Appends the bytes of a request, framed in any of the ways that are right.
    fn add(&mut self, script: &mut Script, draft: Draft) {
        let Draft { method, target, mut fields, mut body, want, demand } = draft;
        let mut version = "1.1";
        let mut fate = Fate::Stays;
        match self.random.u8(..60) {
            0 => {
                fields.push_str("Connection: close\r\n");
                fate = Fate::Closes;
            }
            1 => {
                version = "1.0";
                fate = Fate::Closes;
            }
            2 => {
                version = "1.0";
                fields.push_str("Connection: keep-alive\r\n");
            }
            _ => {}
        }
        let mut awaits_continue = false;
        let mut is_chunked = false;
        if let Some(body) = &mut body {
            is_chunked = version == "1.1" && self.one_in(5);
            if is_chunked {
                fields.push_str("Transfer-Encoding: chunked\r\n");
                *body = self.chunked(body);
            } else {
                write!(fields, "Content-Length: {}\r\n", body.len()).expect("a String");
            }
            if version == "1.1" && self.one_in(6) {
                fields.push_str("Expect: 100-continue\r\n");
                awaits_continue = true;
                if fate == Fate::Stays && matches!(want, Want::Problem(status, _) if status != 400)
                {
                    fate = Fate::MayClose;
                }
            }
        }
        let head = format!("{method} {target} HTTP/{version}\r\nHost: h\r\n{fields}\r\n");
        let has_tag = matches!(demand, Demand::Match | Demand::NoneMatch);
        let tag_at = has_tag.then(|| {
            let blank = format!("\"{TAG_BLANK}\"");
            script.bytes.len() + head.find(&blank).expect("it demands one") + 1
        });
        script.bytes.extend_from_slice(head.as_bytes());
        let head_end = script.bytes.len();
        script.bytes.extend_from_slice(&body.unwrap_or_default());
        let end = script.bytes.len();
        let answerable = if fate == Fate::MayClose || awaits_continue { head_end } else { end };
        script.requests.push(Request {
            end,
            answerable,
            want,
            demand,
            tag_at,
            head_only: method == "HEAD",
            fate,
            awaits_continue,
            is_chunked,
        });
    }

    fn chunked(&mut self, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = body;
        while !rest.is_empty() {
            let (chunk, tail) = rest.split_at(self.random.usize(1..=rest.len()));
            let extension = if self.one_in(8) { ";a=\"b\"" } else { "" };
            bytes.extend_from_slice(format!("{:X}{extension}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
            rest = tail;
        }
        bytes.extend_from_slice(b"0\r\n");
        if self.one_in(8) {
            bytes.extend_from_slice(b"Content-Length: 7\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    }
}

/// Of the tags whose bits are set.
fn names(tags: u8) -> Vec<&'static str> {
    (0..TAGS.len()).filter(|at| tags >> at & 1 == 1).map(|at| TAGS[at]).collect()
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

pub(crate) fn json(text: &str) -> String {
    serde_json::to_string(text).expect("a text is JSON")
}
