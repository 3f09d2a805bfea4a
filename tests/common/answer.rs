//! Reads the bytes that a server sent back into answers, and checks what every answer must have.

use flate2::read::GzDecoder;
use std::io::Read;

/// One response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    fields: Vec<(String, String)>,
    /// The body, decompressed if it came so; bytes that are no text show as U+FFFD.
    pub(crate) body: String,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    /// The answer at the start of `bytes` and its length; `None` while it is not complete.
    /// `is_head`: it answers HEAD, so its body is not sent.
    pub(crate) fn read(bytes: &[u8], is_head: bool) -> Option<(Self, usize)> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).expect("a head is ASCII");
        let mut lines = head.split("\r\n");
        let status_line = lines.next().expect("a split has one part");
        let status = status_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        let status = status.and_then(|digits| digits.parse().ok());
        let fields = lines.map(|line| {
            let (name, value) = line.split_once(": ").expect("a field has a name and a value");
            (name.to_ascii_lowercase(), value.to_owned())
        });
        let mut answer = Self {
            status: status.unwrap_or_else(|| panic!("not a status line: {status_line}")),
            fields: fields.collect(),
            body: String::new(),
            bytes: Vec::new(),
        };
        let bodiless = is_head || matches!(answer.status, ..200 | 204 | 304);
        let length = answer.field("content-length").map(|text| text.parse::<usize>().unwrap());
        let length = if bodiless { 0 } else { length.expect("a body has a length") };
        let body = bytes[end + 4..].get(..length)?;
        answer.bytes = body.to_vec();
        answer.body = String::from_utf8_lossy(&answer.decoded()).into_owned();
        answer.check(is_head);
        Some((answer, end + 4 + length))
    }

    /// The value of a field that stands at most once.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut found = self.fields.iter().filter(|(field, _)| field == name);
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} stands twice");
        value
    }

    fn decoded(&self) -> Vec<u8> {
        let coding = self.field("content-encoding");
        if coding.is_none() || self.bytes.is_empty() {
            return self.bytes.clone();
        }
        assert_eq!(coding, Some("gzip"));
        assert_eq!(self.field("vary"), Some("Accept-Encoding"));
        let mut decoded = Vec::new();
        GzDecoder::new(&*self.bytes).read_to_end(&mut decoded).expect("a gzip body");
        assert!(decoded.len() > self.bytes.len(), "compressed in vain");
        decoded
    }

    pub(crate) fn says_close(&self) -> bool {
        self.field("connection") == Some("close")
    }

    /// The stable word of an error.
    pub(crate) fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).expect("a JSON body");
        body["code"].as_str().unwrap_or_else(|| panic!("no code: {}", self.body)).to_owned()
    }

    /// What holds for every answer.
    fn check(&self, is_head: bool) {
        if self.status < 200 {
            assert_eq!((self.status, self.fields.len()), (100, 0), "an interim answer is bare");
            return;
        }
        assert!(self.field("date").is_some_and(|date| date.ends_with(" GMT")), "{self:?}");
        assert_eq!(self.field("server"), None);
        assert_eq!(self.field("transfer-encoding"), None);
        if matches!(self.status, 204 | 304) {
            assert_eq!(self.field("content-length"), None);
            assert_eq!(self.field("content-type"), None);
        } else if self.status == 201 {
            assert_eq!(self.field("content-length"), Some("0"));
        } else {
            assert!(self.field("content-type").is_some(), "{self:?}");
        }
        if self.status >= 400 {
            assert_eq!(self.field("content-type"), Some("application/json"));
        }
        if self.status >= 400 && !is_head {
            self.check_problem();
        }
        assert_eq!(self.field("age"), None);
        if let Some(tag) = self.field("etag") {
            assert!(matches!(self.status, 200 | 304), "{self:?}");
            assert!(self.field("cache-control").is_some(), "{self:?}");
            assert_eq!(self.field("vary"), Some("Accept-Encoding"));
            let coded = self.field("content-encoding").is_some();
            assert!(self.status == 304 || tag.ends_with("-gzip\"") == coded, "{self:?}");
        }
        assert_eq!(self.status == 405, self.field("allow").is_some() && self.status != 204);
        let waits = self.status == 404 && self.field("kv-lease") == Some("wait");
        assert_eq!(self.status == 503 || waits, self.field("retry-after").is_some());
    }

    /// An error is an object of three strings; the code is in snake case.
    fn check_problem(&self) {
        let body: serde_json::Value = serde_json::from_str(&self.body).expect("a JSON body");
        let members = body.as_object().expect("an object");
        assert_eq!(members.len(), 3, "{body}");
        assert_eq!(members["status"], "ERROR");
        assert!(members["message"].as_str().is_some_and(|message| message.ends_with('.')));
        let code = self.code();
        let is_snake = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(!code.is_empty() && code.chars().all(is_snake), "{code}");
    }
}
