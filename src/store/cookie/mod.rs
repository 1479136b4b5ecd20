//! Sessions sealed in the browser's cookie. A session that was read from a cookie is in memory from
//! then on, as one of the store in memory is; what is kept beside are the ends of sessions, since a
//! cookie cannot be taken back.

mod ended;
mod sealed;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::memory::MemoryStore;
use super::session::{LiveSession, Prepared};
use crate::clock::Clock;
use crate::model::{Session, SessionKey};
use crate::telemetry::metrics::{CacheResult, StoreMetrics};
use ended::Ended;
pub use sealed::{SealError, Sealer};

/// [`LiveSession::confirmed`] of a session from a cookie that authentik has not confirmed.
const UNCONFIRMED: u64 = 1;

/// See the module.
pub struct CookieStore<P> {
    pub(super) memory: MemoryStore<P>,
    ended: Ended,
    /// The connection to authentik by which ends are received; another one after each gap.
    listening: AtomicU64,
    /// Maximum lifetime of a session, in seconds.
    lifetime: i64,
    clock: Clock,
    metrics: StoreMetrics,
}

impl<P: Prepared> CookieStore<P> {
    /// `lifetime`: see [`CookieStore::expiry`].
    pub(super) fn new(lifetime: i64, clock: Clock, metrics: StoreMetrics) -> Self {
        Self {
            memory: MemoryStore::new(clock.clone()),
            ended: Ended::default(),
            listening: AtomicU64::new(UNCONFIRMED + 1),
            lifetime,
            clock,
            metrics,
        }
    }

    /// When a session ends that begins now with a token that expires at `expires_at` (Unix seconds).
    /// No session lasts longer than the ends of sessions are remembered.
    #[must_use]
    pub fn expiry(&self, expires_at: i64) -> i64 {
        expires_at.min(self.clock.now().saturating_add(self.lifetime))
    }

    /// The live session of the cookie with this `key`: the one in memory or, if there is none, what
    /// `open` reads from the cookie.
    pub fn read(
        &self,
        key: SessionKey,
        open: impl FnOnce() -> Option<Arc<LiveSession<P>>>,
    ) -> Option<Arc<LiveSession<P>>> {
        if let Some(session) = self.memory.load(&key) {
            self.metrics.cache_request(CacheResult::Hit);
            return Some(session);
        }
        self.metrics.cache_request(CacheResult::Miss);
        self.enter(key, open()?)
    }

    /// Takes a session that was read from a cookie. Returns the one to use, which may have been read
    /// before; `None` if it has ended.
    fn enter(&self, key: SessionKey, session: Arc<LiveSession<P>>) -> Option<Arc<LiveSession<P>>> {
        let now = self.clock.now();
        let last = session.started_at().saturating_add(self.lifetime);
        if !session.is_live(now) || last <= now {
            return None;
        }
        let session = self.memory.load(&key).unwrap_or_else(|| {
            session.set_confirmed(UNCONFIRMED);
            self.memory.enter(key, &session);
            session
        });
        // Entered first, looked up second; ends are recorded first, and looked up second.
        if self.ended.has(&key, &session) {
            self.memory.revoke(&key);
            return None;
        }
        Some(session)
    }

    /// Takes a session that begins now, and goes into a cookie.
    pub fn begin(&self, key: SessionKey, session: &Arc<LiveSession<P>>) {
        session.set_confirmed(self.listening());
        self.insert(key, session);
    }

    /// Ends a session here, also for cookies that are seen later.
    pub fn end(&self, key: &SessionKey) {
        let now = self.clock.now();
        let known = self.memory.load(key);
        let until = known.map_or(now.saturating_add(self.lifetime), |known| known.expires_at);
        warn_if(self.ended.session(key, until, now));
        self.memory.revoke(key);
    }

    /// Whether authentik confirmed the session since this replica began to receive the ends of
    /// sessions without a gap, or the session began since then.
    #[must_use]
    pub fn is_confirmed(&self, session: &LiveSession<P>) -> bool {
        session.confirmed() == self.listening()
    }

    /// The connection by which ends are received; see [`CookieStore::confirm`].
    #[must_use]
    pub fn listening(&self) -> u64 {
        self.listening.load(Ordering::Acquire)
    }

    /// Records that authentik confirmed a session. `listening` is the connection of the time before
    /// authentik was asked.
    pub fn confirm(&self, session: &LiveSession<P>, listening: u64) {
        self.memory.record_introspection(session);
        session.set_confirmed(listening);
    }

