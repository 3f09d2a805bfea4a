//! Requests for the key-value routes.

use super::{
    super::{
        form::{BatchKind, Form, Http, Shape},
        reader::Request,
        refusal::Refusal,
        request::{Head, Method},
        route::{self, Route},
    },
    batch, json,
    key::check_key,
    kv,
    lifetime::{self, Span},
    put::put_command,
    query, tags,
    value::pin_above,
};
use crate::{
    config::Config,
    protocol::{About, Ask, Command},
    query::Query,
    store::{Read, Verb},
};
use std::borrow::Cow;

/// Everything that the head alone decides, so that a body need not be sent for nothing.
#[inline]
pub(in crate::http) fn admit(
    head: &Head<'_>,
    route: Option<Route>,
    config: &Config,
) -> Result<Route, Refusal> {
    let route = route::check(head, route)?;
    if route == Route::Entry {
        kv::admit(head, config)?;
    }
    Ok(route)
}

/// Reads an admitted request for one of our routes.
#[inline]
pub(in crate::http) fn read<'a>(
    request: &Request<'a>,
    route: Route,
    form: &mut Form,
    about: &About<'_, Http>,
) -> Result<Ask<'a, Http>, Refusal> {
    let (config, hasher) = (about.config, about.hasher);
    match route {
        Route::Get => read_get(&request.head, form, config),
        Route::Put => {
            form.shape = Shape::Put;
            Ok(Ask::Call(put_command(json::put_body(request.body)?, config, hasher)?))
        }
        Route::Mget | Route::Mput | Route::Mdelete => {
            let kind = match route {
                Route::Mget => BatchKind::Get,
                Route::Mput => BatchKind::Put,
                _ => BatchKind::Delete,
            };
            form.shape = Shape::Batch(kind);
            Ok(Ask::Batch(batch::read(kind, request.body, config, hasher)?))
        }
        Route::Invalidate => {
            form.shape = Shape::Done;
            let tag = json::query_body(request.body)?.tag;
            let tag = tag.ok_or_else(|| json::missing("missing_tag", "a string member `tag`"))?;
            Ok(Ask::Broadcast(Query::Invalidate { tag: tags::hash(tag.as_bytes(), hasher)? }))
        }
        _ => kv::read(request, route, form, about),
    }
}

#[inline]
fn read_get<'a>(
    head: &Head<'a>,
    form: &mut Form,
    config: &Config,
) -> Result<Ask<'a, Http>, Refusal> {
    form.shape = Shape::Get;
    let (key, lease) = if let Some(key) = query::plain_key(head.query) {
        (Cow::Borrowed(key), None)
    } else {
        let [key, lease] = query::parameters(head.query, ["key", "lease"])?;
        let key = key.ok_or_else(query::missing_key)?;
        query::check_text(&key)?;
        (key, lease)
    };
    check_key(&key, config)?;
    let lease_ms = lifetime::parameter(Span::Lease, lease.as_deref())?;
    let verb = match head.method {
        Method::Head => Verb::peek(),
        _ if lease_ms.is_some() => Verb::Read(Read { lease_ms, ..Read::VALUE }),
        _ => {
            let pin_above = pin_above(form.exchange, config);
            Verb::Read(Read { pin_above, ..Read::VALUE })
        }
    };
    Ok(Ask::Call(Command { key, verb, wants_text: true }))
}
