//! Sessions, in the memory of this process or in Redis.
//!
//! Ended sessions are marked in the session itself, so that no copy that a cache or a request still
//! holds can open anything.

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
use crate::model::{Claims, IdleTimeout, Session, SessionId, SessionKey};
use crate::telemetry::metrics::StoreMetrics;
use memory::Memory as InMemory;
use redis::Redis;

/// The store cannot answer. Never the same as "no such session".
#[derive(Debug, Clone, thiserror::Error)]
#[error("the session store does not answer: {0}")]
pub struct StoreError(Arc<str>);

impl StoreError {
    fn new(reason: impl Into<Arc<str>>) -> Self {
        Self(reason.into())
    }
}

/// How much Redis may keep (`maxmemory`), and what it does when that is full (`maxmemory-policy`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Memory {
    /// It has no limit of its own.
    Unlimited,
    /// It has one, and takes nothing more when that is reached.
    Limited,
    /// It gives up records then, by this policy.
    Evicting(String),
    /// It does not tell, for this reason.
    Untold(String),
}

/// The store cannot be set up as configured.
#[derive(Debug, thiserror::Error)]
#[error(
    "the authorities for Redis in {path} cannot be used: {reason}; check AUTHENTIK_REDIS__TLS_CA_CERT"
)]
pub struct SetupError {
    path: PathBuf,
    reason: String,
}

/// The application that a session belongs to, as far as keeping sessions takes it.
pub trait Owner: Sync {
    /// The application's secret; together with the session's id it opens what is stored.
    fn seal_key(&self) -> &[u8; 32];

    /// The headers that the application is sent about a person with this access token.
    fn headers(&self, claims: &Claims, access_token: &str) -> HeaderMap;
}

/// All sessions. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    backend: Backend,
    /// How long sessions may go unused.
    idle: Option<IdleTimeout>,
}

#[derive(Clone)]
enum Backend {
    Memory(Arc<InMemory>),
    Redis(Arc<Redis>),
}

impl Store {
    /// A store in memory, which ends with this process.
    #[must_use]
    pub fn memory(clock: Clock, idle: Option<IdleTimeout>) -> Self {
        let backend = Backend::Memory(Arc::new(InMemory::new(clock)));
        Self { backend, idle }
    }

    /// A store in Redis with about `cache_bytes` bytes of sessions at hand. It connects once
    /// [`Store::run`] runs, and needs not be there yet. `people` is a secret of all replicas under
    /// which persons are indexed.
    pub fn redis(
        config: config::Redis,
        people: &SecretString,
        cache_bytes: u64,
        idle: Option<IdleTimeout>,
        clock: Clock,
        metrics: StoreMetrics,
    ) -> Result<Self, SetupError> {
        let redis = Redis::new(config, people, cache_bytes, idle, clock, metrics)?;
        let backend = Backend::Redis(redis);
        Ok(Self { backend, idle })
    }

