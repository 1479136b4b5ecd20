//! Requests to a reverse proxy, over HTTP/1.1 and HTTP/2, with TLS where it serves HTTPS.

use std::any::Any;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::listener::https;

/// A running reverse proxy.
pub(super) struct Front {
    pub(super) address: SocketAddr,
    /// Where it takes HTTP/2 without TLS.
    pub(super) http2: SocketAddr,
    /// Whether it serves HTTPS.
    pub(super) tls: bool,
    #[expect(dead_code, reason = "it runs until it is dropped, with its files")]
    pub(super) program: Box<dyn Any + Send + Sync>,
}

/// The version of HTTP that a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// A connection of any kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection to a reverse proxy, for a host. Nothing if it refuses the handshake.
pub(super) async fn connect(
    front: &Front,
    protocol: Protocol,
    host: &str,
) -> Option<Box<dyn Stream>> {
    let alpn = match protocol {
        Protocol::Http1 => "http/1.1",
        Protocol::Http2 => "h2",
    };
    let address = match protocol {
        Protocol::Http1 => front.address,
        Protocol::Http2 => front.http2,
    };
    let stream = TcpStream::connect(address).await.expect("it listens");
    if front.tls {
        let connector = TlsConnector::from(https::client(&[alpn]));
        let name = ServerName::try_from(host.to_owned()).expect("a name");
        let stream = connector.connect(name, stream).await.ok()?;
        let agreed = stream.get_ref().1.alpn_protocol();
        assert_eq!(agreed, Some(alpn.as_bytes()), "ALPN");
        return Some(Box::new(stream));
    }
    Some(Box::new(stream))
}

/// One request on a connection of its own, whose `Host` is the host of the connection. Nothing if the
/// connection ends without an answer.
pub(super) async fn exchange(
    front: &Front,
    protocol: Protocol,
    mut request: Request<Full<Bytes>>,
) -> Option<Response<Bytes>> {
    let host = request.headers()[header::HOST].to_str().expect("text");
    let stream = TokioIo::new(connect(front, protocol, host).await?);
    let (parts, body) = match protocol {
        Protocol::Http1 => {
            let handshake = hyper::client::conn::http1::handshake(stream).await;
            let (mut sender, connection) = handshake.ok()?;
            tokio::spawn(connection);
            sender.send_request(request).await.ok()?.into_parts()
        }
        Protocol::Http2 => {
            let scheme = if front.tls { "https" } else { "http" };
            let uri = Uri::builder().scheme(scheme).authority(host);
            let target = request.uri().path_and_query().expect("a path").clone();
            let uri = uri.path_and_query(target).build().expect("a URI");
            request.headers_mut().remove(header::HOST);
            *request.uri_mut() = uri;
            let executor = TokioExecutor::new();
            let handshake = hyper::client::conn::http2::handshake(executor, stream).await;
            let (mut sender, connection) = handshake.ok()?;
            tokio::spawn(connection);
            sender.send_request(request).await.ok()?.into_parts()
        }
    };
    let body = body.collect().await.ok()?.to_bytes();
    Some(Response::from_parts(parts, body))
}
