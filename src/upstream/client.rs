//! Connections to applications: pooled, plain or TLS, with a limit on the time that opening one
//! may take.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use futures_util::future::BoxFuture;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client as Pool, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use quick_cache::sync::Cache;
use tower_service::Service;

use super::connections::Connections;
use super::error::Failure;
use super::timeouts::Pace;
use crate::model::{Backend, UpstreamProtocol};
use crate::web::client::trust::Trust;
use crate::web::client::{Connector, FetchError, classify, connector};

/// Unused connections to one application.
pub(super) const KEPT_EACH: usize = 256;
/// For how long connections are given to new requests. Each new connection looks the application's
/// name up, so that a Service that moved is followed within this time. As long as the names of a
/// cluster live at `CoreDNS`. Applications close unused connections after 5 s (Node.js), 75 s
/// (nginx) or never; one that was closed meanwhile is noticed and replaced.
const MAX_AGE: Duration = Duration::from_secs(30);
/// HTTP/2: what an application may send of a response before a client takes it. Many clients share a
/// connection, and the window of the connection holds what all of them leave unread.
const STREAM_WINDOW_BYTES: u32 = 16 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Applications whose connections are kept; those of further ones are opened anew.
const APPLICATIONS: usize = 1024;

/// How long applications may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a connection to stand, TLS included.
    pub connect: Duration,
    /// For an answer to begin, from when the request was sent.
    pub response: Duration,
}

/// Where a request goes, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way<'a> {
    pub(super) backend: &'a Backend,
    pub(super) protocol: UpstreamProtocol,
    /// Whether the application's certificate goes unverified.
    pub(super) insecure: bool,
}

/// The way to applications. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Upstream {
    /// By protocol, and by whether certificates are verified: none shares a connection with others.
    pools: Arc<[[Pools; 2]; 2]>,
    pub(super) patience: Patience,
}

impl Upstream {
    /// Prepares the way; connects to nothing yet.
    #[must_use]
    pub fn new(trust: &Trust, patience: Patience) -> Self {
        let pools = |protocol| {
            [false, true].map(|insecure| Pools::new(protocol, trust, insecure, patience.connect))
        };
        Self {
            pools: Arc::new([
                pools(UpstreamProtocol::Http1),
                pools(UpstreamProtocol::Http2),
            ]),
            patience,
        }
    }

    /// Sends a request and waits for the head of the answer; also says whether the whole of it is
    /// known to have come.
    pub(super) async fn send(
        &self,
        request: Request<Body>,
        way: Way<'_>,
        pace: &Pace,
    ) -> Result<(Response<Incoming>, bool), Failure> {
        let pools = &self.pools[way.protocol as usize][usize::from(way.insecure)];
        let generation = pools.of(way.backend);
        tokio::select! {
            biased;
            answer = generation.send(request) => {
                answer.map_err(|unsent| failure(unsent, self.patience))
            }
            () = pace.silence(self.patience.response) => Err(Failure::Silent(self.patience.response)),
        }
    }
}

/// Why no answer came.
pub(super) enum Unsent {
    /// There is no connection.
    Unconnected(Box<dyn std::error::Error + Send + Sync>),
    /// The connection ended.
    Broken {
        /// How.
        error: hyper::Error,
        /// Whether it had served a request before.
        reused: bool,
    },
    /// Either of them.
    Pool(Error),
}

fn failure(unsent: Unsent, patience: Patience) -> Failure {
    match unsent {
        Unsent::Unconnected(error) => Failure::Connect(classify(&*error), patience.connect),
        Unsent::Broken { error, reused } => broken(&error, reused),
        Unsent::Pool(error) if error.is_connect() => {
            Failure::Connect(classify(&error), patience.connect)
        }
        Unsent::Pool(error) => {
            let source = std::error::Error::source(&error);
            match source.and_then(|source| source.downcast_ref::<hyper::Error>()) {
                // Nobody says whether it was; most are.
                Some(error) => broken(error, true),
                None => Failure::Broken(classify(&error)),
            }
        }
    }
}

fn broken(error: &hyper::Error, reused: bool) -> Failure {
    if error.is_user() || error.is_body_write_aborted() {
        return Failure::Client;
    }
    match classify(error) {
        error @ FetchError::Connection(_) if reused => Failure::Stale(error),
        error => Failure::Broken(error),
    }
}

/// A pool of connections for each application. One for all would tell them apart by the authority
/// of requests, which in HTTP/2 is what the person asked for and not where the application is.
struct Pools {
    protocol: UpstreamProtocol,
    dialer: Arc<Dialer>,
    max_age: Duration,
    generations: Cache<Backend, Arc<Generation>>,
}

/// The connections that were opened to one application since some time. Those that are in use go
/// on when the next generation begins, and are closed after that.
struct Generation {
    connections: Kind,
    begun: Instant,
}

enum Kind {
    Http1(Arc<Connections>),
    Http2(Box<Pool<To, Body>>),
}

impl Generation {
    async fn send(&self, request: Request<Body>) -> Result<(Response<Incoming>, bool), Unsent> {
        match &self.connections {
            Kind::Http1(connections) => connections.send(request).await,
            Kind::Http2(pool) => {
                let answer = pool.request(request).await.map_err(Unsent::Pool)?;
                Ok((answer, false))
            }
        }
    }
}

