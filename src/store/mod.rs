//! The session store: in the memory of this process or at Redis.
//!
//! Revocation is a flag of the session itself, so that it holds for every copy, whether a cache or a
//! request in flight has it.

mod memory;
mod redis;
pub mod seal;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config;
use crate::model::{Claims, Hint, HintText, IdleTimeout, Session, SessionId, SessionKey};
use crate::telemetry::metrics::StoreMetrics;
use memory::MemoryStore;
use redis::RedisStore;

/// The store cannot answer. Never the same as "no such session".
#[derive(Debug, Clone, thiserror::Error)]
#[error("the session store is unavailable: {reason}")]
pub struct StoreError {
    reason: Arc<str>,
    hint: Option<&'static str>,
}

impl StoreError {
    fn new(reason: impl Into<Arc<str>>, hint: Option<&'static str>) -> Self {
        let reason = reason.into();
        Self { reason, hint }
    }
}

impl Hint for StoreError {
    fn hint(&self) -> Option<HintText> {
        self.hint.map(Into::into)
    }
}

/// Redis's `maxmemory` and `maxmemory-policy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemoryPolicy {
    /// No limit.
    Unlimited,
    /// A limit, beyond which writes fail (`noeviction`).
    Limited,
    /// A limit, beyond which records are evicted by this policy.
    Evicting(String),
    /// Unknown, for this reason.
    Unknown(String),
}

/// The store cannot be set up as configured.
#[derive(Debug, thiserror::Error)]
#[error("the CA certificates for Redis in {path} cannot be used: {reason}")]
pub struct SetupError {
    path: PathBuf,
    reason: String,
}

impl Hint for SetupError {
    fn hint(&self) -> Option<HintText> {
        Some("check AUTHENTIK_REDIS__TLS_CA_CERT".into())
    }
}

/// What the store needs to know of the application that a session belongs to.
pub trait SessionContext: Sync {
    /// The application's secret; the record's key is derived from it and the session id.
    fn seal_key(&self) -> &[u8; 32];

    /// The headers that the application is sent about a user with this access token.
    fn headers(&self, claims: &Claims, access_token: &str) -> HeaderMap;
}

/// All sessions. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    backend: Backend,
    /// Idle timeout of sessions.
    idle: Option<IdleTimeout>,
}

#[derive(Clone)]
enum Backend {
    Memory(Arc<MemoryStore>),
    Redis(Arc<RedisStore>),
}

impl Store {
    /// A store in memory, lost with this process.
    #[must_use]
    pub fn memory(clock: Clock, idle: Option<IdleTimeout>) -> Self {
        let backend = Backend::Memory(Arc::new(MemoryStore::new(clock)));
        Self { backend, idle }
    }

    /// A store at Redis with a cache of about `cache_bytes` bytes. [`Store::run`] connects; Redis
    /// need not be up yet. `subject_index_key` is a secret of all replicas, by which subjects are
    /// hashed for the index.
    pub fn redis(
        config: config::Redis,
        subject_index_key: &SecretString,
        cache_bytes: u64,
        idle: Option<IdleTimeout>,
        clock: Clock,
        metrics: StoreMetrics,
    ) -> Result<Self, SetupError> {
        let redis = RedisStore::new(config, subject_index_key, cache_bytes, idle, clock, metrics)?;
        let backend = Backend::Redis(redis);
        Ok(Self { backend, idle })
    }

