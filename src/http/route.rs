//! The paths of both listeners: what each is called in counters, who may ask it, and what the head
//! of a request alone decides.

use super::{
    media::JSON,
    refusal::Refusal,
    request::{Expect, Head, Method},
};
use crate::{auth::Access, metrics::Operation};

const ENTRY_ROOT: &[u8] = b"/kv/";

/// Which listener a connection came by, as far as it decides what there is to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    Data,
    Admin,
}

/// A known path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Get,
    Put,
    Mget,
    Mput,
    Mdelete,
    Invalidate,
    DeletePrefix,
    Flush,
    Snapshot,
    /// `/kv/{key}`.
    Entry,
    /// `/kv/{key}/incr`.
    Incr,
    /// `/kv/{key}/touch`.
    Touch,
    Health,
    Ready,
    Stats,
    Metrics,
    Latency,
    LatencyReset,
    Config,
    OpenApi,
    /// The live page.
    Page,
    Events,
    /// `OPTIONS *`.
    Server,
}

/// Which methods a route has beside OPTIONS.
enum Methods {
    Look,
    Act,
    Entry,
    /// None: the list is of what there is on any route.
    Server,
}

impl Route {
    /// The route of a path on a port.
    #[inline]
    #[must_use]
    pub(super) fn of(port: Port, path: &[u8]) -> Option<Self> {
        match port {
            Port::Data => Self::of_data(path),
            Port::Admin => Self::of_admin(path),
        }
    }

    #[inline]
    fn of_data(path: &[u8]) -> Option<Self> {
        match path {
            b"/get" => Some(Self::Get),
            b"/put" => Some(Self::Put),
            b"/mget" => Some(Self::Mget),
            b"/mput" => Some(Self::Mput),
            b"/mdelete" => Some(Self::Mdelete),
            b"/invalidate" => Some(Self::Invalidate),
            b"/healthz" => Some(Self::Health),
            b"*" => Some(Self::Server),
            _ => Self::of_entry(path),
        }
    }

    /// A key is one segment: a slash in it is written `%2F`.
    fn of_entry(path: &[u8]) -> Option<Self> {
        let mut segments = path.strip_prefix(ENTRY_ROOT)?.splitn(2, |&byte| byte == b'/');
        let _key = segments.next()?;
        match segments.next() {
            None => Some(Self::Entry),
            Some(b"incr") => Some(Self::Incr),
            Some(b"touch") => Some(Self::Touch),
            Some(_) => None,
        }
    }

    fn of_admin(path: &[u8]) -> Option<Self> {
        match path {
            b"/" => Some(Self::Page),
            b"/healthz" => Some(Self::Health),
            b"/readyz" => Some(Self::Ready),
            b"/stats" => Some(Self::Stats),
            b"/metrics" => Some(Self::Metrics),
            b"/latency" => Some(Self::Latency),
            b"/latency/reset" => Some(Self::LatencyReset),
            b"/events" => Some(Self::Events),
            b"/config" => Some(Self::Config),
            b"/openapi.json" => Some(Self::OpenApi),
            b"/invalidate" => Some(Self::Invalidate),
            b"/delete-prefix" => Some(Self::DeletePrefix),
            b"/flush" => Some(Self::Flush),
            b"/snapshot" => Some(Self::Snapshot),
            b"*" => Some(Self::Server),
            _ => None,
        }
    }

    /// The segment of the path that is the key, where there is one.
    #[must_use]
    pub(super) fn key_segment(path: &[u8]) -> &[u8] {
        let rest = path.strip_prefix(ENTRY_ROOT).unwrap_or_default();
        rest.split(|&byte| byte == b'/').next().unwrap_or_default()
    }

    fn methods(self) -> Methods {
        match self {
            Self::Get
            | Self::Health
            | Self::Ready
            | Self::Stats
            | Self::Metrics
            | Self::Latency
            | Self::Config
            | Self::OpenApi
            | Self::Page
            | Self::Events => Methods::Look,
            Self::Put
            | Self::Mget
            | Self::Mput
            | Self::Mdelete
            | Self::Invalidate
            | Self::DeletePrefix
            | Self::Flush
            | Self::LatencyReset
            | Self::Snapshot
            | Self::Incr
            | Self::Touch => Methods::Act,
            Self::Entry => Methods::Entry,
            Self::Server => Methods::Server,
        }
    }

