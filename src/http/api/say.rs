//! What answers say of an entry beside its value.

use super::super::{
    form::Exchange,
    media::JSON,
    response::{Date, Response},
};
use crate::store::Lease;

/// Says that the key is not there, and who is to put it.
pub(super) fn write_absent(out: &mut Vec<u8>, exchange: Exchange, date: &Date, lease: Lease) {
    const BODY: &[u8] =
        b"{\"status\":\"ERROR\",\"message\":\"Key not found.\",\"code\":\"not_found\"}";
    let mut response = say_lease(Response::begin(out, exchange, date, 404), lease);
    if let Lease::Taken { left_ms } = lease {
        response = response.number("Retry-After: ", left_ms.get().div_ceil(1000));
    }
    response.text(JSON, BODY);
}

/// Says that the time to live of what follows is over, and who is to bring it up to date.
#[inline]
pub(super) fn say_stale(response: Response<'_>, stale: Option<Lease>) -> Response<'_> {
    match stale {
        None => response,
        Some(lease) => say_lease(response.lines("Kv-Stale: 1\r\n"), lease),
    }
}

pub(super) fn say_lease(response: Response<'_>, lease: Lease) -> Response<'_> {
    match lease {
        Lease::NotAsked => response,
        Lease::Granted => response.lines("Kv-Lease: granted\r\n"),
        Lease::Taken { .. } => response.lines("Kv-Lease: wait\r\n"),
    }
}