    /// Runs the background work until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        match self.backend {
            Backend::Memory(_) => {}
            Backend::Redis(redis) => redis.run(stop).await,
        }
    }

    /// The live session under `key` if the cache has it. Does no I/O, and does not check whether
    /// invalidation messages may be missing.
    #[must_use]
    pub fn cached(&self, key: &SessionKey) -> Option<Arc<Session>> {
        match &self.backend {
            Backend::Memory(memory) => memory.load(key),
            Backend::Redis(redis) => redis.cached(key),
        }
    }

    /// The live session of `id` at its application.
    pub async fn load(
        &self,
        id: &SessionId,
        context: &(impl SessionContext + ?Sized),
    ) -> Result<Option<Arc<Session>>, StoreError> {
        match &self.backend {
            Backend::Memory(memory) => Ok(memory.load(&id.key())),
            Backend::Redis(redis) => redis.load(id, context).await,
        }
    }

    /// Records a use of a session at `now` (Unix seconds); `false` if the session exceeded the idle
    /// timeout before, and is revoked by that. Usually one comparison: uses are recorded ten times
    /// within the timeout, each with a write at the backend.
    pub async fn touch(
        &self,
        id: &SessionId,
        session: &Session,
        now: i64,
    ) -> Result<bool, StoreError> {
        let unrecorded = |idle: &IdleTimeout| !idle.is_recorded(session.used_at(), now);
        let Some(idle) = self.idle.filter(unrecorded) else {
            return Ok(true);
        };
        match &self.backend {
            Backend::Memory(memory) => Ok(memory.touch(&id.key(), session, idle, now)),
            // Boxed: the future is large, and rarely needed.
            Backend::Redis(redis) => Box::pin(redis.touch(&id.key(), session, idle, now)).await,
        }
    }

    /// Stores a new session, or replaces one under the same id.
    pub async fn insert(
        &self,
        id: &SessionId,
        context: &(impl SessionContext + ?Sized),
        session: Arc<Session>,
    ) -> Result<(), StoreError> {
        match &self.backend {
            Backend::Memory(memory) => memory.insert(id.key(), &session),
            Backend::Redis(redis) => redis.insert(id, context, session).await?,
        }
        Ok(())
    }

    /// The live session of `id` at the backend, regardless of the cache.
    pub async fn reload(
        &self,
        id: &SessionId,
        context: &(impl SessionContext + ?Sized),
    ) -> Result<Option<Arc<Session>>, StoreError> {
        match &self.backend {
            Backend::Memory(memory) => Ok(memory.load(&id.key())),
            Backend::Redis(redis) => redis.reload(id, context).await,
        }
    }

    /// Replaces a session by a refreshed one, unless it is revoked.
    pub async fn update(
        &self,
        id: &SessionId,
        context: &(impl SessionContext + ?Sized),
        session: Arc<Session>,
    ) -> Result<(), StoreError> {
        match &self.backend {
            Backend::Memory(memory) => memory.update(id.key(), &session),
            Backend::Redis(redis) => redis.update(id, context, session).await?,
        }
        Ok(())
    }

    /// Whether this process is to refresh a session now. `false` for `time` after another replica
    /// claimed it, and while the backend is down: a refresh token can be used once.
    pub async fn claim_refresh(&self, key: &SessionKey, time: Duration) -> bool {
        match &self.backend {
            Backend::Memory(_) => true,
            Backend::Redis(redis) => redis.claim_refresh(key, time).await,
        }
    }

    /// Revokes one session: in this process at once, at other replicas as soon as the backend is up.
    pub async fn revoke(&self, key: &SessionKey) {
        match &self.backend {
            Backend::Memory(memory) => memory.revoke(key),
            Backend::Redis(redis) => redis.revoke(key).await,
        }
    }

    /// Revokes the session of credentials that are no longer valid. Unauthenticated clients can
    /// cause this at any rate, so nothing is queued while the backend is down.
    pub async fn revoke_best_effort(&self, key: &SessionKey) {
        match &self.backend {
            Backend::Memory(memory) => memory.revoke(key),
            Backend::Redis(redis) => redis.revoke_best_effort(key).await,
        }
    }

    /// Whether the backend has this session, and not a refreshed one in its place.
    pub async fn is_current(&self, key: &SessionKey, session: &Session) -> bool {
        match &self.backend {
            Backend::Memory(memory) => memory.is_current(key, session),
            Backend::Redis(redis) => redis.is_current(key, session).await,
        }
    }

    /// Revokes every session of authentik's session `sid`, as [`Store::revoke`] does; returns their
    /// number, on which alone the cost depends.
    pub async fn revoke_by_sid(&self, sid: &str) -> usize {
        match &self.backend {
            Backend::Memory(memory) => memory.revoke_by_sid(sid),
            Backend::Redis(redis) => redis.revoke_by_sid(sid).await,
        }
    }

    /// Revokes every session of the user `sub`, as [`Store::revoke`] does; returns their number.
    pub async fn revoke_by_subject(&self, sub: &str) -> usize {
        match &self.backend {
            Backend::Memory(memory) => memory.revoke_by_subject(sub),
            Backend::Redis(redis) => redis.revoke_by_subject(sub).await,
        }
    }

    /// Every live session of this process, for introspection: with Redis, the cached ones. Removes
    /// expired ones.
    #[must_use]
    pub fn sweep(&self) -> Vec<(SessionKey, Arc<Session>)> {
        match &self.backend {
            Backend::Memory(memory) => memory.sweep(self.idle),
            Backend::Redis(redis) => redis.sweep(),
        }
    }

    /// Whether this process is to introspect a session now. `false` for `time` after another replica
    /// claimed it.
    pub async fn claim_introspection(&self, key: &SessionKey, time: Duration) -> bool {
        match &self.backend {
            Backend::Memory(_) => true,
            Backend::Redis(redis) => redis.claim_introspection(key, time).await,
        }
    }

    /// Records that authentik just confirmed the session.
    pub async fn record_introspection(&self, key: &SessionKey, session: &Session) {
        match &self.backend {
            Backend::Memory(memory) => memory.record_introspection(session),
            Backend::Redis(redis) => redis.record_introspection(key, session).await,
        }
    }

    /// Sessions last introspected at or before `time` (Unix seconds) are returned by
    /// [`Store::next_introspection`] when they are next read from the backend.
    pub fn set_introspection_cutoff(&self, time: i64) {
        if let Backend::Redis(redis) = &self.backend {
            redis.set_introspection_cutoff(time);
        }
    }

    /// Waits for a session that should be introspected before the next sweep.
    pub async fn next_introspection(&self) -> (SessionKey, Arc<Session>) {
        let next = match &self.backend {
            Backend::Memory(_) => None,
            Backend::Redis(redis) => redis.next_introspection().await,
        };
        match next {
            Some(next) => next,
            None => std::future::pending().await,
        }
    }

    /// Whether the backend outlives this process.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.backend, Backend::Redis(_))
    }

    /// Stores a blob for every replica; a no-op in memory. The caller encrypts what is secret.
    pub async fn put_blob(&self, name: &str, blob: &[u8]) -> Result<(), StoreError> {
        match &self.backend {
            Backend::Memory(_) => Ok(()),
            Backend::Redis(redis) => redis.put_blob(name, blob).await,
        }
    }

    /// The blob of this name.
    pub async fn blob(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match &self.backend {
            Backend::Memory(_) => Ok(None),
            Backend::Redis(redis) => redis.blob(name).await,
        }
    }

    /// The backend's memory limit and eviction policy.
    pub async fn memory_policy(&self) -> MemoryPolicy {
        match &self.backend {
            Backend::Memory(_) => MemoryPolicy::Unlimited,
            Backend::Redis(redis) => redis.memory_policy().await,
        }
    }

    /// Number of live sessions of this process.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.backend {
            Backend::Memory(memory) => memory.len(),
            Backend::Redis(redis) => redis.len(),
        }
    }

    /// Whether this process has no live session.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
