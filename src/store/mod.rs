//! Sessions: a cache bounded by bytes in front of a backend that knows them all.
//!
//! The backend is in memory; ended sessions are marked in the session itself, so that no copy
//! that a cache or a request still holds can open anything.

mod memory;

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::clock::Clock;
use crate::model::{Session, SessionKey};
use memory::Memory;

/// How many ended authentik sessions are remembered, so that a login that is just being finished
/// for one of them does not outlive it.
const ENDED_REMEMBERED: usize = 4096;

/// The store cannot answer. Never the same as "no such session".
#[derive(Debug, thiserror::Error)]
#[error("the session store cannot be reached: {0}")]
pub struct StoreError(pub String);

/// All sessions of this process. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    cache: Cache<SessionKey, Arc<Session>, ByBytes>,
    memory: Memory,
    ended: Cache<Box<str>, ()>,
    clock: Clock,
}

#[expect(
    clippy::unused_async,
    reason = "a store in Redis waits; callers are ready for it"
)]
impl Store {
    /// A store in memory whose cache takes about `cache_bytes` bytes.
    #[must_use]
    pub fn memory(cache_bytes: u64, clock: Clock) -> Self {
        let expected = usize::try_from(cache_bytes / 4096)
            .unwrap_or(usize::MAX)
            .max(16);
        Self(Arc::new(Inner {
            cache: Cache::with_weighter(expected, cache_bytes, ByBytes),
            memory: Memory::default(),
            ended: Cache::new(ENDED_REMEMBERED),
            clock,
        }))
    }

    /// The live session under `key` if the cache has it; does no I/O.
    #[must_use]
    pub fn cached(&self, key: &SessionKey) -> Option<Arc<Session>> {
        self.0
            .cache
            .get(key)
            .filter(|session| session.is_live(self.0.clock.now()))
    }

    /// The live session under `key`.
    pub async fn load(&self, key: &SessionKey) -> Result<Option<Arc<Session>>, StoreError> {
        if let Some(session) = self.cached(key) {
            return Ok(Some(session));
        }
        let found = self
            .0
            .memory
            .find(key)
            .filter(|session| session.is_live(self.0.clock.now()));
        if let Some(session) = &found {
            self.0.cache.insert(*key, Arc::clone(session));
        }
        Ok(found)
    }

    /// Keeps a session that has just begun.
    pub async fn insert(&self, key: SessionKey, session: Arc<Session>) -> Result<(), StoreError> {
        let replaced = self.0.memory.insert(key, Arc::clone(&session));
        self.drop_all(replaced.as_slice());
        self.0.cache.insert(key, Arc::clone(&session));
        // Looked up after the insertion: an event in between finds the session in the index.
        let ended = session
            .claims
            .sid
            .as_deref()
            .is_some_and(|sid| self.0.ended.get(sid).is_some());
        if ended {
            self.remove(&key).await?;
        }
        Ok(())
    }

    /// Ends one session.
    pub async fn remove(&self, key: &SessionKey) -> Result<(), StoreError> {
        if let Some(session) = self.0.memory.remove(key) {
            session.end();
        }
        self.0.cache.remove(key);
        Ok(())
    }

    /// Ends every session of authentik's session `sid`; returns how many. The cost depends on
    /// that number only.
    pub async fn end_sid(&self, sid: &str) -> Result<usize, StoreError> {
        self.0.ended.insert(sid.into(), ());
        Ok(self.drop_all(&self.0.memory.take_sid(sid)))
    }

    /// Ends every session of the person `sub`; returns how many.
    pub async fn end_subject(&self, sub: &str) -> Result<usize, StoreError> {
        Ok(self.drop_all(&self.0.memory.take_subject(sub)))
    }

    /// Every live session, for re-checking. Expired ones are dropped on the way.
    pub async fn sweep(&self) -> Result<Vec<(SessionKey, Arc<Session>)>, StoreError> {
        Ok(self.0.memory.sweep(self.0.clock.now()))
    }

