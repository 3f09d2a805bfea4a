//! Fields that few answers depend on: noted where the head is read, found again where one is asked
//! for, so that a request without them pays nothing.

/// A field that is not read until somebody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    IfMatch,
    IfNoneMatch,
    CacheControl,
    AcceptEncoding,
    Authorization,
    KvTags,
}

impl Field {
    #[inline]
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        // Names of known length compare fast.
        match name.len() {
            7 if name.eq_ignore_ascii_case(b"kv-tags") => Some(Self::KvTags),
            8 if name.eq_ignore_ascii_case(b"if-match") => Some(Self::IfMatch),
            13 if name.eq_ignore_ascii_case(b"if-none-match") => Some(Self::IfNoneMatch),
            13 if name.eq_ignore_ascii_case(b"cache-control") => Some(Self::CacheControl),
            13 if name.eq_ignore_ascii_case(b"authorization") => Some(Self::Authorization),
            15 if name.eq_ignore_ascii_case(b"accept-encoding") => Some(Self::AcceptEncoding),
            _ => None,
        }
    }

    fn name(self) -> &'static [u8] {
        match self {
            Self::IfMatch => b"if-match",
            Self::IfNoneMatch => b"if-none-match",
            Self::CacheControl => b"cache-control",
            Self::AcceptEncoding => b"accept-encoding",
            Self::Authorization => b"authorization",
            Self::KvTags => b"kv-tags",
        }
    }
}

/// The field lines of a head, and which [`Field`]s stand in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines<'a> {
    bytes: &'a [u8],
    /// One bit for each.
    seen: u8,
}

impl<'a> Lines<'a> {
    /// `bytes` are lines that were found to be fields.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, seen: 0 }
    }

    #[inline]
    pub(super) fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The same fields on lines that are the same.
    #[inline]
    pub(super) fn on(self, bytes: &[u8]) -> Lines<'_> {
        Lines { bytes, seen: self.seen }
    }

    /// Notes that a line holds the field. Returns whether it is the first that does.
    #[inline]
    pub(super) fn note(&mut self, field: Field) -> bool {
        let is_first = !self.has(field);
        self.seen |= 1 << field as u8;
        is_first
    }

    #[inline]
    #[must_use]
    pub fn has(self, field: Field) -> bool {
        self.seen & 1 << field as u8 != 0
    }

    /// The field's value on each line that holds it, in order.
    pub fn values(self, field: Field) -> impl Iterator<Item = &'a [u8]> {
        let bytes = if self.has(field) { self.bytes } else { &[] };
        bytes.split(|&byte| byte == b'\n').filter_map(move |line| {
            let (name, value) = line.split_at_checked(field.name().len())?;
            let value = value.strip_prefix(b":")?;
            name.eq_ignore_ascii_case(field.name()).then(|| value.trim_ascii())
        })
    }

    /// The members of the comma-separated list that the lines amount to (RFC 9110, 5.6.1): without
    /// the white space around them and without those that are empty. No member holds a comma.
    pub fn members(self, field: Field) -> impl Iterator<Item = &'a [u8]> {
        self.values(field)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|member| !member.is_empty())
    }
}
