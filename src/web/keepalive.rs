//! When TCP asks a silent peer whether it is still there: clients and applications alike. Else a
//! stream or a tunnel would not notice that its other end is gone without a word.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// The silence after which it asks.
pub const TIME: Duration = Duration::from_mins(1);
/// Between two questions.
pub const INTERVAL: Duration = Duration::from_secs(15);
/// Questions without an answer after which the connection is over.
pub const RETRIES: u32 = 4;

/// Lets TCP ask on a connection that was accepted.
pub fn enable(stream: &TcpStream) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(TIME)
        .with_interval(INTERVAL)
        .with_retries(RETRIES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
