//! Who imports what: from the text of every file to its edges, to files and to crates.

use super::source::{File, is_word, tokens};
use std::collections::{BTreeMap, BTreeSet};

/// A path as it stands in code, from the crate or the name of another crate.
type Names = Vec<String>;

/// All files of a tree and what each of them names.
pub(crate) struct Tree {
    /// By module, `["http", "request"]`; the root and the program are `[]` and `["main"]`.
    modules: BTreeMap<Names, Module>,
}

pub(crate) struct Module {
    /// The children in files of their own, in the order in which they are declared.
    pub(crate) children: Vec<String>,
    /// What names of this file stand for elsewhere.
    aliases: BTreeMap<String, Names>,
    /// Paths that are used, but for what is only handed on.
    used: BTreeSet<Names>,
}

impl Tree {
    pub(crate) fn of(files: &[File]) -> Self {
        let mut modules = BTreeMap::new();
        for file in files {
            let name = module_of(&file.path);
            modules.insert(name.clone(), read(file, &name));
        }
        Self { modules }
    }

    pub(crate) fn children(&self, module: &[String]) -> &[String] {
        &self.modules[module].children
    }

    /// The modules that each module uses something of: not of itself, and where a name is handed
    /// on, of whom it is defined in.
    pub(crate) fn edges(&self) -> BTreeSet<(Names, Names)> {
        let mut edges = BTreeSet::new();
        for (module, Module { used, .. }) in &self.modules {
            for path in used.iter().filter(|path| path[0] == "crate") {
                let target = self.resolve(&path[1..], 0);
                if target != *module {
                    edges.insert((module.clone(), target));
                }
            }
        }
        edges
    }

    /// The module in whose file the item at `path` is defined.
    fn resolve(&self, path: &[String], depth: usize) -> Names {
        let mut module = Names::new();
        for (at, name) in path.iter().enumerate() {
            let here = &self.modules[&module];
            if here.children.contains(name) {
                module.push(name.clone());
                continue;
            }
            let alias = here.aliases.get(name).filter(|alias| alias[0] == "crate" && depth < 8);
            if let Some(alias) = alias {
                let path: Names = alias[1..].iter().chain(&path[at + 1..]).cloned().collect();
                return self.resolve(&path, depth + 1);
            }
            break;
        }
        module
    }

    /// The names of `crates` that each module uses, with the top-level module.
    pub(crate) fn crates(&self, crates: &[String]) -> BTreeSet<(String, String)> {
        let mut found = BTreeSet::new();
        for (module, Module { used, .. }) in &self.modules {
            let top = module.first().map_or("lib", String::as_str);
            let names = used.iter().map(|path| &path[0]).filter(|name| crates.contains(name));
            found.extend(names.map(|name| (name.clone(), top.to_owned())));
        }
        found
    }
}

/// `src/http/request.rs` is `["http", "request"]`, as `src/http/request/mod.rs` would be.
fn module_of(path: &str) -> Names {
    let path = path.strip_prefix("src/").unwrap().strip_suffix(".rs").unwrap();
    let names = path.split('/').filter(|name| !matches!(*name, "lib" | "mod"));
    names.map(str::to_owned).collect()
}

fn read(file: &File, module: &[String]) -> Module {
    let mut reader = Reader {
        tokens: tokens(&file.text),
        at: 0,
        module: module.to_vec(),
        children: file.declares().map(str::to_owned).collect(),
        is_program: module == ["main"],
        ..Reader::default()
    };
    reader.run();
    let Reader { children, aliases, used, handed_on, tokens, .. } = reader;
    let mut module = Module { children, aliases, used: BTreeSet::new() };
    // What is handed on is used only if it is also named.
    let is_named = |name: &String| tokens.iter().filter(|token| *token == name).count() > 1;
    let named = handed_on.into_iter().filter(|path| path.last().is_some_and(is_named));
    let heads = used.into_iter().map(|mut path: Names| {
        if let Some(alias) = module.aliases.get(&path[0]) {
            path.splice(..1, alias.iter().cloned());
        }
        path
    });
    module.used = heads.chain(named).collect();
    module
}

#[derive(Default)]
struct Reader<'a> {
    tokens: Vec<&'a str>,
    at: usize,
    module: Names,
    children: Vec<String>,
    /// The program names the library as another crate.
    is_program: bool,
    /// Modules within this file that the reader is in: the depth of braces of each.
    inner: Vec<usize>,
    depth: usize,
    aliases: BTreeMap<String, Names>,
    used: BTreeSet<Names>,
    handed_on: Vec<Names>,
}

