//! For how long an application, or a client in the middle of its request, has been silent: the time
//! in which we wait for the other one does not count.

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

use super::headers::sift_trailers;

/// Who has to say something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Application,
    Client,
}

/// Whose turn it is, and since when.
#[derive(Clone)]
pub(super) struct Pace(Arc<Since>);

struct Since {
    begun: Instant,
    /// Milliseconds after `begun`, doubled; odd where it is the client's turn.
    turn: AtomicU64,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self(Arc::new(Since {
            begun: Instant::now(),
            turn: AtomicU64::new(0),
        }))
    }

    /// Waits until the application has been silent for `limit`.
    pub(super) async fn silence(&self, limit: Duration) {
        self.lasts(Turn::Application, limit).await;
    }

    /// Waits until the client has left its request unfinished for `limit`, without a byte.
    pub(super) async fn stall(&self, limit: Duration) {
        self.lasts(Turn::Client, limit).await;
    }

    async fn lasts(&self, turn: Turn, limit: Duration) {
        let mut rest = limit;
        while !rest.is_zero() {
            sleep(rest).await;
            let (whose, since) = self.turn();
            rest = if whose == turn {
                limit.saturating_sub(self.0.begun.elapsed().saturating_sub(since))
            } else {
                limit
            };
        }
    }

    fn turn(&self) -> (Turn, Duration) {
        let turn = self.0.turn.load(Ordering::Relaxed);
        let whose = if turn % 2 == 1 {
            Turn::Client
        } else {
            Turn::Application
        };
        (whose, Duration::from_millis(turn / 2))
    }

    fn begins(&self, turn: Turn) {
        let elapsed = u64::try_from(self.0.begun.elapsed().as_millis()).unwrap_or(u64::MAX / 2);
        let turn = (elapsed << 1) | u64::from(turn == Turn::Client);
        self.0.turn.store(turn, Ordering::Relaxed);
    }

    /// Unlike an application, a client may be asked again and again.
    fn is_clients(&self) {
        if self.turn().0 != Turn::Client {
            self.begins(Turn::Client);
        }
    }

    fn is_applications(&self) {
        self.begins(Turn::Application);
    }
}

/// A request's body that notes whose turn it is, and whose trailers are sifted.
pub(super) struct Paced {
    pub(super) body: Body,
    pub(super) pace: Pace,
    /// The names in the request's head, and those that only we may say; none where no trailers can
    /// follow.
    pub(super) head: Vec<HeaderName>,
}

impl Paced {
    fn sifted(&self, frame: Frame<Bytes>) -> Frame<Bytes> {
        match frame.into_trailers() {
            Ok(mut trailers) => {
                sift_trailers(&mut trailers, &self.head);
                Frame::trailers(trailers)
            }
            Err(data) => data,
        }
    }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            self.pace.is_clients();
            return Poll::Pending;
        };
        self.pace.is_applications();
        Poll::Ready(frame.map(|frame| frame.map(|frame| self.sifted(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
