//! What outlives the request that began it, and must not outlive the session that opened it:
//! tunnels, and answers that take their time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::clock::Clock;
use crate::gateway::auth::token_refresh::Refresher;
use crate::model::{Session, SessionId};
use crate::route::Site;
use crate::store::{Store, StoreError};
use crate::upstream::answer_body::AnswerBody;

/// How often a session is looked up besides, in case the news of its end was lost.
const LOOKED_UP: Duration = Duration::from_secs(30);

/// How long after an attempt to refresh it the next one is made, which has to be somebody's turn.
const AGAIN: Duration = Duration::from_secs(10);

/// The session that holds something open.
pub(crate) struct Guard {
    pub(crate) session: Arc<Session>,
    /// The ones that the request named.
    pub(crate) ids: Vec<SessionId>,
    pub(crate) site: Arc<Site>,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) refresher: Refresher,
}

/// Waits until the session is over; for ever without one. What is open counts as a use: the
/// session is refreshed in time, as by a request, and is not idle.
pub(crate) async fn over(guard: Option<Guard>) {
    let Some(mut guard) = guard else {
        return std::future::pending().await;
    };
    loop {
        let is_time = tokio::select! {
            () = guard.session.changed() => false,
            () = tokio::time::sleep(guard.pause()) => true,
        };
        let now = guard.clock.now();
        match guard.look_up().await {
            // A session that was renewed has another end.
            Ok(Some((id, session))) => {
                // Not after a change, or short-lived ones would be refreshed over and over.
                if is_time {
                    guard.refresher.consider(id, &guard.site, &session, now);
                }
                guard.session = session;
            }
            Err(_) if guard.session.is_live(now) => {}
            Ok(None) | Err(_) => return,
        }
    }
}

impl Guard {
    /// For how long nothing is to be done, unless something happens to the session.
    fn pause(&self) -> Duration {
        let now = self.clock.now();
        let until = |at: i64| Duration::from_secs(u64::try_from(at - now).unwrap_or_default());
        let end = until(self.session.expires_at).min(LOOKED_UP);
        // It is due once that second is over; what failed then is tried again.
        let due = self.session.due_at();
        let due = due.map_or(LOOKED_UP, |due| until(due + 1).max(AGAIN));
        end.min(due)
    }

    /// The session as the store knows it now, and which id led to it.
    async fn look_up(&self) -> Result<Option<(&SessionId, Arc<Session>)>, StoreError> {
        for id in &self.ids {
            if let Some(session) = self.store.load(id, &*self.site).await?
                && session.client_id == self.session.client_id
                && self.store.note_use(id, &session, self.clock.now()).await?
            {
                return Ok(Some((id, session)));
            }
        }
        Ok(None)
    }
}

/// An answer's body that breaks off when the session is over.
pub(crate) fn guarded(body: AnswerBody, guard: Guard) -> Body {
    Body::new(Guarded {
        body,
        over: Box::pin(over(Some(guard))),
    })
}

struct Guarded<B> {
    body: B,
    over: BoxFuture<'static, ()>,
}

#[derive(Debug, thiserror::Error)]
enum Broken<E> {
    #[error(transparent)]
    Body(E),
    #[error("the session is over")]
    SessionOver,
}

impl<B> HttpBody for Guarded<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = Broken<B::Error>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        // First, since an application may always have something to say.
        if self.over.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(Broken::SessionOver)));
        }
        let frame = Pin::new(&mut self.body).poll_frame(context);
        frame.map(|frame| frame.map(|frame| frame.map_err(Broken::Body)))
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
        let mut first = |over| {
            let body = Full::new(Bytes::from_static(b"more"));
            let mut guarded = Guarded { body, over };
            let Poll::Ready(Some(frame)) = Pin::new(&mut guarded).poll_frame(&mut context) else {
                panic!("it has something to say");
            };
            frame
        };
        assert!(first(Box::pin(pending())).is_ok());
        assert!(matches!(
            first(Box::pin(ready(()))),
            Err(Broken::SessionOver)
        ));
    }
}
