//! Accepts connections, bounds what they may cost, and lets them finish when we stop.

mod activity;
mod opening;
mod proxy_protocol;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutWriter;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::web::inbound::{Peer, TrustedProxies};
use crate::web::keepalive;
use activity::Activity;
use opening::Opened;

/// What connections may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Time for a request's head to arrive, and for the next request on a kept connection.
    pub header_timeout: Duration,
    /// Time in which a client that is sent something has to take a byte of it.
    pub write_timeout: Duration,
    /// Most bytes of a request's head; more is answered with 431.
    pub max_header_bytes: usize,
    /// Most connections at a time; more wait, all but one of each listener in the kernel's queue.
    pub max_connections: usize,
    /// How long requests in flight may take once we stop.
    pub drain: Duration,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Serves any number of listeners under limits that they share. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    limits: Limits,
    places: Arc<Semaphore>,
    builder: Builder<TokioExecutor>,
    tls: Option<TlsAcceptor>,
    /// Who may name the client with the PROXY protocol.
    balancers: Option<TrustedProxies>,
}

/// What a connection holds, for those who go on with it after HTTP. Cheap to clone.
#[derive(Clone)]
pub(super) struct Hold(Arc<Held>);

struct Held {
    connections: TaskTracker,
    stop: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl Hold {
    /// Starts a task that counts as the connection. It is expected to return soon after its token
    /// is cancelled.
    pub(super) fn spawn<F>(&self, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let hold = self.clone();
        let task = task(self.0.stop.clone());
        self.0.connections.spawn(async move {
            task.await;
            drop(hold);
        });
    }
}

/// Binds a listener.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

impl Server {
    /// A server with these limits. Its `balancers` may name the client with the PROXY protocol.
    #[must_use]
    pub fn new(limits: Limits, balancers: Option<TrustedProxies>) -> Self {
        Self {
            limits,
            places: Arc::new(Semaphore::new(limits.max_connections)),
            builder: builder(limits),
            tls: None,
            balancers,
        }
    }

    /// The same server, sharing its limits, that speaks TLS.
    #[must_use]
    pub fn with_tls(mut self, config: Arc<ServerConfig>) -> Self {
        self.tls = Some(config.into());
        self
    }

    /// Serves connections with `answer` until `stop`, then waits for requests in flight.
    pub async fn serve<A, F>(self, listener: TcpListener, answer: A, stop: CancellationToken)
    where
        A: Fn(Peer, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.accept(&listener) => accepted,
            };
            let Some((stream, peer, place)) = accepted else {
                continue;
            };
            let hold = Hold(Arc::new(Held {
                connections: connections.clone(),
                stop: stop.clone(),
                _place: place,
            }));
            let (server, answer) = (self.clone(), answer.clone());
            connections.spawn(async move {
                // Errors here are the client's: resets, malformed requests, time-outs.
                if let Err(error) = server.converse(stream, peer, answer, hold).await {
                    tracing::debug!(remote = %peer, "connection ended: {error}");
                }
            });
        }
        drop(listener);
        connections.close();
        let drain = self.limits.drain;
        if tokio::time::timeout(drain, connections.wait())
            .await
            .is_err()
        {
            tracing::warn!("requests were still in flight after {drain:?}; they are cut off");
        }
    }

    /// One connection, from its first byte to its end.
    async fn converse<A, F>(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        answer: A,
        hold: Hold,
    ) -> Result<(), Failure>
    where
        A: Fn(Peer, Request<Incoming>) -> F,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let mut stream = TimeoutWriter::new(stream);
        stream.set_timeout(Some(self.limits.write_timeout));
        let stream = Box::pin(stream);
        let opening = opening::open(stream, address, self.balancers.as_ref(), self.tls.as_ref());
        let opened = tokio::select! {
            opened = tokio::time::timeout(self.limits.header_timeout, opening) => opened,
            () = hold.0.stop.cancelled() => return Ok(()),
        };
        match opened?? {
            Opened::Plain(stream, peer) => self.speak(stream, peer, answer, hold).await,
            Opened::Tls(stream, peer) => self.speak(*stream, peer, answer, hold).await,
        }
    }

    /// Speaks HTTP.
    async fn speak<S, A, F>(
        &self,
        stream: S,
        peer: Peer,
        answer: A,
        hold: Hold,
    ) -> Result<(), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        A: Fn(Peer, Request<Incoming>) -> F,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let activity = Activity::default();
        let stop = hold.0.stop.clone();
        let service = service_fn(|mut request: Request<Incoming>| {
            let in_flight = activity.begin();
            if request.headers().contains_key(header::UPGRADE) {
                request.extensions_mut().insert(hold.clone());
            }
            let answered = answer(peer, request);
            async move { Ok::<_, Infallible>(in_flight.until_sent(answered.await)) }
        });
        let stream = TokioIo::new(stream);
        let connection = self.builder.serve_connection_with_upgrades(stream, service);
        let mut connection = pin!(connection);
        let mut ending = false;
        loop {
            // hyper bounds the time of an HTTP/1.1 head once it has seen a byte of it; silence
            // before that, and HTTP/2 connections without requests, are for us to end.
            let idle = tokio::time::sleep(self.limits.header_timeout);
            tokio::select! {
                ended = connection.as_mut() => return ended,
                () = stop.cancelled(), if !ending => ending = true,
                // A client that was answered and neither takes that nor ends its request is given
                // no third chance.
                () = idle => match (activity.was_idle(), ending) {
                    (false, _) => {}
                    (true, false) => ending = true,
                    (true, true) => return Ok(()),
                },
            }
            if ending {
                connection.as_mut().graceful_shutdown();
            }
        }
    }

    async fn accept(
        &self,
        listener: &TcpListener,
    ) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Without it small answers could wait for an acknowledgement.
                let _ = stream.set_nodelay(true);
                // Should it fail, all that is lost is that a client's silent end is noticed.
                let _ = keepalive::enable(&stream);
                // Not before, or else each listener would keep a place for nobody.
                let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
                Some((stream, peer, place))
            }
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                // Usually no file descriptors are left: give connections a moment to end.
                tokio::time::sleep(Duration::from_millis(100)).await;
                None
            }
        }
    }
}

fn builder(limits: Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.max_header_bytes.max(8192));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(256)
        .keep_alive_interval(limits.header_timeout)
        .keep_alive_timeout(limits.header_timeout);
    builder
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;

    use super::*;

    #[tokio::test]
    async fn tcp_asks_clients_that_are_silent() {
        let limits = Limits {
            header_timeout: Duration::from_secs(1),
            write_timeout: Duration::from_secs(1),
            max_header_bytes: 8192,
            max_connections: 1,
            drain: Duration::ZERO,
        };
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = bind(address).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let client = TcpStream::connect(address).await.expect("a connection");
        let accepted = Server::new(limits, None).accept(&listener).await;
        let (stream, ..) = accepted.expect("a client");
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().expect("an option"));
        let time = socket.tcp_keepalive_time();
        assert_eq!(time.expect("an option"), keepalive::TIME);
        let interval = socket.tcp_keepalive_interval();
        assert_eq!(interval.expect("an option"), keepalive::INTERVAL);
        let retries = socket.tcp_keepalive_retries();
        assert_eq!(retries.expect("an option"), keepalive::RETRIES);
        drop(client);
    }
}
