//! Refreshes the tokens of sessions in use before they expire, for applications with the scope
//! `offline_access`: in the background, one refresh per session at a time.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashSet;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_util::sync::CancellationToken;

use super::new_session::{live_session, new_session};
use crate::clock::Clock;
use crate::model::{Hint as _, SessionId, SessionKey};
use crate::route::{LiveSession, Site, Store};
use crate::telemetry::Throttle;
use crate::telemetry::metrics::{Counters, RefreshOutcome};

/// Queued sessions; others are queued by their next request.
const MAX_QUEUED_SESSIONS: usize = 1024;
/// Refreshes at a time.
const MAX_CONCURRENT_REFRESHES: usize = 8;
/// How long other replicas do not refresh a session if this one stops without releasing its claim;
/// longer than a refresh may take.
const CLAIM_TTL: Duration = Duration::from_mins(1);
/// Attempts to store new tokens; the refresh token before them is used up.
const MAX_STORE_ATTEMPTS: usize = 5;

/// The queue of sessions that are due for a refresh. Cheap to clone.
#[derive(Clone)]
pub struct Refresher(Sender<Due>);

/// A session that is due for a refresh.
pub struct Due {
    id: SessionId,
    site: Arc<Site>,
}

impl Refresher {
    /// The queue, and its receiver for [`run`].
    #[must_use]
    pub fn channel() -> (Self, Receiver<Due>) {
        let (sender, receiver) = channel(MAX_QUEUED_SESSIONS);
        (Self(sender), receiver)
    }

    /// Queues the session if it is due for a refresh. Does not wait.
    pub(crate) fn enqueue_if_due(
        &self,
        id: &SessionId,
        site: &Arc<Site>,
        session: &LiveSession,
        now: i64,
    ) {
        if session.needs_refresh(now) && session.claim_refresh_attempt(now) {
            let due = Due {
                id: id.clone(),
                site: Arc::clone(site),
            };
            let _ = self.0.try_send(due);
        }
    }
}

/// Refreshes queued sessions until `stop`. `max_age` is the lifetime of a refreshed session, in
/// seconds.
pub async fn run(
    mut work: Receiver<Due>,
    store: Store,
    clock: Clock,
    max_age: i64,
    outcomes: Counters<RefreshOutcome>,
    stop: CancellationToken,
) {
    let worker = Arc::new(Worker {
        store,
        clock,
        max_age,
        outcomes,
        running: DashSet::new(),
        throttle: Throttle::default(),
    });
    let mut running = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = running.join_next() => {}
            Some(due) = work.recv(), if running.len() < MAX_CONCURRENT_REFRESHES => {
                let worker = Arc::clone(&worker);
                running.spawn(async move { worker.refresh_once(&due).await });
            }
        }
    }
    // Running refreshes are finished, or their tokens would be lost.
    while running.join_next().await.is_some() {}
}

struct Worker {
    store: Store,
    clock: Clock,
    max_age: i64,
    outcomes: Counters<RefreshOutcome>,
    /// Sessions with a running refresh.
    running: DashSet<SessionKey>,
    throttle: Throttle,
}

impl Worker {
    async fn refresh_once(&self, due: &Due) {
        let key = due.id.key();
        if self.running.insert(key) {
            if let Some(claim) = self.store.claim_refresh(&key, CLAIM_TTL).await {
                self.refresh(due).await;
                self.store.release_refresh(&key, claim).await;
            }
            self.running.remove(&key);
        }
    }

    async fn refresh(&self, due: &Due) {
        let Due { id, site, .. } = due;
        // Another replica may have refreshed it already, and used up the token that is cached here.
        let Ok(Some(session)) = self.store.reload(id, &**site).await else {
            return;
        };
        let now = self.clock.now();
        let Some(refresh) = session
            .refresh
            .as_ref()
            .filter(|_| session.needs_refresh(now))
        else {
            return;
        };
        let limit = refresh.started_at.saturating_add(self.max_age);
        if session.expires_at >= limit {
            return;
        }
        let claims = &session.claims;
        match site.relying_party.refresh(&refresh.token, now).await {
            Ok(Some(tokens)) if tokens.claims.sub == claims.sub => {
                let mut fresh = new_session(site, tokens, refresh.started_at);
                fresh.expires_at = fresh.expires_at.min(limit);
                self.store_tokens(id, site, live_session(site, fresh)).await;
            }
            // The refresh was refused, or the tokens are another user's: the session ends.
            Ok(_) if self.store.is_current(&id.key(), &session).await => {
                tracing::info!(
                    user = claims.preferred_username,
                    "token refresh refused by authentik, session ended"
                );
                self.outcomes.count(RefreshOutcome::Rejected);
                self.store.revoke(&id.key()).await;
            }
            Ok(_) => {}
            Err(error) => {
                self.outcomes.count(RefreshOutcome::Failed);
                if self.throttle.should_log(&error.to_string()) {
                    tracing::warn!(
                        %error,
                        hint = error.hint().as_deref(),
                        "token refresh failed, will retry"
                    );
                }
            }
        }
    }

    async fn store_tokens(&self, id: &SessionId, site: &Arc<Site>, fresh: Arc<LiveSession>) {
        for _ in 0..MAX_STORE_ATTEMPTS {
            match self.store.update(id, &**site, Arc::clone(&fresh)).await {
                Ok(()) => return self.outcomes.count(RefreshOutcome::Succeeded),
                Err(error) => {
                    if self.throttle.should_log(&error.to_string()) {
                        tracing::warn!(
                            %error,
                            hint = error.hint().as_deref(),
                            "refreshed session could not be stored, will retry"
                        );
                    }
                }
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        self.outcomes.count(RefreshOutcome::NotStored);
    }
}
