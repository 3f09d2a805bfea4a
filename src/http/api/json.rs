//! JSON bodies: a full parser, and a short way for the plain bodies that nearly all clients send.

use super::lifetime::{self, Span};
use crate::{http::refusal::Refusal, text::plain_bytes};
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer as _, Error as _, IgnoredAny, MapAccess, SeqAccess,
    Visitor,
};
use std::{borrow::Cow, fmt, marker::PhantomData};

/// The body of `/put`.
#[derive(Debug, PartialEq)]
pub(super) struct PutBody<'a> {
    pub(super) key: Cow<'a, str>,
    pub(super) value: Cow<'a, str>,
    /// Seconds, as sent.
    pub(super) ttl: Option<f64>,
    pub(super) stale_ttl: Option<f64>,
    pub(super) tags: Vec<String>,
}

impl<'a> PutBody<'a> {
    fn of(members: Members<'a>) -> Result<Self, Refusal> {
        let seconds = |span, member: Option<serde_json::Value>| {
            member.map(|it| it.as_f64().ok_or_else(|| lifetime::bad(span))).transpose()
        };
        let tags = members.tags.map_or(Ok(Vec::new()), serde_json::from_value).map_err(|_| {
            Refusal::new(400, "bad_tags", "The member `tags` is an array of strings.")
        })?;
        Ok(PutBody {
            key: members.key.ok_or_else(|| missing("missing_key", "a string member `key`"))?,
            value: members
                .value
                .ok_or_else(|| missing("missing_value", "a string member `value`"))?,
            ttl: seconds(Span::Ttl, members.ttl)?,
            stale_ttl: seconds(Span::StaleTtl, members.stale_ttl)?,
            tags,
        })
    }
}

pub(super) fn put_body(body: &[u8]) -> Result<PutBody<'_>, Refusal> {
    let text = utf8(body)?;
    match plain_put_body(text) {
        Some(put) => Ok(put),
        None => any_put_body(text),
    }
}

/// The members of the body of a query of all shards, as far as they are there.
#[derive(Debug, Default, PartialEq)]
pub(in crate::http) struct QueryBody<'a> {
    pub(in crate::http) tag: Option<Cow<'a, str>>,
    pub(in crate::http) prefix: Option<Cow<'a, str>>,
    pub(in crate::http) dry_run: Option<bool>,
}

pub(in crate::http) fn query_body(body: &[u8]) -> Result<QueryBody<'_>, Refusal> {
    object(utf8(body)?, "query", QueryVisitor)
}

/// The keys of a batch. Those past the first `items_max` are counted but not read.
pub(super) fn keys_body(body: &[u8], items_max: usize) -> Result<List<Cow<'_, str>>, Refusal> {
    let list = list_body::<Text<'_>>(body, "keys", "missing_keys", items_max)?;
    Ok(List { items: list.items.into_iter().map(|Text(key)| key).collect(), count: list.count })
}

/// The entries of a batch, each as it would be put alone.
pub(super) fn entries_body(
    body: &[u8],
    items_max: usize,
) -> Result<List<Result<PutBody<'_>, Refusal>>, Refusal> {
    let list = list_body::<Members<'_>>(body, "entries", "missing_entries", items_max)?;
    Ok(List { items: list.items.into_iter().map(PutBody::of).collect(), count: list.count })
}

/// A list of a body.
#[derive(Debug, PartialEq)]
pub(super) struct List<T> {
    pub(super) items: Vec<T>,
    /// Of the whole list, of which `items` may be no more than the beginning.
    pub(super) count: usize,
}

fn list_body<'a, T: Deserialize<'a>>(
    body: &'a [u8],
    name: &'static str,
    missing_code: &'static str,
    items_max: usize,
) -> Result<List<T>, Refusal> {
    let visitor = ListVisitor { name, items_max, item: PhantomData };
    let list = object(utf8(body)?, "batch", ListBodyVisitor(visitor))?;
    list.ok_or_else(|| missing(missing_code, &format!("a list `{name}`")))
}

fn utf8(body: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(body).map_err(|error| {
        bad_json(format!("The body is not UTF-8 from byte {} on.", error.valid_up_to()))
    })
}

/// Reads an object that is all of the text.
fn object<'a, V: Visitor<'a>>(text: &'a str, what: &str, visitor: V) -> Result<V::Value, Refusal> {
    let mut parser = serde_json::Deserializer::from_str(text);
    parser
        .deserialize_map(visitor)
        .and_then(|members| parser.end().map(|()| members))
        .map_err(|error| bad_json(format!("The body is not the JSON of a {what}: {error}.")))
}

