//! All sessions in memory, with an index from authentik's `sid` and from `sub`.

use std::collections::HashSet;
use std::sync::Arc;

use dashmap::DashMap;

use crate::clock::Clock;
use crate::model::{IdleTimeout, Session, SessionKey};

/// How many ended authentik sessions are remembered, so that a login that is just being finished
/// for one of them does not outlive it.
const ENDED_REMEMBERED: usize = 4096;

/// Sessions that one person may have at a time, at all applications together: whoever signs in
/// over and over, as scripts do, must not fill the memory.
pub(super) const PER_SUBJECT: usize = 512;

pub(super) struct Memory {
    sessions: DashMap<SessionKey, Arc<Session>>,
    by_sid: Index,
    by_subject: Index,
    ended: quick_cache::sync::Cache<Box<str>, ()>,
    clock: Clock,
}

impl Memory {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            sessions: DashMap::new(),
            by_sid: Index::default(),
            by_subject: Index::default(),
            ended: quick_cache::sync::Cache::new(ENDED_REMEMBERED),
            clock,
        }
    }

    pub(super) fn load(&self, key: &SessionKey) -> Option<Arc<Session>> {
        let session = self.sessions.get(key)?;
        let live = session.is_live(self.clock.now());
        live.then(|| Arc::clone(&session))
    }

    /// Keeps a session. If the person has more than [`PER_SUBJECT`] then, the one that would have
    /// ended first makes room.
    pub(super) fn insert(&self, key: SessionKey, session: &Arc<Session>) {
        session.checked(self.clock.now());
        session.use_again(session.used_at(), self.clock.now());
        let subject = &session.claims.sub;
        if let Some(sid) = &session.claims.sid {
            self.by_sid.add(sid, key);
        }
        // Before the insertion: whoever ends all of a person's sessions finds each that can be used.
        let count = self.by_subject.add(subject, key);
        if let Some(old) = self.sessions.insert(key, Arc::clone(session)) {
            old.replaced();
        }
        if count > PER_SUBJECT {
            let others = self.by_subject.keys(subject).into_iter();
            let others = others.filter(|other| *other != key);
            // One that is just being inserted or removed makes no room.
            let ends = others.filter_map(|other| {
                let expires_at = self.sessions.get(&other)?.expires_at;
                Some((expires_at, other))
            });
            if let Some((_, first)) = ends.min_by_key(|(expires_at, _)| *expires_at) {
                self.remove(&first);
            }
        }
        // Looked up after the insertion: an event in between finds the session in the index.
        let sid = session.claims.sid.as_deref();
        if sid.is_some_and(|sid| self.ended.get(sid).is_some()) {
            self.remove(&key);
        }
    }

    /// Replaces a session that has not ended.
    pub(super) fn renew(&self, key: SessionKey, session: &Arc<Session>) {
        session.checked(self.clock.now());
        // It is refreshed because it is used.
        session.use_again(0, self.clock.now());
        // In one step: whoever ends it either comes before, or finds the new one.
        if let Some(mut entry) = self.sessions.get_mut(&key) {
            let old = std::mem::replace(&mut *entry, Arc::clone(session));
            old.replaced();
        }
    }

    pub(super) fn is_current(&self, key: &SessionKey, session: &Session) -> bool {
        let found = self.sessions.get(key);
        found.is_some_and(|found| found.is_same(session))
    }

    pub(super) fn remove(&self, key: &SessionKey) {
        self.end(key);
    }

    /// Whether there was such a session.
    fn end(&self, key: &SessionKey) -> bool {
        let Some((_, session)) = self.sessions.remove(key) else {
            return false;
        };
        session.end();
        if let Some(sid) = &session.claims.sid {
            self.by_sid.drop(sid, key);
        }
        self.by_subject.drop(&session.claims.sub, key);
        true
    }

    pub(super) fn end_sid(&self, sid: &str) -> usize {
        self.ended.insert(sid.into(), ());
        self.remove_all(&self.by_sid.keys(sid))
    }

    pub(super) fn end_subject(&self, sub: &str) -> usize {
        self.remove_all(&self.by_subject.keys(sub))
    }

    pub(super) fn checked(&self, session: &Session) {
        session.checked(self.clock.now());
    }

    /// Notes a use at `now` (Unix seconds); `false` if the session was idle for too long before,
    /// and has ended by that.
    pub(super) fn note_use(
        &self,
        key: &SessionKey,
        session: &Session,
        idle: IdleTimeout,
        now: i64,
    ) -> bool {
        // Another may stand in its place by now.
        let current = self.sessions.get(key).map(|current| current.used_at());
        let known = session.used_at();
        if idle.is_over(known.max(current.unwrap_or_default()), now) {
            self.end(key);
            return false;
        }
        session.use_again(known, now);
        true
    }

    pub(super) fn sweep(&self, idle: Option<IdleTimeout>) -> Vec<(SessionKey, Arc<Session>)> {
        let now = self.clock.now();
        let is_idle =
            |session: &Session| idle.is_some_and(|idle| idle.is_over(session.used_at(), now));
        let (live, over): (Vec<_>, Vec<_>) = self
            .sessions
            .iter()
            .map(|entry| (*entry.key(), Arc::clone(entry.value())))
            .partition(|(_, session)| session.is_live(now) && !is_idle(session));
        for (key, session) in over {
            // One that was opened again meanwhile stays.
            if self.is_current(&key, &session) {
                self.remove(&key);
            }
        }
        live
    }

    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    fn remove_all(&self, keys: &[SessionKey]) -> usize {
        keys.iter().filter(|key| self.end(key)).count()
    }
}

/// From a name to the sessions that carry it; a name without sessions has no entry.
#[derive(Default)]
struct Index(DashMap<Box<str>, HashSet<SessionKey>>);

impl Index {
    /// Returns how many sessions carry the name now.
    fn add(&self, name: &str, key: SessionKey) -> usize {
        let mut keys = self.0.entry(name.into()).or_default();
        keys.insert(key);
        keys.len()
    }

    fn drop(&self, name: &str, key: &SessionKey) {
        if let Some(mut keys) = self.0.get_mut(name) {
            keys.remove(key);
        }
        self.0.remove_if(name, |_, keys| keys.is_empty());
    }

    fn keys(&self, name: &str) -> Vec<SessionKey> {
        self.0
            .get(name)
            .map(|keys| keys.iter().copied().collect())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;
    use crate::model::SessionId;

    #[test]
    fn who_holds_a_session_hears_that_it_was_renewed() {
        let session = || Arc::new(Session::sample());
        let (memory, key) = (Memory::new(Clock::manual(0)), SessionId::random().key());
        let old = session();
        memory.insert(key, &old);
        let mut change = pin!(old.changed());
        let mut context = Context::from_waker(Waker::noop());
        assert!(change.as_mut().poll(&mut context).is_pending());
        let new = session();
        memory.renew(key, &new);
        assert!(change.as_mut().poll(&mut context).is_ready());
        assert!(old.is_live(0), "it has not ended");
        // Credentials open theirs again.
        let mut change = pin!(new.changed());
        assert!(change.as_mut().poll(&mut context).is_pending());
        memory.insert(key, &session());
        assert!(change.as_mut().poll(&mut context).is_ready());
    }
}
