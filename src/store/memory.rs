//! All sessions in memory, with an index from authentik's `sid` and from `sub`.

use std::collections::HashSet;
use std::sync::Arc;

use dashmap::DashMap;

use super::cache::{Cache, Entry, Slot};
use crate::clock::Clock;
use crate::model::{Session, SessionKey};

/// How many ended authentik sessions are remembered, so that a login that is just being finished
/// for one of them does not outlive it.
const ENDED_REMEMBERED: usize = 4096;

/// Sessions that one person may have at a time, at all applications together: whoever signs in
/// over and over, as scripts do, must not fill the memory.
pub(super) const PER_SUBJECT: usize = 512;

pub(super) struct Memory {
    cache: Cache,
    sessions: DashMap<SessionKey, Arc<Session>>,
    by_sid: Index,
    by_subject: Index,
    ended: quick_cache::sync::Cache<Box<str>, ()>,
    clock: Clock,
}

impl Memory {
    pub(super) fn new(cache_bytes: u64, clock: Clock) -> Self {
        Self {
            cache: Cache::new(cache_bytes),
            sessions: DashMap::new(),
            by_sid: Index::default(),
            by_subject: Index::default(),
            ended: quick_cache::sync::Cache::new(ENDED_REMEMBERED),
            clock,
        }
    }

    pub(super) fn cached(&self, key: &SessionKey) -> Option<Arc<Session>> {
        self.cache.live(key, self.clock.now())
    }

    pub(super) fn load(&self, key: &SessionKey) -> Option<Arc<Session>> {
        if let Some(session) = self.cached(key) {
            return Some(session);
        }
        let session = Arc::clone(&*self.sessions.get(key)?);
        if !session.is_live(self.clock.now()) {
            return None;
        }
        self.cache(*key, &session);
        Some(session)
    }

    /// Keeps a session. If the person has more than [`PER_SUBJECT`] then, the one that would have
    /// ended first makes room.
    pub(super) fn insert(&self, key: SessionKey, session: &Arc<Session>) {
        session.checked(self.clock.now());
        let subject = &session.claims.sub;
        if let Some(sid) = &session.claims.sid {
            self.by_sid.add(sid, key);
        }
        self.sessions.insert(key, Arc::clone(session));
        if self.by_subject.add(subject, key) > PER_SUBJECT {
            let others = self.by_subject.keys(subject).into_iter();
            let others = others.filter(|other| *other != key);
            let expiry =
                |other: &SessionKey| self.sessions.get(other).map(|other| other.expires_at);
            if let Some(first) = others.min_by_key(expiry) {
                self.remove(&first);
            }
        }
        self.cache(key, session);
        // Looked up after the insertion: an event in between finds the session in the index.
        let sid = session.claims.sid.as_deref();
        if sid.is_some_and(|sid| self.ended.get(sid).is_some()) {
            self.remove(&key);
        }
    }

    /// Replaces a session that has not ended.
    pub(super) fn renew(&self, key: SessionKey, session: &Arc<Session>) {
        if self.sessions.contains_key(&key) {
            self.insert(key, session);
        }
    }

    pub(super) fn remove(&self, key: &SessionKey) {
        if let Some((_, session)) = self.sessions.remove(key) {
            session.end();
            if let Some(sid) = &session.claims.sid {
                self.by_sid.drop(sid, key);
            }
            self.by_subject.drop(&session.claims.sub, key);
        }
        self.cache.remove(key);
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

    pub(super) fn sweep(&self) -> Vec<(SessionKey, Arc<Session>)> {
        let now = self.clock.now();
        let (live, over): (Vec<_>, Vec<_>) = self
            .sessions
            .iter()
            .map(|entry| (*entry.key(), Arc::clone(entry.value())))
            .partition(|(_, session)| session.is_live(now));
        for (key, _) in over {
            self.remove(&key);
        }
        live
    }

    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    fn remove_all(&self, keys: &[SessionKey]) -> usize {
        for key in keys {
            self.remove(key);
        }
        keys.len()
    }

    fn cache(&self, key: SessionKey, session: &Arc<Session>) {
        let entry = Entry {
            session: Arc::clone(session),
            seal: None,
            confirmed: 0,
            epoch: 0,
        };
        self.cache.insert(key, Slot::Session(entry));
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