    /// The field `Allow`.
    pub(super) fn allow(self) -> &'static str {
        match self.methods() {
            Methods::Look => "GET, HEAD, OPTIONS",
            Methods::Act => "POST, OPTIONS",
            Methods::Entry => "GET, HEAD, PUT, DELETE, OPTIONS",
            Methods::Server => "GET, HEAD, POST, PUT, DELETE, OPTIONS",
        }
    }

    fn has(self, method: Method) -> bool {
        use Method::{Delete, Get, Head, Options, Post, Put};
        match self.methods() {
            _ if method == Options => true,
            Methods::Look => matches!(method, Get | Head),
            Methods::Act => method == Post,
            Methods::Entry => matches!(method, Get | Head | Put | Delete),
            Methods::Server => false,
        }
    }

    /// Whether requests have a body of JSON.
    fn takes_json(self) -> bool {
        matches!(
            self,
            Self::Put
                | Self::Mget
                | Self::Mput
                | Self::Mdelete
                | Self::Invalidate
                | Self::DeletePrefix
        )
    }

    /// Whether the body of a request may hold what is put into the store.
    #[must_use]
    pub(super) fn stores(self) -> bool {
        matches!(self, Self::Put | Self::Mput | Self::Entry)
    }
}

/// What a request needs on a port. On the admin listener to look is free, but for where keys are
/// told.
#[must_use]
pub(super) fn access(port: Port, route: Option<Route>, method: Method) -> Access {
    let is_look = matches!(method, Method::Get | Method::Head);
    let is_free = is_look || method == Method::Options;
    match (port, route) {
        (Port::Admin, Some(Route::Events)) if is_look => Access::Read,
        (Port::Admin, _) if is_free => Access::Open,
        (Port::Data, Some(Route::Health)) => Access::Open,
        (Port::Data, _) if is_free => Access::Read,
        // To read takes a POST where there are many keys.
        (Port::Data, None | Some(Route::Mget)) => Access::Read,
        _ => Access::Write,
    }
}

/// What a request counts as.
#[inline]
#[must_use]
pub(super) fn operation(route: Option<Route>, method: Method) -> Operation {
    let Some(route) = route else { return Operation::Other };
    match route {
        Route::Entry if method == Method::Put => Operation::Put,
        Route::Entry if method == Method::Delete => Operation::Delete,
        Route::Get | Route::Entry => Operation::Get,
        Route::Put => Operation::Put,
        Route::Mget => Operation::Mget,
        Route::Mput => Operation::Mput,
        Route::Mdelete => Operation::Mdelete,
        Route::Invalidate => Operation::Invalidate,
        Route::Incr => Operation::Incr,
        Route::Touch => Operation::Touch,
        Route::Health | Route::Ready => Operation::Health,
        Route::DeletePrefix
        | Route::Flush
        | Route::Snapshot
        | Route::Stats
        | Route::Metrics
        | Route::Latency
        | Route::LatencyReset
        | Route::Config
        | Route::OpenApi
        | Route::Page
        | Route::Events => Operation::Admin,
        Route::Server => Operation::Other,
    }
}

/// What the head alone decides on every route, so that a body need not be sent for nothing.
#[inline]
pub(super) fn check(head: &Head<'_>, route: Option<Route>) -> Result<Route, Refusal> {
    if matches!(head.method, Method::Unknown | Method::Connect) {
        return Err(Refusal::new(501, "not_implemented", "This method is not known here."));
    }
    if head.expect == Expect::Unknown {
        return Err(Refusal::new(417, "expectation_failed", "Only 100-continue can be expected."));
    }
    let Some(route) = route else {
        return Err(Refusal::new(404, "no_such_route", "There is nothing at this path."));
    };
    if !route.has(head.method) {
        let message = format!("This path takes {}.", route.allow());
        return Err(Refusal::new(405, "method_not_allowed", message).allowing(route.allow()));
    }
    if head.content_encoding.is_some() {
        let message = "A body is taken as it is: the only Content-Encoding is identity.";
        return Err(Refusal::new(415, "unsupported_content_encoding", message));
    }
    if route.takes_json() && !head.content_type.is_none_or(is_json) {
        let message = "The body is application/json.";
        return Err(Refusal::new(415, "unsupported_media_type", message));
    }
    Ok(route)
}

fn is_json(content_type: &[u8]) -> bool {
    let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(JSON.as_bytes())
}
