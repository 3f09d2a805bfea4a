//! The routes, the `OpenAPI` document and the README say the same: paths, methods and error codes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use kvcache::{
    clock::Millis,
    config::Config,
    shard::{Role, Shard},
    store::KeyHasher,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::SystemTime,
};

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"];

type Routes = BTreeMap<String, BTreeSet<String>>;

fn document() -> Value {
    serde_json::from_str(include_str!("../src/http/admin/openapi.json")).unwrap()
}

fn readme() -> String {
    fs::read_to_string("README.md").unwrap()
}

/// Every source file but those of tests.
fn sources() -> String {
    let mut text = String::new();
    let mut roots = vec![Path::new("src").to_owned()];
    while let Some(path) = roots.pop() {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() && name != "tests" {
            roots.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|ending| ending == "rs") && name != "tests" {
            let code = fs::read_to_string(&path).unwrap();
            text += code.split("#[cfg(test)]\nmod tests {").next().unwrap();
        }
    }
    text
}

/// Head and body of the answer.
fn answer_to(role: Role, method: &str, target: &str) -> (String, String) {
    let config = Config { memory_bytes: 1 << 20, ..Config::default() };
    let date = SystemTime::UNIX_EPOCH;
    let mut shard = Shard::new(0, config, KeyHasher::random(), Millis(1), date);
    let id = shard.open(role);
    let request = format!("{method} {target} HTTP/1.1\r\nHost: h\r\n\r\n");
    shard.receive(id, request.as_bytes(), false);
    let answer = String::from_utf8(shard.unsent(id).to_vec()).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn is_found(head: &str) -> bool {
    !head.starts_with("HTTP/1.1 404 ")
}

fn documented() -> Routes {
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let methods = |item: &Value| {
        let names = item.as_object().unwrap().keys().map(|name| name.to_uppercase());
        names.filter(|name| METHODS.contains(&name.as_str())).collect()
    };
    paths.iter().map(|(path, item)| (path.clone(), methods(item))).collect()
}

/// The rows of the README's table of routes: path, methods, port.
fn told() -> Vec<(String, BTreeSet<String>, String)> {
    let readme = readme();
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `/"));
    let rows = rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let methods = cells[1].split(", ").map(str::to_owned).collect();
        (format!("/{}", cells[0].trim_end_matches('`')), methods, cells[2].to_owned())
    });
    rows.collect()
}

#[test]
fn the_readme_has_the_routes_of_the_document() {
    let told: Routes = told().into_iter().map(|(path, methods, _)| (path, methods)).collect();
    assert_eq!(told, documented());
}

#[test]
fn each_port_has_the_routes_that_are_told_of_it_and_their_methods() {
    for (path, methods, port) in told() {
        let target = path.replace("{key}", "k");
        for (role, name) in [(Role::Data, "data"), (Role::Admin, "admin")] {
            let (head, _) = answer_to(role, "OPTIONS", &target);
            assert_eq!(is_found(&head), port == name || port == "both", "{path}, {name} port");
            if !is_found(&head) {
                continue;
            }
            let allowed = head.split("\r\nAllow: ").nth(1).unwrap();
            let allowed = allowed.split("\r\n").next().unwrap().split(", ");
            let allowed: BTreeSet<String> = allowed.map(str::to_owned).collect();
            assert_eq!(allowed, methods, "{path} on the {name} port");
        }
    }
}

#[test]
fn no_path_of_the_source_is_left_out() {
    let documented = documented();
    let sources = sources();
    let paths: BTreeSet<&str> = sources
        .split("b\"/")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .filter(|path| !path.is_empty())
        .collect();
    assert!(paths.contains("get") && paths.contains("flush"), "{paths:?}");
    for path in paths {
        let is_told = documented.keys().any(|known| {
            known[1..] == *path || path.ends_with('/') && known[1..].starts_with(path)
        });
        assert!(is_told, "/{path} is in the source alone");
    }
}

#[test]
fn the_document_is_what_is_served() {
    let (_, body) = answer_to(Role::Admin, "GET", "/openapi.json");
    let served: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(served, document());
    assert_eq!(served["openapi"], "3.1.0");
    assert_eq!(served["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert!(!is_found(&answer_to(Role::Data, "GET", "/openapi.json").0));
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    fn check(document: &Value, value: &Value) {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        let members = value.as_object().into_iter().flat_map(|object| object.values());
        members.chain(value.as_array().into_iter().flatten()).for_each(|it| check(document, it));
    }
    check(&document(), &document());
}

/// The codes of the document by status.
fn documented_codes() -> BTreeSet<(String, String)> {
    let document = document();
    let responses = document["components"]["responses"].as_object().unwrap();
    let mut codes = BTreeSet::new();
    for (name, response) in responses {
        let status = name.strip_prefix("Problem").unwrap();
        let problem = &response["content"]["application/json"]["schema"]["properties"];
        for code in problem["code"]["enum"].as_array().unwrap() {
            codes.insert((status.to_owned(), code.as_str().unwrap().to_owned()));
        }
    }
    codes
}

fn is_code(word: &str) -> bool {
    !word.is_empty()
        && word
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[test]
fn the_document_has_the_codes_that_the_source_produces_and_no_others() {
    let sources = sources();
    let documented = documented_codes();
    for (_, code) in &documented {
        assert!(sources.contains(&format!("\"{code}\"")), "{code} is not in the source");
    }
    // A status and then a code, as in `Problem::new(404, "not_found", ...)`.
    let words: Vec<&str> = sources.split('"').collect();
    let mut found = 0;
    for pair in words.windows(2) {
        let before = pair[0].trim_end().trim_end_matches(',');
        let status = &before[before.len() - before.len().min(3)..];
        let is_status = before.len() >= 4
            && status.bytes().all(|byte| byte.is_ascii_digit())
            && !before.as_bytes()[before.len() - 4].is_ascii_digit();
        if is_status && pair[0].contains(',') && status.as_bytes()[0] >= b'4' && is_code(pair[1]) {
            found += 1;
            let code = (status.to_owned(), pair[1].to_owned());
            assert!(documented.contains(&code), "{code:?} is not in the document");
        }
    }
    assert!(found > 50, "{found} codes were found in the source");
}

#[test]
fn the_readme_names_the_codes_of_the_document() {
    let documented: BTreeSet<String> =
        documented_codes().into_iter().map(|(_, code)| code).collect();
    let readme = readme();
    let table = readme.split("| status | codes |").nth(1).unwrap().split("\n\n").next().unwrap();
    let words = table.split('`').skip(1).step_by(2).filter(|word| is_code(word));
    let told: BTreeSet<String> = words.map(str::to_owned).collect();
    assert_eq!(told, documented);
}
