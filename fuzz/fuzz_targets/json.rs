//! Bodies of `/put`, judged by `serde_json`, and what they store.

#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use std::collections::BTreeMap;

const MEMBERS: [&str; 5] = ["key", "value", "ttl", "stale_ttl", "tags"];
const KEY_BYTES_MAX: usize = 256;
const VALUE_BYTES_MAX: usize = 256;
const TAGS_MAX: usize = 8;
const TAG_BYTES_MAX: usize = 64;
const TTL_MAX: f64 = 315_576_000.0;

/// The raw text of each member, by name; `None` if one of ours stands twice or it is no object.
struct Members<'a>(Option<BTreeMap<String, &'a str>>);

impl<'de> serde::Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members<'de>;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Members<'de>, A::Error> {
                let (mut members, mut twice) = (BTreeMap::new(), false);
                while let Some(name) = map.next_key::<String>()? {
                    let value: &serde_json::value::RawValue = map.next_value()?;
                    let ours = MEMBERS.contains(&name.as_str());
                    twice |= members.insert(name, value.get()).is_some() && ours;
                }
                Ok(Members((!twice).then_some(members)))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

enum Verdict {
    Stored { key: String, value: String, tags: Vec<String> },
    Refused,
}

fn judge(body: &[u8]) -> Verdict {
    let Ok(Members(Some(members))) = serde_json::from_slice(body) else { return Verdict::Refused };
    let text = |name: &str| serde_json::from_str::<String>(members.get(name)?).ok();
    let (Some(key), Some(value)) = (text("key"), text("value")) else { return Verdict::Refused };
    let is_time = |name| match members.get(name).map(|text| serde_json::from_str::<Value>(text)) {
        None => true,
        Some(Ok(Value::Number(time))) => time.as_f64().is_some_and(|it| it > 0.0 && it <= TTL_MAX),
        Some(_) => false,
    };
    let tags: Vec<String> = match members.get("tags").map(|text| serde_json::from_str(text)) {
        None => Vec::new(),
        Some(Ok(tags)) => tags,
        Some(Err(_)) => return Verdict::Refused,
    };
    let are_tags =
        tags.len() <= TAGS_MAX && tags.iter().all(|tag| (1..=TAG_BYTES_MAX).contains(&tag.len()));
    let sizes = (1..=KEY_BYTES_MAX).contains(&key.len()) && value.len() <= VALUE_BYTES_MAX;
    if is_time("ttl") && is_time("stale_ttl") && are_tags && sizes {
        Verdict::Stored { key, value, tags }
    } else {
        Verdict::Refused
    }
}

fuzz_target!(|body: &[u8]| {
    let mut cluster = common::cluster(1);
    let (output, is_open) = common::tell(&mut cluster, 0, &[&common::post("/put", body)]);
    let statuses = common::statuses(&output);
    assert!(is_open && statuses.len() == 1);
    match judge(body) {
        Verdict::Refused => assert_eq!((statuses[0], cluster.entries()), (400, 0)),
        Verdict::Stored { key, value, tags } => {
            assert_eq!((statuses[0], cluster.entries()), (200, 1));
            let query: String = key.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let get = format!("GET /get?key={query} HTTP/1.1\r\nHost: h\r\n\r\n");
            let (output, _) = common::tell(&mut cluster, 0, &[get.as_bytes()]);
            let text = std::str::from_utf8(&output).expect("JSON is UTF-8");
            let (_, found) = text.split_once("\r\n\r\n").expect("a body");
            let found: Value = serde_json::from_str(found).expect("JSON");
            assert_eq!(found["key"], key.as_str());
            assert_eq!(found["value"], value.as_str());
            // The last of its tags ends it, and no other tag does.
            let mut invalidate = |tag: &str| {
                let body = serde_json::json!({ "tag": tag }).to_string();
                common::tell(&mut cluster, 0, &[&common::post("/invalidate", body.as_bytes())]);
                common::statuses(&common::tell(&mut cluster, 0, &[get.as_bytes()]).0)[0]
            };
            let other = "another tag than any of those";
            assert_eq!(
                invalidate(other),
                if tags.iter().any(|tag| tag == other) { 404 } else { 200 }
            );
            if let Some(last) = tags.last() {
                assert_eq!(invalidate(last), 404);
            }
        }
    }
});
