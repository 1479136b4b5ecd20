//! The session store: in the memory of this process, at Redis, or in the cookies of browsers.
//!
//! Revocation is a flag of the session itself, so that it holds for every copy, whether a cache or a
//! request in flight has it.

mod cookie;
mod error;
mod memory;
mod redis;
pub mod seal;
mod session;

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config;
use crate::model::{IdleTimeout, SessionId, SessionKey};
use crate::telemetry::metrics::StoreMetrics;
pub use cookie::{CookieStore, SealError, Sealer};
pub use error::{SetupError, StoreError};
use memory::MemoryStore;
use redis::RedisStore;
pub use redis::{MemoryPolicy, Server as RedisServer, refresh_claim::RefreshClaim};
pub use session::{LiveSession, Prepared, SessionContext};

/// All sessions, each with what its application prepares from it. Cheap to clone.
#[derive(Clone)]
pub struct Store<P> {
    backend: Backend<P>,
    /// Idle timeout of sessions.
    idle: Option<IdleTimeout>,
}

#[derive(Clone)]
enum Backend<P> {
    Memory(Arc<MemoryStore<P>>),
    Redis(Arc<RedisStore<P>>),
    Cookie(Arc<CookieStore<P>>),
}

/// Where a [`Store`] keeps sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// In the memory of this process.
    Memory,
    /// At Redis.
    Redis,
    /// In the cookies of browsers.
    Cookie,
}

impl StoreKind {
    /// The name, as in the settings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::Cookie => "cookie",
        }
    }
}

impl<P: Prepared> Store<P> {
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

    /// A store of sessions that browsers have in their cookies. `lifetime` is the maximum lifetime of
    /// a session, in seconds.
    #[must_use]
    pub fn cookie(lifetime: i64, clock: Clock, metrics: StoreMetrics) -> Self {
        let backend = Backend::Cookie(Arc::new(CookieStore::new(lifetime, clock, metrics)));
        Self {
            backend,
            idle: None,
        }
    }

    /// The sessions in cookies, if that is where they are.
    #[must_use]
    pub fn cookies(&self) -> Option<&Arc<CookieStore<P>>> {
        match &self.backend {
            Backend::Cookie(cookies) => Some(cookies),
            Backend::Memory(_) | Backend::Redis(_) => None,
        }
    }

    /// Where sessions are kept.
    #[must_use]
    pub fn kind(&self) -> StoreKind {
        match &self.backend {
            Backend::Memory(_) => StoreKind::Memory,
            Backend::Redis(_) => StoreKind::Redis,
            Backend::Cookie(_) => StoreKind::Cookie,
        }
    }

    /// From now on, the ends of sessions are received by a new connection to authentik: those of the
    /// time before may be missing.
    pub fn listen_anew(&self) {
        if let Backend::Cookie(cookies) = &self.backend {
            cookies.listen_anew();
        }
    }

