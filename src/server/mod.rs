//! Accepts connections, limits what they may use, and drains them on shutdown.

mod activity;
mod connection_limiter;
mod handshake;
mod listener;
mod proxy_protocol;
mod send_budget;

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use futures_util::future::{Either, ready};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_io_timeout::TimeoutWriter;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::telemetry::Throttle;
use crate::web::keepalive;
use crate::web::request::inbound::{Peer, TrustedProxies};
use connection_limiter::{Bounds, ConnectionLimiter, ConnectionPermit};
use handshake::Accepted;
use send_budget::SendBudget;

pub use listener::bind;

/// How long a connection may stay without its first byte.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(10);
/// HTTP/2: concurrent streams of a connection. Fewer than the 100 of RFC 9113 section 6.5.2: a
/// response that is not read takes about 40 KiB with its connection to the application.
const MAX_CONCURRENT_STREAMS: u32 = 32;
/// HTTP/2: bytes of one response body that hyper buffers.
const MAX_SEND_BUFFER_BYTES: usize = 64 << 10;
/// HTTP/2: flow-control windows for request bodies, of a connection and of a stream.
const CONNECTION_WINDOW_BYTES: u32 = 512 << 10;
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// HTTP/2: streams that a client has reset before they were accepted (CVE-2023-44487), and streams
/// that were reset because of the client's errors, after which the connection is closed.
const MAX_PENDING_ACCEPT_RESET_STREAMS: usize = 20;
const MAX_LOCAL_ERROR_RESET_STREAMS: usize = 1024;
/// Idle connections that are evicted when no file descriptors are left.
const EVICTED_WITHOUT_DESCRIPTORS: usize = 16;
/// Pause after a failed `accept`.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);
/// Paths that are served when all connections are in use.
const PROBE_PATHS: [&str; 2] = [
    "/outpost.goauthentik.io/ping",
    "/outpost.goauthentik.io/ready",
];

/// Limits on connections.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Time-out for reading the head of a request.
    pub header_timeout: Duration,
    /// How long a connection may stay without a request; for its first byte 10 s at most.
    pub idle_timeout: Duration,
    /// Time-out between two successful writes of a response.
    pub write_timeout: Duration,
    /// Size limit of the head of a request, in bytes; a longer one is answered with 431.
    pub max_header_bytes: usize,
    /// Open connections. At the limit, the oldest idle one is evicted.
    pub max_connections: usize,
    /// Open connections of one client address (IPv6: /64).
    pub max_connections_per_client: usize,
    /// Open connections of one trusted proxy.
    pub max_connections_per_proxy: usize,
    /// How long requests in flight may take on shutdown.
    pub drain_timeout: Duration,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Serves any number of listeners, which share its limits. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    limits: Limits,
    limiter: Arc<ConnectionLimiter>,
    warnings: Arc<Throttle>,
    builder: Builder<TokioExecutor>,
    tls: Option<TlsAcceptor>,
    /// Load balancers that may name the client with the PROXY protocol.
    balancers: Option<TrustedProxies>,
}

/// A connection, for tasks that go on with it after HTTP. In the extensions of requests that ask for
/// an upgrade. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ConnectionHandle(Arc<Shared>);

struct Shared {
    connections: TaskTracker,
    stop: CancellationToken,
    permit: ConnectionPermit,
}

impl ConnectionHandle {
    /// Starts a task that counts as the connection. It has to return soon after its token is
    /// cancelled.
    pub(crate) fn spawn<F>(&self, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let handle = self.clone();
        let in_flight = handle.0.permit.activity.begin();
        let task = task(self.0.stop.clone());
        self.0.connections.spawn(async move {
            task.await;
            drop((in_flight, handle));
        });
    }
}

impl Server {
    /// A server with these limits. With `proxy_protocol`, trusted proxies may name the client with the
    /// PROXY protocol.
    #[must_use]
    pub fn new(limits: Limits, trusted: TrustedProxies, proxy_protocol: bool) -> Self {
        let bounds = Bounds {
            total: limits.max_connections,
            per_client: limits.max_connections_per_client,
            per_proxy: limits.max_connections_per_proxy,
        };
        let balancers = proxy_protocol.then(|| trusted.clone());
        Self {
            limits,
            limiter: ConnectionLimiter::new(bounds, trusted),
            warnings: Arc::default(),
            builder: builder(limits),
            tls: None,
            balancers,
        }
    }

    /// The same server, sharing its limits, over TLS.
    #[must_use]
    pub fn with_tls(mut self, config: Arc<ServerConfig>) -> Self {
        self.tls = Some(config.into());
        self
    }