impl Pools {
    fn new(protocol: UpstreamProtocol, trust: &Trust, insecure: bool, limit: Duration) -> Self {
        let alpn: &[&str] = match protocol {
            UpstreamProtocol::Http1 => &[],
            UpstreamProtocol::Http2 => &["h2"],
        };
        let connector = connector(trust.client(insecure), limit, alpn);
        Self {
            protocol,
            dialer: Arc::new(Dialer { connector, limit }),
            max_age: MAX_AGE,
            generations: Cache::new(APPLICATIONS),
        }
    }

    /// The current connections to an application.
    fn of(&self, backend: &Backend) -> Arc<Generation> {
        if let Some(current) = self.generations.get(backend)
            && current.begun.elapsed() < self.max_age
        {
            return current;
        }
        let next = Arc::new(Generation {
            connections: self.connections(backend),
            begun: Instant::now(),
        });
        // If others do the same at this moment, some connections more are opened.
        self.generations.insert(backend.clone(), Arc::clone(&next));
        next
    }

    fn connections(&self, backend: &Backend) -> Kind {
        let to = To {
            dialer: Arc::clone(&self.dialer),
            address: backend.uri().clone(),
        };
        match self.protocol {
            UpstreamProtocol::Http1 => Kind::Http1(Connections::new(to, self.max_age)),
            UpstreamProtocol::Http2 => Kind::Http2(Box::new(
                Pool::builder(TokioExecutor::new())
                    .pool_timer(TokioTimer::new())
                    .timer(TokioTimer::new())
                    .pool_idle_timeout(MAX_AGE)
                    .pool_max_idle_per_host(KEPT_EACH)
                    .http2_only(true)
                    .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
                    .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                    .build(to),
            )),
        }
    }
}

/// Opens connections. The whole work, from the look-up of the name to the end of the TLS
/// handshake, has a limit.
struct Dialer {
    connector: Connector,
    limit: Duration,
}

/// Opens connections to one address, whatever requests say.
#[derive(Clone)]
pub(super) struct To {
    dialer: Arc<Dialer>,
    pub(super) address: Uri,
}

impl Service<Uri> for To {
    type Response = <Connector as Service<Uri>>::Response;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // The connector always is.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _asked: Uri) -> Self::Future {
        let To { dialer, address } = self.clone();
        Box::pin(async move {
            let mut connector = dialer.connector.clone();
            let connecting = connector.call(address);
            match tokio::time::timeout(dialer.limit, connecting).await {
                Ok(connected) => connected,
                Err(elapsed) => {
                    Err(std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed).into())
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use http_body_util::BodyExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers every request with the number of its connection.
    async fn numbering() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            for number in 1.. {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{number:02}");
                tokio::spawn(async move {
                    let mut head = [0; 4096];
                    while stream.read(&mut head).await.is_ok_and(|read| read > 0) {
                        let _ = stream.write_all(answer.as_bytes()).await;
                    }
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn names_are_looked_up_again_when_connections_are_old() {
        let address = numbering().await;
        let backend = Backend::parse(&format!("http://{address}")).expect("a URL");
        let trust = Trust::load(None).expect("authorities");
        let limit = Duration::from_secs(10);
        for (max_age, is_reused) in [(Duration::MAX, true), (Duration::ZERO, false)] {
            let mut pools = Pools::new(UpstreamProtocol::Http1, &trust, false, limit);
            pools.max_age = max_age;
            let mut connections = Vec::new();
            for _ in 0..16 {
                let mut request = Request::new(Body::empty());
                *request.uri_mut() = "http://person.test/".parse().expect("a URL");
                let answer = pools.of(&backend).send(request).await;
                let (answer, _) = answer.ok().expect("an answer");
                let body = answer.collect().await;
                connections.push(body.expect("a body").to_bytes());
            }
            connections.sort();
            connections.dedup();
            // One that is not yet free again is not used again, either.
            assert_eq!(connections.len() < 16, is_reused, "{connections:?}");
        }
    }

    #[tokio::test]
    async fn a_kept_connection_is_closed_when_the_application_closes_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (rests, resting) = tokio::sync::oneshot::channel();
        let application = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut head = [0; 4096];
            assert!(stream.read(&mut head).await.expect("a request") > 0);
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer).await.expect("written");
            resting.await.expect("an answer");
            stream.shutdown().await.expect("its half");
            stream.read(&mut head).await.expect("the other half")
        });
        let trust = Trust::load(None).expect("authorities");
        let limit = Duration::from_secs(10);
        let mut pools = Pools::new(UpstreamProtocol::Http1, &trust, false, limit);
        // Not by its age.
        pools.max_age = Duration::MAX;
        let backend = Backend::parse(&format!("http://{address}")).expect("a URL");
        let answer = pools.of(&backend).send(Request::new(Body::empty())).await;
        assert!(answer.is_ok());
        rests.send(()).expect("it waits");
        let closed = tokio::time::timeout(limit, application).await;
        assert_eq!(closed.expect("it is closed").expect("no panic"), 0);
    }
}
