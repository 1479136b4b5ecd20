//! Listening sockets, for IPv6 and IPv4.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::io::Errno;
use socket2::{Domain, Socket};
use tokio::net::TcpListener;

/// Connections that wait for `accept`, as in tokio.
const BACKLOG: i32 = 1024;

/// Binds a listener. `[::]` accepts IPv4 too, unless it is `v6_only`; on a host without IPv6 it is then
/// bound as `0.0.0.0`.
pub fn bind(address: SocketAddr, v6_only: bool) -> std::io::Result<TcpListener> {
    match bind_exactly(address, v6_only) {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && !v6_only && lacks_ipv6(&error) => {
            let instead = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            tracing::info!(%error, "this host has no IPv6: listening on {instead} instead of {address}");
            bind_exactly(instead, false)
        }
        bound => bound,
    }
}

fn bind_exactly(address: SocketAddr, v6_only: bool) -> std::io::Result<TcpListener> {
    let kind = socket2::Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        // Explicitly: the system's default (net.ipv6.bindv6only) may be either.
        socket.set_only_v6(v6_only)?;
    }
    // As tokio's `TcpListener::bind` does, for restarts while old connections end.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Whether a socket of IPv6 failed because the host has none.
fn lacks_ipv6(error: &std::io::Error) -> bool {
    let lacking = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL];
    lacking
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// A client's address as IPv4 if a dual-stack listener shows it as IPv4-mapped IPv6 (RFC 4291 section
/// 2.5.5.2).
pub(super) fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use tokio::net::TcpStream;

    use super::*;

    fn accepted_from(listener: &TcpListener, client: IpAddr) -> impl Future<Output = SocketAddr> {
        let port = listener.local_addr().expect("an address").port();
        async move {
            let client = TcpStream::connect((client, port)).await;
            client.expect("a connection");
            let (_, peer) = listener.accept().await.expect("a client");
            canonical(peer)
        }
    }

    #[tokio::test]
    async fn ipv6_unspecified_accepts_ipv4_as_ipv4() {
        let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let listener = bind(address, false).expect("a port");
        for client in [
            Ipv4Addr::LOCALHOST.into(),
            IpAddr::from(Ipv6Addr::LOCALHOST),
        ] {
            assert_eq!(accepted_from(&listener, client).await.ip(), client);
        }
    }

    #[tokio::test]
    async fn ipv6_and_ipv4_share_a_port() {
        let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let v4 = bind(v4, false).expect("a port");
        let port = v4.local_addr().expect("an address").port();
        let v6 = bind((Ipv6Addr::UNSPECIFIED, port).into(), true).expect("the same port");
        for (listener, client) in [
            (&v4, IpAddr::from(Ipv4Addr::LOCALHOST)),
            (&v6, Ipv6Addr::LOCALHOST.into()),
        ] {
            assert_eq!(accepted_from(listener, client).await.ip(), client);
        }
    }

    #[test]
    fn errors_of_a_host_without_ipv6_are_recognized() {
        for (errno, expected) in [
            (Errno::AFNOSUPPORT, true),
            (Errno::ADDRNOTAVAIL, true),
            (Errno::ADDRINUSE, false),
            (Errno::ACCESS, false),
        ] {
            assert_eq!(lacks_ipv6(&errno.into()), expected, "{errno}");
        }
    }
}
