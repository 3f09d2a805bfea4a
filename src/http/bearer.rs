//! Bearer tokens in the Authorization header (RFC 6750, 2.1), and what is said without a good one.

use super::{
    request::{Field, Lines},
    response::Problem,
};
use crate::auth::{Access, Tokens};

/// Whether the fields of a request bring a token that gives `needed`.
pub fn admit(tokens: &Tokens, fields: Lines<'_>, needed: Access) -> Result<(), Problem> {
    if needed == Access::Open {
        return Ok(());
    }
    let token = fields.values(Field::Authorization).find_map(bearer);
    match token.and_then(|token| tokens.judge(token)) {
        Some(given) if given >= needed => Ok(()),
        Some(_) => Err(Problem::new(403, "forbidden", "This token may read only.")),
        None => {
            let message = "This needs one of the server's tokens: Authorization: Bearer ...";
            Err(Problem::new(401, "unauthorized", message))
        }
    }
}

/// The token of a field's value. The scheme is known in any case (RFC 9110, 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii_start())
}

#[cfg(test)]
mod tests {
    use super::bearer;

    #[test]
    fn the_scheme_is_bearer() {
        for (value, token) in [
            ("Bearer abc", Some("abc")),
            ("bEARER   abc", Some("abc")),
            ("Bearer", None),
            ("Bearer\tabc", None),
            ("Basic abc", None),
            ("abc", None),
        ] {
            assert_eq!(bearer(value.as_bytes()), token.map(str::as_bytes), "{value}");
        }
    }
}
