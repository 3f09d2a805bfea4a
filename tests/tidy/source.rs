//! Rust files as the rules read them: paths, lines, and code without comments and strings.

use std::{fs, path::Path};

pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Every file below `root` whose name ends in one of `endings`, by its path from the repository.
pub(crate) fn files(root: &str, endings: &[&str]) -> Vec<File> {
    let mut found = Vec::new();
    let mut roots = vec![Path::new(root).to_owned()];
    while let Some(path) = roots.pop() {
        if path.is_dir() && !path.ends_with("target") {
            roots.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if endings.iter().any(|ending| path.to_str().unwrap().ends_with(ending)) {
            let text = fs::read_to_string(&path).unwrap();
            found.push(File { path: path.into_os_string().into_string().unwrap(), text });
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

impl File {
    /// The lines that are not comments, and their numbers.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// The modules that this file declares in files of their own, in that order.
    pub(crate) fn declares(&self) -> impl Iterator<Item = &str> {
        self.code().filter_map(|(_, line)| {
            let line = match line.strip_prefix("pub") {
                Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
                Some(rest) => rest.trim_start(),
                None => line,
            };
            line.strip_prefix("mod ")?.strip_suffix(';')
        })
    }
}

pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The words and signs of `text` but for comments, strings, characters and lifetimes. `::` is one.
pub(crate) fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if first.is_whitespace() {
            first.len_utf8()
        } else if let Some(length) = comment(rest).or_else(|| literal(rest)) {
            length
        } else {
            let length = match rest.find(|c| !is_word(c)) {
                Some(0) if rest.starts_with("::") => 2,
                Some(0) => first.len_utf8(),
                Some(length) => length,
                None => rest.len(),
            };
            tokens.push(&rest[..length]);
            length
        };
        rest = &rest[length..];
    }
    tokens
}

/// The length of a comment at the start of `text`.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    let inner = text.strip_prefix("/*")?;
    Some(inner.find("*/").map_or(text.len(), |end| end + 4))
}

/// The length of a string, a character or a lifetime at the start of `text`.
fn literal(text: &str) -> Option<usize> {
    let (quote, prefix) = match text.trim_start_matches(['b', 'c']) {
        plain if text.len() - plain.len() > 1 => return None,
        plain => (plain, text.len() - plain.len()),
    };
    if let Some(raw) = quote.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let inner = raw[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        let closed = inner.find(&end).map_or(inner.len(), |at| at + end.len());
        return Some(prefix + 1 + hashes + 1 + closed);
    }
    let mut chars = quote.char_indices();
    let (_, mark) = chars.next().filter(|(_, mark)| matches!(mark, '"' | '\''))?;
    let is_character = mark == '"' || quote[1..].starts_with('\\') || {
        let after = quote[1..].chars().next().map_or(0, char::len_utf8);
        quote[1 + after..].starts_with('\'')
    };
    if !is_character {
        return Some(1 + quote[1..].find(|c| !is_word(c)).unwrap_or(quote.len() - 1));
    }
    let mut is_escaped = false;
    for (at, c) in chars {
        if c == mark && !is_escaped {
            return Some(prefix + at + 1);
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    Some(text.len())
}

#[test]
fn code_is_read_without_what_only_looks_like_it() {
    let text = r##"use a::b; // crate::c
        /* crate::d */ let e = "crate::\"f"; let g: &'h i = b'"'; '\''; r#"crate::"j"#; k!("l")"##;
    let read = tokens(text).join(" ");
    assert_eq!(read, "use a :: b ; let e = ; let g : & i = ; ; ; k ! ( )");
}
