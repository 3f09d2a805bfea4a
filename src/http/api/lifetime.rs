//! How long things live: numbers of seconds in members, parameters and `Cache-Control`.

use crate::{
    config::{Config, TTL_MAX},
    http::{
        refusal::Refusal,
        request::{Field, Lines},
    },
};
use std::{num::NonZeroU64, time::Duration};

/// A time that a client may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    Ttl,
    /// `ttl` of a touch, where 0 means for ever.
    NewTtl,
    StaleTtl,
    Lease,
    MaxAge,
}

/// The answer where a client names something else than a time.
pub(super) fn bad(span: Span) -> Refusal {
    let (code, name, least) = match span {
        Span::Ttl => ("bad_ttl", "ttl", "above 0"),
        Span::NewTtl => ("bad_ttl", "ttl", "from 0, which is for ever,"),
        Span::StaleTtl => ("bad_stale_ttl", "stale_ttl", "above 0"),
        Span::Lease => ("bad_lease", "lease", "above 0"),
        Span::MaxAge => ("bad_ttl", "max-age", "above 0"),
    };
    let max = TTL_MAX.as_secs();
    let message = format!("`{name}` is a number of seconds {least} and at most {max} (ten years).");
    Refusal::new(400, code, message)
}

/// Milliseconds of a time above zero.
pub(super) fn millis(span: Span, seconds: f64) -> Result<NonZeroU64, Refusal> {
    if seconds > 0.0 && seconds <= TTL_MAX.as_secs_f64() {
        return Ok(whole_millis(Duration::from_secs_f64(seconds)));
    }
    Err(bad(span))
}

/// Rounded up, so that no time above zero becomes zero.
fn whole_millis(span: Duration) -> NonZeroU64 {
    let millis = u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    NonZeroU64::new(millis).unwrap_or(NonZeroU64::MIN)
}

/// The same of a parameter, if it is there.
pub(super) fn parameter(span: Span, text: Option<&[u8]>) -> Result<Option<NonZeroU64>, Refusal> {
    text.map(|text| millis(span, seconds(span, text)?)).transpose()
}

/// The new time to live that a touch must name; `None` is for ever.
pub(super) fn new_ttl(text: Option<&[u8]>) -> Result<Option<NonZeroU64>, Refusal> {
    match seconds(Span::NewTtl, text.unwrap_or_default())? {
        0.0 => Ok(None),
        above => millis(Span::NewTtl, above).map(Some),
    }
}

/// A number as in JSON.
fn seconds(span: Span, text: &[u8]) -> Result<f64, Refusal> {
    let is_bare = !text.iter().any(u8::is_ascii_whitespace);
    is_bare.then(|| serde_json::from_slice(text).ok()).flatten().ok_or_else(|| bad(span))
}

/// The time to live of a put that names none.
pub(super) fn default_ttl(config: &Config) -> Option<NonZeroU64> {
    config.default_ttl.map(whole_millis)
}

/// The first `max-age` of `Cache-Control` (RFC 9111, 5.2). No other directive of a request says
/// anything about what it puts.
pub(super) fn max_age(lines: Lines<'_>) -> Result<Option<NonZeroU64>, Refusal> {
    let argument = lines.members(Field::CacheControl).find_map(|directive| {
        let at = directive.iter().position(|&byte| byte == b'=').unwrap_or(directive.len());
        let (name, argument) = directive.split_at(at);
        name.eq_ignore_ascii_case(b"max-age").then_some(argument)
    });
    let Some(argument) = argument else { return Ok(None) };
    let digits = match argument {
        [b'=', b'"', digits @ .., b'"'] | [b'=', digits @ ..] => digits,
        _ => &[],
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(bad(Span::MaxAge));
    }
    let seconds = str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    millis(Span::MaxAge, seconds.ok_or_else(|| bad(Span::MaxAge))?).map(Some)
}

#[cfg(test)]
mod tests {
    use super::{Span, max_age, new_ttl, parameter};
    use crate::{config::Limits, http::request::parse_head};
    use std::{fmt::Write, num::NonZeroU64};

    const YEARS: &str = "315576000";

    #[test]
    fn seconds_are_numbers_as_in_json() {
        let read = |text: &str| parameter(Span::Ttl, Some(text.as_bytes()));
        let some = |millis| Ok(NonZeroU64::new(millis));
        assert_eq!(parameter(Span::Ttl, None), Ok(None));
        assert_eq!(read("1"), some(1000));
        assert_eq!(read("1.5"), some(1500));
        assert_eq!(read("0.00001"), some(1));
        assert_eq!(read("1e2"), some(100_000));
        assert_eq!(read(YEARS), some(315_576_000_000));
        for bad in [
            "",
            "0",
            "-1",
            "-0",
            "0.0",
            " 1",
            "1 ",
            "+1",
            "01",
            "1.",
            ".5",
            "0x1",
            "inf",
            "NaN",
            "1s",
            "1,5",
            "315576001",
            "1e400",
            "\"1\"",
            "null",
            "\u{661}",
        ] {
            assert_eq!(read(bad).unwrap_err().code, "bad_ttl", "{bad}");
        }
    }

    #[test]
    fn only_a_touch_takes_zero() {
        let read = |text: &str| new_ttl(Some(text.as_bytes()));
        assert_eq!(read("0"), Ok(None));
        assert_eq!(read("0.0"), Ok(None));
        assert_eq!(read("0.5"), Ok(NonZeroU64::new(500)));
        assert_eq!(new_ttl(None).unwrap_err().code, "bad_ttl");
        for bad in ["", "-1", "x", "315576001"] {
            assert_eq!(read(bad).unwrap_err().code, "bad_ttl", "{bad}");
        }
    }

    #[test]
    fn max_age_is_read_among_other_directives() {
        let read = |lines: &[&str]| {
            let mut head = "PUT / HTTP/1.1\r\nHost: h\r\n".to_owned();
            for line in lines {
                write!(head, "Cache-Control: {line}\r\n").unwrap();
            }
            head += "\r\n";
            max_age(parse_head(head.as_bytes(), &Limits::DEFAULT).unwrap().lines)
        };
        let some = |seconds: u64| Ok(NonZeroU64::new(seconds * 1000));
        for lines in [&[][..], &[""], &["no-cache, no-store"], &["s-maxage=5, max-agee=5"]] {
            assert_eq!(read(lines), Ok(None), "{lines:?}");
        }
        for lines in [
            &["max-age=5"][..],
            &["no-transform ,Max-Age=5 , max-age=6"],
            &["private", "max-age=\"5\""],
            &["max-age=0005"],
        ] {
            assert_eq!(read(lines), some(5), "{lines:?}");
        }
        assert_eq!(read(&[&format!("max-age={YEARS}")]), some(315_576_000));
        for lines in [
            "max-age",
            "max-age=",
            "max-age=0",
            "max-age=-1",
            "max-age=1.5",
            "max-age=5s",
            "max-age=\"5",
            "max-age= 5",
            "max-age=+5",
            "max-age=315576001",
            "max-age=99999999999999999999999",
        ] {
            assert_eq!(read(&[lines]).unwrap_err().code, "bad_ttl", "{lines}");
        }
    }
}
