//! Bodies of `/put`, judged by `serde_json`, and what they store.

#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use std::collections::BTreeMap;

/// Members that have a meaning of their own beside these three are not judged.
const OTHERS: [&str; 2] = ["tags", "stale_ttl"];
const KEY_BYTES_MAX: usize = 256;
const VALUE_BYTES_MAX: usize = 256;
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
                    let ours = ["key", "value", "ttl"].contains(&name.as_str());
                    twice |= members.insert(name, value.get()).is_some() && ours;
                }
                Ok(Members((!twice).then_some(members)))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

enum Verdict {
    Stored { key: String, value: String },
    Refused,
    Unjudged,
}

fn judge(body: &[u8]) -> Verdict {
    let Ok(Members(Some(members))) = serde_json::from_slice(body) else { return Verdict::Refused };
    if OTHERS.iter().any(|name| members.contains_key(*name)) {
        return Verdict::Unjudged;
    }
    let text = |name: &str| serde_json::from_str::<String>(members.get(name)?).ok();
    let (Some(key), Some(value)) = (text("key"), text("value")) else { return Verdict::Refused };
    let ttl = match members.get("ttl").map(|text| serde_json::from_str::<Value>(text)) {
        None => true,
        Some(Ok(Value::Number(ttl))) => ttl.as_f64().is_some_and(|ttl| ttl > 0.0 && ttl <= TTL_MAX),
        Some(_) => false,
    };
    let sizes = (1..=KEY_BYTES_MAX).contains(&key.len()) && value.len() <= VALUE_BYTES_MAX;
    if ttl && sizes { Verdict::Stored { key, value } } else { Verdict::Refused }
}

fuzz_target!(|body: &[u8]| {
    let mut cluster = common::cluster(1);
    let (output, is_open) = common::tell(&mut cluster, 0, &[&common::post("/put", body)]);
    let statuses = common::statuses(&output);
    assert!(is_open && statuses.len() == 1);
    match judge(body) {
        Verdict::Unjudged => {}
        Verdict::Refused => assert_eq!((statuses[0], cluster.entries()), (400, 0)),
        Verdict::Stored { key, value } => {
            assert_eq!((statuses[0], cluster.entries()), (200, 1));
            let query: String = key.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let get = format!("GET /get?key={query} HTTP/1.1\r\nHost: h\r\n\r\n");
            let (output, _) = common::tell(&mut cluster, 0, &[get.as_bytes()]);
            let text = std::str::from_utf8(&output).expect("JSON is UTF-8");
            let (_, found) = text.split_once("\r\n\r\n").expect("a body");
            let found: Value = serde_json::from_str(found).expect("JSON");
            assert_eq!(found["key"], key.as_str());
            assert_eq!(found["value"], value.as_str());
        }
    }
});
