//! Time-outs of a request. The time in which the application waits for the client does not count
//! for the application, and the other way round.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::HeaderName;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, sleep};

use super::headers::filter_trailers;

/// How long applications may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// To open a connection, from the look-up of the name to the end of the TLS handshake.
    pub connect: Duration,
    /// To begin a response, from when the request was sent.
    pub response: Duration,
}

/// The side that has to send next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Application,
    Client,
}

/// Which side of a request is idle, and since when. Cheap to clone; clones share it.
#[derive(Clone)]
pub(super) struct IdleTimer(Arc<State>);

struct State {
    begun: Instant,
    /// Milliseconds after `begun` at which the current side became idle, doubled; odd for the client.
    idle: AtomicU64,
}

impl IdleTimer {
    /// A timer that runs for the application.
    pub(super) fn new() -> Self {
        Self(Arc::new(State {
            begun: Instant::now(),
            idle: AtomicU64::new(0),
        }))
    }

    /// Waits until the application has been idle for `limit`.
    pub(super) async fn response_timeout(&self, limit: Duration) {
        self.timeout(Side::Application, limit).await;
    }

    /// Waits until the client has sent nothing of its unfinished body for `limit`.
    pub(super) async fn body_timeout(&self, limit: Duration) {
        self.timeout(Side::Client, limit).await;
    }

    async fn timeout(&self, side: Side, limit: Duration) {
        let mut rest = limit;
        while !rest.is_zero() {
            sleep(rest).await;
            let (idle, since) = self.idle();
            rest = if idle == side {
                limit.saturating_sub(self.0.begun.elapsed().saturating_sub(since))
            } else {
                limit
            };
        }
    }

    fn idle(&self) -> (Side, Duration) {
        let idle = self.0.idle.load(Ordering::Relaxed);
        let side = if idle % 2 == 1 {
            Side::Client
        } else {
            Side::Application
        };
        (side, Duration::from_millis(idle / 2))
    }

    fn start(&self, side: Side) {
        let elapsed = u64::try_from(self.0.begun.elapsed().as_millis()).unwrap_or(u64::MAX / 2);
        let idle = (elapsed << 1) | u64::from(side == Side::Client);
        self.0.idle.store(idle, Ordering::Relaxed);
    }
}

/// A request body that notes which side is idle, and whose trailers are filtered.
pub(super) struct RequestBody {
    body: Body,
    timer: IdleTimer,
    /// Names that trailers must not have: those of the request's head, and reserved ones.
    head: Vec<HeaderName>,
}

impl RequestBody {
    /// Wraps a body. `head` may be empty where no trailers can follow.
    pub(super) fn new(body: Body, timer: IdleTimer, head: Vec<HeaderName>) -> Self {
        Self { body, timer, head }
    }

    fn filtered(&self, frame: Frame<Bytes>) -> Frame<Bytes> {
        match frame.into_trailers() {
            Ok(mut trailers) => {
                filter_trailers(&mut trailers, &self.head);
                Frame::trailers(trailers)
            }
            Err(data) => data,
        }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            // A client may be polled again and again while it sends nothing.
            if self.timer.idle().0 != Side::Client {
                self.timer.start(Side::Client);
            }
            return Poll::Pending;
        };
        self.timer.start(Side::Application);
        Poll::Ready(frame.map(|frame| frame.map(|frame| self.filtered(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