    /// Does what has to be done in the background, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        match self.backend {
            Backend::Memory(_) => {}
            Backend::Redis(redis) => redis.run(stop).await,
        }
    }

    /// The live session under `key` if the cache has it; does no I/O, and does not care for news
    /// that may be missing.
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
        owner: &(impl Owner + ?Sized),
    ) -> Result<Option<Arc<Session>>, StoreError> {
        match &self.backend {
            Backend::Memory(memory) => Ok(memory.load(&id.key())),
            Backend::Redis(redis) => redis.load(id, owner).await,
        }
    }

    /// Notes that a session is used at `now` (Unix seconds); `false` if it was idle for too long
    /// before, and has ended by that. As a rule this is one comparison: uses are noted ten times
    /// within the timeout, and cost a write at the backend then.
    pub async fn note_use(
        &self,
        id: &SessionId,
        session: &Session,
        now: i64,
    ) -> Result<bool, StoreError> {
        let unnoted = |idle: &IdleTimeout| !idle.is_noted(session.used_at(), now);
        let Some(idle) = self.idle.filter(unnoted) else {
            return Ok(true);
        };
        match &self.backend {
            Backend::Memory(memory) => Ok(memory.note_use(&id.key(), session, idle, now)),
            // Boxed, because it is rare and large.
            Backend::Redis(redis) => Box::pin(redis.note_use(&id.key(), session, idle, now)).await,
        }
    }

    /// Keeps a session that has just begun, or begun again under the same id.
    pub async fn insert(
        &self,
        id: &SessionId,
        owner: &(impl Owner + ?Sized),
        session: Arc<Session>,
    ) -> Result<(), StoreError> {
        match &self.backend {
            Backend::Memory(memory) => memory.insert(id.key(), &session),
            Backend::Redis(redis) => redis.insert(id, owner, session).await?,
        }
        Ok(())
    }

    /// The live session of `id` as the backend has it now, which other copies may lag behind.
    pub async fn reload(
        &self,
        id: &SessionId,
        owner: &(impl Owner + ?Sized),
    ) -> Result<Option<Arc<Session>>, StoreError> {
        match &self.backend {
            Backend::Memory(memory) => Ok(memory.load(&id.key())),
            Backend::Redis(redis) => redis.reload(id, owner).await,
        }
    }

    /// Puts a refreshed session in place of the one under the same id, unless that has ended.
    pub async fn renew(
        &self,
        id: &SessionId,
        owner: &(impl Owner + ?Sized),
        session: Arc<Session>,
    ) -> Result<(), StoreError> {
        match &self.backend {
            Backend::Memory(memory) => memory.renew(id.key(), &session),
            Backend::Redis(redis) => redis.renew(id, owner, session).await?,
        }
        Ok(())
    }

    /// Whether this process is to refresh a session now. `false` for `time` after another replica
    /// got a `true`, and while that cannot be known: a refresh token is good for one use.
    pub async fn claim_refresh(&self, key: &SessionKey, time: Duration) -> bool {
        match &self.backend {
            Backend::Memory(_) => true,
            Backend::Redis(redis) => redis.claim_refresh(key, time).await,
        }
    }

    /// Ends one session: here at once, elsewhere as soon as the backend can be told.
    pub async fn remove(&self, key: &SessionKey) {
        match &self.backend {
            Backend::Memory(memory) => memory.remove(key),
            Backend::Redis(redis) => redis.remove(key).await,
        }
    }

    /// Ends the session of credentials that turned out to be worth nothing. Strangers can cause
    /// this as often as they like, so nothing waits for a backend that is away.
    pub async fn forget(&self, key: &SessionKey) {
        match &self.backend {
            Backend::Memory(memory) => memory.remove(key),
            Backend::Redis(redis) => redis.forget(key).await,
        }
    }

    /// Whether the backend still has this session, and not a refreshed one in its place.
    pub async fn is_current(&self, key: &SessionKey, session: &Session) -> bool {
        match &self.backend {
            Backend::Memory(memory) => memory.is_current(key, session),
            Backend::Redis(redis) => redis.is_current(key, session).await,
        }
    }

    /// Ends every session of authentik's session `sid`, as [`Store::remove`] does; returns how
    /// many. The cost depends on that number only.
    pub async fn end_sid(&self, sid: &str) -> usize {
        match &self.backend {
            Backend::Memory(memory) => memory.end_sid(sid),
            Backend::Redis(redis) => redis.end_sid(sid).await,
        }
    }

    /// Ends every session of the person `sub`, as [`Store::remove`] does; returns how many.
    pub async fn end_subject(&self, sub: &str) -> usize {
        match &self.backend {
            Backend::Memory(memory) => memory.end_subject(sub),
            Backend::Redis(redis) => redis.end_subject(sub).await,
        }
    }

    /// Every live session of this process, for re-checking: of Redis, the cached ones. Expired
    /// ones are dropped on the way.
    #[must_use]
    pub fn sweep(&self) -> Vec<(SessionKey, Arc<Session>)> {
        match &self.backend {
            Backend::Memory(memory) => memory.sweep(self.idle),
            Backend::Redis(redis) => redis.sweep(),
        }
    }

    /// Whether this process is to ask authentik about a session now. `false` for `time` after
    /// another replica got a `true`.
    pub async fn claim_check(&self, key: &SessionKey, time: Duration) -> bool {
        match &self.backend {
            Backend::Memory(_) => true,
            Backend::Redis(redis) => redis.claim(key, time).await,
        }
    }

    /// Notes that authentik said just now that the session stands.
    pub async fn checked(&self, key: &SessionKey, session: &Session) {
        match &self.backend {
            Backend::Memory(memory) => memory.checked(session),
            Backend::Redis(redis) => redis.checked(key, session).await,
        }
    }

    /// Sessions that authentik was last asked about at or before `time` (Unix seconds) come out of
    /// [`Store::next_due`] when they are next read from the backend.
    pub fn due_before(&self, time: i64) {
        if let Backend::Redis(redis) = &self.backend {
            redis.due_before(time);
        }
    }

    /// Waits for a session that authentik should be asked about before the next sweep.
    pub async fn next_due(&self) -> (SessionKey, Arc<Session>) {
        let due = match &self.backend {
            Backend::Memory(_) => None,
            Backend::Redis(redis) => redis.next_due().await,
        };
        match due {
            Some(due) => due,
            None => std::future::pending().await,
        }
    }

    /// Whether the backend outlives this process.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.backend, Backend::Redis(_))
    }

    /// Keeps something under a name where every replica finds it; memory forgets it. It is
    /// readable for whoever can read the backend.
    pub async fn keep_blob(&self, name: &str, blob: &[u8]) -> Result<(), StoreError> {
        match &self.backend {
            Backend::Memory(_) => Ok(()),
            Backend::Redis(redis) => redis.keep_blob(name, blob).await,
        }
    }

    /// What was kept under a name.
    pub async fn blob(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match &self.backend {
            Backend::Memory(_) => Ok(None),
            Backend::Redis(redis) => redis.blob(name).await,
        }
    }

    /// How much the backend may keep, and what it does when that is full.
    pub async fn memory_limit(&self) -> Memory {
        match &self.backend {
            Backend::Memory(_) => Memory::Unlimited,
            Backend::Redis(redis) => redis.memory().await,
        }
    }

    /// How many live sessions this process has.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.backend {
            Backend::Memory(memory) => memory.len(),
            Backend::Redis(redis) => redis.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