fn bad_json(message: String) -> Refusal {
    Refusal::new(400, "bad_json", message)
}

pub(in crate::http) fn missing(code: &'static str, what: &str) -> Refusal {
    Refusal::new(400, code, format!("There must be {what}."))
}

/// Reads `{"key":"K","value":"V"}` where neither text holds an escape. `None` means no more than
/// that the body is not of this shape.
fn plain_put_body(text: &str) -> Option<PutBody<'_>> {
    let mut rest = text;
    eat(&mut rest, "{")?;
    eat(&mut rest, "\"key\"")?;
    eat(&mut rest, ":")?;
    let key = plain_string(&mut rest)?;
    eat(&mut rest, ",")?;
    eat(&mut rest, "\"value\"")?;
    eat(&mut rest, ":")?;
    let value = plain_string(&mut rest)?;
    eat(&mut rest, "}")?;
    skip_white(rest).is_empty().then_some(PutBody {
        key: Cow::Borrowed(key),
        value: Cow::Borrowed(value),
        ttl: None,
        stale_ttl: None,
        tags: Vec::new(),
    })
}

fn skip_white(text: &str) -> &str {
    let is_white = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    &text[text.bytes().take_while(is_white).count()..]
}

fn eat(rest: &mut &str, token: &str) -> Option<()> {
    *rest = skip_white(rest).strip_prefix(token)?;
    Some(())
}

fn plain_string<'a>(rest: &mut &'a str) -> Option<&'a str> {
    eat(rest, "\"")?;
    let (string, tail) = rest.split_at(plain_bytes(rest.as_bytes()));
    *rest = tail.strip_prefix('"')?;
    Some(string)
}

fn any_put_body(text: &str) -> Result<PutBody<'_>, Refusal> {
    PutBody::of(object(text, "put", MembersVisitor)?)
}

#[derive(Default)]
struct Members<'a> {
    key: Option<Cow<'a, str>>,
    value: Option<Cow<'a, str>>,
    ttl: Option<serde_json::Value>,
    stale_ttl: Option<serde_json::Value>,
    tags: Option<serde_json::Value>,
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object with `key` and `value`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Members::default();
        while let Some(Text(name)) = map.next_key()? {
            let first = match &*name {
                "key" => members.key.replace(map.next_value::<Text<'_>>()?.0).is_none(),
                "value" => members.value.replace(map.next_value::<Text<'_>>()?.0).is_none(),
                "ttl" => members.ttl.replace(map.next_value()?).is_none(),
                "stale_ttl" => members.stale_ttl.replace(map.next_value()?).is_none(),
                "tags" => members.tags.replace(map.next_value()?).is_none(),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    true
                }
            };
            if !first {
                return Err(A::Error::custom(format_args!("`{name}` stands twice")));
            }
        }
        Ok(members)
    }
}

struct QueryVisitor;

impl<'de> Visitor<'de> for QueryVisitor {
    type Value = QueryBody<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<QueryBody<'de>, A::Error> {
        let mut body = QueryBody::default();
        while let Some(Text(name)) = map.next_key()? {
            let first = match &*name {
                "tag" => body.tag.replace(map.next_value::<Text<'_>>()?.0).is_none(),
                "prefix" => body.prefix.replace(map.next_value::<Text<'_>>()?.0).is_none(),
                "dry_run" => body.dry_run.replace(map.next_value()?).is_none(),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    true
                }
            };
            if !first {
                return Err(A::Error::custom(format_args!("`{name}` stands twice")));
            }
        }
        Ok(body)
    }
}

