//! Bytes on their way through a protocol's reader: those of earlier reads and of this one.

/// What has arrived and is not read yet.
#[derive(Debug)]
pub struct Input<'a> {
    kept: Vec<u8>,
    fresh: &'a [u8],
    consumed: usize,
    more: bool,
}

impl<'a> Input<'a> {
    /// Joins what was kept with what was read; `more` if the socket may hold further bytes.
    #[must_use]
    pub fn new(mut kept: Vec<u8>, fresh: &'a [u8], more: bool) -> Self {
        if !kept.is_empty() {
            kept.extend_from_slice(fresh);
        }
        Self { kept, fresh, consumed: 0, more }
    }

    /// The bytes that belong to no request yet, and what takes them.
    #[inline]
    pub fn unread(&mut self) -> (&[u8], Cursor<'_>) {
        let bytes: &[u8] = if self.kept.is_empty() { self.fresh } else { &self.kept };
        let end = bytes.len();
        let bytes = &bytes[self.consumed..];
        (bytes, Cursor { consumed: &mut self.consumed, end, more: self.more })
    }

    /// Whether every byte belongs to a request that was taken.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        let bytes = if self.kept.is_empty() { self.fresh.len() } else { self.kept.len() };
        self.consumed == bytes
    }

    /// Whether the socket may hold further bytes.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.more
    }

    /// What is to be kept until more arrives.
    #[must_use]
    pub fn into_kept(self) -> Vec<u8> {
        let Self { mut kept, fresh, consumed, .. } = self;
        if kept.is_empty() {
            kept.extend_from_slice(&fresh[consumed..]);
        } else if consumed == kept.len() {
            return Vec::new();
        } else {
            kept.drain(..consumed);
        }
        kept
    }
}

/// Takes bytes of an [`Input`].
#[derive(Debug)]
pub struct Cursor<'a> {
    consumed: &'a mut usize,
    end: usize,
    more: bool,
}

impl Cursor<'_> {
    /// So many bytes belong to what was read.
    #[inline]
    pub fn take(&mut self, bytes: usize) {
        *self.consumed += bytes;
    }

    /// Whether all that has arrived is taken.
    #[inline]
    #[must_use]
    pub fn is_spent(&self) -> bool {
        *self.consumed == self.end
    }

    /// Whether nothing that has arrived, or may lie in the socket, stands behind what was taken.
    #[inline]
    #[must_use]
    pub fn is_last(&self) -> bool {
        !self.more && self.is_spent()
    }
}

/// What a connection waits for from its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The first byte of a request.
    Request,
    /// The rest of a request up to its body.
    Head,
    Body(BodySize),
}

/// How long the body is that is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodySize {
    /// As declared, else as it has arrived.
    pub bytes: usize,
    /// As declared, else what it may have.
    pub bytes_max: usize,
}

impl Awaited {
    /// Whether both are the same part of a request.
    pub(super) fn is_like(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}
