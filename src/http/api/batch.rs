//! Batches: many keys in one request, and one answer put together from the replies to all of them.
//!
//! A batch is read and checked as a whole before any of it is done.

use super::{
    super::{
        form::{BatchKind, Exchange},
        media::JSON,
        refusal::Refusal,
        response::{Date, Response, write_refusal},
    },
    json,
    key::{bytes_of, check_key},
    put::put_command,
    refusals::{full, no_room, not_text},
};
use crate::{
    config::Config,
    protocol::{Batch, Command, Problem},
    store::{KeyHasher, Reply, Verb},
    text::JsonString,
};
use std::{borrow::Cow, collections::HashSet, ops::Range};

pub(super) fn read<'a>(
    kind: BatchKind,
    body: &'a [u8],
    config: &Config,
    hasher: &KeyHasher,
) -> Result<Batch<'a>, Refusal> {
    let max = config.limits.batch_items_max;
    let commands = match kind {
        BatchKind::Put => {
            let list = json::entries_body(body, max)?;
            check_count(list.count, max)?;
            let put = |(index, entry): (usize, Result<_, _>)| {
                entry
                    .and_then(|entry| put_command(entry, config, hasher))
                    .map_err(at("entries", index))
            };
            list.items.into_iter().enumerate().map(put).collect::<Result<_, _>>()?
        }
        BatchKind::Get | BatchKind::Delete => {
            let list = json::keys_body(body, max)?;
            check_count(list.count, max)?;
            for (index, key) in list.items.iter().enumerate() {
                check_key(key.as_bytes(), config).map_err(at("keys", index))?;
            }
            if kind == BatchKind::Get {
                get_once(list.items)
            } else {
                let delete =
                    |key| Command { key: bytes_of(key), verb: Verb::delete(), wants_text: false };
                list.items.into_iter().map(delete).collect()
            }
        }
    };
    let reply_bytes_max = (kind == BatchKind::Get).then(|| {
        let member = |command: &Command<'_>| command.key.len() + config.limits.value_bytes_max;
        // As far as nothing in it is escaped.
        commands.iter().map(member).sum::<usize>().min(config.limits.reply_bytes_max)
    });
    Ok(Batch { commands, reply_bytes_max })
}

