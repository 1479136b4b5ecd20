//! Accepts connections, bounds what they may cost, and lets them finish when we stop.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What connections may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Time for a request's head to arrive, and for the next request on a kept connection.
    pub header_timeout: Duration,
    /// Most bytes of a request's head; more is answered with 431.
    pub max_header_bytes: usize,
    /// Most connections at a time; more wait in the kernel's queue.
    pub max_connections: usize,
    /// How long requests in flight may take once we stop.
    pub drain: Duration,
}

/// Serves any number of listeners under limits that they share. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    limits: Limits,
    places: Arc<Semaphore>,
    builder: Builder<TokioExecutor>,
}

/// Binds a listener.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

impl Server {
    /// A server with these limits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            places: Arc::new(Semaphore::new(limits.max_connections)),
            builder: builder(limits),
        }
    }

    /// Serves connections with `answer` until `stop`, then waits for requests in flight.
    pub async fn serve<A, F>(self, listener: TcpListener, answer: A, stop: CancellationToken)
    where
        A: Fn(SocketAddr, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
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
            let (server, answer, stop) = (self.clone(), answer.clone(), stop.clone());
            connections.spawn(async move {
                // Errors here are the client's: resets, malformed requests, time-outs.
                if let Err(error) = server.converse(stream, peer, answer, stop).await {
                    tracing::debug!(remote = %peer, "connection ended: {error}");
                }
                drop(place);
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
        peer: SocketAddr,
        answer: A,
        stop: CancellationToken,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
    where
        A: Fn(SocketAddr, Request<Incoming>) -> F,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let activity = Activity::default();
        let service = service_fn(|request| {
            let in_flight = activity.begin();
            let answered = answer(peer, request);
            async move {
                let response = answered.await;
                drop(in_flight);
                Ok::<_, Infallible>(response)
            }
        });
        let connection = self.builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let mut ending = false;
        loop {
            // hyper bounds the time of an HTTP/1.1 head once it has seen a byte of it; silence
            // before that, and HTTP/2 connections without requests, are for us to end.
            let idle = tokio::time::sleep(self.limits.header_timeout);
            tokio::select! {
                ended = connection.as_mut() => return ended,
                () = stop.cancelled(), if !ending => ending = true,
                () = idle, if !ending => ending = activity.was_idle(),
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
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Without it small answers could wait for an acknowledgement.
                let _ = stream.set_nodelay(true);
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

/// Whether a connection does anything.
#[derive(Clone, Default)]
struct Activity(Arc<Seen>);

#[derive(Default)]
struct Seen {
    in_flight: AtomicU32,
    /// Whether a request began since somebody looked.
    recently: AtomicBool,
}

impl Activity {
    /// Notes a request, which lasts as long as what is returned.
    fn begin(&self) -> InFlight {
        self.0.in_flight.fetch_add(1, Ordering::Relaxed);
        self.0.recently.store(true, Ordering::Relaxed);
        InFlight(Arc::clone(&self.0))
    }

    /// Whether there was no request since the last call, and there is none now.
    fn was_idle(&self) -> bool {
        !self.0.recently.swap(false, Ordering::Relaxed)
            && self.0.in_flight.load(Ordering::Relaxed) == 0
    }
}

struct InFlight(Arc<Seen>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
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
