//! `If-Match` and `If-None-Match`: from entity tags to versions.

use super::super::{
    etag::{self, List, Listed},
    refusal::Refusal,
    request::{Field, Head, Method},
};
use crate::store::{Condition, Versions};
use std::borrow::Cow;

/// What a request demands of the entry.
#[derive(Debug)]
pub(super) struct Demand<'a> {
    pub(super) condition: Condition<Cow<'a, [u8]>>,
    /// The versions of `If-None-Match` are known to the client in their compressed form.
    pub(super) knows_coded: bool,
}

/// Reads what the head demands. Comparison is strong for `If-Match` and weak for `If-None-Match`;
/// to a change of the entry all forms of a version are the same.
pub(super) fn demand<'a>(head: &Head<'_>, accepts_gzip: bool) -> Result<Demand<'a>, Refusal> {
    let mut demand = Demand { condition: Condition::NONE, knows_coded: false };
    let list = |field| {
        etag::list(head.lines, field).map_err(|etag::Malformed| {
            let name = if field == Field::IfMatch { "If-Match" } else { "If-None-Match" };
            let message = format!("{name} is neither * nor a list of entity tags.");
            Refusal::new(400, "bad_entity_tag", message)
        })
    };
    demand.condition.matches = list(Field::IfMatch)?.map(|mut list| {
        if let List::Of(tags) = &mut list {
            tags.retain(|listed| !listed.is_weak);
        }
        versions(&list)
    });
    if let Some(mut list) = list(Field::IfNoneMatch)? {
        if let List::Of(tags) = &mut list
            && matches!(head.method, Method::Get | Method::Head)
        {
            demand.knows_coded = keep_one_form(tags, accepts_gzip);
        }
        demand.condition.none_match = Some(versions(&list));
    }
    Ok(demand)
}

/// A 304 names the form that it speaks of, so a reader's list is cut down to one: that which would
/// be sent, if it is there. Returns whether that is the compressed one.
fn keep_one_form(tags: &mut Vec<Listed>, accepts_gzip: bool) -> bool {
    let has = |is_coded| tags.iter().any(|listed| listed.tag.is_coded == is_coded);
    let coded = has(true) && (!has(false) || accepts_gzip);
    tags.retain(|listed| listed.tag.is_coded == coded);
    coded
}

fn versions<'a>(list: &List) -> Versions<Cow<'a, [u8]>> {
    match list {
        List::Any => Versions::Any,
        List::Of(tags) => {
            Versions::Listed(tags.iter().flat_map(|it| it.tag.version.to_le_bytes()).collect())
        }
    }
}