/// Reads an object for its one list.
struct ListBodyVisitor<T>(ListVisitor<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListBodyVisitor<T> {
    type Value = Option<List<T>>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "an object with `{}`", self.0.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<List<T>>, A::Error> {
        let Self(visitor) = self;
        let mut list = None;
        while let Some(Text(name)) = map.next_key()? {
            if *name != *visitor.name {
                map.next_value::<IgnoredAny>()?;
            } else if list.replace(map.next_value_seed(visitor)?).is_some() {
                return Err(A::Error::custom(format_args!("`{name}` stands twice")));
            }
        }
        Ok(list)
    }
}

/// Reads a list, and says which of its items is wrong.
struct ListVisitor<T> {
    name: &'static str,
    items_max: usize,
    item: PhantomData<T>,
}

impl<T> Clone for ListVisitor<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for ListVisitor<T> {}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for ListVisitor<T> {
    type Value = List<T>;

    fn deserialize<D: serde::Deserializer<'de>>(self, parser: D) -> Result<List<T>, D::Error> {
        parser.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = List<T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<List<T>, A::Error> {
        let named =
            |count| move |error| A::Error::custom(format_args!("{}[{count}]: {error}", self.name));
        let (mut items, mut count) = (Vec::new(), 0);
        loop {
            if items.len() < self.items_max {
                match list.next_element().map_err(named(count))? {
                    Some(item) => items.push(item),
                    None => return Ok(List { items, count }),
                }
            } else if list.next_element::<IgnoredAny>()?.is_none() {
                return Ok(List { items, count });
            }
            count += 1;
        }
    }
}

/// A JSON string, borrowed where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::{any_put_body, plain_put_body, put_body};
    use proptest::prelude::*;

    fn code(body: &str) -> &'static str {
        put_body(body.as_bytes()).unwrap_err().code
    }

    #[test]
    fn members_may_come_in_any_order_and_escaped() {
        let put = put_body(br#" {"x":[{}],"value":"\ud83d\ude00\n","\u006bey":"a","ttl":1.5} "#);
        let put = put.unwrap();
        assert_eq!((&*put.key, &*put.value, put.ttl), ("a", "\u{1F600}\n", Some(1.5)));
    }

    #[test]
    fn bad_json_is_refused() {
        let deep = "[".repeat(100_000);
        for body in [
            "",
            "{",
            r#"{"key":"a","value":"b""#,
            r#"{"key":"a","value":"b"}x"#,
            r#"{"key":"a","value":"b"}{}"#,
            r#"{"key":"a","value":"\ud800"}"#,
            r#"{"key":"\udc00","value":"b"}"#,
            r#"{"key":"a","value":"\x"}"#,
            "\u{feff}{\"key\":\"a\",\"value\":\"b\"}",
            r#"{"key":NaN,"value":"b"}"#,
            r#"{"key":"a","value":"b","key":"c"}"#,
            r#"{"key":"a","value":"b","value":"b"}"#,
            r#"{"key":"a","value":"b","ttl":1,"ttl":1}"#,
            r#"["a","b"]"#,
            r#"{"key":1,"value":"b"}"#,
            r#"{"key":"a","value":null}"#,
            r#"{"key":"a","value":"b",}"#,
            r#"{"key":"a" "value":"b"}"#,
            "{\"key\":\"a\tb\",\"value\":\"b\"}",
            &deep,
            &format!(r#"{{"x":{deep}"#),
        ] {
            assert_eq!(code(body), "bad_json", "{}", &body[..body.len().min(60)]);
        }
        assert_eq!(put_body(b"{\"key\":\"\xff\",\"value\":\"b\"}").unwrap_err().code, "bad_json");
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(code("{}"), "missing_key");
        assert_eq!(code(r#"{"value":"b"}"#), "missing_key");
        assert_eq!(code(r#"{"key":"a"}"#), "missing_value");
        for ttl in ["null", "\"1\"", "[]", "true"] {
            assert_eq!(code(&format!(r#"{{"key":"a","value":"b","ttl":{ttl}}}"#)), "bad_ttl");
        }
    }

    #[test]
    fn the_short_way_takes_what_clients_send() {
        for body in [r#"{"key":"a","value":"b"}"#, r#" { "key" : "a", "value": "b" } "#] {
            let put = plain_put_body(body).unwrap();
            assert_eq!((&*put.key, &*put.value), ("a", "b"));
        }
    }

    proptest! {
        /// Whatever the short way reads, the parser reads the same.
        #[test]
        fn the_short_way_agrees_with_the_parser(
            body in r#"[ \n]?\{[ ]?"(key|value)"[ ]?:[ ]?"[a-z\\u0é"\x00-\x1f]{0,5}"[ ]?,[ ]?"(value|key|ttl)"[ ]?:[ ]?("[^\x00]{0,5}"|1|null)[ ]?\}[ \tx]?"#,
        ) {
            if let Some(short) = plain_put_body(&body) {
                prop_assert_eq!(short, any_put_body(&body).unwrap());
            }
        }

        #[test]
        fn every_text_comes_through(key: String, value: String) {
            let body = serde_json::json!({ "key": key, "value": value }).to_string();
            let put = put_body(body.as_bytes()).unwrap();
            prop_assert_eq!((&*put.key, &*put.value), (&*key, &*value));
        }
    }
}