impl<'a> Reader<'a> {
    fn peek(&self, ahead: usize) -> &'a str {
        self.tokens.get(self.at + ahead).copied().unwrap_or("")
    }

    fn run(&mut self) {
        while self.at < self.tokens.len() {
            match self.peek(0) {
                "mod" if self.peek(2) == "{" => {
                    self.at += 2;
                    self.inner.push(self.depth);
                    continue;
                }
                "{" => self.depth += 1,
                "}" => {
                    self.depth = self.depth.saturating_sub(1);
                    self.inner.pop_if(|depth| *depth == self.depth);
                }
                "use" => {
                    let before = self.at.checked_sub(1).map_or("", |at| self.tokens[at]);
                    self.at += 1;
                    self.import(&Names::new(), matches!(before, "pub" | ")"));
                    continue;
                }
                name if name.starts_with(is_word) && self.peek(1) == "::" => {
                    self.path();
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    /// A path in code.
    fn path(&mut self) {
        let mut names = vec![self.peek(0).to_owned()];
        while self.peek(1) == "::" && self.peek(2).starts_with(is_word) {
            self.at += 2;
            names.push(self.peek(0).to_owned());
        }
        self.at += 1;
        let path = self.absolute(names);
        self.used.insert(path);
    }

    /// What stands behind `use`, `::{` or `,`: one path with all that hangs on it.
    fn import(&mut self, before: &[String], is_handed_on: bool) {
        let mut names = before.to_vec();
        loop {
            match self.peek(0) {
                "{" => {
                    while matches!(self.peek(0), "{" | ",") {
                        self.at += 1;
                        if self.peek(0) != "}" {
                            self.import(&names, is_handed_on);
                        }
                    }
                    self.at += 1;
                    return;
                }
                "" | ";" | "," | "}" => break,
                "::" => {}
                "as" => {
                    self.at += 1;
                    let path = self.absolute(names.clone());
                    self.aliases.insert(self.peek(0).to_owned(), path);
                }
                "self" if !names.is_empty() => {}
                name => names.push(name.to_owned()),
            }
            self.at += 1;
        }
        let path = self.absolute(names);
        let last = path.last().expect("a path has a name").clone();
        self.aliases.entry(last).or_insert_with(|| path.clone());
        if is_handed_on && self.inner.is_empty() {
            self.handed_on.push(path);
        } else {
            self.used.insert(path);
        }
    }

    /// The path from the crate, if it leads into this one.
    fn absolute(&self, mut names: Names) -> Names {
        let here = |up: usize| {
            // A module within the file has no file of its own.
            let up = up.saturating_sub(self.inner.len());
            let kept = self.module.len().saturating_sub(up);
            let names = self.module[..kept].iter().cloned();
            std::iter::once("crate".to_owned()).chain(names)
        };
        match names[0].as_str() {
            "kvcache" if self.is_program => "crate".clone_into(&mut names[0]),
            "self" => drop(names.splice(..1, here(0))),
            "super" => {
                let up = names.iter().take_while(|name| *name == "super").count();
                names.splice(..up, here(up));
            }
            child if self.children.iter().any(|name| name == child) => {
                names.splice(..0, here(0).collect::<Vec<_>>());
            }
            _ => {}
        }
        names
    }
}

/// A tree of files that are not there.
#[cfg(test)]
pub(crate) fn tree(files: &[(&str, &str)]) -> Tree {
    let file = |&(path, text): &(&str, &str)| File { path: path.to_owned(), text: text.to_owned() };
    Tree::of(&files.iter().map(file).collect::<Vec<_>>())
}

#[test]
fn imports_of_every_form_are_seen() {
    let others = [
        ("src/lib.rs", "pub mod a;\nmod b;\nmod c;\nmod d;"),
        ("src/b.rs", "pub struct X;"),
        ("src/c.rs", "mod inner;\nmod deep;\npub use self::inner::Y;\nfn z() {}"),
        ("src/c/inner.rs", ""),
        ("src/c/deep.rs", ""),
        ("src/d.rs", ""),
    ];
    for (text, expected) in [
        ("use crate::b;", &["b"][..]),
        ("use crate::{b::{X, Z}, c::{deep::{A, B as C}, z}};", &["b", "c", "c::deep"]),
        ("use crate::{\n b, // crate::d\n};", &["b"]),
        ("fn f() { crate::b::g(x, crate::d::y()) }", &["b", "d"]),
        ("use super::b::X; mod tests { use super::super::d; use super::f; }", &["b", "d"]),
        ("use self::child::X; fn f() { child::g::<X>() }", &["a::child"]),
        ("use crate::c::Y;", &["c::inner"]),
        ("use crate::c; fn f(y: c::Y) {}", &["c", "c::inner"]),
        ("pub use child::X;", &[]),
        ("pub use child::X; fn f() -> X {}", &["a::child"]),
        ("const S: &str = \"crate::b\";", &[]),
    ] {
        let text = format!("mod child;\n{text}");
        let a = [("src/a.rs", text.as_str()), ("src/a/child.rs", "")];
        let edges = tree(&[&others[..], &a].concat()).edges();
        let found: Vec<String> = edges
            .iter()
            .filter(|(from, _)| from.join("::") == "a")
            .map(|(_, to)| to.join("::"))
            .collect();
        assert_eq!(found, expected, "{text}");
    }
}
