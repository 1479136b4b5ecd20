//! Keeps sessions alive whose application asked for `offline_access`: a request of somebody who is
//! active makes the tokens new before they run out, in the background, once at a time.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashSet;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::gateway::handlers::login;
use crate::model::{Session, SessionId, SessionKey};
use crate::route::Site;
use crate::store::Store;
use crate::telemetry::Throttle;
use crate::telemetry::metrics::{Counters, RefreshOutcome};

/// Sessions that may wait; more come again with their next request.
const MAX_QUEUED_SESSIONS: usize = 1024;
/// Refreshes at a time.
const MAX_CONCURRENT_REFRESHES: usize = 8;
/// For which another replica leaves a session alone; longer than authentik may take.
const CLAIM_TTL: Duration = Duration::from_mins(1);
/// LoginAttempts to keep what authentik gave in exchange for a token that is now worth nothing.
const MAX_STORE_ATTEMPTS: usize = 5;

/// Takes sessions that are about to run out. Cheap to clone.
#[derive(Clone)]
pub struct Refresher(Sender<Due>);

/// A session that is about to run out.
pub struct Due {
    id: SessionId,
    site: Arc<Site>,
}

impl Refresher {
    /// A refresher, and where its work comes out.
    #[must_use]
    pub fn channel() -> (Self, Receiver<Due>) {
        let (sender, receiver) = channel(MAX_QUEUED_SESSIONS);
        (Self(sender), receiver)
    }

    /// Queues the session if it is time. Nobody waits.
    pub(crate) fn consider(&self, id: &SessionId, site: &Arc<Site>, session: &Session, now: i64) {
        if session.needs_refresh(now) && session.claim_refresh_attempt(now) {
            let due = Due {
                id: id.clone(),
                site: Arc::clone(site),
            };
            let _ = self.0.try_send(due);
        }
    }
}

/// Refreshes until `stop`. `max_age` is how long a session may live in all, in seconds.
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
        trouble: Throttle::default(),
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
    // What was begun ends, or its tokens would be lost.
    while running.join_next().await.is_some() {}
}

struct Worker {
    store: Store,
    clock: Clock,
    max_age: i64,
    outcomes: Counters<RefreshOutcome>,
    /// Sessions that are being refreshed.
    running: DashSet<SessionKey>,
    trouble: Throttle,
}

impl Worker {
    async fn refresh_once(&self, due: &Due) {
        let key = due.id.key();
        if self.running.insert(key) {
            self.refresh(due).await;
            self.running.remove(&key);
        }
    }

    async fn refresh(&self, due: &Due) {
        let Due { id, site, .. } = due;
        if !self.store.claim_refresh(&id.key(), CLAIM_TTL).await {
            return;
        }
        // Another replica may have done it already, and used up the token that is known here.
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
                let mut fresh = login::session(site, tokens, refresh.started_at);
                fresh.expires_at = fresh.expires_at.min(limit);
                self.keep(id, site, Arc::new(fresh)).await;
            }
            // Refused, or somebody else's: authentik no longer stands by the session.
            Ok(_) if self.store.is_current(&id.key(), &session).await => {
                tracing::info!(
                    user = claims.preferred_username,
                    "authentik refused to refresh a session; it ends"
                );
                self.outcomes.count(RefreshOutcome::Rejected);
                self.store.revoke(&id.key()).await;
            }
            Ok(_) => {}
            Err(error) => {
                self.outcomes.count(RefreshOutcome::Failed);
                let message = error.to_string();
                if self.trouble.should_log(&message) {
                    tracing::warn!("a session could not be refreshed, yet: {message}");
                }
            }
        }
    }

    async fn keep(&self, id: &SessionId, site: &Arc<Site>, fresh: Arc<Session>) {
        for _ in 0..MAX_STORE_ATTEMPTS {
            match self.store.update(id, &**site, Arc::clone(&fresh)).await {
                Ok(()) => return self.outcomes.count(RefreshOutcome::Succeeded),
                Err(error) => {
                    let message = error.to_string();
                    if self.trouble.should_log(&message) {
                        tracing::warn!("a refreshed session cannot be kept, yet: {message}");
                    }
                }
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        self.outcomes.count(RefreshOutcome::NotStored);
    }
}
