//! A place in a buffer, which stands for the bytes there.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    length: u32,
}

impl Span {
    /// Appends `data` to a buffer, whose bounds are far below 4 GiB.
    #[inline]
    pub(crate) fn push(bytes: &mut Vec<u8>, data: &[u8]) -> Self {
        let start = u32::try_from(bytes.len()).expect("a buffer is far below 4 GiB");
        bytes.extend_from_slice(data);
        Self { start, length: u32::try_from(data.len()).expect("a value is far below 4 GiB") }
    }

    #[inline]
    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..][..self.length as usize]
    }
}
