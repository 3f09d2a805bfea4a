//! Which modules may use which crates.

use super::imports::{Tree, tree};
use std::collections::BTreeSet;

/// Every dependency, and the modules that know it.
const CRATES: &[(&str, &[&str])] = &[
    ("ahash", &["mesh", "store"]),
    ("bytesize", &["config"]),
    ("clap", &["config", "tools"]),
    ("core_affinity", &["config", "preflight", "server", "tools"]),
    ("crc32fast", &["snapshot", "tools"]),
    ("fastrand", &["store", "tools"]),
    ("flate2", &["http"]),
    ("glommio", &["driver", "server"]),
    ("hdrhistogram", &["latency", "tools"]),
    ("httparse", &["http", "tools"]),
    ("httpdate", &["http"]),
    ("humantime", &["config", "log", "snapshot", "tools"]),
    ("io_uring", &["preflight"]),
    ("itoa", &["text"]),
    ("memmap2", &["preflight", "store"]),
    ("rtrb", &["link"]),
    ("rustix", &["clock", "driver", "link", "preflight", "process", "server", "tools"]),
    ("serde", &["http"]),
    ("serde_json", &["config", "http", "latency", "log", "shard", "text", "tools"]),
    ("signal_hook", &["server"]),
    ("siphasher", &["store"]),
    ("socket2", &["server", "tools"]),
    ("subtle", &["auth"]),
    ("toml", &["config"]),
];

/// The names of the dependencies as code writes them.
fn dependencies(manifest: &str) -> Vec<String> {
    let table = manifest.split("[dependencies]\n").nth(1).expect("dependencies");
    let lines = table.split("\n[").next().expect("a split has one part").lines();
    let names = lines.filter_map(|line| line.split_once(" = "));
    names
        .filter(|(name, _)| !name.starts_with('#'))
        .map(|(name, _)| name.replace('-', "_"))
        .collect()
}

/// The pairs of crate and module in which what is used and what is allowed differ.
fn differences(tree: &Tree, crates: &[String], allowed: &[(&str, &[&str])]) -> Vec<String> {
    let used = tree.crates(crates);
    let pairs = allowed.iter().flat_map(|(name, modules)| modules.iter().map(move |it| (name, it)));
    let allowed: BTreeSet<(String, String)> =
        pairs.map(|(name, module)| (name.to_string(), module.to_string())).collect();
    let new = used.difference(&allowed).map(|(name, module)| format!("{module} uses {name}"));
    let gone = allowed.difference(&used);
    let gone = gone.map(|(name, module)| format!("{module} no longer uses {name}: strike out"));
    new.chain(gone).collect()
}

#[test]
fn crates_are_used_where_the_list_says() {
    let manifest = std::fs::read_to_string("Cargo.toml").unwrap();
    let found = differences(&super::tree_of_sources(), &dependencies(&manifest), CRATES);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_crate_in_another_module_is_found() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\n# Comment = 1\none-two = \"1\"\n\n\
        three = { version = \"1\" }\n\n[dev-dependencies]\nfour = \"1\"\n";
    let crates = dependencies(manifest);
    assert_eq!(crates, ["one_two", "three"]);
    let list = ("src/lib.rs", "mod a;\nmod b;");
    let found = |a: &str, b: &str| {
        let tree = tree(&[list, ("src/a.rs", a), ("src/b.rs", b)]);
        differences(&tree, &crates, &[("one_two", &["a"]), ("three", &["b"])]).join("; ")
    };
    assert_eq!(found("use one_two::X;", "fn f() { three::g() }"), "");
    assert_eq!(found("use one_two as two;", "use three::{self}; use four::X;"), "");
    assert_eq!(found("use one_two::X; fn f(it: three::X) {}", "use ::three;"), "a uses three");
    assert_eq!(found("// one_two::X", "use three;"), "a no longer uses one_two: strike out");
}