    /// Serves connections with `handler` until `stop`, then waits for requests in flight.
    pub async fn serve<H, F>(self, listener: TcpListener, handler: H, stop: CancellationToken)
    where
        H: Fn(Peer, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.accept(&listener) => accepted,
            };
            let Some((stream, peer, permit)) = accepted else {
                continue;
            };
            let handle = ConnectionHandle(Arc::new(Shared {
                connections: connections.clone(),
                stop: stop.clone(),
                permit,
            }));
            let (server, handler) = (self.clone(), handler.clone());
            connections.spawn(async move {
                // Errors of the client: resets, malformed requests, time-outs.
                if let Err(error) = server.serve_connection(stream, peer, handler, handle).await {
                    tracing::debug!(remote = %peer, %error, "connection ended");
                }
            });
        }
        drop(listener);
        connections.close();
        let drain_timeout = self.limits.drain_timeout;
        if tokio::time::timeout(drain_timeout, connections.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                hint = "raise shutdown.drain_timeout if requests take longer",
                "closing connections with requests in flight after {drain_timeout:?}",
            );
        }
    }

    /// Serves one connection, from its first byte to its end.
    async fn serve_connection<H, F>(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        handler: H,
        handle: ConnectionHandle,
    ) -> Result<(), BoxError>
    where
        H: Fn(Peer, Request<Incoming>) -> F,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let shared = &handle.0;
        let accepted = tokio::select! {
            accepted = self.handshake(stream, address) => accepted?,
            () = shared.stop.cancelled() => return Ok(()),
            () = shared.permit.evicted.cancelled() => return Ok(()),
        };
        let (Accepted::Plain(_, peer) | Accepted::Tls(_, peer)) = &accepted;
        if peer.address.ip() != address.ip() && !shared.permit.assign_to(peer.address.ip()) {
            return Err(
                "the client named by the PROXY header is at listen.max_connections_per_client"
                    .into(),
            );
        }
        match accepted {
            Accepted::Plain(stream, peer) => self.serve_http(stream, peer, handler, handle).await,
            Accepted::Tls(stream, peer) => self.serve_http(*stream, peer, handler, handle).await,
        }
    }

    /// Waits for the first byte, then for the PROXY header and the TLS handshake.
    async fn handshake(
        &self,
        stream: TcpStream,
        address: SocketAddr,
    ) -> Result<Accepted, BoxError> {
        let Limits {
            header_timeout,
            idle_timeout,
            write_timeout,
            ..
        } = self.limits;
        let first_byte = FIRST_BYTE_TIMEOUT.min(header_timeout).min(idle_timeout);
        tokio::time::timeout(first_byte, stream.readable()).await??;
        let mut stream = TimeoutWriter::new(stream);
        stream.set_timeout(Some(write_timeout));
        let stream = Box::pin(stream);
        let (balancers, tls) = (self.balancers.as_ref(), self.tls.as_ref());
        let accepting = handshake::accept(stream, address, balancers, tls);
        Ok(tokio::time::timeout(header_timeout, accepting).await??)
    }

    /// Serves HTTP/1.1 or HTTP/2 on a connection.
    async fn serve_http<S, H, F>(
        &self,
        stream: S,
        peer: Peer,
        respond: H,
        handle: ConnectionHandle,
    ) -> Result<(), BoxError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Fn(Peer, Request<Incoming>) -> F,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let shared = &handle.0;
        let (stop, permit) = (&shared.stop, &shared.permit);
        let activity = &permit.activity;
        let budget = SendBudget::default();
        let service = service_fn(|mut request: Request<Incoming>| {
            let in_flight = activity.begin();
            let version = request.version();
            let is_refused = permit.is_reserved && !PROBE_PATHS.contains(&request.uri().path());
            if request.headers().contains_key(header::UPGRADE) {
                request.extensions_mut().insert(handle.clone());
            }
            // Combinators, because an `async` block that awaits what it captured has room for it twice.
            let response = if is_refused {
                Either::Right(ready(overloaded()))
            } else {
                Either::Left(respond(peer, request))
            };
            let budget = budget.clone();
            response.map(move |response| {
                Ok::<_, Infallible>(budget.apply(response, version, in_flight))
            })
        });
        let stream = TokioIo::new(stream);
        let connection = self.builder.serve_connection_with_upgrades(stream, service);
        let mut connection = pin!(connection);
        // Resolves to whether the connection closes after its requests, or to `None` if at once.
        let close = |closing: bool| async move {
            // hyper limits the time of an HTTP/1.1 head from its first byte. Idle connections before
            // that, and HTTP/2 connections without requests, are closed here.
            let idle = tokio::time::sleep(self.limits.idle_timeout);
            tokio::select! {
                () = stop.cancelled(), if !closing => Some(true),
                () = permit.evicted.cancelled(), if !closing => (!activity.is_idle()).then_some(true),
                // A client that neither reads its response nor ends its request gets two of these
                // time-outs.
                () = idle => match (activity.was_idle(), closing) {
                    (false, _) => Some(closing),
                    (true, false) => Some(true),
                    (true, true) => None,
                },
            }
        };
        // A set polls a future only when that was woken, and not whenever the connection was: polling
        // this one takes a lock that all connections share.
        let mut events = FuturesUnordered::new();
        let mut closing = false;
        loop {
            events.push(close(closing));
            let event = tokio::select! {
                biased;
                ended = connection.as_mut() => return ended,
                event = events.select_next_some() => event,
            };
            let Some(event) = event else {
                return Ok(());
            };
            closing = event;
            if closing {
                connection.as_mut().graceful_shutdown();
            }
        }
    }

    /// Accepts a connection, within the limits.
    async fn accept(
        &self,
        listener: &TcpListener,
    ) -> Option<(TcpStream, SocketAddr, ConnectionPermit)> {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let peer = listener::canonical(peer);
                let Some(permit) = self.limiter.acquire(peer.ip()) else {
                    if self.warnings.should_log("limit") {
                        tracing::warn!(
                            remote = %peer,
                            hint = "raise listen.max_connections or listen.max_connections_per_client, or find out what keeps them busy",
                            "connection refused: all connections are busy",
                        );
                    }
                    return None;
                };
                // Without it, small responses could wait for an acknowledgement.
                let _ = stream.set_nodelay(true);
                // Where it fails, only clients that vanish without a FIN are noticed later.
                let _ = keepalive::enable(&stream);
                Some((stream, peer, permit))
            }
            Err(error) if is_connection_error(&error) => None,
            Err(error) => {
                if self.warnings.should_log("accept") {
                    tracing::warn!(%error, "connection not accepted");
                }
                // Usually no file descriptors are left: idle connections give theirs.
                self.limiter.evict_idle(EVICTED_WITHOUT_DESCRIPTORS);
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                None
            }
        }
    }
}

