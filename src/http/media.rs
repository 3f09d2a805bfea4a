//! Media types by name.

pub(super) const JSON: &str = "application/json";