    /// From now on, ends are received by a new connection.
    pub(super) fn listen_anew(&self) {
        self.listening.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether this session may have ended without a record of that: there were too many ends.
    #[must_use]
    pub fn may_have_forgotten(&self, session: &Session) -> bool {
        self.ended.may_have_forgotten(session)
    }

    /// The sessions of a user that this replica has read from cookies. Those of credentials are not
    /// among them: a program may go on to use its token elsewhere.
    #[must_use]
    pub fn of_subject(&self, sub: &str) -> Vec<Arc<LiveSession<P>>> {
        let all = self.memory.of_subject(sub).into_iter();
        let all = all.map(|(_, session)| session);
        all.filter(|session| session.confirmed() >= UNCONFIRMED)
            .collect()
    }

    /// Takes a session that no browser has: one of credentials.
    pub(super) fn insert(&self, key: SessionKey, session: &Arc<LiveSession<P>>) {
        self.memory.insert(key, session);
        if session
            .claims
            .sid
            .as_deref()
            .is_some_and(|sid| self.ended.has_sid(sid))
        {
            self.memory.revoke(&key);
        }
    }

    pub(super) fn revoke_by_sid(&self, sid: &str) -> usize {
        let now = self.clock.now();
        warn_if(self.ended.sid(sid, now.saturating_add(self.lifetime), now));
        self.memory.revoke_by_sid(sid)
    }

    pub(super) fn revoke_by_subject(&self, sub: &str) -> usize {
        let now = self.clock.now();
        warn_if(
            self.ended
                .subject(sub, now.saturating_add(self.lifetime), now),
        );
        // Those that are known end whenever they began.
        let known = self.memory.of_subject(sub);
        for (key, _) in &known {
            self.end(key);
        }
        known.len()
    }

    pub(super) fn sweep(&self) -> Vec<(SessionKey, Arc<LiveSession<P>>)> {
        self.ended.expire(self.clock.now());
        self.memory.sweep(None)
    }
}

/// Warns if an end was forgotten; at most once a second.
fn warn_if(forgot: bool) {
    if forgot {
        tracing::warn!(
            hint = "reduce session.absolute_lifetime, or set session.store to redis",
            "too many ended sessions to remember all: older sessions in cookies are refused until authentik confirms them"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Claims, SessionId};
    use crate::store::session::NoContext;
    use crate::telemetry::metrics::Metrics;

    const NOW: i64 = 1_000;

    struct Scene(CookieStore<()>, Clock);

    impl Scene {
        fn new() -> Self {
            let (clock, metrics) = (Clock::manual(NOW), Metrics::new().store());
            Self(CookieStore::new(500, clock.clone(), metrics), clock)
        }
    }

    fn session(sub: &str, started_at: i64, expires_at: i64) -> Arc<LiveSession<()>> {
        let claims = Claims {
            sub: sub.into(),
            sid: Some(format!("sid of {sub}").into()),
            iat: Some(started_at),
            ..Claims::default()
        };
        let session = Session::new("c", claims, "t".into(), expires_at);
        Arc::new(LiveSession::new(session, &NoContext))
    }

    fn key() -> SessionKey {
        SessionId::random().key()
    }

    #[test]
    fn a_session_enters_once_and_not_after_its_end() {
        let (Scene(store, _), key) = (Scene::new(), key());
        let first = store.enter(key, session("a", 990, 1_400)).expect("live");
        let second = store.enter(key, session("a", 990, 1_400)).expect("live");
        assert!(Arc::ptr_eq(&first, &second));
        store.end(&key);
        assert!(first.is_revoked());
        assert!(store.enter(key, session("a", 990, 1_400)).is_none());
        for (what, started_at, expires_at) in [
            ("expired", 990, 1_000),
            ("older than the maximum lifetime", 500, 9_000),
        ] {
            let session = session("b", started_at, expires_at);
            assert!(
                store.enter(super::tests::key(), session).is_none(),
                "{what}"
            );
        }
        assert_eq!(store.memory.len(), 0);
    }

    #[test]
    fn cve_2025_29928_an_end_counts_for_cookies_that_are_seen_later() {
        let Scene(store, clock) = Scene::new();
        store.revoke_by_sid("sid of a");
        assert!(store.enter(key(), session("a", 990, 1_400)).is_none());
        let (own, other) = (key(), key());
        let young = store.enter(own, session("b", 999, 1_400)).expect("live");
        assert_eq!(store.revoke_by_subject("b"), 1);
        assert!(young.is_revoked());
        assert!(
            store.enter(own, session("b", 999, 1_400)).is_none(),
            "known"
        );
        assert!(
            store.enter(other, session("b", 995, 1_400)).is_none(),
            "older"
        );
        assert!(
            store.enter(other, session("b", 996, 1_400)).is_some(),
            "a later sign-in"
        );
        clock.advance(499);
        assert!(store.enter(key(), session("a", 1_200, 1_900)).is_none());
        // A sign-in that is just being completed does not outlive its authentik session either.
        let late = session("a", 1_499, 1_900);
        store.insert(key(), &late);
        assert!(late.is_revoked());
    }

    #[test]
    fn sessions_are_confirmed_anew_after_each_gap() {
        let Scene(store, _) = Scene::new();
        let (read, new) = (session("a", 990, 1_400), session("b", 990, 1_400));
        let read = store.enter(key(), read).expect("live");
        store.begin(key(), &new);
        assert!(!store.is_confirmed(&read) && store.is_confirmed(&new));
        let listening = store.listening();
        store.confirm(&read, listening);
        assert!(store.is_confirmed(&read));
        store.listen_anew();
        assert!(!store.is_confirmed(&read) && !store.is_confirmed(&new));
        store.confirm(&read, listening);
        assert!(
            !store.is_confirmed(&read),
            "authentik was asked before the gap was over"
        );
    }

    #[test]
    fn tokens_of_credentials_are_not_those_of_sessions_in_cookies() {
        let Scene(store, _) = Scene::new();
        store.insert(key(), &session("a", 990, 1_400));
        assert_eq!(store.of_subject("a").len(), 0);
        store.begin(key(), &session("a", 990, 1_400));
        let _ = store.enter(key(), session("a", 990, 1_400));
        store.begin(key(), &session("b", 990, 1_400));
        assert_eq!(store.of_subject("a").len(), 2);
        assert_eq!(store.revoke_by_subject("a"), 3);
    }

    #[test]
    fn credentials_have_the_same_session_again() {
        let (Scene(store, _), key) = (Scene::new(), key());
        let session = || session("a", 990, 1_400);
        store.insert(key, &session());
        store.end(&key);
        store.insert(key, &session());
        assert!(store.memory.load(&key).is_some());
    }
}
