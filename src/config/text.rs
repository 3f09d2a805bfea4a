//! The texts of values, read and written. An error says what is wrong and what would be right.

use super::{
    effective::AdminAddress,
    limits::{KIB, MIB},
};
use bytesize::ByteSize;
use std::{net::SocketAddr, path::PathBuf, str::FromStr as _, time::Duration};

/// The longest path of a socket file; the kernel's bound.
const SOCKET_PATH_BYTES_MAX: usize = 107;

pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not an address such as 0.0.0.0:7171 or [::]:7171"))
}

pub(super) fn admin_address(text: &str) -> Result<AdminAddress, String> {
    let Some(path) = text.strip_prefix("unix:") else { return address(text).map(Into::into) };
    if path.len() > SOCKET_PATH_BYTES_MAX {
        let length = path.len();
        return Err(format!("the path has {length} bytes; at most {SOCKET_PATH_BYTES_MAX} go"));
    }
    Ok(AdminAddress::Unix(file_name(path)?))
}

/// `None` of `none`.
pub(crate) fn file(text: &str) -> Result<Option<PathBuf>, String> {
    if text == "none" { Ok(None) } else { file_name(text).map(Some) }
}

fn file_name(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("a file has a name".to_owned()),
        _ if text.contains(char::is_control) => {
            Err("a control character in the name of the file".to_owned())
        }
        _ => Ok(text.into()),
    }
}

/// The one that a name stands for.
pub(crate) fn choice<T: Copy>(text: &str, names: &[(&str, T)]) -> Result<T, String> {
    let known = names.iter().find(|(name, _)| *name == text);
    known.map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        format!("{text:?} is none of {}", names.join(", "))
    })
}

pub(super) fn name_of<T: PartialEq + Copy>(choice: T, names: &[(&str, T)]) -> String {
    let known = names.iter().find(|(_, named)| *named == choice);
    known.expect("every choice has a name").0.to_owned()
}

/// A number that is too large to hold is as large as can be: it is above every maximum.
fn whole(text: &str) -> Option<usize> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(usize::MAX))
}

pub(crate) fn count(text: &str, min: usize, max: usize) -> Result<usize, String> {
    let number =
        whole(text).ok_or_else(|| format!("{text:?} is not a whole number from {min} to {max}"))?;
    within(text, number, min, max, |bound| bound.to_string())
}

fn size(text: &str) -> Option<usize> {
    let size = ByteSize::from_str(text).ok()?;
    Some(usize::try_from(size.as_u64()).unwrap_or(usize::MAX))
}

pub(crate) fn bytes(text: &str, min: usize, max: usize) -> Result<usize, String> {
    let number = size(text).ok_or_else(|| {
        let (min, max) = (size_text(min), size_text(max));
        format!("{text:?} is not a size from {min} to {max}, such as 512 or 16KiB")
    })?;
    within(text, number, min, max, size_text)
}

pub(crate) fn span(text: &str, min: Duration, max: Duration) -> Result<Duration, String> {
    let span = humantime::parse_duration(text).map_err(|_| {
        let (min, max) = (span_text(min), span_text(max));
        format!("{text:?} is not a time from {min} to {max}, such as 500ms or 2s")
    })?;
    within(text, span, min, max, span_text)
}

/// A size, or so many percent of `whole_bytes`.
pub(super) fn part_of(whole_bytes: usize, text: &str, min: usize) -> Result<usize, String> {
    let not_a_size =
        || format!("{text:?} is not a size such as 1200MiB or 1.2GB, nor a part such as 60%");
    let number = if let Some(percent) = text.strip_suffix('%') {
        let percent = whole(percent).ok_or_else(not_a_size)?;
        let percent = within(text, percent, 1, 100, |bound| format!("{bound}%"))?;
        whole_bytes / 100 * percent
    } else {
        size(text).ok_or_else(not_a_size)?
    };
    within(text, number, min, whole_bytes, size_text)
}

fn within<T: PartialOrd + Copy>(
    text: &str,
    value: T,
    min: T,
    max: T,
    show: impl Fn(T) -> String,
) -> Result<T, String> {
    if value < min {
        return Err(format!("{text} is below the minimum of {}", show(min)));
    }
    if value > max {
        return Err(format!("{text} is above the maximum of {}", show(max)));
    }
    Ok(value)
}

/// The shortest exact form.
pub(super) fn size_text(bytes: usize) -> String {
    [(1 << 30, "GiB"), (MIB, "MiB"), (KIB, "KiB")]
        .into_iter()
        .find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit))
        .map_or_else(|| bytes.to_string(), |(unit, name)| format!("{}{name}", bytes / unit))
}

pub(super) fn span_text(span: Duration) -> String {
    humantime::format_duration(span).to_string()
}
