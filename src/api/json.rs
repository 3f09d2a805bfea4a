//! JSON bodies: a full parser, and a short way for the plain bodies that nearly all clients send.

use super::lifetime::{self, Span};
use crate::http::response::Problem;
use serde::de::{Deserializer as _, Error as _, IgnoredAny, MapAccess, Visitor};
use std::{borrow::Cow, fmt};

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

pub(super) fn put_body(body: &[u8]) -> Result<PutBody<'_>, Problem> {
    let text = std::str::from_utf8(body).map_err(|error| {
        bad_json(format!("The body is not UTF-8 from byte {} on.", error.valid_up_to()))
    })?;
    match plain_put_body(text) {
        Some(put) => Ok(put),
        None => any_put_body(text),
    }
}

fn bad_json(message: String) -> Problem {
    Problem::new(400, "bad_json", message)
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
    text.trim_start_matches([' ', '\t', '\n', '\r'])
}

fn eat(rest: &mut &str, token: &str) -> Option<()> {
    *rest = skip_white(rest).strip_prefix(token)?;
    Some(())
}

fn plain_string<'a>(rest: &mut &'a str) -> Option<&'a str> {
    eat(rest, "\"")?;
    let end = rest.bytes().position(|byte| byte == b'"' || byte == b'\\' || byte < 0x20)?;
    let (string, tail) = rest.split_at(end);
    *rest = tail.strip_prefix('"')?;
    Some(string)
}

fn any_put_body(text: &str) -> Result<PutBody<'_>, Problem> {
    let mut parser = serde_json::Deserializer::from_str(text);
    let members = parser
        .deserialize_map(MembersVisitor)
        .and_then(|members| parser.end().map(|()| members))
        .map_err(|error| bad_json(format!("The body is not the JSON of a put: {error}.")))?;
    let missing = |code, name| {
        Problem::new(400, code, format!("The body must have a string member `{name}`."))
    };
    let seconds = |span, member: Option<serde_json::Value>| {
        member.map(|it| it.as_f64().ok_or_else(|| lifetime::bad(span))).transpose()
    };
    let tags = members
        .tags
        .map_or(Ok(Vec::new()), serde_json::from_value)
        .map_err(|_| Problem::new(400, "bad_tags", "The member `tags` is an array of strings."))?;
    Ok(PutBody {
        key: members.key.ok_or_else(|| missing("missing_key", "key"))?,
        value: members.value.ok_or_else(|| missing("missing_value", "value"))?,
        ttl: seconds(Span::Ttl, members.ttl)?,
        stale_ttl: seconds(Span::StaleTtl, members.stale_ttl)?,
        tags,
    })
}

#[derive(Default)]
struct Members<'a> {
    key: Option<Cow<'a, str>>,
    value: Option<Cow<'a, str>>,
    ttl: Option<serde_json::Value>,
    stale_ttl: Option<serde_json::Value>,
    tags: Option<serde_json::Value>,
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

/// A JSON string, borrowed where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Text<'de> {
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
    fn row_44_bad_json_is_refused() {
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
