//! Whether anything happens on a connection.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http::Response;
use hyper::body::{Frame, SizeHint};

/// Whether a connection does anything.
#[derive(Clone, Default)]
pub(super) struct Activity(Arc<Seen>);

#[derive(Default)]
struct Seen {
    in_flight: AtomicU32,
    /// Whether a request began since somebody looked.
    recently: AtomicBool,
}

impl Activity {
    /// Notes a request, which lasts as long as what is returned.
    pub(super) fn begin(&self) -> InFlight {
        self.0.in_flight.fetch_add(1, Ordering::Relaxed);
        self.0.recently.store(true, Ordering::Relaxed);
        InFlight(Arc::clone(&self.0))
    }

    /// Whether there was no request since the last call, and there is none now.
    pub(super) fn was_idle(&self) -> bool {
        !self.0.recently.swap(false, Ordering::Relaxed)
            && self.0.in_flight.load(Ordering::Relaxed) == 0
    }
}

pub(super) struct InFlight(Arc<Seen>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl InFlight {
    /// Keeps the request in flight until the body of its answer has left.
    pub(super) fn until_sent(self, response: Response<Body>) -> Response<Body> {
        if response.body().is_end_stream() {
            return response;
        }
        response.map(|body| {
            Body::new(Sending {
                body,
                _in_flight: self,
            })
        })
    }
}

struct Sending {
    body: Body,
    _in_flight: InFlight,
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
