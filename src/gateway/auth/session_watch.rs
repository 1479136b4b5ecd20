//! Ends responses and tunnels when the session ends that opened them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Response, header};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use super::reauthorization::{Standing, suspended_at};
use super::session::Sessions;
use super::token_refresh::Refresher;
use crate::model::SessionId;
use crate::route::{LiveSession, Site};
use crate::store::StoreError;

/// How often the session is looked up at least, in case the message that ended it was lost.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(30);

/// How long a request runs before its session is watched for more than messages about its end. Most
/// requests are done by then.
const WATCHED_AFTER: Duration = Duration::from_secs(1);

/// How long the rest of a finite response body may take after the end of its session. A body of
/// unknown length that has lasted for as long counts as a stream.
const GRACE: Duration = Duration::from_secs(10);

/// Media types of bodies that have no end: server-sent events, gRPC, one document after the other.
const STREAMS: [&str; 9] = [
    "text/event-stream",
    "multipart/x-mixed-replace",
    "application/grpc",
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/json-seq",
    "application/stream+json",
    "application/connect+",
];

/// The session of a response or a tunnel.
pub(crate) struct SessionWatch {
    pub(crate) session: Arc<LiveSession>,
    /// The sessions that the request named.
    pub(crate) ids: Vec<SessionId>,
    pub(crate) site: Arc<Site>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) refresher: Refresher,
}

/// Waits until the session ends; for ever without a session. An open response or tunnel counts as
/// use: the session's tokens are refreshed as by a request, and the session is not idle.
pub(crate) async fn session_ended(watch: Option<SessionWatch>) {
    match watch {
        Some(watch) => ended(watch, false).await,
        None => std::future::pending().await,
    }
}

/// The same for a request that waits for its response, which hardly ever takes long.
pub(crate) async fn session_ended_meanwhile(
    session: Option<&Arc<LiveSession>>,
    watch: impl Fn() -> Option<SessionWatch>,
) {
    let Some(session) = session else {
        return std::future::pending().await;
    };
    tokio::select! {
        () = session.changed() => {}
        () = tokio::time::sleep(WATCHED_AFTER) => {}
    }
    if let Some(watch) = watch() {
        // Boxed, because it is rare and large.
        let ended: BoxFuture<'static, ()> = Box::pin(ended(watch, true));
        ended.await;
    }
}

/// Waits until the session ends. With `at_once` it is looked up first.
async fn ended(mut watch: SessionWatch, mut at_once: bool) {
    loop {
        let pause = if std::mem::take(&mut at_once) {
            Duration::ZERO
        } else {
            watch.pause()
        };
        let timer_elapsed = tokio::select! {
            () = watch.session.changed() => false,
            () = tokio::time::sleep(pause) => true,
        };
        let now = watch.sessions.clock.now();
        match watch.look_up().await {
            // A refreshed session expires at another time.
            Ok(Some((id, session))) => {
                // Not after a change, or short-lived sessions would be refreshed over and over.
                if timer_elapsed {
                    watch
                        .refresher
                        .enqueue_if_due(id, &watch.site, &session, now);
                }
                watch.session = session;
            }
            Err(_) if watch.session.is_live(now) && !watch.is_suspended(&watch.session) => {}
            Ok(None) | Err(_) => return,
        }
    }
}

impl SessionWatch {
    /// Time until the next look-up, unless the session changes before.
    fn pause(&self) -> Duration {
        let now = self.sessions.clock.now();
        let until = |at: i64| Duration::from_secs(u64::try_from(at - now).unwrap_or_default());
        let end = until(self.session.expires_at).min(LOOKUP_INTERVAL);
        // The refresh is due once that second is over; a failed one is retried.
        let due = self.session.refresh_at();
        let due = due.map_or(LOOKUP_INTERVAL, |due| {
            let retry = self.session.refresh_retry_seconds().unsigned_abs();
            until(due + 1).max(Duration::from_secs(retry))
        });
        let grace_period = self.sessions.reauthorize_grace_period;
        let suspended = suspended_at(&self.site, &self.session, grace_period);
        end.min(due).min(suspended.map_or(LOOKUP_INTERVAL, until))
    }

    fn is_suspended(&self, session: &LiveSession) -> bool {
        let now = self.sessions.clock.now();
        self.sessions.standing(&self.site, session, now) == Standing::Suspended
    }

    /// The session as the store has it now, and the id that it was found by.
    async fn look_up(&self) -> Result<Option<(&SessionId, Arc<LiveSession>)>, StoreError> {
        let store = &self.sessions.store;
        for id in &self.ids {
            let mut found = store.load(id, &*self.site).await?;
            if found.as_ref().is_some_and(|found| self.is_suspended(found)) {
                // Another replica may have stored a new authorization.
                found = store.reload(id, &*self.site).await?;
            }
            if let Some(session) = found.filter(|found| !self.is_suspended(found))
                && self.site.accepts(&session)
                && store.touch(id, &session, self.sessions.clock.now()).await?
            {
                return Ok(Some((id, session)));
            }
        }
        Ok(None)
    }
}

