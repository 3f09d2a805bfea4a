//! Who may do what: the tokens of `--auth-token-file`, and what one of them gives. How a client
//! brings a token is its protocol's.
//!
//! One token a line, after `read` or `write` where it may not do everything; empty lines and lines
//! that begin with `#` do not count. A token is written as RFC 6750 has it (section 2.1).
//!
//! Tokens are compared in full width and each with all, so that the time it takes tells nothing
//! about them. They are not hashed: a fixed width does the same with less.

use std::{fmt, fs, path::Path};
use subtle::{Choice, ConstantTimeEq};

/// The longest token.
const TOKEN_BYTES_MAX: usize = 256;
/// Tokens of one file. Each costs every request a comparison.
const TOKENS_MAX: usize = 64;

/// What a request needs, or a token gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Nobody is asked.
    Open,
    Read,
    Write,
}

/// A token and what it gives. Zeros fill it up; no token holds one.
#[derive(Clone)]
struct Token {
    text: [u8; TOKEN_BYTES_MAX],
    access: Access,
}

/// All tokens that are in force.
#[derive(Clone)]
pub struct Tokens(Vec<Token>);

/// Tokens are never shown.
impl fmt::Debug for Tokens {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} tokens", self.0.len())
    }
}

impl Tokens {
    /// The tokens of a file. The error is one line that names the file and the line.
    pub fn read(file: &Path) -> Result<Self, String> {
        let name = file.display();
        let bytes = fs::read(file).map_err(|error| format!("cannot read {name}: {error}"))?;
        Self::parse(&bytes).map_err(|error| format!("{name}: {error}"))
    }

    /// The tokens of the text of a file. The error names the line.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let mut tokens = Vec::new();
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let (scope, text) = match line.iter().position(u8::is_ascii_whitespace) {
                Some(at) => line.split_at(at),
                None => (&b"write"[..], line),
            };
            let access = match scope {
                b"read" => Some(Access::Read),
                b"write" => Some(Access::Write),
                _ => None,
            };
            let (access, text) = access.zip(padded(text.trim_ascii())).ok_or_else(|| {
                let (number, max) = (index + 1, TOKEN_BYTES_MAX);
                format!("line {number}: not a token of at most {max} letters, digits and -._~+/")
            })?;
            if tokens.len() == TOKENS_MAX {
                return Err(format!("line {}: there are more than {TOKENS_MAX} tokens", index + 1));
            }
            tokens.push(Token { text, access });
        }
        if tokens.is_empty() {
            return Err("it holds no token".to_owned());
        }
        Ok(Self(tokens))
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// What this token gives; `None` where it is none of ours.
    #[must_use]
    pub fn judge(&self, token: &[u8]) -> Option<Access> {
        let text = padded(token)?;
        let (mut may_read, mut may_write) = (Choice::from(0), Choice::from(0));
        for token in &self.0 {
            let is_it = token.text.ct_eq(&text);
            may_read |= is_it;
            may_write |= is_it & Choice::from(u8::from(token.access == Access::Write));
        }
        if may_write.into() {
            Some(Access::Write)
        } else {
            bool::from(may_read).then_some(Access::Read)
        }
    }
}

/// A well-formed token in full width.
fn padded(text: &[u8]) -> Option<[u8; TOKEN_BYTES_MAX]> {
    let is_body = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
    let body = text.iter().position(|byte| !is_body(byte)).unwrap_or(text.len());
    if body == 0 || !text[body..].iter().all(|&byte| byte == b'=') {
        return None;
    }
    let mut token = [0; TOKEN_BYTES_MAX];
    token.get_mut(..text.len())?.copy_from_slice(text);
    Some(token)
}

#[cfg(test)]
mod tests {
    use super::{Access, TOKEN_BYTES_MAX, TOKENS_MAX, Tokens};

    fn judged(file: &str, token: &str) -> Option<Access> {
        Tokens::parse(file.as_bytes()).unwrap().judge(token.as_bytes())
    }

    #[test]
    fn tokens_give_what_their_line_says() {
        let file =
            "# the first\r\nread abc\r\n\r\n  write\t x-._~+/y== \nreadonly\nread abcd\nabcd";
        for (token, access) in [
            ("abc", Some(Access::Read)),
            ("x-._~+/y==", Some(Access::Write)),
            ("readonly", Some(Access::Write)),
            ("abcd", Some(Access::Write)),
            ("abc=", None),
            ("ab", None),
            ("ABC", None),
            ("x-._~+/y=", None),
            ("", None),
            ("abc\0", None),
            ("#", None),
            ("read", None),
        ] {
            assert_eq!(judged(file, token), access, "{token}");
        }
        let longest = "a".repeat(TOKEN_BYTES_MAX);
        assert_eq!(judged(&longest, &longest), Some(Access::Write));
        assert_eq!(judged(&longest, &(longest.clone() + "a")), None);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_named_by_its_line() {
        let error = |file: &str| Tokens::parse(file.as_bytes()).unwrap_err();
        for (file, line) in [
            ("a\n\nb c\n", "line 3: "),
            ("a\nread b c", "line 2: "),
            ("sécret", "line 1: "),
            ("write =", "line 1: "),
            ("a=b", "line 1: "),
            (&"a".repeat(TOKEN_BYTES_MAX + 1), "line 1: "),
        ] {
            let said = error(file);
            assert!(said.starts_with(line) && !said.contains("cret"), "{said}");
        }
        assert_eq!(error("# nothing\n\n"), "it holds no token");
        let many: Vec<String> = (0..=TOKENS_MAX).map(|number| format!("token{number}")).collect();
        assert_eq!(error(&many.join("\n")), "line 65: there are more than 64 tokens");
    }

    #[test]
    fn no_token_is_ever_shown() {
        assert_eq!(format!("{:?}", Tokens::parse(b"secret\nread b").unwrap()), "2 tokens");
    }
}