/// Whether an error of `accept` is about the one connection, and not about the listener.
fn is_connection_error(error: &std::io::Error) -> bool {
    use ErrorKind as E;
    matches!(
        error.kind(),
        E::ConnectionAborted | E::ConnectionReset | E::ConnectionRefused | E::Interrupted
    )
}

/// The response to requests other than probes while all connections are in use.
fn overloaded() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn builder(limits: Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // HTTP/1.1: 100 header lines, hyper's own limit. With any other it allocates its tables for each
    // request.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.max_header_bytes.max(8192));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .max_send_buf_size(MAX_SEND_BUFFER_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .max_pending_accept_reset_streams(MAX_PENDING_ACCEPT_RESET_STREAMS)
        .max_local_error_reset_streams(MAX_LOCAL_ERROR_RESET_STREAMS)
        .keep_alive_interval(limits.header_timeout)
        .keep_alive_timeout(limits.header_timeout);
    builder
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;

    use super::*;

    #[tokio::test]
    async fn tcp_keepalive_is_enabled_on_accepted_connections() {
        let limits = Limits {
            header_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(1),
            write_timeout: Duration::from_secs(1),
            max_header_bytes: 8192,
            max_connections: 1,
            max_connections_per_client: 1,
            max_connections_per_proxy: 1,
            drain_timeout: Duration::ZERO,
        };
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = bind(address, false).expect("a port");
        let address = listener.local_addr().expect("an address");
        let client = TcpStream::connect(address).await.expect("a connection");
        let trusted = TrustedProxies::new(Vec::new());
        let server = Server::new(limits, trusted, false);
        let accepted = server.accept(&listener).await;
        let (stream, ..) = accepted.expect("a client");
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().expect("an option"));
        let time = socket.tcp_keepalive_time();
        assert_eq!(time.expect("an option"), keepalive::IDLE_TIME);
        let interval = socket.tcp_keepalive_interval();
        assert_eq!(interval.expect("an option"), keepalive::PROBE_INTERVAL);
        let retries = socket.tcp_keepalive_retries();
        assert_eq!(retries.expect("an option"), keepalive::MAX_PROBES);
        drop(client);
    }
}
