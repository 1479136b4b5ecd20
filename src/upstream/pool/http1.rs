//! HTTP/1.1 connections to one application.
//!
//! The task of a request drives the connection until the response begins. Most responses have arrived
//! completely by then: they need no watch of their session, and no other task was woken for them.
//!
//! Own code instead of hyper-util's `client::pool::cache` (0.1.21): that pool has no limit on idle
//! connections and does not say whether a response is complete; a connection returns to it when the
//! handle is dropped, even if its response has not been read; and its type cannot be named.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use axum::body::Body;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;

use super::dialer::DialerTo;
use super::limited_reads::{LimitedReads, MaxRead};
use super::send_error::SendError;

/// Header lines of one response; a response with more is answered with 502. hyper's own limit is 100.
const MAX_RESPONSE_HEADER_LINES: usize = 512;

/// Connections that are opened when they are needed, and kept for further requests.
pub(super) struct Http1Pool {
    dialer: DialerTo,
    max_read: MaxRead,
    max_idle: usize,
    /// `None` when connections are no longer kept.
    idle: Mutex<Option<Vec<Connection>>>,
    /// Notified when something happens to an idle connection.
    idle_event: Arc<Notify>,
}

impl Http1Pool {
    /// A pool that keeps connections for `max_age` from now on, `max_idle` at most.
    pub(super) fn new(
        dialer: DialerTo,
        max_read: MaxRead,
        max_age: Duration,
        max_idle: usize,
    ) -> Arc<Self> {
        let pool = Arc::new(Self {
            dialer,
            max_read,
            max_idle,
            idle: Mutex::new(Some(Vec::new())),
            idle_event: Arc::default(),
        });
        let watched = Arc::clone(&pool);
        tokio::spawn(async move {
            tokio::select! {
                () = watched.close_ended() => {}
                () = tokio::time::sleep(max_age) => {}
            }
            *watched.idle() = None;
        });
        pool
    }

    /// Closes idle connections when the application has closed them.
    async fn close_ended(&self) {
        loop {
            self.idle_event.notified().await;
            if let Some(idle) = &mut *self.idle() {
                idle.retain_mut(|connection| !connection.park());
            }
        }
    }

    /// Sends a request over an idle or a new connection and waits for the head of the response.
    /// Returns as well whether the whole response has arrived.
    pub(super) async fn send(
        self: &Arc<Self>,
        mut request: Request<Body>,
    ) -> Result<(Response<Incoming>, bool), SendError> {
        loop {
            let idle = self.idle().as_mut().and_then(Vec::pop);
            let reused = idle.is_some();
            let mut connection = match idle {
                Some(connection) => connection,
                None => self.open().await?,
            };
            match connection.send(request).await {
                Ok(response) => return Ok((response, self.release(connection))),
                Err(mut error) => match error.take_message() {
                    // The connection had been closed before anything was sent.
                    Some(unsent) if reused => request = unsent,
                    _ => {
                        let error = error.into_error();
                        return Err(SendError::Connection { error, reused });
                    }
                },
            }
        }
    }

    async fn open(&self) -> Result<Connection, SendError> {
        let stream = self.dialer.dial().await.map_err(SendError::Connect)?;
        let stream = TokioIo::new(LimitedReads::new(TokioIo::new(stream), self.max_read));
        let connected = parser().handshake(stream).await;
        let (sender, connection) = connected.map_err(|error| SendError::Connection {
            error,
            reused: false,
        })?;
        Ok(Connection {
            sender,
            driver: Some(Box::pin(connection.with_upgrades())),
            waker: Arc::new(IdleWaker {
                parked: AtomicBool::new(false),
                idle_event: Arc::clone(&self.idle_event),
            }),
        })
    }

    /// Keeps a connection once it is ready for the next request. Returns whether it is ready already.
    fn release(self: &Arc<Self>, mut connection: Connection) -> bool {
        if connection.sender.is_ready() {
            self.keep(connection);
            return true;
        }
        if connection.driver.is_some() {
            let pool = Arc::clone(self);
            tokio::spawn(async move {
                if connection.becomes_ready().await {
                    pool.keep(connection);
                }
            });
        }
        false
    }

    fn keep(&self, mut connection: Connection) {
        if connection.park() {
            return;
        }
        if let Some(idle) = &mut *self.idle()
            && idle.len() < self.max_idle
        {
            idle.push(connection);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Option<Vec<Connection>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection, and the handle that gives it requests.
struct Connection {
    sender: SendRequest<Body>,
    /// `None` when the connection has ended.
    driver: Option<BoxFuture<'static, hyper::Result<()>>>,
    waker: Arc<IdleWaker>,
}

impl Connection {
    /// Does what can be done now. Ready when the connection has ended.
    fn drive(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(driver) = &mut self.driver else {
            return Poll::Ready(());
        };
        // Errors are returned to those who wait for a response or a body.
        let ended = driver.as_mut().poll(context).map(drop);
        if ended.is_ready() {
            self.driver = None;
        }
        ended
    }

    async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Body>>> {
        self.waker.parked.store(false, Ordering::Relaxed);
        let mut response = pin!(self.sender.try_send_request(request));
        poll_fn(|context| {
            // The response tells whether the connection has ended.
            let _ = self.drive(context);
            response.as_mut().poll(context)
        })
        .await
    }

    /// Waits until the connection can take another request. `false` if it ends instead.
    async fn becomes_ready(&mut self) -> bool {
        poll_fn(|context| {
            let ended = self.drive(context);
            if self.sender.is_ready() {
                Poll::Ready(true)
            } else {
                ended.map(|()| false)
            }
        })
        .await
    }

    /// Has events of an idle connection notify the pool. Returns whether it has ended.
    fn park(&mut self) -> bool {
        self.waker.parked.store(true, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&self.waker));
        self.drive(&mut Context::from_waker(&waker)).is_ready()
    }
}

/// How responses are read: with the repairs that RFC 9112 asks of a proxy. White space before a colon
/// is removed (section 5.1), folded lines are joined (section 5.2), and lines that are no header are
/// left out.
fn parser() -> Builder {
    let mut builder = Builder::new();
    builder
        .max_headers(MAX_RESPONSE_HEADER_LINES)
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .ignore_invalid_headers_in_responses(true);
    builder
}

/// Notifies the pool of events of a parked connection: usually, that the application closed it. While
/// a request uses the connection, events are that request's.
struct IdleWaker {
    parked: AtomicBool,
    idle_event: Arc<Notify>,
}

impl Wake for IdleWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.parked.load(Ordering::Relaxed) {
            self.idle_event.notify_one();
        }
    }
}