    /// Runs the background work until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        match self.backend {
            Backend::Memory(_) | Backend::Cookie(_) => {}
            Backend::Redis(redis) => redis.run(stop).await,
        }
    }

    /// The live session under `key` if the cache has it. Does no I/O, and does not check whether
    /// invalidation messages may be missing.
    #[must_use]
    pub fn cached(&self, key: &SessionKey) -> Option<Arc<LiveSession<P>>> {
        match &self.backend {
            Backend::Memory(memory) => memory.load(key),
            Backend::Redis(redis) => redis.cached(key),
            Backend::Cookie(cookies) => cookies.memory.load(key),
        }
    }

    /// The live session of `id` at its application.
    pub async fn load(
        &self,
        id: &SessionId,
        context: &(impl SessionContext<Prepared = P> + ?Sized),
    ) -> Result<Option<Arc<LiveSession<P>>>, StoreError> {
        match &self.backend {
            Backend::Memory(memory) => Ok(memory.load(&id.key())),
            Backend::Redis(redis) => redis.load(id, context).await,
            Backend::Cookie(cookies) => Ok(cookies.memory.load(&id.key())),
        }
    }

    /// Records a use of a session at `now` (Unix seconds); `false` if the session exceeded the idle
    /// timeout before, and is revoked by that. Usually one comparison: uses are recorded ten times
    /// within the timeout, each with a write at the backend.
    pub async fn touch(
        &self,
        id: &SessionId,
        session: &LiveSession<P>,
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
            // Without an idle timeout.
            Backend::Cookie(_) => Ok(true),
        }
    }

    /// Stores a new session, or replaces one under the same id.
    pub async fn insert(
        &self,
        id: &SessionId,
        context: &(impl SessionContext<Prepared = P> + ?Sized),
        session: Arc<LiveSession<P>>,
    ) -> Result<(), StoreError> {
        match &self.backend {
            Backend::Memory(memory) => memory.insert(id.key(), &session),
            Backend::Redis(redis) => redis.insert(id, context, session).await?,
            Backend::Cookie(cookies) => cookies.insert(id.key(), &session),
        }
        Ok(())
    }

    /// The live session of `id` at the backend, regardless of the cache.
    pub async fn reload(
        &self,
        id: &SessionId,
        context: &(impl SessionContext<Prepared = P> + ?Sized),
    ) -> Result<Option<Arc<LiveSession<P>>>, StoreError> {
        match &self.backend {
            Backend::Memory(memory) => Ok(memory.load(&id.key())),
            Backend::Redis(redis) => redis.reload(id, context).await,
            Backend::Cookie(cookies) => Ok(cookies.memory.load(&id.key())),
        }
    }

    /// Replaces a session by a refreshed one, unless it is revoked.
    pub async fn update(
        &self,
        id: &SessionId,
        context: &(impl SessionContext<Prepared = P> + ?Sized),
        session: Arc<LiveSession<P>>,
    ) -> Result<(), StoreError> {
        match &self.backend {
            Backend::Memory(memory) => memory.update(id.key(), &session),
            Backend::Redis(redis) => redis.update(id, context, session).await?,
            Backend::Cookie(cookies) => cookies.memory.update(id.key(), &session),
        }
        Ok(())
    }

    /// The claim of this process to refresh a session now; release it with
    /// [`Store::release_refresh`]. `None` while another replica has it, for `time` at most, and while
    /// the backend is down: a refresh token can be used once.
    pub async fn claim_refresh(&self, key: &SessionKey, time: Duration) -> Option<RefreshClaim> {
        match &self.backend {
            Backend::Memory(_) | Backend::Cookie(_) => Some(RefreshClaim::random()),
            Backend::Redis(redis) => redis.claim_refresh(key, time).await,
        }
    }

    /// Lets other replicas refresh the session from now on.
    pub async fn release_refresh(&self, key: &SessionKey, claim: RefreshClaim) {
        match &self.backend {
            Backend::Memory(_) | Backend::Cookie(_) => {}
            Backend::Redis(redis) => redis.release_refresh(key, claim).await,
        }
    }

    /// Revokes one session: in this process at once, at other replicas as soon as the backend is up.
    pub async fn revoke(&self, key: &SessionKey) {
        match &self.backend {
            Backend::Memory(memory) => memory.revoke(key),
            Backend::Redis(redis) => redis.revoke(key).await,
            Backend::Cookie(cookies) => cookies.end(key),
        }
    }

    /// Revokes the session of credentials that are no longer valid. Unauthenticated clients can
    /// cause this at any rate, so nothing is queued while the backend is down.
    pub async fn revoke_best_effort(&self, key: &SessionKey) {
        match &self.backend {
            Backend::Memory(memory) => memory.revoke(key),
            Backend::Redis(redis) => redis.revoke_best_effort(key).await,
            Backend::Cookie(cookies) => cookies.memory.revoke(key),
        }
    }

    /// Whether the backend has this session, and not a refreshed one in its place.
    pub async fn is_current(&self, key: &SessionKey, session: &LiveSession<P>) -> bool {
        match &self.backend {
            Backend::Memory(memory) => memory.is_current(key, session),
            Backend::Redis(redis) => redis.is_current(key, session).await,
            Backend::Cookie(cookies) => cookies.memory.is_current(key, session),
        }
    }

    /// Revokes every session of authentik's session `sid`, as [`Store::revoke`] does; returns their
    /// number, on which alone the cost depends.
    pub async fn revoke_by_sid(&self, sid: &str) -> usize {
        match &self.backend {
            Backend::Memory(memory) => memory.revoke_by_sid(sid),
            Backend::Redis(redis) => redis.revoke_by_sid(sid).await,
            Backend::Cookie(cookies) => cookies.revoke_by_sid(sid),
        }
    }

    /// Revokes every session of the user `sub`, as [`Store::revoke`] does; returns their number.
    pub async fn revoke_by_subject(&self, sub: &str) -> usize {
        match &self.backend {
            Backend::Memory(memory) => memory.revoke_by_subject(sub),
            Backend::Redis(redis) => redis.revoke_by_subject(sub).await,
            Backend::Cookie(cookies) => cookies.revoke_by_subject(sub),
        }
    }

    /// Every live session of this process, for introspection: with Redis, the cached ones. Removes
    /// expired ones.
    #[must_use]
    pub fn sweep(&self) -> Vec<(SessionKey, Arc<LiveSession<P>>)> {
        match &self.backend {
            Backend::Memory(memory) => memory.sweep(self.idle),
            Backend::Redis(redis) => redis.sweep(),
            Backend::Cookie(cookies) => cookies.sweep(),
        }
    }

    /// Whether this process is to introspect a session now. `false` for `time` after another replica
    /// claimed it.
    pub async fn claim_introspection(&self, key: &SessionKey, time: Duration) -> bool {
        match &self.backend {
            Backend::Memory(_) | Backend::Cookie(_) => true,
            Backend::Redis(redis) => redis.claim_introspection(key, time).await,
        }
    }

    /// Records that authentik just confirmed the session.
    pub async fn record_introspection(&self, key: &SessionKey, session: &LiveSession<P>) {
        match &self.backend {
            Backend::Memory(memory) => memory.record_introspection(session),
            Backend::Redis(redis) => redis.record_introspection(key, session).await,
            Backend::Cookie(cookies) => cookies.memory.record_introspection(session),
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
    pub async fn next_introspection(&self) -> (SessionKey, Arc<LiveSession<P>>) {
        let next = match &self.backend {
            Backend::Memory(_) | Backend::Cookie(_) => None,
            Backend::Redis(redis) => redis.next_introspection().await,
        };
        match next {
            Some(next) => next,
            None => std::future::pending().await,
        }
    }

    /// Whether the backend is connected.
    #[must_use]
    pub fn is_up(&self) -> bool {
        match &self.backend {
            Backend::Memory(_) | Backend::Cookie(_) => true,
            Backend::Redis(redis) => redis.is_up(),
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
            Backend::Memory(_) | Backend::Cookie(_) => Ok(()),
            Backend::Redis(redis) => redis.put_blob(name, blob).await,
        }
    }

    /// The blob of this name.
    pub async fn blob(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match &self.backend {
            Backend::Memory(_) | Backend::Cookie(_) => Ok(None),
            Backend::Redis(redis) => redis.blob(name).await,
        }
    }

    /// The backend's memory limit and eviction policy.
    pub async fn memory_policy(&self) -> MemoryPolicy {
        match &self.backend {
            Backend::Memory(_) | Backend::Cookie(_) => MemoryPolicy::Unlimited,
            Backend::Redis(redis) => redis.memory_policy().await,
        }
    }

    /// Number of live sessions of this process.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.backend {
            Backend::Memory(memory) => memory.len(),
            Backend::Redis(redis) => redis.len(),
            Backend::Cookie(cookies) => cookies.memory.len(),
        }
    }

    /// Opens connections to Redis by `server` from now on; its place is that of the start.
    pub fn replace_server(&self, server: RedisServer) {
        if let Backend::Redis(redis) = &self.backend {
            redis.replace_server(server);
        }
    }

    /// Waits until the backend refuses the credentials.
    pub async fn refused(&self) {
        match &self.backend {
            Backend::Memory(_) | Backend::Cookie(_) => std::future::pending().await,
            Backend::Redis(redis) => redis.refused().await,
        }
    }

    /// Indexes users by the hash with another secret as well, at a backend that does.
    pub fn add_subject_index_key(&self, secret: &SecretString) {
        if let Backend::Redis(redis) = &self.backend {
            redis.add_subject_index_key(secret);
        }
    }

    /// Whether this process has no live session.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
