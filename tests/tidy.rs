//! The house rules that a compiler does not check.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, fs, path::Path};

struct File {
    path: String,
    text: String,
}

/// Every file below `root` whose name ends in one of `endings`, by its path from the repository.
fn files(root: &str, endings: &[&str]) -> Vec<File> {
    let mut found = Vec::new();
    let mut roots = vec![Path::new(root).to_owned()];
    while let Some(path) = roots.pop() {
        if path.is_dir() {
            roots.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if endings.iter().any(|ending| path.to_str().unwrap().ends_with(ending)) {
            let text = fs::read_to_string(&path).unwrap();
            found.push(File { path: path.into_os_string().into_string().unwrap(), text });
        }
    }
    found
}

impl File {
    /// The lines that are not comments, and their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// The top-level module that this file belongs to.
    fn module(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap();
        below.split_once('/').map_or(below, |(directory, _)| directory).trim_end_matches(".rs")
    }

    /// The modules that this file declares in files of their own.
    fn declares(&self) -> impl Iterator<Item = &str> {
        self.code().filter_map(|(_, line)| {
            let line = line.trim_start_matches("pub ").trim_start_matches("pub(crate) ");
            line.strip_prefix("mod ")?.strip_suffix(';')
        })
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c| !is_word(c))
}

/// What stands right after each `crate::` of `text`: one name, or the outermost names in braces.
fn imports(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for after in text.split("crate::").skip(1) {
        let mut depth = 0;
        for part in after.split_inclusive(['{', '}', ',', ';']) {
            if depth <= 1 {
                names.extend(words(part.trim_start()).next().filter(|name| !name.is_empty()));
            }
            match part.chars().last() {
                Some('{') => depth += 1,
                Some('}') => depth -= 1,
                _ => {}
            }
            if depth <= 0 {
                break;
            }
        }
    }
    names
}

#[test]
fn imports_of_every_form_are_seen() {
    let text =
        "use crate::a; use crate::{b::{c, d}, e, f::g}; crate::h::i(x, y); use crate::{\n j,\n};";
    assert_eq!(imports(text), ["a", "b", "e", "f", "h", "j"]);
}

#[test]
fn imports_go_down_the_list_of_modules() {
    let sources = files("src", &[".rs"]);
    let list = sources.iter().find(|file| file.path == "src/lib.rs").unwrap();
    let list: Vec<&str> = ["main", "lib"].into_iter().chain(list.declares()).collect();
    let place = |module: &str| list.iter().position(|listed| *listed == module);
    for file in &sources {
        let own = place(file.module()).unwrap_or_else(|| panic!("{} is not in lib.rs", file.path));
        let code: Vec<&str> = file.code().map(|(_, line)| line).collect();
        for import in imports(&code.join("\n")) {
            let below = place(import).is_none_or(|imported| imported >= own);
            assert!(below, "{}: {import} stands above {} in lib.rs", file.path, file.module());
        }
    }
}

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
fn unsafe_code_lives_in_the_store() {
    for file in files("src", &[".rs"]).iter().filter(|file| file.module() != "store") {
        for (number, line) in file.code() {
            assert!(words(line).all(|word| word != "unsafe"), "{}:{number}: unsafe", file.path);
        }
    }
}

#[test]
fn nothing_is_left_for_later() {
    let later = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let later = later.into_iter().chain([concat!("todo", "!"), concat!("unimplemented", "!")]);
    let later: Vec<&str> = later.chain([concat!("#[ig", "nore")]).collect();
    let endings = [".rs", ".py", ".sh", ".lua", ".md", "/run"];
    for root in ["src", "tests", "scripts", ".ci", "README.md"] {
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
