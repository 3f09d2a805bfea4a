//! What is counted: lines of files, unsafe code, and words that have a better one.

use super::source::{File, files, tokens};

const LINES_MAX: usize = 600;

/// Files that are longer, and how long they may be. This list may only shrink.
const LONG: &[(&str, usize)] = &[];

/// Files with unsafe code, and in how many places.
const UNSAFE: &[(&str, usize)] = &[];

/// Words for which the field has a better one, and how often they may stand, which may only
/// become less: a word that is gone is kept with 0.
const WORDS: &[(&str, usize)] = &[
    ("befall", 0),
    ("bell", 0),
    ("for want of", 0),
    ("heed", 0),
    ("is told of", 0),
    ("loan", 0),
    ("matters of", 0),
    ("nobody is let", 0),
    ("obey", 0),
    ("parcel", 0),
    ("word that", 0),
];

/// Every file of Rust.
fn all() -> Vec<File> {
    let roots = ["src", "tests", "benches", "fuzz"];
    roots.iter().flat_map(|root| files(root, &[".rs"])).collect()
}

/// Where a count is above its bound, or its bound is no longer needed.
fn beyond(counts: &[(String, usize)], bounds: &[(&str, usize)], default: usize) -> Vec<String> {
    let bound = |name: &str| bounds.iter().find(|(listed, _)| *listed == name).map(|entry| entry.1);
    let above = counts.iter().filter_map(|(name, count)| {
        let bound = bound(name).unwrap_or(default);
        (*count > bound).then(|| format!("{name}: {count}, at most {bound}"))
    });
    let is_needed =
        |name: &str| counts.iter().any(|(counted, count)| counted == name && *count > default);
    let gone = bounds.iter().filter(|(name, bound)| *bound > default && !is_needed(name));
    let gone = gone.map(|(name, _)| format!("{name}: no longer above {default}, so strike out"));
    above.chain(gone).collect()
}

#[test]
fn files_are_short() {
    let lines = all().into_iter().map(|file| (file.path, file.text.lines().count()));
    let found = beyond(&lines.collect::<Vec<_>>(), LONG, LINES_MAX);
    assert!(found.is_empty(), "lines: {found:#?}");
}

#[test]
fn unsafe_code_is_counted() {
    let count = |text: &str| tokens(text).iter().filter(|token| **token == "unsafe").count();
    assert_eq!(
        count("unsafe fn f() { \"unsafe\"; unsafe { g() } } // unsafe\n#![deny(unsafe_code)]"),
        2
    );
    let counts = all().into_iter().map(|file| (count(&file.text), file.path));
    let found = beyond(&counts.map(|(count, path)| (path, count)).collect::<Vec<_>>(), UNSAFE, 0);
    assert!(found.is_empty(), "unsafe: {found:#?}");
}

/// How often a word, or a longer one that begins so, stands in `text`.
fn occurrences(text: &str, word: &str) -> usize {
    let text = text.to_ascii_lowercase();
    let found = text.match_indices(word).map(|(at, _)| at);
    found.filter(|at| !text[..*at].ends_with(|c: char| c.is_alphanumeric())).count()
}

#[test]
fn words_that_have_a_better_one_become_fewer() {
    let texts = all().into_iter().filter(|file| !file.path.starts_with("tests/tidy/"));
    let texts: Vec<File> = texts.chain(files("README.md", &[".md"])).collect();
    let count = |word: &str| texts.iter().map(|file| occurrences(&file.text, word)).sum();
    let counts: Vec<(String, usize)> =
        WORDS.iter().map(|(word, _)| ((*word).to_owned(), count(word))).collect();
    let found = beyond(&counts, WORDS, 0);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn what_is_beyond_its_bound_is_found() {
    let counts = [("a".to_owned(), 5), ("b".to_owned(), 9)];
    assert_eq!(beyond(&counts, &[("b", 9)], 5).len(), 0);
    assert_eq!(beyond(&counts, &[("b", 8)], 5), ["b: 9, at most 8"]);
    assert_eq!(beyond(&counts, &[("a", 7), ("b", 9)], 5), ["a: no longer above 5, so strike out"]);
    assert_eq!(beyond(&counts, &[("c", 9)], 9), [""; 0]);
    assert_eq!(
        beyond(&counts, &[("c", 9)], 8),
        ["b: 9, at most 8", "c: no longer above 8, so strike out"]
    );
    assert_eq!(occurrences("Heed it, or heeds; unheeded. for\nheed", "heed"), 3);
}
