//! Introspects stored sessions to find those that ended unnoticed: authentik never repeats an event that was
//! missed. Runs after every gap of the websocket, at intervals, and for sessions that are found at
//! the store and were not checked for long; always at a bounded rate.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Context, Signals};
use crate::model::{Hint as _, SessionKey};
use crate::route::{LiveSession, Site};
use crate::telemetry::Throttle;

/// Introspects until `stop`.
pub(super) async fn run(control: &Context, signals: &Signals, stop: CancellationToken) {
    let introspector = Introspector {
        control,
        throttle: Throttle::default(),
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = introspector.forever(signals) => {}
    }
}

/// Which replicas introspect a session.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// One of them, at intervals.
    OneReplica,
    /// Each of them: the introspection of another one may precede the gap.
    EveryReplica,
}

struct Introspector<'a> {
    control: &'a Context,
    throttle: Throttle,
}

impl Introspector<'_> {
    async fn forever(&self, signals: &Signals) {
        let (store, interval) = (
            &self.control.store,
            self.control.settings.introspection_interval,
        );
        let mut next = Instant::now() + interval;
        loop {
            tokio::select! {
                () = signals.gap.notified() => {
                    // What is read from the store later was checked before the gap as well.
                    store.set_introspection_cutoff(self.control.clock.now());
                    self.introspect_all(Scope::EveryReplica).await;
                }
                () = sleep_until(next) => {
                    next = Instant::now() + interval;
                    let seconds = i64::try_from(interval.as_secs()).unwrap_or(i64::MAX);
                    store.set_introspection_cutoff(self.control.clock.now().saturating_sub(seconds));
                    self.introspect_all(Scope::OneReplica).await;
                }
                (key, session) = store.next_introspection() => self.check(&key, &session, Scope::EveryReplica).await,
            }
        }
    }

    async fn introspect_all(&self, scope: Scope) {
        for (key, session) in self.control.store.sweep() {
            self.check(&key, &session, scope).await;
        }
    }

    async fn check(&self, key: &SessionKey, session: &LiveSession, scope: Scope) {
        let control = self.control;
        let snapshot = control.live.load_full();
        let site = snapshot
            .table
            .sites()
            .iter()
            .find(|site| *site.application.client.id == *session.client_id);
        match site {
            Some(site) if session.is_live(control.clock.now()) => {
                // Half of it, so that the claim is gone at the next interval.
                let claim_ttl = control.settings.introspection_interval / 2;
                if scope == Scope::EveryReplica
                    || control.store.claim_introspection(key, claim_ttl).await
                {
                    self.introspect(key, session, site).await;
                    sleep(self.pause()).await;
                }
            }
            // The application is gone, and with it every use of the session.
            None if snapshot.outpost.is_some() => control.store.revoke(key).await,
            _ => {}
        }
    }

    async fn introspect(&self, key: &SessionKey, session: &LiveSession, site: &Arc<Site>) {
        let answer = site.relying_party.is_active(&session.access_token).await;
        if answer.is_ok() && !self.control.store.is_current(key, session).await {
            // It was refreshed meanwhile; what authentik says of the old token says nothing.
            return;
        }
        match answer {
            Ok(true) => self.control.store.record_introspection(key, session).await,
            Ok(false) => {
                tracing::info!(
                    user = session.claims.preferred_username,
                    "session ended at authentik"
                );
                self.control.store.revoke(key).await;
            }
            Err(error) => {
                if self.throttle.should_log(&error.to_string()) {
                    tracing::warn!(
                        %error,
                        hint = error.hint().as_deref(),
                        "introspection of a session failed, it stays valid"
                    );
                }
            }
        }
    }

    fn pause(&self) -> Duration {
        Duration::from_secs(1) / self.control.settings.introspections_per_second.max(1)
    }
}
