//! Imports go one way: down the list of modules in lib.rs, down the list in each folder's parent,
//! and never in a circle.

use super::imports::{Tree, tree};
use std::collections::BTreeSet;

type Module = Vec<String>;
type Edge = (Module, Module);

/// Imports that go up the list of their folder. This list may only shrink.
const UP: &[(&str, &str)] = &[];

/// Imports that close a circle of files. This list may only shrink.
const CIRCLES: &[(&str, &str)] = &[];

fn edge((from, to): (&str, &str)) -> Edge {
    let module = |name: &str| name.split("::").map(str::to_owned).collect();
    (module(from), module(to))
}

fn shown<'a>(edges: impl IntoIterator<Item = &'a Edge>) -> String {
    let lines = edges
        .into_iter()
        .map(|(from, to)| format!("    (\"{}\", \"{}\"),\n", from.join("::"), to.join("::")));
    lines.collect()
}

/// The imports between two children of one module, at whatever depth, of which the second is not
/// below the first. Tests stand above all. Who is inside of whom has no order: what children need
/// of their parent stands in the parent's file.
fn upward(tree: &Tree) -> BTreeSet<Edge> {
    let is_upward = |(from, to): &Edge| {
        let common = from.iter().zip(to).take_while(|(one, other)| one == other).count();
        let (Some(one), Some(other)) = (from.get(common), to.get(common)) else { return false };
        // The program stands above the whole library.
        let list = tree.children(&from[..common]);
        let place = |name| list.iter().position(|listed| listed == name);
        !from.iter().any(|name| name == "tests") && place(one) > place(other)
    };
    tree.edges().into_iter().filter(is_upward).collect()
}

#[test]
fn imports_go_down_the_lists_of_modules() {
    let up = upward(&super::tree_of_sources());
    let allowed: BTreeSet<Edge> = UP.iter().copied().map(edge).collect();
    let new: Vec<&Edge> = up.difference(&allowed).collect();
    assert!(new.is_empty(), "what is imported has to be declared below:\n{}", shown(new));
    let gone: Vec<&Edge> = allowed.difference(&up).collect();
    assert!(gone.is_empty(), "no longer up, so strike out:\n{}", shown(gone));
}

/// Who can reach whom.
fn reach(edges: &BTreeSet<Edge>, from: &Module, to: &Module) -> bool {
    let mut reached = BTreeSet::from([from]);
    let mut new = vec![from];
    while let Some(module) = new.pop() {
        let next = edges.iter().filter(|(from, _)| from == module).map(|(_, to)| to);
        new.extend(next.filter(|to| reached.insert(to)));
    }
    reached.contains(to)
}

/// The imports from which one comes back to where one was.
fn circular(edges: &BTreeSet<Edge>) -> Vec<&Edge> {
    edges.iter().filter(|(from, to)| reach(edges, to, from)).collect()
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut edges = super::tree_of_sources().edges();
    let allowed: BTreeSet<Edge> = CIRCLES.iter().copied().map(edge).collect();
    edges.retain(|edge| !allowed.contains(edge));
    let circles = circular(&edges);
    assert!(circles.is_empty(), "these imports make circles of files:\n{}", shown(circles));
    let all = super::tree_of_sources().edges();
    for edge @ (from, to) in &allowed {
        let is_needed = all.contains(edge) && reach(&edges, to, from);
        assert!(is_needed, "no longer in a circle, so strike out:\n{}", shown([edge]));
    }
}

#[test]
fn an_import_that_goes_up_is_found() {
    let parent = ("src/a.rs", "mod one;\nmod two;\nfn f() { one::x() }");
    let list = ("src/lib.rs", "pub mod a;\nmod b;");
    let up = |one: &str, two: &str, b: &str| {
        let children = [("src/a/one.rs", one), ("src/a/two.rs", two), ("src/b.rs", b)];
        let files = [&[parent, list][..], &children].concat();
        shown(&upward(&tree(&files))).split_whitespace().collect::<String>()
    };
    assert_eq!(up("use super::{X, two};\nuse crate::b;", "use super::X;", ""), "");
    assert_eq!(up("", "use super::one;", ""), r#"("a::two","a::one"),"#);
    assert_eq!(up("", "", "use crate::a::Y;"), r#"("b","a"),"#);
    assert_eq!(up("", "", "fn f() { crate::a::one::g() }"), r#"("b","a::one"),"#);
}

#[test]
fn a_circle_is_found() {
    let list = ("src/lib.rs", "pub mod a;\nmod b;");
    let circle = |a: &str, one: &str, two: &str| {
        let a = format!("mod one;\nmod two;\n{a}");
        let files = [("src/a.rs", &*a), ("src/a/one.rs", one), ("src/a/two.rs", two)];
        let files = [&files[..], &[list, ("src/b.rs", "")]].concat();
        circular(&tree(&files).edges()).len()
    };
    assert_eq!(circle("use one::X; pub use two::Y;", "use super::Y;", "use crate::b;"), 0);
    assert_eq!(circle("pub use one::X;", "use super::Z;", ""), 0);
    assert_eq!(circle("use one::X;", "use super::Z;", ""), 2);
    assert_eq!(circle("", "use super::two::X;", "use super::one::X;"), 2);
    assert_eq!(circle("use one::X;", "use super::two::Y;", "use super::Z;"), 3);
}
