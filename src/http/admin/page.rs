//! The live page: one file that asks `/stats` and `/latency` once a second and draws what they say.

use super::super::{
    form::Exchange,
    response::{Date, Response},
};

const PAGE: &str = include_str!("page.html");

/// It runs no script and no style but its own, which are told by the SHA-256 of their text, and
/// asks nobody but this server.
const HEADERS: &str = "Cache-Control: no-store\r\n\
    X-Content-Type-Options: nosniff\r\n\
    Referrer-Policy: no-referrer\r\n\
    Content-Security-Policy: default-src 'none'; connect-src 'self'; img-src data:; \
    style-src 'sha256-g/amVvS6KwnmMJpufuO0WTS8t6+KC3kVxCcobNaYMZw='; \
    script-src 'sha256-rnfulhHbb5+mtMerDfqUNdQyEN5IfUgEG5U0VIwOuqI='; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n";

/// Writes the page.
pub fn write(out: &mut Vec<u8>, exchange: Exchange, date: &Date) {
    let response = Response::begin(out, exchange, date, 200).lines(HEADERS);
    response.text("text/html; charset=utf-8", PAGE.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::{HEADERS, PAGE};
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use sha2::{Digest as _, Sha256};

    /// What stands between `<name>` and `</name>`, which the page has once.
    fn inside(name: &str) -> &'static str {
        let parts: Vec<&str> = PAGE.split(&format!("<{name}>")).collect();
        assert_eq!(parts.len(), 2, "one <{name}>, without attributes");
        parts[1].split_once(&format!("</{name}>")).unwrap().0
    }

    #[test]
    fn the_policy_lets_the_page_s_own_style_and_script_run() {
        for name in ["style", "script"] {
            let hash = STANDARD.encode(Sha256::digest(inside(name)));
            let source = format!("{name}-src 'sha256-{hash}';");
            assert!(HEADERS.contains(&source), "the policy is to have {source}");
        }
    }

    #[test]
    fn the_page_asks_for_nothing_from_elsewhere() {
        let namespace = "http://www.w3.org/2000/svg";
        assert_eq!(PAGE.matches("://").count(), PAGE.matches(namespace).count());
        for outside in ["@import", "src=", "url(", "\"//", "innerHTML", "style=\""] {
            assert!(!PAGE.contains(outside), "{outside}");
        }
    }
}
