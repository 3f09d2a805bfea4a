//! What must hold of entries that are linked in a list.

use super::arena::{NIL, Ref};
use std::collections::HashSet;

/// Walks a doubly linked list; returns its length.
pub(super) fn walk(
    entries: &HashSet<Ref>,
    first: Ref,
    before: Ref,
    links: impl Fn(Ref) -> (Ref, Ref),
) -> (usize, Ref) {
    let (mut count, mut prev, mut at) = (0, before, first);
    while at != NIL {
        assert!(entries.contains(&at), "linked and not indexed: {at}");
        let (back, next) = links(at);
        assert_eq!(back, prev);
        count += 1;
        (prev, at) = (at, next);
    }
    (count, prev)
}
