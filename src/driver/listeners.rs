//! The listeners of one core: which of them accept, and the connections that wait there.

use rustix::{event::epoll, io::Errno, net::SocketFlags};
use std::{
    net::{TcpListener, TcpStream},
    os::fd::{AsFd, OwnedFd},
};

/// The data of their events.
pub(super) const DATA_LISTENER: u64 = u64::MAX;
pub(super) const ADMIN_LISTENER: u64 = u64::MAX - 1;

struct Listener {
    socket: TcpListener,
    /// The data of its events.
    data: u64,
    /// Out of the epoll set until the next beat.
    paused: bool,
    /// There were no descriptors left.
    starved: bool,
}

impl Listener {
    fn new(socket: TcpListener, data: u64) -> Self {
        Self { socket, data, paused: false, starved: false }
    }

    fn watch(&self, epoll: &OwnedFd) {
        let data = epoll::EventData::new_u64(self.data);
        epoll::add(epoll, &self.socket, data, epoll::EventFlags::IN)
            .expect("a listener can be watched");
    }

    fn pause(&mut self, epoll: &OwnedFd) {
        if !std::mem::replace(&mut self.paused, true) {
            epoll::delete(epoll, &self.socket).expect("the listener is in the set");
        }
    }

    /// The next connection that waits to be accepted, non-blocking. Where there are no descriptors
    /// left, the listener pauses.
    fn accept(&mut self, epoll: &OwnedFd) -> Option<TcpStream> {
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match rustix::net::accept_with(self.socket.as_fd(), flags) {
                Ok(socket) => return Some(TcpStream::from(socket)),
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    self.starved = true;
                    self.pause(epoll);
                    return None;
                }
                Err(Errno::INTR | Errno::CONNABORTED | Errno::PROTO) => {}
                Err(_) => return None,
            }
        }
    }
}

/// The listener for keys and values, until the drain, and that for health and statistics.
pub(super) struct Listeners {
    data: Option<Listener>,
    admin: Option<Listener>,
}

impl Listeners {
    /// Watches the admin listener at once, the other from [`Listeners::start`] on.
    pub(super) fn new(data: TcpListener, admin: Option<TcpListener>, epoll: &OwnedFd) -> Self {
        let data = Some(Listener::new(data, DATA_LISTENER));
        let admin = admin.map(|socket| Listener::new(socket, ADMIN_LISTENER));
        if let Some(admin) = &admin {
            admin.watch(epoll);
        }
        Self { data, admin }
    }

    pub(super) fn start(&self, epoll: &OwnedFd) {
        if let Some(listener) = &self.data {
            listener.watch(epoll);
        }
    }

    pub(super) fn accept_data(&mut self, epoll: &OwnedFd) -> Option<TcpStream> {
        self.data.as_mut()?.accept(epoll)
    }

    pub(super) fn accept_admin(&mut self, epoll: &OwnedFd) -> Option<TcpStream> {
        self.admin.as_mut()?.accept(epoll)
    }

    pub(super) fn is_data_open(&self) -> bool {
        self.data.as_ref().is_some_and(|it| !it.paused)
    }

    pub(super) fn is_admin_open(&self) -> bool {
        self.admin.as_ref().is_some_and(|it| !it.paused)
    }

    pub(super) fn pause_data(&mut self, epoll: &OwnedFd) {
        if let Some(listener) = &mut self.data {
            listener.pause(epoll);
        }
    }

    pub(super) fn close_data(&mut self) {
        self.data = None;
    }

    /// Has those that paused accept again. Returns for how many of them there had been no
    /// descriptors left.
    pub(super) fn resume(&mut self, epoll: &OwnedFd) -> usize {
        let mut starved = 0;
        for listener in [&mut self.data, &mut self.admin].into_iter().flatten() {
            if std::mem::take(&mut listener.paused) {
                listener.watch(epoll);
                starved += usize::from(std::mem::take(&mut listener.starved));
            }
        }
        starved
    }
}
