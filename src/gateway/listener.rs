//! Accepts connections, bounds what they may cost, and lets them finish when we stop.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// What one connection may cost.
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

/// Binds a listener.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves connections with `answer` until `stop`, then waits for requests in flight.
pub async fn serve<A, F>(listener: TcpListener, answer: A, limits: Limits, stop: CancellationToken)
where
    A: Fn(SocketAddr, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let connections = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(limits.max_connections));
    let builder = builder(limits);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, peer, place)) = accepted else {
            continue;
        };
        let answer = answer.clone();
        let service = service_fn(move |request| {
            let answered = answer(peer, request);
            async move { Ok::<_, Infallible>(answered.await) }
        });
        let connection = builder
            .serve_connection(TokioIo::new(stream), service)
            .into_owned();
        let watched = connections.watch(connection);
        tokio::spawn(async move {
            // Errors here are the client's: resets, malformed requests, time-outs.
            if let Err(error) = watched.await {
                tracing::debug!(remote = %peer, "connection ended: {error}");
            }
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.drain, connections.shutdown())
        .await
        .is_err()
    {
        tracing::warn!(
            "requests were still in flight after {:?}; they are cut off",
            limits.drain
        );
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
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
