//! HTTP/1.1 connections to one application.
//!
//! Whoever sends a request drives the connection until the answer begins. Most answers have come
//! as a whole by then, and no other task had to be woken for them.

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
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;
use tower_service::Service as _;

use super::chunked::Chunked;
use super::client::{KEPT_EACH, To, Unsent};

/// Connections that are opened as they are needed, and kept when they are free again.
pub(super) struct Connections {
    to: To,
    /// `None` when no connection is kept any more.
    free: Mutex<Option<Vec<Connection>>>,
    stirred: Arc<Notify>,
}

impl Connections {
    /// Prepares the way to an address. Connections are kept for `kept` from now on.
    pub(super) fn new(to: To, kept: Duration) -> Arc<Self> {
        let connections = Arc::new(Self {
            to,
            free: Mutex::new(Some(Vec::new())),
            stirred: Arc::default(),
        });
        let watched = Arc::clone(&connections);
        tokio::spawn(async move {
            tokio::select! {
                () = watched.watch() => {}
                () = tokio::time::sleep(kept) => {}
            }
            *watched.free() = None;
        });
        connections
    }

    /// Closes free connections when the application has closed them.
    async fn watch(&self) {
        loop {
            self.stirred.notified().await;
            if let Some(free) = &mut *self.free() {
                free.retain_mut(|connection| !connection.rest());
            }
        }
    }

    /// Sends a request over a connection that is free or new, and waits for the head of the
    /// answer; also says whether the whole of it has come.
    pub(super) async fn send(
        self: &Arc<Self>,
        mut request: Request<Body>,
    ) -> Result<(Response<Incoming>, bool), Unsent> {
        loop {
            let free = self.free().as_mut().and_then(Vec::pop);
            let reused = free.is_some();
            let mut connection = match free {
                Some(connection) => connection,
                None => Connection::open(self.to.clone(), &self.stirred).await?,
            };
            match connection.send(request).await {
                Ok(answer) => return Ok((answer, self.release(connection))),
                Err(mut error) => match error.take_message() {
                    // It had been closed before anything was sent.
                    Some(unsent) if reused => request = unsent,
                    _ => {
                        let error = error.into_error();
                        return Err(Unsent::Broken { error, reused });
                    }
                },
            }
        }
    }

    /// Keeps a connection for the next request once it has done its work; whether it has already.
    fn release(self: &Arc<Self>, mut connection: Connection) -> bool {
        if connection.sender.is_ready() {
            self.keep(connection);
            return true;
        }
        if connection.driver.is_some() {
            let connections = Arc::clone(self);
            tokio::spawn(async move {
                if connection.is_free_again().await {
                    connections.keep(connection);
                }
            });
        }
        false
    }

    fn keep(&self, mut connection: Connection) {
        if connection.rest() {
            return;
        }
        if let Some(free) = &mut *self.free()
            && free.len() < KEPT_EACH
        {
            free.push(connection);
        }
    }

    fn free(&self) -> MutexGuard<'_, Option<Vec<Connection>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection, and what gives it requests.
struct Connection {
    sender: SendRequest<Body>,
    /// Nothing when the connection has ended.
    driver: Option<BoxFuture<'static, hyper::Result<()>>>,
    bell: Arc<Bell>,
}

impl Connection {
    async fn open(mut to: To, stirred: &Arc<Notify>) -> Result<Self, Unsent> {
        let address = to.address.clone();
        let stream = to.call(address).await.map_err(Unsent::Unconnected)?;
        let shaken = handshake(TokioIo::new(Chunked::new(TokioIo::new(stream)))).await;
        let (sender, connection) = shaken.map_err(|error| Unsent::Broken {
            error,
            reused: false,
        })?;
        Ok(Self {
            sender,
            driver: Some(Box::pin(connection.with_upgrades())),
            bell: Arc::new(Bell {
                armed: AtomicBool::new(false),
                stirred: Arc::clone(stirred),
            }),
        })
    }

    /// Does what can be done now; ready when the connection has ended.
    fn drive(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(driver) = &mut self.driver else {
            return Poll::Ready(());
        };
        // Whoever waits for an answer or a body is told of errors.
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
        self.bell.armed.store(false, Ordering::Relaxed);
        let mut answered = pin!(self.sender.try_send_request(request));
        poll_fn(|context| {
            // Its end is told by the answer.
            let _ = self.drive(context);
            answered.as_mut().poll(context)
        })
        .await
    }

    /// Waits until the connection can take another request; whether it will.
    async fn is_free_again(&mut self) -> bool {
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

    /// Lets a free connection ring when something happens to it; whether it has ended.
    fn rest(&mut self) -> bool {
        self.bell.armed.store(true, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&self.bell));
        self.drive(&mut Context::from_waker(&waker)).is_ready()
    }
}

/// Tells that something happened to a free connection: usually, that it was closed. What a request
/// does to it is no news.
struct Bell {
    armed: AtomicBool,
    stirred: Arc<Notify>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.armed.load(Ordering::Relaxed) {
            self.stirred.notify_one();
        }
    }
}