/// A response whose body fails when the session ends; a finite one [`GRACE`] later, unless it is
/// complete by then.
pub(crate) fn watched<B>(response: Response<B>, watch: SessionWatch) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let (length, begun) = (Length::of(&response), Instant::now());
    let ended = async move {
        session_ended(Some(watch)).await;
        tokio::time::sleep(length.grace(begun.elapsed())).await;
    };
    response.map(|body| {
        let ended = Box::pin(ended);
        Body::new(WatchedBody { body, ended })
    })
}

/// What the head of a response tells about the length of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    /// It has a length (RFC 9110 section 8.6).
    Known,
    /// It ends some time, as far as one can tell.
    Unknown,
    /// It goes on for as long as the client wants.
    Endless,
}

impl Length {
    fn of<B: HttpBody>(response: &Response<B>) -> Self {
        let headers = response.headers();
        if response.body().size_hint().exact().is_some() {
            return Self::Known;
        }
        let media_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let is_stream = |media_type: &[u8]| {
            STREAMS.iter().any(|stream| {
                let start = media_type.get(..stream.len());
                start.is_some_and(|start| start.eq_ignore_ascii_case(stream.as_bytes()))
            })
        };
        // How applications ask reverse proxies not to wait for the end.
        let unbuffered = headers.get("x-accel-buffering");
        if media_type.is_some_and(is_stream)
            || unbuffered.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"no"))
        {
            Self::Endless
        } else {
            Self::Unknown
        }
    }

    /// How long the body may go on after the end of its session, if it has lasted for `age`.
    fn grace(self, age: Duration) -> Duration {
        match self {
            Self::Known => GRACE,
            Self::Unknown if age < GRACE => GRACE,
            Self::Unknown | Self::Endless => Duration::ZERO,
        }
    }
}

struct WatchedBody<B> {
    body: B,
    ended: BoxFuture<'static, ()>,
}

#[derive(Debug, thiserror::Error)]
enum WatchedBodyError<E> {
    #[error(transparent)]
    Body(E),
    #[error("the session has ended")]
    SessionEnded,
}

impl<B> HttpBody for WatchedBody<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = WatchedBodyError<B::Error>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        // First, since an application may send without a pause.
        if self.ended.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(WatchedBodyError::SessionEnded)));
        }
        let frame = Pin::new(&mut self.body).poll_frame(context);
        frame.map(|frame| frame.map(|frame| frame.map_err(WatchedBodyError::Body)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::task::Waker;

    use http_body_util::{Full, StreamBody};

    use super::*;

    #[test]
    fn streams_are_told_from_finite_bodies() {
        type Frames = futures_util::stream::Empty<Result<Frame<Bytes>, std::io::Error>>;
        let (young, old) = (Duration::from_secs(9), Duration::from_secs(11));
        for (name, value, graces) in [
            ("x", "y", [10, 0]),
            ("content-type", "text/html", [10, 0]),
            ("content-type", "text/event-stream", [0, 0]),
            ("content-type", "Text/Event-Stream; charset=utf-8", [0, 0]),
            ("content-type", "application/grpc-web+proto", [0, 0]),
            ("content-type", "application/x-ndjson", [0, 0]),
            (
                "content-type",
                "multipart/x-mixed-replace;boundary=f",
                [0, 0],
            ),
            ("content-type", "application/json", [10, 0]),
            ("x-accel-buffering", "no", [0, 0]),
            ("x-accel-buffering", "yes", [10, 0]),
        ] {
            let builder = || Response::builder().header(name, value);
            let body: StreamBody<Frames> = StreamBody::new(futures_util::stream::empty());
            let length = Length::of(&builder().body(body).expect("a response"));
            let found = [young, old].map(|age| length.grace(age).as_secs());
            assert_eq!(found, graces, "{name}: {value}");
            let whole = builder().body(Full::new(Bytes::from_static(b"x")));
            let length = Length::of(&whole.expect("a response"));
            assert_eq!(length.grace(old), GRACE, "with a length, {name}: {value}");
        }
    }

    #[test]
    fn a_body_that_always_has_more_ends_with_its_session() {
        let mut context = Context::from_waker(Waker::noop());
        let mut first = |ended| {
            let body = Full::new(Bytes::from_static(b"more"));
            let mut watched = WatchedBody { body, ended };
            let Poll::Ready(Some(frame)) = Pin::new(&mut watched).poll_frame(&mut context) else {
                panic!("it has more");
            };
            frame
        };
        assert!(first(Box::pin(pending())).is_ok());
        assert!(matches!(
            first(Box::pin(ready(()))),
            Err(WatchedBodyError::SessionEnded)
        ));
    }
}
