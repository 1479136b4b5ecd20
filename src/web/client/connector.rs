//! Connections to authentik: directly, over a Unix socket, or through a forward proxy (RFC 9110
//! section 9.3.6, RFC 9112 section 3.2.2).
//!
//! The tunnel is a request of hyper. hyper-util's `Tunnel` tells the status of the proxy's response in the
//! text of an error only.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::uri::Authority;
use http::{Request, StatusCode, Uri, header};
use http_body_util::Empty;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tower_service::Service;

use super::error::{ProxyError, SocketError, classify};
use super::resolver::Resolver;
use crate::config::{Egress, NextHop, Proxy};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Opens connections to authentik, or to the Kubernetes API, without their TLS.
#[derive(Clone)]
pub struct AuthentikConnector {
    direct: HttpConnector<Resolver>,
    /// TLS to the proxy, for `https://` proxies.
    to_proxy: HttpsConnector<HttpConnector<Resolver>>,
    egress: Egress,
    timeout: Duration,
    always_tunnel: bool,
}

impl AuthentikConnector {
    pub(super) fn new(
        direct: HttpConnector<Resolver>,
        to_proxy: HttpsConnector<HttpConnector<Resolver>>,
        egress: Egress,
        timeout: Duration,
    ) -> Self {
        Self {
            direct,
            to_proxy,
            egress,
            timeout,
            always_tunnel: false,
        }
    }

    /// The same with a tunnel for `http://` too, for websockets.
    pub(super) fn tunneling(mut self) -> Self {
        self.always_tunnel = true;
        self
    }

    /// The proxy on the way to this URI.
    pub(super) fn proxy(&self, uri: &Uri) -> Option<&Proxy> {
        match self.egress.next_hop(uri) {
            NextHop::Proxy(proxy) => Some(proxy),
            NextHop::Direct | NextHop::Socket(_) => None,
        }
    }
}

impl Service<Uri> for AuthentikConnector {
    type Response = Stream;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Stream, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Its parts are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let proxy = match self.egress.next_hop(&uri) {
            NextHop::Direct => {
                let connecting = self.direct.call(uri);
                return Box::pin(async move { Ok(Stream::new(connecting.await?)) });
            }
            NextHop::Socket(path) => return Box::pin(over_socket(path.to_owned())),
            NextHop::Proxy(proxy) => proxy,
        };
        let name = proxy.to_string();
        let authorization = proxy.authorization().cloned();
        let connecting = self.to_proxy.call(proxy.uri().clone());
        let is_forwarding = is_forwarded(&uri) && !self.always_tunnel;
        let timeout = self.timeout;
        let timed_out = ProxyError::Timeout(name.clone());
        let opening = async move {
            let connected = connecting.await.map_err(|error| {
                ProxyError::Unreachable(name.clone(), classify(&*error).to_string())
            })?;
            let mut stream = Stream::new(connected);
            if is_forwarding {
                stream.is_forwarding = true;
                return Ok(stream);
            }
            let authority = authority(&uri)?;
            let mut request = Request::connect(authority.as_str())
                .header(header::HOST, authority.as_str())
                .body(Empty::<Bytes>::new())?;
            if let Some(authorization) = authorization {
                let headers = request.headers_mut();
                headers.insert(header::PROXY_AUTHORIZATION, authorization);
            }
            let broken = |error: hyper::Error| {
                ProxyError::Unreachable(name.clone(), classify(&error).to_string())
            };
            let (mut sender, connection) = hyper::client::conn::http1::handshake(stream)
                .await
                .map_err(broken)?;
            // It ends with the tunnel, or with `sender`.
            tokio::spawn(connection.with_upgrades());
            let response = sender.send_request(request).await.map_err(broken)?;
            match response.status() {
                status if status.is_success() => {
                    let upgraded = hyper::upgrade::on(response).await.map_err(broken)?;
                    Ok(Stream::new(upgraded))
                }
                StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                    Err(ProxyError::Credentials(name).into())
                }
                status => Err(ProxyError::Refused(name, authority.to_string(), status).into()),
            }
        };
        Box::pin(async move {
            let opened = tokio::time::timeout(timeout, opening).await;
            opened.unwrap_or_else(|_| Err(timed_out.into()))
        })
    }
}

async fn over_socket(path: PathBuf) -> Result<Stream, BoxError> {
    let connected = UnixStream::connect(&path).await;
    let stream = connected.map_err(|error| SocketError::new(&path, &error))?;
    Ok(Stream::new(TokioIo::new(stream)))
}

/// Whether a proxy gets requests with this URI as they are, unless a tunnel is needed for other reasons.
pub(super) fn is_forwarded(uri: &Uri) -> bool {
    uri.scheme_str() == Some("http")
}

/// Host and port: the target of `CONNECT` always has a port.
fn authority(uri: &Uri) -> Result<Authority, BoxError> {
    let host = uri.host().ok_or("the URL has no host")?;
    let port = if is_forwarded(uri) { 80 } else { 443 };
    let port = uri.port_u16().unwrap_or(port);
    Ok(format!("{host}:{port}").parse()?)
}

trait Io: Read + Write + Unpin + Send {}

impl<T: Read + Write + Unpin + Send> Io for T {}

/// A connection to authentik, to a proxy, or through one.
pub struct Stream {
    io: Box<dyn Io>,
    /// The other end is a proxy that forwards requests with whole URLs.
    is_forwarding: bool,
}

impl Stream {
    fn new(io: impl Io + 'static) -> Self {
        Self {
            io: Box::new(io),
            is_forwarding: false,
        }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.is_forwarding)
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_shutdown(context)
    }
}
