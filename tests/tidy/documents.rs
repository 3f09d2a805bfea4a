//! What documents say of the sources and the tests.

use super::source::{File, files};
use std::{collections::BTreeSet, fs};

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
    let table = fs::read_to_string(BAD_INPUT).unwrap();
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
    assert_eq!(found, [""; 0], "files with tests that are named after rows of a table");
    assert!(is_named_after_row("#[test]\nfn row_10_no_length() {}"));
    assert!(!is_named_after_row("fn row_count() {}"));
}

/// What a document has between backquotes, but for blocks of code, by its line.
fn spans(document: &str) -> Vec<(usize, &str)> {
    let mut is_block = false;
    let lines = document.lines().enumerate().filter(|(_, line)| {
        let is_fence = line.starts_with("```");
        is_block ^= is_fence;
        !is_block && !is_fence
    });
    let spans = lines.flat_map(|(index, line)| {
        line.split('`').skip(1).step_by(2).map(move |span| (index + 1, span))
    });
    spans.collect()
}

/// Whether a span names a file or a folder of this repository, or that of a module.
fn is_path(span: &str) -> Option<&str> {
    let path = span.split(' ').next()?;
    let roots = ["src/", "tests/", "docs/", "scripts/", "benches/", "fuzz/fuzz_targets/"];
    roots.iter().any(|root| path.starts_with(root)).then_some(path)
}

/// The module and the function that a span names, as in `module::function`.
fn is_function(span: &str) -> Option<(&str, &str)> {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:".contains(c);
    span.rsplit_once("::").filter(|_| span.chars().all(is_name))
}

/// Whether a file of that module, or of one that ends so, has the function.
fn has_function(files: &[File], module: &str, function: &str) -> bool {
    let (ending, head) = (format!("::{module}"), format!("fn {function}("));
    files.iter().any(|file| {
        let path = file.path.trim_end_matches(".rs").replace('/', "::");
        path.ends_with(&ending) && file.text.contains(&head)
    })
}

#[test]
fn what_documents_name_exists() {
    let sources = ["src", "tests"].map(|root| files(root, &[".rs"])).into_iter().flatten();
    let sources: Vec<File> = sources.collect();
    let documents = ["docs", "CONTRIBUTING.md", "README.md"].map(|root| files(root, &[".md"]));
    let (mut paths, mut functions) = (0, 0);
    for File { path: document, text } in documents.iter().flatten() {
        for (line, span) in spans(text) {
            if let Some(path) = is_path(span) {
                let is_there =
                    [path, &format!("{path}.rs")].iter().any(|it| fs::exists(it).unwrap());
                assert!(is_there, "{document}:{line}: there is no {path}");
                paths += 1;
            } else if let Some((module, function)) = is_function(span) {
                let is_there = has_function(&sources, module, function);
                assert!(is_there, "{document}:{line}: there is no {span}");
                functions += 1;
            }
        }
    }
    assert!(paths > 60 && functions > 110, "they were found: {paths}, {functions}");
}

#[test]
fn what_is_named_and_does_not_exist_is_found() {
    let document = "`src/a` or `src/b.rs c`\n```\n`src/d`\n```\n`a::b_c`, `D::e`, `a::F`, `g`";
    let spans = spans(document);
    let paths = spans.iter().filter_map(|(line, span)| Some((*line, is_path(span)?)));
    assert_eq!(paths.collect::<Vec<_>>(), [(1, "src/a"), (1, "src/b.rs")]);
    let functions: Vec<_> = spans.iter().filter_map(|(_, span)| is_function(span)).collect();
    assert_eq!(functions, [("a", "b_c")]);
    let files = [File { path: "src/x/a.rs".to_owned(), text: "fn b_c() {}".to_owned() }];
    let found = |module, function| has_function(&files, module, function);
    assert!(found("a", "b_c") && found("x::a", "b_c"));
    assert!(!found("a", "b") && !found("b::a", "b_c") && !found("x", "b_c"));
}
