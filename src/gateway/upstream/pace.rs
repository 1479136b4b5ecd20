//! For how long an application has been silent: the time in which we wait for the client's own
//! bytes does not count.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::HeaderName;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, sleep};

use super::headers::sift_trailers;

/// Marks the time in which the client has to send.
const CLIENTS_TURN: u64 = u64::MAX;

/// Whose turn it is, and since when.
#[derive(Clone)]
pub(super) struct Pace(Arc<Since>);

struct Since {
    begun: Instant,
    /// Milliseconds after `begun`, or [`CLIENTS_TURN`].
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
        let mut rest = limit;
        loop {
            sleep(rest).await;
            let turn = self.0.turn.load(Ordering::Relaxed);
            rest = if turn == CLIENTS_TURN {
                limit
            } else {
                let silent = self.0.begun.elapsed();
                limit.saturating_sub(silent.saturating_sub(Duration::from_millis(turn)))
            };
            if rest.is_zero() {
                return;
            }
        }
    }

    fn is_clients(&self) {
        self.0.turn.store(CLIENTS_TURN, Ordering::Relaxed);
    }

    fn is_applications(&self) {
        let elapsed = self.0.begun.elapsed().as_millis();
        let elapsed = u64::try_from(elapsed).unwrap_or(CLIENTS_TURN - 1);
        self.0.turn.store(elapsed, Ordering::Relaxed);
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
        self.pace.is_clients();
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
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
