//! What documents say of the tests.

use super::source::{File, files};
use std::collections::BTreeSet;

/// Files in which tests are still named after rows of a table that is not here. This list may only
/// shrink.
const NAMED_AFTER_ROWS: &[&str] =
    &["src/api/json.rs", "src/api/query.rs", "src/http/body/tests.rs"];

const BAD_INPUT: &str = "docs/bad-input.md";

/// The tests in `tests/cases`, as `file::name`.
fn cases(files: &[File]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in files {
        let module = file.path.rsplit('/').next().and_then(|name| name.strip_suffix(".rs"));
        let tests = file.text.split("#[test]\n").skip(1).filter_map(|text| {
            let (_, name) = text.split_once("fn ")?;
            name.split_once('(')
        });
        names.extend(tests.map(|(name, _)| format!("{}::{name}", module.expect("a source file"))));
    }
    names
}

/// The names in the last column of the rows of `document`, by the row's line.
fn named(document: &str) -> Vec<(usize, &str)> {
    let rows = document.lines().enumerate().filter(|(_, line)| line.starts_with("| "));
    let cells = rows.filter_map(|(index, line)| {
        let cell = line.trim_end_matches(" |").rsplit(" | ").next()?;
        Some((index + 1, cell))
    });
    let cells = cells.filter(|(_, cell)| *cell != "tests");
    let names = cells
        .flat_map(|(line, cell)| cell.split(", ").map(move |name| (line, name.trim_matches('`'))));
    names.collect()
}

#[test]
fn the_tests_in_the_table_of_bad_input_exist() {
    let cases = cases(&files("tests/cases", &[".rs"]));
    let table = std::fs::read_to_string(BAD_INPUT).unwrap();
    let named = named(&table);
    assert!(named.len() > 80, "the table has been found: {}", named.len());
    for (line, name) in named {
        assert!(cases.contains(name), "{BAD_INPUT}:{line}: there is no test {name}");
    }
}

#[test]
fn a_test_that_does_not_exist_is_found() {
    let text = "#[test]\nfn b() {}\n\nfn c() {}\n#[test]\n#[cfg(x)]\nfn d() {}\n".to_owned();
    let cases = cases(&[File { path: "tests/cases/a.rs".to_owned(), text }]);
    assert_eq!(cases.iter().collect::<Vec<_>>(), ["a::b", "a::d"]);
    let table = "| input | tests |\n|---|---|\n| x, `y` | `a::b`, `a::c` |\n";
    assert_eq!(named(table), [(3, "a::b"), (3, "a::c")]);
}

fn is_named_after_row(text: &str) -> bool {
    let names = text.split("fn row_").skip(1);
    names.into_iter().any(|name| name.starts_with(|c: char| c.is_ascii_digit()))
}

#[test]
fn tests_are_named_after_behaviour() {
    let all = ["src", "tests"].map(|root| files(root, &[".rs"])).into_iter().flatten();
    let all = all.filter(|file| !file.path.starts_with("tests/tidy/"));
    let found: Vec<String> =
        all.filter(|file| is_named_after_row(&file.text)).map(|file| file.path).collect();
    assert_eq!(found, NAMED_AFTER_ROWS, "files with tests that are named after rows");
    assert!(is_named_after_row("#[test]\nfn row_10_no_length() {}"));
    assert!(!is_named_after_row("fn row_count() {}"));
}
