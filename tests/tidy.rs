//! The house rules that a compiler does not check.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod tidy {
    mod crates;
    mod documents;
    pub(crate) mod imports;
    mod order;
    mod sizes;
    pub(crate) mod source;

    /// Every file of the library and the program.
    pub(crate) fn tree_of_sources() -> imports::Tree {
        imports::Tree::of(&source::files("src", &[".rs"]))
    }
}

use std::collections::BTreeSet;
use tidy::source::{File, files};

#[test]
fn every_file_is_reached_from_the_roots() {
    let sources = files("src", &[".rs"]);
    let mut reached = BTreeSet::from(["src/lib.rs".to_owned(), "src/main.rs".to_owned()]);
    let mut new: Vec<String> = reached.iter().cloned().collect();
    while let Some(path) = new.pop() {
        let file = sources.iter().find(|file| file.path == path);
        let directory = ["/lib.rs", "/main.rs", "/mod.rs", ".rs"]
            .iter()
            .find_map(|ending| path.strip_suffix(ending))
            .unwrap();
        for module in file.into_iter().flat_map(File::declares) {
            for child in
                [format!("{directory}/{module}.rs"), format!("{directory}/{module}/mod.rs")]
            {
                if reached.insert(child.clone()) {
                    new.push(child);
                }
            }
        }
    }
    for file in &sources {
        assert!(reached.contains(&file.path), "{} is dead: nothing declares it", file.path);
    }
}

#[test]
fn every_source_file_says_what_it_is() {
    for file in files("src", &[".rs"]).into_iter().chain(files("tests", &[".rs"])) {
        assert!(file.text.starts_with("//! "), "{} has no first sentence", file.path);
    }
}

#[test]
fn nothing_is_left_for_later() {
    let later = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let later = later.into_iter().chain([concat!("todo", "!"), concat!("unimplemented", "!")]);
    let later: Vec<&str> = later.chain([concat!("#[ig", "nore")]).collect();
    let endings = [".rs", ".py", ".sh", ".lua", ".md", "/run"];
    for root in ["src", "tests", "scripts", ".ci", "docs", "README.md", "CONTRIBUTING.md"] {
        for file in files(root, &endings) {
            for (index, line) in file.text.lines().enumerate() {
                let left = later.iter().find(|word| line.contains(**word));
                assert_eq!(left, None, "{}:{}", file.path, index + 1);
            }
        }
    }
}

#[test]
fn comments_are_short_and_lines_end_where_they_end() {
    for file in files("src", &[".rs"]).into_iter().chain(files("tests", &[".rs"])) {
        for (index, line) in file.text.lines().enumerate() {
            let place = format!("{}:{}", file.path, index + 1);
            // The formatter sees to code, but for what it cannot break.
            let comment = line.trim_start().starts_with("//");
            assert!(!comment || line.chars().count() <= 100, "{place}: longer than 100");
            assert_eq!(line, line.trim_end(), "{place}: trailing whitespace");
        }
    }
}
