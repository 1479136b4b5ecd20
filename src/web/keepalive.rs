//! TCP keepalive, for clients and applications alike: a stream or a tunnel notices that its peer
//! disappeared without closing the connection.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Idle time before the first probe.
pub const IDLE_TIME: Duration = Duration::from_mins(1);
/// Interval of probes.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(15);
/// Number of probes without a response after which the connection is closed.
pub const MAX_PROBES: u32 = 4;

/// Enables keepalive on an accepted connection.
pub fn enable(stream: &TcpStream) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(IDLE_TIME)
        .with_interval(PROBE_INTERVAL)
        .with_retries(MAX_PROBES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
