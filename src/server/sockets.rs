//! The listening sockets: addresses that nobody else may have, shared among our own shards.

use super::error::ServerError;
use crate::config::{AdminAddress, Config};
use rustix::{fs::Mode, process::umask};
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

/// Connections that the kernel completes before they are accepted.
pub(super) const BACKLOG: i32 = 4096;
const TCP_KEEPALIVE: Duration = Duration::from_mins(3);

/// The address for keys and values, and a listener for each shard, none of which listens yet.
pub(super) fn bind_all(config: &Config) -> Result<(SocketAddr, Vec<Socket>), ServerError> {
    let first = bind(config.listen)?;
    let data = first.local_addr()?.as_socket().expect("a TCP socket");
    let mut listeners = vec![first];
    for _ in 1..config.shards {
        listeners.push(bind_shared(data).map_err(|error| cannot_bind(data, error))?);
    }
    Ok((data, listeners))
}

/// Whether an address could be listened on.
pub fn try_bind(address: &AdminAddress) -> Result<(), ServerError> {
    Admin::bind(address).map(drop)
}

/// Binds an address that nobody else may have, and frees it for sharing among our own shards.
fn bind(address: SocketAddr) -> Result<Socket, ServerError> {
    let alone = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&SockAddr::from(address))?;
        Ok(socket)
    };
    let bound = alone().map_err(|error| cannot_bind(address, error))?;
    let address = bound.local_addr()?.as_socket().expect("a TCP socket");
    drop(bound);
    bind_shared(address).map_err(|error| cannot_bind(address, error))
}

pub(super) fn cannot_bind(address: SocketAddr, error: io::Error) -> ServerError {
    ServerError::Bind { address: address.into(), error }
}

/// The admin listener.
pub(super) struct Admin {
    pub(super) address: AdminAddress,
    /// Where it is a socket file the driver has it as a TCP one, and does only what both can.
    pub(super) socket: Socket,
    pub(super) file: Option<SocketFile>,
}

impl Admin {
    /// From here on the kernel completes connections.
    pub(super) fn bind(wanted: &AdminAddress) -> Result<Self, ServerError> {
        let admin = match wanted {
            AdminAddress::Tcp(address) => {
                let socket = bind(*address)?;
                let address = socket.local_addr()?.as_socket().expect("a TCP socket").into();
                Self { address, socket, file: None }
            }
            AdminAddress::Unix(path) => {
                let (socket, file) = bind_file(path)
                    .map_err(|error| ServerError::Bind { address: wanted.clone(), error })?;
                Self { address: wanted.clone(), socket, file: Some(file) }
            }
        };
        admin.socket.listen(BACKLOG)?;
        Ok(admin)
    }
}

/// A socket file of ours, which is removed in the end.
pub(super) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Whoever removed it before was welcome to.
        drop(fs::remove_file(&self.0));
    }
}

/// Binds a socket file that nobody but its owner may use. One that nobody listens on any more is
/// replaced. No thread of ours may create files at the same time.
fn bind_file(path: &Path) -> io::Result<(Socket, SocketFile)> {
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let bind = || {
        let before = umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
        let bound = socket.bind(&address);
        umask(before);
        bound
    };
    match bind() {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path, &address)? => {
            fs::remove_file(path)?;
            bind()?;
        }
        bound => bound?,
    }
    Ok((socket, SocketFile(path.to_owned())))
}

/// Whether it is a socket that nobody listens on.
fn is_stale(path: &Path, address: &SockAddr) -> io::Result<bool> {
    let is_socket = fs::symlink_metadata(path)?.file_type().is_socket();
    let answer = Socket::new(Domain::UNIX, Type::STREAM, None)?.connect(address);
    Ok(is_socket && answer.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}

/// Binds an address that several sockets share. Accepted sockets inherit its options.
fn bind_shared(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(TCP_KEEPALIVE))?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}
