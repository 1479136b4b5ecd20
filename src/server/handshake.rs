//! The beginning of a connection: who is there, and TLS.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutWriter;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::proxy_protocol::{self, Header};
use crate::model::Scheme;
use crate::web::request::inbound::{Peer, TrustedProxies};

/// A connection whose client has to take what it is sent.
pub(super) type Bounded = Pin<Box<TimeoutWriter<TcpStream>>>;

/// A connection on which HTTP can be spoken.
pub(super) enum Opened {
    /// As it is.
    Plain(Rewound, Peer),
    /// Encrypted.
    Tls(Box<TlsStream<Rewound>>, Peer),
}

/// Reads the PROXY header that one of the `balancers` may send, then shakes hands.
pub(super) async fn open(
    stream: Bounded,
    address: SocketAddr,
    balancers: Option<&TrustedProxies>,
    tls: Option<&TlsAcceptor>,
) -> io::Result<Opened> {
    let (stream, address) = match balancers {
        Some(balancers) if balancers.contains(address.ip()) => introduced(stream, address).await?,
        _ => (Rewound::new(stream), address),
    };
    let Some(tls) = tls else {
        return Ok(Opened::Plain(stream, address.into()));
    };
    let scheme = Scheme::Https;
    let stream = Box::new(tls.accept(stream).await?);
    Ok(Opened::Tls(stream, Peer { address, scheme }))
}

/// Whom a load balancer speaks for; itself if it does not say.
async fn introduced(
    mut stream: Bounded,
    balancer: SocketAddr,
) -> io::Result<(Rewound, SocketAddr)> {
    let mut begun = BytesMut::with_capacity(512);
    loop {
        let address = match proxy_protocol::read(&begun) {
            Header::Incomplete if stream.read_buf(&mut begun).await? > 0 => continue,
            // HTTP and TLS have words of their own for what ends too early.
            Header::Incomplete | Header::Absent => balancer,
            Header::Present(length, client) => {
                begun.advance(length);
                client.unwrap_or(balancer)
            }
            Header::Malformed => {
                let reason = "the PROXY header is malformed";
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
        };
        let begun = begun.freeze();
        return Ok((Rewound { begun, stream }, address));
    }
}

/// A connection of which some bytes were read already.
pub(super) struct Rewound {
    begun: Bytes,
    stream: Bounded,
}

impl Rewound {
    fn new(stream: Bounded) -> Self {
        let begun = Bytes::new();
        Self { begun, stream }
    }
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.begun.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.begun.len().min(buffer.remaining());
        buffer.put_slice(&self.begun.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