    /// How many sessions are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.memory.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn drop_all(&self, ended: &[(SessionKey, Arc<Session>)]) -> usize {
        for (key, session) in ended {
            session.end();
            self.0.cache.remove(key);
        }
        ended.len()
    }
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<SessionKey, Arc<Session>> for ByBytes {
    fn weight(&self, _: &SessionKey, session: &Arc<Session>) -> u64 {
        session.weight()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::model::{Claims, SessionId};

    fn session(sub: &str, sid: Option<&str>, expires_at: i64) -> Session {
        let claims = Claims {
            sub: sub.into(),
            sid: sid.map(Into::into),
            ..Claims::default()
        };
        Session::new(
            "client",
            claims,
            "token".into(),
            expires_at,
            HeaderMap::new(),
        )
    }

    async fn insert(store: &Store, sub: &str, sid: Option<&str>, expires_at: i64) -> SessionKey {
        let key = SessionId::random().key();
        store
            .insert(key, Arc::new(session(sub, sid, expires_at)))
            .await
            .expect("inserted");
        key
    }

    async fn is_live(store: &Store, key: &SessionKey) -> bool {
        store.load(key).await.expect("loaded").is_some()
    }

    #[tokio::test]
    async fn sessions_end_by_sid_by_subject_and_by_time() {
        let clock = Clock::manual(1_000);
        let store = Store::memory(1 << 20, clock.clone());
        let a1 = insert(&store, "alice", Some("s1"), 2_000).await;
        let a2 = insert(&store, "alice", Some("s1"), 2_000).await;
        let a3 = insert(&store, "alice", Some("s2"), 1_500).await;
        let bob = insert(&store, "bob", None, 2_000).await;
        assert_eq!(store.end_sid("s1").await.expect("ended"), 2);
        assert_eq!(
            store.end_sid("s1").await.expect("ended"),
            0,
            "the event comes twice"
        );
        assert!(!is_live(&store, &a1).await && !is_live(&store, &a2).await);
        assert!(is_live(&store, &a3).await && is_live(&store, &bob).await);
        clock.advance(500);
        assert!(!is_live(&store, &a3).await, "expired");
        assert_eq!(store.end_subject("bob").await.expect("ended"), 1);
        assert!(!is_live(&store, &bob).await);
        assert_eq!(store.sweep().await.expect("swept").len(), 0);
        assert!(store.is_empty(), "nothing is left behind");
    }

    #[tokio::test]
    async fn a_person_who_signs_in_over_and_over_fills_no_memory() {
        let store = Store::memory(1 << 20, Clock::manual(0));
        let first = insert(&store, "script", None, 10).await;
        let other = insert(&store, "alice", None, 10).await;
        for _ in 0..memory::PER_SUBJECT {
            insert(&store, "script", None, 20).await;
        }
        assert_eq!(store.len(), memory::PER_SUBJECT + 1);
        assert!(!is_live(&store, &first).await, "made room");
        assert!(is_live(&store, &other).await, "is somebody else");
    }

    #[tokio::test]
    async fn a_login_finished_after_its_session_ended_is_not_live() {
        let store = Store::memory(1 << 20, Clock::manual(0));
        store.end_sid("gone").await.expect("ended");
        let key = insert(&store, "alice", Some("gone"), 10).await;
        assert!(!is_live(&store, &key).await);
    }

    #[tokio::test]
    async fn a_held_copy_of_an_ended_session_is_not_live() {
        let store = Store::memory(1 << 20, Clock::manual(0));
        let key = insert(&store, "alice", Some("s"), 10).await;
        let held = store.load(&key).await.expect("loaded").expect("live");
        store.end_sid("s").await.expect("ended");
        assert!(!held.is_live(0));
    }

    #[tokio::test]
    async fn a_session_that_the_cache_dropped_is_found_in_the_backend() {
        let store = Store::memory(1, Clock::manual(0));
        let key = insert(&store, "alice", None, 10).await;
        assert!(is_live(&store, &key).await);
    }
}
