//! All sessions in memory, with an index from authentik's `sid` and from `sub`.

use std::collections::HashSet;
use std::sync::Arc;

use dashmap::DashMap;

use crate::model::{Session, SessionKey};

/// Sessions that one person may have at a time, at all applications together: whoever signs in
/// over and over, as scripts do, must not fill the memory.
pub(super) const PER_SUBJECT: usize = 512;

#[derive(Default)]
pub(super) struct Memory {
    sessions: DashMap<SessionKey, Arc<Session>>,
    by_sid: Index,
    by_subject: Index,
}

impl Memory {
    pub(super) fn find(&self, key: &SessionKey) -> Option<Arc<Session>> {
        self.sessions.get(key).map(|entry| Arc::clone(&entry))
    }

    /// Keeps a session. Returns the one that had to make room for it, if the person has more than
    /// [`PER_SUBJECT`]: the one that would have ended first.
    pub(super) fn insert(
        &self,
        key: SessionKey,
        session: Arc<Session>,
    ) -> Option<(SessionKey, Arc<Session>)> {
        let subject = session.claims.sub.clone();
        if let Some(sid) = &session.claims.sid {
            self.by_sid.add(sid, key);
        }
        self.sessions.insert(key, session);
        if self.by_subject.add(&subject, key) <= PER_SUBJECT {
            return None;
        }
        let others = self.by_subject.keys(&subject).into_iter();
        let others = others.filter(|other| *other != key);
        let first =
            others.min_by_key(|other| self.find(other).map(|session| session.expires_at))?;
        self.remove(&first).map(|session| (first, session))
    }

    pub(super) fn remove(&self, key: &SessionKey) -> Option<Arc<Session>> {
        let (_, session) = self.sessions.remove(key)?;
        if let Some(sid) = &session.claims.sid {
            self.by_sid.drop(sid, key);
        }
        self.by_subject.drop(&session.claims.sub, key);
        Some(session)
    }

    pub(super) fn take_sid(&self, sid: &str) -> Vec<(SessionKey, Arc<Session>)> {
        self.take(self.by_sid.keys(sid))
    }

    pub(super) fn take_subject(&self, sub: &str) -> Vec<(SessionKey, Arc<Session>)> {
        self.take(self.by_subject.keys(sub))
    }

    pub(super) fn sweep(&self, now: i64) -> Vec<(SessionKey, Arc<Session>)> {
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

    fn take(&self, keys: Vec<SessionKey>) -> Vec<(SessionKey, Arc<Session>)> {
        keys.into_iter()
            .filter_map(|key| self.remove(&key).map(|session| (key, session)))
            .collect()
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
