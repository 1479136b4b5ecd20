//! Sessions in the memory of this process, indexed by `sid` and `sub`.

use std::collections::HashSet;
use std::sync::Arc;

use dashmap::{DashMap, Entry};

use super::session::{LiveSession, Prepared};
use crate::clock::Clock;
use crate::model::{IdleTimeout, SessionKey};

/// Ended authentik sessions that are remembered, so that a login in progress cannot outlive its
/// authentik session.
const MAX_REVOKED_SIDS: usize = 4096;

/// Sessions that one user may have at a time, at all applications together, so that a script that
/// signs in repeatedly cannot exhaust the memory.
pub(super) const MAX_SESSIONS_PER_SUBJECT: usize = 512;

pub(super) struct MemoryStore<P> {
    sessions: DashMap<SessionKey, Arc<LiveSession<P>>>,
    by_sid: Index,
    by_subject: Index,
    revoked_sids: quick_cache::sync::Cache<Box<str>, ()>,
    clock: Clock,
}

impl<P: Prepared> MemoryStore<P> {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            sessions: DashMap::new(),
            by_sid: Index::default(),
            by_subject: Index::default(),
            revoked_sids: quick_cache::sync::Cache::new(MAX_REVOKED_SIDS),
            clock,
        }
    }

    pub(super) fn load(&self, key: &SessionKey) -> Option<Arc<LiveSession<P>>> {
        let session = self.sessions.get(key)?;
        let live = session.is_live(self.clock.now());
        live.then(|| Arc::clone(&session))
    }

    /// Stores a session. If the user has more than [`MAX_SESSIONS_PER_SUBJECT`], revokes the one
    /// that expires first.
    pub(super) fn insert(&self, key: SessionKey, session: &Arc<LiveSession<P>>) {
        session.set_introspected_at(self.clock.now());
        session.update_used_at(session.used_at(), self.clock.now());
        self.enter(key, session);
    }

    /// The same for a session that began before.
    pub(super) fn enter(&self, key: SessionKey, session: &Arc<LiveSession<P>>) {
        let subject = &session.claims.sub;
        if let Some(sid) = &session.claims.sid {
            self.by_sid.insert(sid, key);
        }
        // Before the insertion: a revocation by subject finds every usable session.
        let count = self.by_subject.insert(subject, key);
        if let Some(old) = self.sessions.insert(key, Arc::clone(session)) {
            old.notify_replaced();
        }
        if count > MAX_SESSIONS_PER_SUBJECT {
            let others = self.by_subject.keys(subject).into_iter();
            let others = others.filter(|other| *other != key);
            // Sessions that are just being inserted or removed do not count.
            let ends = others.filter_map(|other| {
                let expires_at = self.sessions.get(&other)?.expires_at;
                Some((expires_at, other))
            });
            if let Some((_, first)) = ends.min_by_key(|(expires_at, _)| *expires_at) {
                self.revoke(&first);
            }
        }
        // Checked after the insertion: an event in between finds the session in the index.
        let sid = session.claims.sid.as_deref();
        if sid.is_some_and(|sid| self.revoked_sids.get(sid).is_some()) {
            self.revoke(&key);
        }
    }

    /// Replaces a session that is not revoked.
    pub(super) fn update(&self, key: SessionKey, session: &Arc<LiveSession<P>>) {
        session.set_introspected_at(self.clock.now());
        // A session is refreshed because it is used.
        session.update_used_at(0, self.clock.now());
        // Atomic: a revocation comes before, or finds the new session.
        if let Some(mut entry) = self.sessions.get_mut(&key) {
            let old = std::mem::replace(&mut *entry, Arc::clone(session));
            old.notify_replaced();
        }
    }

    pub(super) fn is_current(&self, key: &SessionKey, session: &LiveSession<P>) -> bool {
        let found = self.sessions.get(key);
        found.is_some_and(|found| found.has_same_token(session))
    }

    pub(super) fn revoke(&self, key: &SessionKey) {
        self.remove(key);
    }

    /// Removes and revokes a session. Returns whether it existed.
    fn remove(&self, key: &SessionKey) -> bool {
        let Some((_, session)) = self.sessions.remove(key) else {
            return false;
        };
        session.revoke();
        if let Some(sid) = &session.claims.sid {
            self.by_sid.remove(sid, key);
        }
        self.by_subject.remove(&session.claims.sub, key);
        true
    }

    pub(super) fn revoke_by_sid(&self, sid: &str) -> usize {
        self.revoked_sids.insert(sid.into(), ());
        self.remove_all(&self.by_sid.keys(sid))
    }

    pub(super) fn revoke_by_subject(&self, sub: &str) -> usize {
        self.remove_all(&self.by_subject.keys(sub))
    }

    /// The sessions of a user.
    pub(super) fn of_subject(&self, sub: &str) -> Vec<(SessionKey, Arc<LiveSession<P>>)> {
        let keys = self.by_subject.keys(sub).into_iter();
        let session = |key| Some((key, Arc::clone(&*self.sessions.get(&key)?)));
        keys.filter_map(session).collect()
    }

    pub(super) fn record_introspection(&self, session: &LiveSession<P>) {
        session.set_introspected_at(self.clock.now());
    }

    /// Records a use at `now` (Unix seconds); `false` if the session exceeded the idle timeout
    /// before, and is revoked by that.
    pub(super) fn touch(
        &self,
        key: &SessionKey,
        session: &LiveSession<P>,
        idle: IdleTimeout,
        now: i64,
    ) -> bool {
        // A refreshed session may be in its place.
        let current = self.sessions.get(key).map(|current| current.used_at());
        let known = session.used_at();
        if idle.is_expired(known.max(current.unwrap_or_default()), now) {
            self.remove(key);
            return false;
        }
        session.update_used_at(known, now);
        true
    }

    pub(super) fn sweep(
        &self,
        idle: Option<IdleTimeout>,
    ) -> Vec<(SessionKey, Arc<LiveSession<P>>)> {
        let now = self.clock.now();
        let is_idle = |session: &LiveSession<P>| {
            idle.is_some_and(|idle| idle.is_expired(session.used_at(), now))
        };
        let (live, over): (Vec<_>, Vec<_>) = self
            .sessions
            .iter()
            .map(|entry| (*entry.key(), Arc::clone(entry.value())))
            .partition(|(_, session)| session.is_live(now) && !is_idle(session));
        for (key, session) in over {
            // A session that was created again meanwhile stays.
            if self.is_current(&key, &session) {
                self.revoke(&key);
            }
        }
        live
    }

    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    fn remove_all(&self, keys: &[SessionKey]) -> usize {
        keys.iter().filter(|key| self.remove(key)).count()
    }
}

