//! The beginning of a connection: PROXY header and TLS handshake.

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

use super::listener::canonical;
use super::proxy_protocol::{self, Header};
use crate::model::Scheme;
use crate::web::request::inbound::{Peer, TrustedProxies};

/// A connection whose writes have a time-out.
pub(super) type TimedStream = Pin<Box<TimeoutWriter<TcpStream>>>;

/// A connection that is ready for HTTP.
pub(super) enum Accepted {
    /// Unencrypted.
    Plain(PrefixedStream, Peer),
    /// Over TLS.
    Tls(Box<TlsStream<PrefixedStream>>, Peer),
}

/// Reads the PROXY header that one of the `balancers` may send, then does the TLS handshake.
pub(super) async fn accept(
    stream: TimedStream,
    address: SocketAddr,
    balancers: Option<&TrustedProxies>,
    tls: Option<&TlsAcceptor>,
) -> io::Result<Accepted> {
    let (stream, address) = match balancers {
        Some(balancers) if balancers.contains(address.ip()) => {
            read_proxy_header(stream, address).await?
        }
        _ => (PrefixedStream::new(stream), address),
    };
    let Some(tls) = tls else {
        return Ok(Accepted::Plain(stream, address.into()));
    };
    let scheme = Scheme::Https;
    let stream = Box::new(tls.accept(stream).await?);
    Ok(Accepted::Tls(stream, Peer { address, scheme }))
}

/// Reads the PROXY header, if there is one. Returns the client that it names, or the load balancer.
async fn read_proxy_header(
    mut stream: TimedStream,
    balancer: SocketAddr,
) -> io::Result<(PrefixedStream, SocketAddr)> {
    let mut prefix = BytesMut::with_capacity(512);
    loop {
        let address = match proxy_protocol::parse(&prefix) {
            Header::Incomplete if stream.read_buf(&mut prefix).await? > 0 => continue,
            // HTTP and TLS have errors of their own for a connection that ends too early.
            Header::Incomplete | Header::Absent => balancer,
            Header::Present(length, client) => {
                prefix.advance(length);
                // HAProxy may send IPv4 clients of a dual-stack listener as TCP6.
                client.map_or(balancer, canonical)
            }
            Header::Malformed => {
                let reason = "the PROXY header is malformed";
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
        };
        let prefix = prefix.freeze();
        return Ok((PrefixedStream { prefix, stream }, address));
    }
}

/// A connection of which some bytes have been read already.
pub(super) struct PrefixedStream {
    prefix: Bytes,
    stream: TimedStream,
}

impl PrefixedStream {
    fn new(stream: TimedStream) -> Self {
        let prefix = Bytes::new();
        Self { prefix, stream }
    }
}

impl AsyncRead for PrefixedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.prefix.len().min(buffer.remaining());
        buffer.put_slice(&self.prefix.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PrefixedStream {
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
