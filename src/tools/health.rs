//! `kvcache health`: whether the server of these settings answers, for a container's health check.

use crate::config::Config;
use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream},
    time::Duration,
};

/// Time for a connection, for the request to leave and for its answer to come, each.
const PATIENCE: Duration = Duration::from_secs(1);

const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const HEALTHY: &[u8] = b"HTTP/1.1 200 ";

/// Asks for `/healthz` where keys and values are served. The error is what is wrong.
pub fn ask(config: &Config) -> Result<(), String> {
    let mut address = config.listen;
    // Who listens everywhere is asked from here.
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    let answer = || -> io::Result<[u8; HEALTHY.len()]> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(REQUEST)?;
        let mut start = [0; HEALTHY.len()];
        stream.read_exact(&mut start)?;
        Ok(start)
    };
    match answer() {
        Ok(start) if start == HEALTHY => Ok(()),
        Ok(start) => Err(format!("{address} answers {}", start.escape_ascii())),
        Err(error) => Err(format!("{address} does not answer: {error}")),
    }
}