/// Session keys by name; a name without sessions has no entry. The names are those of the sessions.
#[derive(Default)]
struct Index(DashMap<Arc<str>, Keys>);

/// The sessions of a name. Most names have one, and a set of one would be ten times as large.
enum Keys {
    One(SessionKey),
    #[expect(clippy::box_collection, reason = "the set itself is larger than a key")]
    Several(Box<HashSet<SessionKey>>),
}

impl Keys {
    /// Returns their number.
    fn insert(&mut self, key: SessionKey) -> usize {
        match self {
            Self::One(one) if *one == key => 1,
            Self::One(one) => {
                *self = Self::Several(Box::new(HashSet::from([*one, key])));
                2
            }
            Self::Several(keys) => {
                keys.insert(key);
                keys.len()
            }
        }
    }

    /// Returns whether none is left.
    fn remove(&mut self, key: &SessionKey) -> bool {
        match self {
            Self::One(one) => one == key,
            Self::Several(keys) => {
                keys.remove(key);
                keys.is_empty()
            }
        }
    }

    fn to_vec(&self) -> Vec<SessionKey> {
        match self {
            Self::One(key) => vec![*key],
            Self::Several(keys) => keys.iter().copied().collect(),
        }
    }
}

impl Index {
    /// Returns the number of sessions of the name.
    fn insert(&self, name: &Arc<str>, key: SessionKey) -> usize {
        match self.0.entry(Arc::clone(name)) {
            Entry::Occupied(mut keys) => keys.get_mut().insert(key),
            Entry::Vacant(entry) => {
                entry.insert(Keys::One(key));
                1
            }
        }
    }

    fn remove(&self, name: &str, key: &SessionKey) {
        self.0.remove_if_mut(name, |_, keys| keys.remove(key));
    }

    fn keys(&self, name: &str) -> Vec<SessionKey> {
        let keys = self.0.get(name);
        keys.map(|keys| keys.to_vec()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;
    use crate::model::SessionId;

    #[test]
    fn users_of_a_session_are_notified_when_it_is_updated() {
        let session = || Arc::new(LiveSession::<()>::sample());
        let (memory, key) = (
            MemoryStore::new(Clock::manual(0)),
            SessionId::random().key(),
        );
        let old = session();
        memory.insert(key, &old);
        let mut change = pin!(old.changed());
        let mut context = Context::from_waker(Waker::noop());
        assert!(change.as_mut().poll(&mut context).is_pending());
        let new = session();
        memory.update(key, &new);
        assert!(change.as_mut().poll(&mut context).is_ready());
        assert!(old.is_live(0), "it is not revoked");
        // Credentials create theirs again.
        let mut change = pin!(new.changed());
        assert!(change.as_mut().poll(&mut context).is_pending());
        memory.insert(key, &session());
        assert!(change.as_mut().poll(&mut context).is_ready());
    }
}
