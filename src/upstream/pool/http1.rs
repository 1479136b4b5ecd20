//! HTTP/1.1 connections to one application.
//!
//! The task of a request drives the connection until the response begins. Most responses have arrived
//! completely by then: they need no watch of their session, and no other task was woken for them.
//!
//! Own code instead of hyper-util's `client::pool::cache` (0.1.21): that pool has no limit on idle
//! connections and does not say whether a response is complete; a connection returns to it when the
//! handle is dropped, even if its response has not been read; and its type cannot be named.

use std::future::poll_fn;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response, header};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, Connection as HttpConnection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;

use super::dialer::{DialerTo, Stream};
use super::limited_reads::{LimitedReads, MaxRead};
use super::line_error::LineError;
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
            if request.headers().contains_key(header::UPGRADE) {
                connection = connection.with_upgrades();
            }
            match connection.send(request).await {
                Ok(response) => return Ok((response, self.release(connection))),
                Err(mut error) => match error.take_message() {
                    // The connection had been closed before anything was sent.
                    Some(unsent) if reused => request = unsent,
                    _ => {
                        let error = error.into_error();
                        return Err(SendError::Connection {
                            line: connection.line_error(&error),
                            error,
                            reused,
                        });
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
            line: None,
        })?;
        Ok(Connection {
            sender,
            driver: Driver::Http(Box::new(connection)),
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
        if !matches!(connection.driver, Driver::Ended(_)) {
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
        let is_upgradeable = matches!(connection.driver, Driver::Upgradeable(_));
        if is_upgradeable || connection.park() {
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
    driver: Driver,
    waker: Arc<IdleWaker>,
}

type Io = TokioIo<LimitedReads<TokioIo<Stream>>>;

/// What reads and writes.
enum Driver {
    /// Has what was read and not parsed.
    Http(Box<HttpConnection<Io, Body>>),
    /// For a request to change the protocol. It hides what was read, and is not used again.
    Upgradeable(BoxFuture<'static, hyper::Result<()>>),
    /// What was read and not parsed when the connection ended. The rest is dropped at once: that is
    /// how a request that was given to the connection too late learns of it.
    Ended(Bytes),
}

impl Driver {
    /// Ends the connection. Returns what was read and not parsed, as far as that is known.
    fn end(self) -> Bytes {
        match self {
            Self::Http(connection) => connection.into_parts().read_buf,
            Self::Upgradeable(_) => Bytes::new(),
            Self::Ended(unparsed) => unparsed,
        }
    }
}

impl Connection {
    /// Prepares for a request to change the protocol.
    fn with_upgrades(self) -> Self {
        let driver = match self.driver {
            Driver::Http(connection) => Driver::Upgradeable(Box::pin(connection.with_upgrades())),
            other => other,
        };
        Self { driver, ..self }
    }

    /// The line because of which a response was refused with `error`.
    fn line_error(self, error: &hyper::Error) -> Option<LineError> {
        if !error.is_parse() {
            return None;
        }
        LineError::find(error, &self.driver.end(), MAX_RESPONSE_HEADER_LINES)
    }

    /// Does what can be done now. Ready when the connection has ended.
    fn drive(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // Errors are returned to those who wait for a response or a body.
        let ended = match &mut self.driver {
            Driver::Http(connection) => Pin::new(connection).poll(context),
            Driver::Upgradeable(connection) => connection.as_mut().poll(context),
            Driver::Ended(_) => return Poll::Ready(()),
        };
        if ended.is_ready() {
            let driver = mem::replace(&mut self.driver, Driver::Ended(Bytes::new()));
            self.driver = Driver::Ended(driver.end());
        }
        ended.map(drop)
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

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::sample::select;
    use proptest::{prop_assert, prop_assert_eq, proptest};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::model::Backend;
    use crate::upstream::pool::{Pool, PoolProtocol, Pools};
    use crate::web::client::trust::Trust;

    #[tokio::test]
    async fn a_request_for_a_connection_that_has_ended_is_given_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let backend = Backend::parse(&format!("http://{address}")).expect("a URL");
        let trust = Trust::load(None).expect("authorities");
        let limit = Duration::from_secs(10);
        let pools = Pools::new(PoolProtocol::Http1(MaxRead::Large), &trust, false, limit);
        let generation = pools.of(&backend);
        let Pool::Http1(pool) = &generation.pool else {
            panic!("of another protocol");
        };
        let mut connection = pool.open().await.ok().expect("it is open");
        let (mut application, _) = listener.accept().await.expect("it is open");
        let answered = async {
            let mut head = [0; 4096];
            assert!(application.read(&mut head).await.expect("a request") > 0);
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            application.write_all(answer).await.expect("written");
        };
        let request = || Request::new(Body::empty());
        let (first, ()) = tokio::join!(connection.send(request()), answered);
        assert!(first.is_ok() && connection.becomes_ready().await);
        drop(application);
        let sent = async {
            poll_fn(|context| connection.drive(context)).await;
            connection.send(request()).await
        };
        let sent = tokio::time::timeout(limit, sent).await;
        let mut error = sent.expect("it does not wait").expect_err("it has ended");
        assert!(error.take_message().is_some());
    }

    /// Why a response is refused, if it is, and the line.
    async fn refused(head: Vec<u8>) -> Option<(String, Option<LineError>)> {
        // It arrives in parts.
        let (outpost, mut application) = tokio::io::duplex(16);
        tokio::spawn(async move {
            let mut request = [0; 1];
            let _ = application.read(&mut request).await;
            let _ = application.write_all(&head).await;
        });
        let connected = parser().handshake(TokioIo::new(outpost)).await;
        let (mut sender, mut connection) = connected.expect("it connects");
        let mut response = pin!(sender.send_request(Request::new(Body::empty())));
        let response = poll_fn(|context| {
            let _ = Pin::new(&mut connection).poll(context);
            response.as_mut().poll(context)
        });
        let error = response.await.err()?;
        let unparsed = connection.into_parts().read_buf;
        let line = LineError::find(&error, &unparsed, MAX_RESPONSE_HEADER_LINES);
        Some((error.to_string(), line))
    }

    proptest! {
        #[test]
        fn a_line_is_found_whenever_a_header_is_refused(
            parts in vec(select(vec!["\0", "\r", "\n", "\r\n", ":", " ", "\t", "\u{1}", "a", "é"]), 0..24),
        ) {
            let head = format!("HTTP/1.1 200 OK\r\n{}\r\n\r\n", parts.concat());
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            let found = runtime.expect("a runtime").block_on(refused(head.into_bytes()));
            if let Some((error, line)) = found {
                prop_assert_eq!(&error, "invalid HTTP header parsed");
                prop_assert!(line.is_some());
            }
        }
    }

    #[tokio::test]
    async fn what_is_refused_for_another_reason_has_no_line() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nX: \0\r\n";
        for (head, error) in [
            (head, "invalid content-length parsed"),
            ("220 smtp.test\r\nX: \0\r\n", "invalid HTTP version parsed"),
            (
                "HTTP/1.1 2x0 OK\r\nX: \0\r\n",
                "invalid HTTP status-code parsed",
            ),
        ] {
            let found = refused(head.into()).await;
            assert_eq!(found, Some((error.to_owned(), None)), "{head:?}");
        }
    }
}