/// A member of a JSON object stands once, and to read a key twice in a row says nothing new.
fn get_once(keys: Vec<Cow<'_, str>>) -> Vec<Command<'_>> {
    let mut seen = HashSet::with_capacity(keys.len());
    let is_first: Vec<bool> = keys.iter().map(|key| seen.insert(&**key)).collect();
    let keys = keys.into_iter().zip(is_first).filter(|(_, is_first)| *is_first);
    keys.map(|(key, _)| Command { key: bytes_of(key), verb: Verb::get(), wants_text: false })
        .collect()
}

fn check_count(count: usize, max: usize) -> Result<(), Refusal> {
    if count <= max {
        return Ok(());
    }
    let message =
        format!("The batch has {count} items; at most {max} are taken (--batch-items-max).");
    Err(Refusal::new(413, "batch_too_large", message))
}

/// Says which item a refusal is about.
fn at(list: &'static str, index: usize) -> impl Fn(Refusal) -> Refusal {
    move |refusal| {
        let message = format!("{list}[{index}]: {}", refusal.message);
        Refusal { message: message.into(), ..refusal }
    }
}

/// What the body of an answer begins and ends with.
const VALUES: [&[u8]; 2] = [b"{\"status\":\"OK\",\"values\":{", b"}}"];

/// The answer to a batch while the replies come in, in any order.
#[derive(Debug)]
pub struct Assembly {
    kind: BatchKind,
    /// Replies that are still to come.
    missing: usize,
    /// Of a get: what stands in the answer for each key, and where; in the order of the replies.
    text: Vec<u8>,
    members: Vec<Range<usize>>,
    /// What the body has by now, and may have.
    body_bytes: usize,
    body_bytes_max: usize,
    /// Commands that a put or delete counts.
    done: usize,
    /// Of the first command that has one.
    refusal: Option<(usize, Refusal)>,
    is_too_large: bool,
    is_refused: bool,
    is_lost: bool,
}

impl Assembly {
    /// For the replies to `count` commands, and a body of at most `body_bytes_max`.
    #[must_use]
    pub fn new(kind: BatchKind, count: usize, body_bytes_max: usize) -> Self {
        let is_get = kind == BatchKind::Get;
        Self {
            kind,
            missing: count,
            text: Vec::new(),
            members: if is_get { vec![0..0; count] } else { Vec::new() },
            body_bytes: if is_get {
                VALUES[0].len() + VALUES[1].len() + count.saturating_sub(1)
            } else {
                0
            },
            body_bytes_max,
            done: 0,
            refusal: None,
            is_too_large: false,
            is_refused: false,
            is_lost: false,
        }
    }

    /// Whether every reply has come.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Takes the reply to command number `index`.
    pub fn take(&mut self, index: usize, key: &[u8], reply: Reply<&[u8]>) {
        self.missing -= 1;
        match (self.kind, reply) {
            (BatchKind::Get, Reply::Value(value) | Reply::Entry { value, .. }) => {
                match JsonString::of(value) {
                    Ok(value) => self.add(index, key, Some(value)),
                    Err(valid_bytes) => {
                        let value = format!("The value of {:?}", String::from_utf8_lossy(key));
                        self.fail(index, not_text(&value, valid_bytes));
                    }
                }
            }
            (BatchKind::Get, _) => self.add(index, key, None),
            (BatchKind::Put, Reply::TooLarge) => self.fail(index, no_room()),
            (BatchKind::Put, Reply::Full) => self.fail(index, full()),
            (BatchKind::Put, _) => self.done += 1,
            (BatchKind::Delete, reply) => self.done += usize::from(reply == Reply::Deleted),
        }
    }

    /// A reply was left out, as those before it were too long.
    pub fn leave_out(&mut self) {
        self.missing -= 1;
        self.is_too_large = true;
    }

    /// A command was not done: too much waits at the owner of its key.
    pub fn refuse(&mut self) {
        self.missing -= 1;
        self.is_refused = true;
    }

    /// A reply will not come.
    pub fn lose(&mut self) {
        self.missing -= 1;
        self.is_lost = true;
    }

    fn fail(&mut self, index: usize, refusal: Refusal) {
        if self.refusal.as_ref().is_none_or(|(first, _)| index < *first) {
            self.refusal = Some((index, refusal));
        }
    }

    fn add(&mut self, index: usize, key: &[u8], value: Option<JsonString<'_>>) {
        let key = JsonString::of(key).expect("read from UTF-8");
        self.body_bytes += key.length + value.map_or("null".len(), |value| value.length);
        // The colon; the commas were counted with the keys.
        self.body_bytes += 1;
        if self.body_bytes > self.body_bytes_max {
            self.is_too_large = true;
        }
        if self.is_too_large {
            self.text = Vec::new();
            return;
        }
        let start = self.text.len();
        key.write(&mut self.text);
        self.text.push(b':');
        match value {
            Some(value) => value.write(&mut self.text),
            None => self.text.extend_from_slice(b"null"),
        }
        self.members[index] = start..self.text.len();
    }

    /// Writes the answer once it is complete. Returns the status.
    pub fn write(self, out: &mut Vec<u8>, exchange: Exchange, date: &Date) -> u16 {
        debug_assert!(self.is_complete(), "all replies are there");
        let counted = |name| format!("{{\"status\":\"OK\",\"{name}\":{}}}", self.done);
        // `overloaded` promises that nothing was done.
        let is_partly_done =
            self.kind != BatchKind::Get && (self.done > 0 || self.refusal.is_some());
        let refusal = match (self.kind, self.refusal) {
            _ if self.is_lost || self.is_refused && is_partly_done => Problem::ShardGone.into(),
            _ if self.is_refused => Problem::HopFull.into(),
            _ if self.is_too_large => {
                let max = self.body_bytes_max;
                let message = format!("The answer is longer than {max} bytes (--reply-bytes-max).");
                Refusal::new(413, "reply_too_large", message)
            }
            (BatchKind::Get, Some((_, refusal))) => refusal,
            (_, Some((index, refusal))) => {
                let refusal = at("entries", index)(refusal);
                let message = format!("{} Stored: {}.", refusal.message, self.done);
                Refusal { message: message.into(), ..refusal }
            }
            (BatchKind::Get, None) => {
                Response::begin(out, exchange, date, 200).body(JSON, self.body_bytes, |out| {
                    out.extend_from_slice(VALUES[0]);
                    for (index, member) in self.members.into_iter().enumerate() {
                        if index > 0 {
                            out.push(b',');
                        }
                        out.extend_from_slice(&self.text[member]);
                    }
                    out.extend_from_slice(VALUES[1]);
                });
                return 200;
            }
            (kind, None) => {
                let body = counted(if kind == BatchKind::Put { "stored" } else { "deleted" });
                Response::begin(out, exchange, date, 200).text(JSON, body.as_bytes());
                return 200;
            }
        };
        write_refusal(out, exchange, date, &refusal);
        refusal.status
    }
}

#[cfg(test)]
mod tests {
    use super::{Assembly, BatchKind, Date, Exchange};
    use crate::store::Reply;
    use std::time::SystemTime;

    const KEYS: [&str; 3] = ["a", "b", "c"];

    fn of_three(kind: BatchKind, take: impl Fn(&mut Assembly)) -> (u16, String) {
        let mut assembly = Assembly::new(kind, KEYS.len(), 1_000);
        take(&mut assembly);
        assert!(assembly.is_complete());
        let mut out = Vec::new();
        let status = assembly.write(&mut out, Exchange::LAST, &Date::from(SystemTime::UNIX_EPOCH));
        let text = String::from_utf8(out).unwrap();
        (status, text.split("\r\n\r\n").nth(1).unwrap().to_owned())
    }

    fn of_replies(kind: BatchKind, replies: [(usize, Reply<&[u8]>); 3]) -> (u16, String) {
        of_three(kind, |assembly| {
            for (index, reply) in replies {
                assembly.take(index, KEYS[index].as_bytes(), reply);
            }
        })
    }

    #[test]
    fn values_stand_in_the_order_of_the_request() {
        let replies = [(2, Reply::Value(&b"3"[..])), (0, Reply::Value(b"1")), (1, Reply::Absent)];
        let body = r#"{"status":"OK","values":{"a":"1","b":null,"c":"3"}}"#;
        assert_eq!(of_replies(BatchKind::Get, replies), (200, body.to_owned()));
    }

    #[test]
    fn the_first_value_that_is_no_text_is_named() {
        let (bad, worse) = (Reply::Value(&b"ab\xff"[..]), Reply::Value(&b"\xff"[..]));
        let (status, body) = of_replies(BatchKind::Get, [(2, worse), (1, bad), (0, Reply::Absent)]);
        assert_eq!(status, 406);
        assert!(body.contains(r#""code":"not_text""#), "{body}");
        assert!(body.contains(r#"The value of \"b\" is not UTF-8 from byte 2 on."#), "{body}");
    }

    #[test]
    fn the_first_entry_without_room_is_named() {
        let replies = [(2, Reply::TooLarge), (0, Reply::Created), (1, Reply::Full)];
        let (status, body) = of_replies(BatchKind::Put, replies);
        assert_eq!(status, 507);
        assert!(body.contains(r#""code":"full","message":"entries[1]: "#), "{body}");
        assert!(body.ends_with(r#" Stored: 1."}"#), "{body}");
    }

    #[test]
    fn what_is_lost_is_unavailable_and_what_is_left_out_was_too_large() {
        let (status, body) = of_three(BatchKind::Delete, |assembly| {
            assembly.take(1, b"b", Reply::Deleted);
            assembly.lose();
            assembly.take(2, b"c", Reply::Deleted);
        });
        assert!(status == 503 && body.contains("unavailable"), "{body}");
        for (kind, reply, code) in [
            (BatchKind::Put, Reply::Created, "unavailable"),
            (BatchKind::Put, Reply::TooLarge, "unavailable"),
            (BatchKind::Delete, Reply::Deleted, "unavailable"),
            (BatchKind::Delete, Reply::Absent, "overloaded"),
            (BatchKind::Get, Reply::Absent, "overloaded"),
        ] {
            let (status, body) = of_three(kind, |assembly| {
                assembly.refuse();
                assembly.take(1, b"b", reply);
                assembly.refuse();
            });
            assert!(status == 503 && body.contains(code), "{kind:?}, {reply:?}: {body}");
        }
        let (status, body) = of_three(BatchKind::Get, |assembly| {
            assembly.leave_out();
            assembly.take(1, b"b", Reply::Value(b"\xff"));
            assembly.take(2, b"c", Reply::Absent);
        });
        assert!(status == 413 && body.contains("reply_too_large"), "{body}");
    }
}
