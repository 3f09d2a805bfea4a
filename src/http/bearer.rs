//! The token that a request brings: `Authorization: Bearer TOKEN` (RFC 6750, 2.1).

use super::request::{Field, Lines};

/// The token of a request, if it brings one.
#[inline]
pub(super) fn bearer(fields: Lines<'_>) -> Option<&[u8]> {
    if !fields.has(Field::Authorization) {
        return None;
    }
    fields.values(Field::Authorization).find_map(token)
}

/// The token of a field's value. The scheme is known in any case (RFC 9110, 11.1).
fn token(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii_start())
}

#[cfg(test)]
mod tests {
    use super::token;

    #[test]
    fn the_scheme_is_bearer() {
        for (value, expected) in [
            ("Bearer abc", Some("abc")),
            ("bEARER   abc", Some("abc")),
            ("Bearer", None),
            ("Bearer\tabc", None),
            ("Basic abc", None),
            ("abc", None),
        ] {
            assert_eq!(token(value.as_bytes()), expected.map(str::as_bytes), "{value}");
        }
    }
}
