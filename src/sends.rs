//! Sends to many sockets in one system call, through a ring of their own.
//!
//! Nothing waits here: a send that its socket does not take at once is over too. So the call that
//! submits the sends also ends them, and bytes and sockets need be borrowed for no longer.

use io_uring::{IoUring, opcode, squeue, types};
use rustix::net::SendFlags;
use std::{
    io::ErrorKind,
    os::fd::{AsRawFd, BorrowedFd},
};

/// Sends in one call.
pub const TOGETHER_MAX: usize = 16;
const _: () = assert!(TOGETHER_MAX.is_power_of_two(), "a ring has room for no other number");

/// A ring, and what came of the last call.
pub struct Sends<T> {
    /// `None`: there is none, or it has failed, and each socket is to be sent to by itself.
    ring: Option<IoUring>,
    entries: Vec<squeue::Entry>,
    sent: Vec<(T, usize)>,
}

impl<T: Copy> Sends<T> {
    /// Where the host gives no ring, nothing is ever sent.
    #[must_use]
    pub fn open() -> Self {
        let ring = IoUring::new(u32::try_from(TOGETHER_MAX).expect("a small number")).ok();
        Self { ring, entries: Vec::new(), sent: Vec::new() }
    }

    /// Sends to each socket, of which at most [`TOGETHER_MAX`] may have bytes, what it takes at
    /// once. Returns how many bytes that was, each beside the name that came with the socket. 0 may
    /// stand for any error: whoever sends to that socket meets it again.
    pub fn send<'a>(
        &mut self,
        parts: impl Iterator<Item = (T, BorrowedFd<'a>, &'a [u8])>,
    ) -> &[(T, usize)] {
        self.sent.clear();
        self.entries.clear();
        let Some(ring) = &mut self.ring else { return &[] };
        for (index, (name, socket, bytes)) in parts.enumerate() {
            self.sent.push((name, 0));
            if bytes.is_empty() {
                continue;
            }
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let entry = opcode::Send::new(types::Fd(socket.as_raw_fd()), bytes.as_ptr(), length)
                .flags(flags.bits().cast_signed())
                .build()
                .user_data(index as u64);
            self.entries.push(entry);
        }
        #[expect(unsafe_code, reason = "one call instead of many")]
        // SAFETY: what the entries name is borrowed until this function returns. From here to there
        // nothing panics, and either every entry is completed, or the ring is given up: with it go
        // the entries that the kernel has not taken, and those that it has taken it has ended, as
        // none may wait.
        let pushed = unsafe { ring.submission().push_multiple(&self.entries) };
        let mut due = if pushed.is_ok() { self.entries.len() } else { 0 };
        while due > 0 {
            let outcome = ring.submit_and_wait(due);
            for entry in ring.completion() {
                due = due.saturating_sub(1);
                let index = usize::try_from(entry.user_data()).ok();
                if let Some((_, sent)) = index.and_then(|index| self.sent.get_mut(index)) {
                    *sent = usize::try_from(entry.result()).unwrap_or(0);
                }
            }
            if outcome.is_err_and(|error| error.kind() != ErrorKind::Interrupted) {
                self.ring = None;
                break;
            }
        }
        &self.sent
    }
}

#[cfg(test)]
mod tests {
    use super::{Sends, TOGETHER_MAX};
    use std::{
        io::{Read, Write},
        os::{fd::AsFd, unix::net::UnixStream},
    };

    fn pairs(count: usize) -> Vec<(UnixStream, UnixStream)> {
        let pair = |_| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            theirs.set_nonblocking(true).unwrap();
            (ours, theirs)
        };
        (0..count).map(pair).collect()
    }

    fn arrived(socket: &mut UnixStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        // It ends in an error where the other side is open.
        let _open = socket.read_to_end(&mut bytes);
        bytes
    }

    #[test]
    fn each_socket_gets_its_own_bytes_and_the_others_nothing() {
        let (mut sends, mut pairs) = (Sends::open(), pairs(TOGETHER_MAX + 1));
        for round in 0..3 {
            let text = |index: usize| format!("{round} {index}").repeat(index);
            let texts: Vec<String> = (0..=TOGETHER_MAX).map(text).collect();
            let parts = pairs.iter().zip(&texts).enumerate();
            let parts =
                parts.map(|(index, ((ours, _), text))| (index, ours.as_fd(), text.as_bytes()));
            let expected: Vec<_> = texts.iter().map(String::len).enumerate().collect();
            assert_eq!(sends.send(parts), expected);
            for ((_, theirs), text) in pairs.iter_mut().zip(&texts) {
                assert_eq!(arrived(theirs), text.as_bytes());
            }
        }
        assert!(sends.send(std::iter::empty()).is_empty());
        // More than may be: none is sent, and the next call is as good as the first.
        let all = || pairs.iter().map(|(ours, _)| (7, ours.as_fd(), &b"abc"[..]));
        assert_eq!(sends.send(all()), [(7, 0); TOGETHER_MAX + 1]);
        assert_eq!(sends.send(all().take(TOGETHER_MAX)), [(7, 3); TOGETHER_MAX]);
    }

    #[test]
    fn a_socket_that_is_full_or_closed_holds_nobody_up() {
        let (mut sends, mut pairs) = (Sends::open(), pairs(3));
        let mut filled = 0;
        while let Ok(bytes) = pairs[0].0.write(&[b'x'; 4096]) {
            filled += bytes;
        }
        let (closed, _) = std::mem::replace(&mut pairs[1], UnixStream::pair().unwrap());
        let parts = [pairs[0].0.as_fd(), closed.as_fd(), pairs[2].0.as_fd()];
        let sent = sends.send(parts.into_iter().map(|socket| ((), socket, &b"abc"[..])));
        assert_eq!(sent, [((), 0), ((), 0), ((), 3)]);
        assert_eq!(
            (arrived(&mut pairs[0].1).len(), arrived(&mut pairs[2].1)),
            (filled, b"abc".to_vec())
        );
        // A part of what is too much.
        let much = vec![b'y'; 64 << 20];
        let [((), sent)] = *sends.send([((), pairs[2].0.as_fd(), &much[..])].into_iter()) else {
            panic!("one was asked for");
        };
        assert!((1..much.len()).contains(&sent), "{sent}");
        assert_eq!(arrived(&mut pairs[2].1).len(), sent);
    }
}
