//! Checks answers against what was asked and reads what they say about keys.

use crate::{
    client::Moment,
    coverage::Coverage,
    history::{Call, Content, Said, What},
    response::Response,
    script::{Value, Want, json},
};

/// A body of more bytes tells a value that leaves in pieces.
const LONG_BYTES_MIN: usize = 3_000;

const STORED: &str = r#"{"status":"OK","message":"Key inserted/updated successfully."}"#;
const ABSENT: &str = r#"{"status":"ERROR","message":"Key not found.","code":"not_found"}"#;
const OK: &str = r#"{"status":"OK"}"#;

/// What an answer says about its keys.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// Of each call.
    Done(Vec<Said>),
    /// Nothing was done.
    Refused,
    /// It is not known what was done.
    Lost,
    /// It was not about a key.
    Other,
}

/// What an answer says, unless it was refused because its shard was out of reach.
pub(crate) fn read(
    want: Want,
    response: &Response,
    now: &Moment<'_>,
    coverage: &mut Coverage,
) -> Outcome {
    let status = response.status;
    let body = std::str::from_utf8(&response.body).expect("all bodies are text");
    match want {
        Want::Put { .. } => {
            assert_eq!((status, body), (200, STORED));
            Outcome::Done(vec![Said::Nothing])
        }
        Want::Mput { .. } | Want::Mget { .. } | Want::Mdelete { .. } => {
            batch_outcome(want, (status, body), now, coverage)
        }
        Want::Get { key, .. } if status == 200 => {
            if response.length > LONG_BYTES_MIN {
                coverage.reach("long value");
            }
            found_outcome(response, read_body(key, body, now))
        }
        Want::Get { .. } => {
            assert_eq!((status, body), (404, ABSENT));
            found_outcome(response, What::Any)
        }
        Want::Head { .. } => {
            assert!(matches!(status, 200 | 404), "HEAD got {response:?}");
            if status == 200 {
                coverage.reach("head told a length");
            }
            found_outcome(response, What::Length(response.length))
        }
        Want::Read { key, .. } if status == 200 => found_outcome(response, what(key, body, now)),
        Want::Read { .. } | Want::Peek { .. } => found_outcome(response, What::Any),
        Want::Write { .. } | Want::Delete { .. } | Want::Touch { .. } | Want::Add { .. } => {
            change_outcome(want, response, body)
        }
        Want::Invalidate { .. }
        | Want::DeletePrefix { .. }
        | Want::Health
        | Want::Options
        | Want::Stats => question_outcome(want, (status, body), now, coverage),
        Want::Problem(expected, code) => {
            assert_eq!(status, expected, "{response:?}");
            assert!(body.contains(&format!("\"code\":\"{code}\"")), "{response:?}");
            Outcome::Other
        }
    }
}

/// The same of one that is not about single keys.
fn question_outcome(
    want: Want,
    told: (u16, &str),
    now: &Moment<'_>,
    coverage: &mut Coverage,
) -> Outcome {
    match want {
        Want::Invalidate { .. } => {
            assert_eq!(told, (200, OK));
            coverage.reach("all shards did it");
            return Outcome::Done(vec![Said::Nothing; now.keys.len()]);
        }
        Want::DeletePrefix { keys, is_dry } => {
            assert_eq!(told.0, 200, "{want:?} got {told:?}");
            let told: serde_json::Value = serde_json::from_str(told.1).expect("JSON");
            let name = if is_dry { "matched" } else { "deleted" };
            let count = told[name].as_u64().expect("a number");
            assert!(count <= keys.count_ones().into(), "{want:?} got {told}");
            if count > 0 {
                coverage.reach(if is_dry { "prefix matched" } else { "prefix deleted" });
            }
            if !is_dry {
                let said = if count == 0 { Said::Absent(None) } else { Said::Nothing };
                return Outcome::Done(vec![said; keys.count_ones() as usize]);
            }
        }
        Want::Health => assert_eq!(told, (200, OK)),
        Want::Options => assert_eq!(told, (204, "")),
        _ => {
            assert_eq!(told.0, 200, "{want:?} got {told:?}");
            let stats: serde_json::Value = serde_json::from_str(told.1).expect("JSON");
            assert_eq!(stats["shards"].as_array().map(Vec::len), Some(now.clocks.len()));
            coverage.reach("stats told");
        }
    }
    Outcome::Other
}

