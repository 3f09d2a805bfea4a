//! The chunked body of a request (RFC 9112, 7.1), decoded as it arrives.

use super::request::{Error, is_token_byte};
use crate::config::Limits;

/// More digits than a u64 holds.
const SIZE_DIGITS_MAX: u8 = 16;

/// What one call of [`Chunked::decode`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the input that belong to the body; all of it unless `done`.
    pub consumed: usize,
    /// The body ended; what follows in the input is the next request.
    pub done: bool,
}

/// Decodes one chunked body, resumable at any byte.
#[derive(Clone, Debug, Default)]
pub struct Chunked {
    state: State,
    /// The size being read, then the bytes of data still to come.
    size: u64,
    size_digits: u8,
    body_bytes: usize,
    extension_bytes: usize,
    trailer_bytes: usize,
}

/// What the next byte is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Extension(Extension),
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// The first byte of a trailer field, or the CR that ends the message.
    TrailerLine,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

/// Inside `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extension {
    /// White space was read; only `;` may follow.
    Gap,
    NameStart,
    Name,
    /// White space was read after a name; only `;` or `=` may follow.
    NameGap,
    ValueStart,
    Token,
    Quoted,
    QuotedPair,
    QuotedEnd,
}

impl Chunked {
    /// Appends the data in `input` to `body`. Size lines, extensions and trailers are checked and
    /// dropped. After an error or `done` there is nothing more to decode.
    pub fn decode(
        &mut self,
        input: &[u8],
        body: &mut Vec<u8>,
        limits: &Limits,
    ) -> Result<Decoded, Error> {
        let mut consumed = 0;
        while self.state != State::Done {
            let Some(&byte) = input.get(consumed) else { break };
            if self.state == State::Data {
                let rest = &input[consumed..];
                let taken = usize::try_from(self.size).map_or(rest.len(), |n| n.min(rest.len()));
                body.extend_from_slice(&rest[..taken]);
                consumed += taken;
                self.size -= taken as u64;
                if self.size == 0 {
                    self.state = State::DataCr;
                }
            } else {
                self.state = self.step(byte, limits)?;
                consumed += 1;
            }
        }
        Ok(Decoded { consumed, done: self.state == State::Done })
    }

    /// Takes one byte that is not data.
    fn step(&mut self, byte: u8, limits: &Limits) -> Result<State, Error> {
        match (self.state, byte) {
            (State::Size, _) => self.step_size(byte, limits),
            (State::Extension(_), b'\r') => self.step_extension(byte),
            (State::Extension(_), _) => {
                self.count_extension(limits)?;
                self.step_extension(byte)
            }
            (State::SizeLf, b'\n') => self.start_chunk(limits),
            (State::SizeLf, _) => Err(Error::ChunkSize),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size),
            (State::DataCr | State::DataLf, _) => Err(Error::ChunkData),
            (State::TrailerLine, b'\r') => Ok(State::EndLf),
            (State::EndLf, b'\n') => Ok(State::Done),
            (State::EndLf, _) => Err(Error::Trailer),
            (
                State::TrailerLine | State::TrailerName | State::TrailerValue | State::TrailerLf,
                _,
            ) => self.step_trailer(byte, limits),
            (State::Data | State::Done, _) => Ok(self.state),
        }
    }

    fn step_size(&mut self, byte: u8, limits: &Limits) -> Result<State, Error> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ if self.size_digits == 0 => return Err(Error::ChunkSize),
            b'\r' => return Ok(State::SizeLf),
            b';' | b' ' | b'\t' => {
                self.count_extension(limits)?;
                let gap = byte != b';';
                return Ok(State::Extension(if gap {
                    Extension::Gap
                } else {
                    Extension::NameStart
                }));
            }
            _ => return Err(Error::ChunkSize),
        };
        if self.size_digits == SIZE_DIGITS_MAX {
            return Err(Error::ChunkSize);
        }
        self.size_digits += 1;
        self.size = self.size << 4 | u64::from(digit);
        Ok(State::Size)
    }

    /// Acts on a complete size line; the limit is known to hold before any of the data is read.
    fn start_chunk(&mut self, limits: &Limits) -> Result<State, Error> {
        self.size_digits = 0;
        if self.size == 0 {
            return Ok(State::TrailerLine);
        }
        let too_large = Error::BodyTooLarge(limits.body_bytes_max);
        let size = usize::try_from(self.size).map_err(|_| too_large)?;
        self.body_bytes = self.body_bytes.checked_add(size).ok_or(too_large)?;
        if self.body_bytes > limits.body_bytes_max {
            return Err(too_large);
        }
        Ok(State::Data)
    }

    fn step_extension(&self, byte: u8) -> Result<State, Error> {
        use Extension::{
            Gap, Name, NameGap, NameStart, Quoted, QuotedEnd, QuotedPair, Token, ValueStart,
        };
        let State::Extension(place) = self.state else { return Err(Error::ChunkExtension) };
        let next = match (place, byte) {
            (Name | Token | QuotedEnd, b'\r') => return Ok(State::SizeLf),
            (Quoted, b'"') => QuotedEnd,
            (Quoted, b'\\') => QuotedPair,
            (Quoted | QuotedPair, b'\t' | 0x20..=0x7e | 0x80..) | (ValueStart, b'"') => Quoted,
            (Gap | Name | NameGap | Token | QuotedEnd, b';') => NameStart,
            (Name | NameGap, b'=') => ValueStart,
            (Name | NameGap, b' ' | b'\t') => NameGap,
            (Gap | Token | QuotedEnd, b' ' | b'\t') => Gap,
            (NameStart | ValueStart, b' ' | b'\t') => place,
            (NameStart | Name, _) if is_token_byte(byte) => Name,
            (ValueStart | Token, _) if is_token_byte(byte) => Token,
            _ => return Err(Error::ChunkExtension),
        };
        Ok(State::Extension(next))
    }

    fn count_extension(&mut self, limits: &Limits) -> Result<(), Error> {
        self.extension_bytes += 1;
        if self.extension_bytes > limits.chunk_extension_bytes_max {
            return Err(Error::ChunkExtensionTooLong(limits.chunk_extension_bytes_max));
        }
        Ok(())
    }

    fn step_trailer(&mut self, byte: u8, limits: &Limits) -> Result<State, Error> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > limits.trailer_bytes_max {
            return Err(Error::TrailerTooLarge(limits.trailer_bytes_max));
        }
        match (self.state, byte) {
            (State::TrailerLine | State::TrailerName, _) if is_token_byte(byte) => {
                Ok(State::TrailerName)
            }
            (State::TrailerName, b':') | (State::TrailerValue, b'\t' | 0x20..=0x7e | 0x80..) => {
                Ok(State::TrailerValue)
            }
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerLf, b'\n') => Ok(State::TrailerLine),
            _ => Err(Error::Trailer),
        }
    }
}

#[cfg(test)]
mod tests;
