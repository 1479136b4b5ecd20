//! An application's response as the client gets it. Trailers are filtered as the head is.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use super::headers::drop_own_cookies;
use super::upgrade::Tunnel;

/// An application's response as the client gets it.
pub(crate) enum ProxyResponse {
    /// The whole body has arrived.
    Complete(Response<ResponseBody>),
    /// The body is still to come, perhaps for a long time.
    Streaming(Response<ResponseBody>),
    /// Both sides change to another protocol. Its bytes pass while the tunnel runs.
    Upgraded(Response<()>, Tunnel),
}

/// A response body, without trailers that would set a cookie of the outpost.
pub(crate) struct ResponseBody(Incoming);

impl ResponseBody {
    pub(super) fn new(body: Incoming) -> Self {
        Self(body)
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.0).poll_frame(context);
        frame.map(|frame| frame.map(|frame| frame.map(filtered)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

fn filtered(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        drop_own_cookies(trailers);
    }
    frame
}
