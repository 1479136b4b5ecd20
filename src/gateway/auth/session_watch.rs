//! Ends responses and tunnels when the session ends that opened them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::session::Sessions;
use super::token_refresh::Refresher;
use crate::model::SessionId;
use crate::route::{LiveSession, Site};
use crate::store::StoreError;

/// How often the session is looked up at least, in case the message that ended it was lost.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(30);

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
    let Some(mut watch) = watch else {
        return std::future::pending().await;
    };
    loop {
        let timer_elapsed = tokio::select! {
            () = watch.session.changed() => false,
            () = tokio::time::sleep(watch.pause()) => true,
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
            Err(_) if watch.session.is_live(now) => {}
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
        end.min(due)
    }

    /// The session as the store has it now, and the id that it was found by.
    async fn look_up(&self) -> Result<Option<(&SessionId, Arc<LiveSession>)>, StoreError> {
        for id in &self.ids {
            if let Some(session) = self.sessions.store.load(id, &*self.site).await?
                && session.client_id == self.session.client_id
                && self
                    .sessions
                    .store
                    .touch(id, &session, self.sessions.clock.now())
                    .await?
            {
                return Ok(Some((id, session)));
            }
        }
        Ok(None)
    }
}

/// A body that fails when the session ends.
pub(crate) fn watched<B>(body: B, watch: SessionWatch) -> Body
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    Body::new(WatchedBody {
        body,
        ended: Box::pin(session_ended(Some(watch))),
    })
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

    use http_body_util::Full;

    use super::*;

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
