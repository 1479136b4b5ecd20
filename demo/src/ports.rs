//! The listen addresses: well-known ports if they are free.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use authentik_standin::nginx::free_address;

/// The addresses of the parts.
#[derive(Debug)]
pub(crate) struct Ports {
    /// For browsers.
    pub(crate) front: SocketAddr,
    /// The outpost, behind nginx.
    pub(crate) outpost: SocketAddr,
    /// The stand-in for authentik.
    pub(crate) authentik: SocketAddr,
    /// The outpost's metrics.
    pub(crate) metrics: SocketAddr,
}

impl Ports {
    /// 8080 for browsers, 9000 for authentik, and those of the image for the rest.
    pub(crate) fn memorable() -> io::Result<Self> {
        Ok(Self {
            front: preferred(8080)?,
            outpost: free_address()?,
            authentik: preferred(9000)?,
            metrics: preferred(9300)?,
        })
    }

    /// Any that are free.
    #[cfg(test)]
    pub(crate) fn any() -> io::Result<Self> {
        Ok(Self {
            front: free_address()?,
            outpost: free_address()?,
            authentik: free_address()?,
            metrics: free_address()?,
        })
    }
}

/// This port of the loopback interface, or another one if something listens there.
fn preferred(port: u16) -> io::Result<SocketAddr> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // A browser may try IPv6 first, and would find what listens there.
    let taken =
        TcpListener::bind(address).is_err() || std::net::TcpStream::connect(("::1", port)).is_ok();
    if taken { free_address() } else { Ok(address) }
}
