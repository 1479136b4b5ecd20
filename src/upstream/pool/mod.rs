//! Connections to applications, pooled. HTTP/1.1 has a pool of its own ([`http1`]), HTTP/2 that of
//! hyper-util, in which requests share a connection.

mod dialer;
mod http1;
mod limited_reads;
mod line_error;
mod send_error;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use quick_cache::sync::Cache;

use crate::model::Backend;
use crate::web::client::connector;
use crate::web::client::trust::Trust;
use dialer::{Dialer, DialerTo};
use http1::Http1Pool;
pub(super) use limited_reads::MaxRead;
pub(super) use line_error::LineError;
pub(super) use send_error::SendError;

/// Idle connections to one application.
const MAX_IDLE_PER_HOST: usize = 256;
/// How long connections are given to new requests. Each new connection looks the application's name
/// up, so that a Service that moved is followed within this time: as long as `CoreDNS` lets the names
/// of a cluster live. Applications close idle connections after 5 s (Node.js), 75 s (nginx) or never;
/// one that was closed meanwhile is noticed and replaced.
const MAX_AGE: Duration = Duration::from_secs(30);
/// HTTP/2: bytes that an application may send of a response before a client takes them. Many clients
/// share a connection, and the window of the connection holds what all of them leave unread.
const STREAM_WINDOW_BYTES: u32 = 16 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Applications whose connections are kept; for further ones, connections are opened anew.
const MAX_APPLICATIONS: usize = 1024;

/// What is spoken over the connections of a pool.
#[derive(Debug, Clone, Copy)]
pub(super) enum PoolProtocol {
    /// HTTP/1.1, with reads of this size.
    Http1(MaxRead),
    Http2,
}

/// A pool of connections for each application. A single pool would tell applications apart by the
/// authority of requests, which in HTTP/2 is the requested host and not the application's.
pub(super) struct Pools {
    protocol: PoolProtocol,
    dialer: Arc<Dialer>,
    max_age: Duration,
    generations: Cache<Backend, Arc<Generation>>,
}

/// The connections that were opened to one application since some time. Those in use go on when the
/// next generation begins, and are closed after that.
pub(super) struct Generation {
    pool: Pool,
    begun: Instant,
}

enum Pool {
    Http1(Arc<Http1Pool>),
    Http2(Box<Client<DialerTo, Body>>),
}

impl Generation {
    /// Sends a request and waits for the head of the response. Returns as well whether the whole
    /// response is known to have arrived.
    pub(super) async fn send(
        &self,
        request: Request<Body>,
    ) -> Result<(Response<Incoming>, bool), SendError> {
        match &self.pool {
            Pool::Http1(pool) => pool.send(request).await,
            Pool::Http2(pool) => {
                let response = pool.request(request).await.map_err(SendError::Pool)?;
                Ok((response, false))
            }
        }
    }
}

impl Pools {
    /// Pools whose connections are opened within `connect_timeout`.
    pub(super) fn new(
        protocol: PoolProtocol,
        trust: &Trust,
        insecure: bool,
        connect_timeout: Duration,
    ) -> Self {
        let alpn: &[&str] = match protocol {
            PoolProtocol::Http1(_) => &[],
            PoolProtocol::Http2 => &["h2"],
        };
        let connector = connector(trust.client(insecure), connect_timeout, alpn);
        Self {
            protocol,
            dialer: Arc::new(Dialer::new(connector, connect_timeout)),
            max_age: MAX_AGE,
            generations: Cache::new(MAX_APPLICATIONS),
        }
    }

    /// The current connections to an application.
    pub(super) fn of(&self, backend: &Backend) -> Arc<Generation> {
        if let Some(current) = self.generations.get(backend)
            && current.begun.elapsed() < self.max_age
        {
            return current;
        }
        let next = Arc::new(Generation {
            pool: self.pool(backend),
            begun: Instant::now(),
        });
        // If several requests do this at the same moment, some more connections are opened.
        self.generations.insert(backend.clone(), Arc::clone(&next));
        next
    }

    fn pool(&self, backend: &Backend) -> Pool {
        let dialer = DialerTo::new(Arc::clone(&self.dialer), backend.uri().clone());
        match self.protocol {
            PoolProtocol::Http1(max_read) => Pool::Http1(Http1Pool::new(
                dialer,
                max_read,
                self.max_age,
                MAX_IDLE_PER_HOST,
            )),
            PoolProtocol::Http2 => Pool::Http2(Box::new(
                Client::builder(TokioExecutor::new())
                    .pool_timer(TokioTimer::new())
                    .timer(TokioTimer::new())
                    .pool_idle_timeout(MAX_AGE)
                    .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
                    .http2_only(true)
                    .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
                    .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                    .build(dialer),
            )),
        }
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

    fn http1_pools(trust: &Trust, connect_timeout: Duration) -> Pools {
        let protocol = PoolProtocol::Http1(MaxRead::Large);
        Pools::new(protocol, trust, false, connect_timeout)
    }

    #[tokio::test]
    async fn names_are_looked_up_again_when_connections_are_old() {
        let address = numbering().await;
        let backend = Backend::parse(&format!("http://{address}")).expect("a URL");
        let trust = Trust::load(None).expect("authorities");
        let limit = Duration::from_secs(10);
        for (max_age, is_reused) in [(Duration::MAX, true), (Duration::ZERO, false)] {
            let mut pools = http1_pools(&trust, limit);
            pools.max_age = max_age;
            let mut connections = Vec::new();
            for _ in 0..16 {
                let mut request = Request::new(Body::empty());
                *request.uri_mut() = "http://user.test/".parse().expect("a URL");
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
        let mut pools = http1_pools(&trust, limit);
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