/// Checks the answer to a batch and reads what it says.
fn batch_outcome(
    want: Want,
    (status, body): (u16, &str),
    now: &Moment<'_>,
    coverage: &mut Coverage,
) -> Outcome {
    match want {
        Want::Mput { count, .. } => {
            let expected = format!("{{\"status\":\"OK\",\"stored\":{count}}}");
            assert_eq!((status, body), (200, &*expected));
            coverage.reach("batch put");
            Outcome::Done(vec![Said::Nothing; count])
        }
        Want::Mget { .. } if status == 413 => {
            assert!(body.contains("reply_too_large"), "{body}");
            coverage.reach("reply too large");
            Outcome::Refused
        }
        Want::Mget { keys } => {
            assert_eq!(status, 200, "{body}");
            let found: serde_json::Value = serde_json::from_str(body).expect("JSON");
            let values = found["values"].as_object().expect("an object");
            assert_eq!(values.len(), keys.count_ones() as usize, "{body}");
            let read = |key: usize| match values[now.keys[key]].as_str() {
                // Whether it is stale is not told.
                Some(text) => {
                    Said::Found { what: what(key, text, now), is_stale: None, lease: None }
                }
                None => Said::Absent(None),
            };
            coverage.reach("batch get");
            Outcome::Done(bits(keys).map(read).collect())
        }
        Want::Mdelete { keys } => {
            assert_eq!(status, 200, "{body}");
            let count: serde_json::Value = serde_json::from_str(body).expect("JSON");
            let (deleted, all) = (count["deleted"].as_u64(), keys.count_ones());
            let said = match deleted.expect("a number") {
                0 => Said::Absent(None),
                some if some == u64::from(all) => Said::Changed,
                some => {
                    assert!(some < u64::from(all), "{body}");
                    Said::Nothing
                }
            };
            if said != Said::Absent(None) {
                coverage.reach("batch deleted");
            }
            Outcome::Done(vec![said; all as usize])
        }
        _ => unreachable!("only batches come here"),
    }
}

/// What an answer to a reader says.
fn found_outcome(response: &Response, what: What) -> Outcome {
    let Response { is_stale, lease, .. } = *response;
    Outcome::Done(vec![match response.status {
        200 => Said::Found { what, is_stale: Some(is_stale), lease },
        304 => Said::Found { what: What::Unchanged, is_stale: Some(is_stale), lease },
        404 => Said::Absent(lease),
        412 => Said::Refused,
        _ => panic!("a reader got {response:?}"),
    }])
}

/// What an answer of `/kv` to a change says.
fn change_outcome(want: Want, response: &Response, body: &str) -> Outcome {
    Outcome::Done(vec![match (want, response.status) {
        (Want::Write { .. }, 201) => Said::Created,
        (Want::Write { .. }, 204) => Said::Replaced,
        (Want::Delete { .. } | Want::Touch { .. }, 204) => Said::Changed,
        (Want::Delete { .. } | Want::Touch { .. }, 404) => Said::Absent(None),
        (Want::Add { .. }, 200) => Said::Number(body.parse().expect("a number")),
        (Want::Add { .. }, 409) => {
            assert!(body.contains("not_an_integer"), "{body}");
            Said::NotANumber
        }
        (_, 412) => Said::Refused,
        _ => panic!("{want:?} got {response:?}"),
    }])
}

/// The places of the bits that are set.
pub(crate) fn bits(set: u8) -> impl Iterator<Item = usize> {
    (0..8).filter(move |at| set >> at & 1 == 1)
}

/// The key of a value, and that it is put.
pub(crate) fn put_call(value: usize, now: &Moment<'_>) -> (usize, Call) {
    let Value { key, text, life, tags } = &now.values[value];
    let length = found_body(now.keys[*key], text).len();
    let content = text.parse().map_or(Content::Value(value), Content::Number);
    (*key, Call::Put { content, length, life: *life, tags: *tags })
}

fn found_body(key: &str, value: &str) -> String {
    format!("{{\"status\":\"OK\",\"key\":{},\"value\":{}}}", json(key), json(value))
}

/// What the body of a hit tells.
fn read_body(key: usize, body: &str, now: &Moment<'_>) -> What {
    let found: serde_json::Value = serde_json::from_str(body).expect("the body is JSON");
    let text = found["value"].as_str().expect("a value is a string");
    assert_eq!(body, found_body(now.keys[key], text));
    what(key, text, now)
}

/// Which value or number this is.
fn what(key: usize, text: &str, now: &Moment<'_>) -> What {
    let Some((number, _)) = text.split_once('|') else {
        let number = text.parse().unwrap_or_else(|_| panic!("{text:?} was never sent"));
        return What::Number(number);
    };
    let value: usize = number.parse().unwrap_or_else(|_| panic!("{text:?} was never sent"));
    assert_eq!(now.values[value].key, key, "the value of another key");
    assert_eq!(text, now.values[value].text);
    What::Value(value)
}
