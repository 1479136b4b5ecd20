//! Limits how much of response bodies is buffered for a client that does not read.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http::{Response, Version};
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

use super::activity::InFlight;

/// Chunks that the response bodies of an HTTP/2 connection may have buffered in all, besides one for
/// each body. A chunk is the result of one read from an application.
const SHARED_CHUNKS: usize = 16;

/// The chunks that the response bodies of one connection share. Cheap to clone.
#[derive(Clone)]
pub(super) struct SendBudget(Arc<Semaphore>);

impl Default for SendBudget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(SHARED_CHUNKS)))
    }
}

impl SendBudget {
    /// Applies the budget to a response. Its request is in flight until the whole body is sent.
    ///
    /// hyper's HTTP/2 takes chunks while the client's flow-control window is open, also from a client
    /// that does not read its socket. So the next chunk is polled only when the body's last one was
    /// written to the socket, or the connection has chunks to spare. HTTP/1.1 has one buffer.
    pub(super) fn apply(
        &self,
        response: Response<Body>,
        version: Version,
        in_flight: InFlight,
    ) -> Response<Body> {
        if response.body().is_end_stream() {
            return response;
        }
        let chunks = (version == Version::HTTP_2).then(|| Chunks {
            own: PollSemaphore::new(Arc::new(Semaphore::new(1))),
            shared: PollSemaphore::new(Arc::clone(&self.0)),
        });
        response.map(|body| {
            Body::new(BudgetedBody {
                body,
                chunks,
                _in_flight: in_flight,
            })
        })
    }
}

struct BudgetedBody {
    body: Body,
    chunks: Option<Chunks>,
    _in_flight: InFlight,
}

/// The chunks that one body may have buffered. One is its own, so that bodies whose client has paused them
/// do not block the others.
struct Chunks {
    own: PollSemaphore,
    shared: PollSemaphore,
}

impl Chunks {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<OwnedSemaphorePermit>> {
        if let Poll::Ready(own) = self.own.poll_acquire(context) {
            // Leaves the queue, or a permit assigned to it would stay unused.
            self.shared = PollSemaphore::new(self.shared.clone_inner());
            return Poll::Ready(own);
        }
        self.shared.poll_acquire(context)
    }
}

/// A buffered chunk. Its permit is given back when the chunk is written.
struct Chunk {
    bytes: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HttpBody for BudgetedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let permit = match &mut self.chunks {
            Some(chunks) => ready!(chunks.poll(context)),
            None => None,
        };
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let Some(permit) = permit else {
            return Poll::Ready(frame);
        };
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| {
                frame.map_data(|bytes| {
                    Bytes::from_owner(Chunk {
                        bytes,
                        _permit: permit,
                    })
                })
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
