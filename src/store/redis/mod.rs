//! Sessions in Redis, shared by every replica.
//!
//! ```text
//! load   ─► cache hit, fresh ───────────────────────────────► session        no I/O
//!            │ stale: messages may be missing ─► revalidate ─► session, or none
//!            └ miss ─► one GET per key ─► decrypt ───────────► session, or none
//! revoke ─► local copies ─► index at Redis ─► tombstones replace records ─► invalidation message
//! ```
//!
//! A revoked session leaves a tombstone until its record would have expired, so that a replica can
//! restore a session that Redis lost, and never a revoked one.

mod connection;
mod data_loss;
mod format;
mod idle;
mod inspect;
mod introspection_schedule;
mod local;
pub(super) mod refresh_claim;
mod resync;
mod revalidation;
mod revocation;
mod subjects;
mod subscription;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::error::{SetupError, StoreError};
use super::seal::Seal;
use super::session::{LiveSession, Prepared, SessionContext};
use crate::clock::Clock;
use crate::config::{self, WhenDown};
use crate::model::{IdleTimeout, SessionId, SessionKey};
use crate::telemetry::Throttle;
use crate::telemetry::metrics::{CacheResult, StoreMetrics};
use connection::Connection;
pub use connection::server::Server;
use data_loss::KnownGeneration;
use format::invalidation::Invalidation;
use format::scripts::{Index, IndexEntry, Write};
pub use inspect::MemoryPolicy;
use introspection_schedule::IntrospectionQueue;
use local::cache::{Cache, Entry, Slot};
use local::index::LocalIndex;
use local::outbox::{Outbox, PendingSession};
use local::single_flight::SingleFlight;
use revalidation::RevalidationQueue;
use subjects::SubjectKeys;
use subscription::Subscription;

/// How often a session in use is revalidated while messages arrive, to detect data loss at Redis.
const REVALIDATION_INTERVAL: Duration = Duration::from_mins(1);
/// Sessions that one user may have at a time, at all applications together.
const MAX_SESSIONS_PER_SUBJECT: usize = super::memory::MAX_SESSIONS_PER_SUBJECT;
/// Sessions that one authentik session may have; practically unlimited.
const MAX_SESSIONS_PER_SID: usize = 1 << 20;
/// Time to live of a blob of another part of the program, since it was last written.
const BLOB_TTL_SECONDS: u32 = 30 * 24 * 3600;

/// All sessions at Redis, with a local cache.
pub(super) struct RedisStore<P> {
    connection: Arc<Connection>,
    metrics: StoreMetrics,
    subscription: Subscription,
    cache: Cache<P>,
    local_index: LocalIndex<P>,
    generation: KnownGeneration,
    single_flight: SingleFlight,
    outbox: Outbox<P>,
    settings: Settings,
    subject_keys: SubjectKeys,
    idle: Option<IdleTimeout>,
    clock: Clock,
    started: Instant,
    introspection_queue: IntrospectionQueue<P>,
    revalidation_queue: RevalidationQueue<P>,
    /// The epoch of the subscription for which all cached sessions were revalidated.
    revalidated_epoch: AtomicU64,
    unreadable: Throttle,
    data_loss: Throttle,
}

struct Settings {
    revalidate: Duration,
    when_down: WhenDown,
}

impl<P: Prepared> RedisStore<P> {
    /// Does not connect; [`RedisStore::run`] does.
    pub(super) fn new(
        config: config::Redis,
        subject_index_key: &SecretString,
        cache_bytes: u64,
        idle: Option<IdleTimeout>,
        clock: Clock,
        metrics: StoreMetrics,
    ) -> Result<Arc<Self>, SetupError> {
        let settings = Settings {
            revalidate: config.options.revalidation_interval,
            when_down: config.options.when_down,
        };
        // Revocations before the start of this process are unknown to it.
        let introspection_queue = IntrospectionQueue::new(clock.now());
        Ok(Arc::new(Self {
            connection: Arc::new(Connection::new(Server::new(config)?, metrics.clone())),
            metrics,
            subscription: Subscription::default(),
            cache: Cache::new(cache_bytes),
            local_index: LocalIndex::new(),
            generation: KnownGeneration::default(),
            single_flight: SingleFlight::default(),
            outbox: Outbox::default(),
            settings,
            subject_keys: SubjectKeys::new(subject_index_key),
            idle,
            clock,
            started: Instant::now(),
            introspection_queue,
            revalidation_queue: RevalidationQueue::new(),
            revalidated_epoch: AtomicU64::new(0),
            unreadable: Throttle::default(),
            data_loss: Throttle::default(),
        }))
    }

    /// Maintains the connections until `stop`.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let connection = self.connection.maintain(|| self.resync().boxed());
        tokio::select! {
            () = stop.cancelled() => {}
            () = connection => {}
            () = self.run_subscription() => {}
            () = self.run_revalidation() => {}
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.connection.is_up()
    }

    pub(super) fn cached(&self, key: &SessionKey) -> Option<Arc<LiveSession<P>>> {
        self.cache.live(key, self.clock.now())
    }

    pub(super) fn sweep(&self) -> Vec<(SessionKey, Arc<LiveSession<P>>)> {
        let live = self.cache.sweep(self.clock.now()).into_iter();
        live.map(|(key, entry)| (key, entry.session)).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.cache.count(self.clock.now())
    }

    /// The live session of `id`.
    pub(super) async fn load(
        &self,
        id: &SessionId,
        context: &(impl SessionContext<Prepared = P> + ?Sized),
    ) -> Result<Option<Arc<LiveSession<P>>>, StoreError> {
        let key = id.key();
        let now = self.millis();
        match self.cache.get(&key) {
            Some(Slot::Session(entry)) if entry.session.is_revoked() => Ok(None),
            // Another replica may have refreshed it.
            Some(Slot::Session(entry)) if !entry.session.is_live(self.clock.now()) => {
                Box::pin(self.fetch(key, id, context)).await
            }
            Some(Slot::Session(entry)) if self.is_fresh(&entry, now) => {
                self.metrics.cache_request(CacheResult::Hit);
                if now.saturating_sub(entry.validated_at) > millis(REVALIDATION_INTERVAL) {
                    self.revalidate_in_background(key, &entry);
                }
                Ok(Some(entry.session))
            }
            // Boxed: the future is large, and rarely needed.
            Some(Slot::Session(entry)) => {
                let session = Arc::clone(&entry.session);
                // An error is logged by the connection; the cached session stays valid.
                let _ = Box::pin(self.revalidate(key, entry)).await;
                Ok(Some(session).filter(|session| session.is_live(self.clock.now())))
            }
            // Credentials can create their session again, at any replica.
            Some(Slot::Tombstone(at)) if now.saturating_sub(at) > millis(REVALIDATION_INTERVAL) => {
                Box::pin(self.fetch(key, id, context)).await
            }
            Some(Slot::Tombstone(_)) => Ok(None),
            None => Box::pin(self.fetch(key, id, context)).await,
        }
    }

    /// Whether an invalidation message would have arrived, or the session was just validated.
    fn is_fresh(&self, entry: &Entry<P>, now: u64) -> bool {
        let bound = millis(self.settings.revalidate);
        now.saturating_sub(entry.validated_at) < bound
            || self.subscription.covers(entry.epoch, now, bound)
    }

    async fn fetch(
        &self,
        key: SessionKey,
        id: &SessionId,
        context: &(impl SessionContext<Prepared = P> + ?Sized),
    ) -> Result<Option<Arc<LiveSession<P>>>, StoreError> {
        if let Some(pending) = self.outbox.session(&key) {
            return Ok(Some(pending.session).filter(|session| session.is_live(self.clock.now())));
        }
        let (now, epoch) = (self.millis(), self.subscription.epoch());
        let found = self.read(key).await?;
        if let Some(session) = self.cache.live(&key, self.clock.now()) {
            // Another caller of the same read has cached it.
            return Ok(Some(session));
        }
        self.cache_record(id, context, found.as_deref(), now, epoch)
            .await
    }

    /// The live session of `id` at Redis, regardless of the cache.
    pub(super) async fn reload(
        &self,
        id: &SessionId,
        context: &(impl SessionContext<Prepared = P> + ?Sized),
    ) -> Result<Option<Arc<LiveSession<P>>>, StoreError> {
        let (now, epoch) = (self.millis(), self.subscription.epoch());
        let found: Option<Vec<u8>> = self
            .connection
            .query(&format::scripts::read(&id.key()))
            .await?;
        self.cache_record(id, context, found.as_deref(), now, epoch)
            .await
    }

    /// Caches a record that was read. A missing record means that there is no session, unless Redis
    /// lost its data.
    async fn cache_record(
        &self,
        id: &SessionId,
        context: &(impl SessionContext<Prepared = P> + ?Sized),
        found: Option<&[u8]>,
        now: u64,
        epoch: u64,
    ) -> Result<Option<Arc<LiveSession<P>>>, StoreError> {
        let key = id.key();
        let Some(bytes) = found else {
            self.ensure_complete().await?;
            return Ok(None);
        };
        if *bytes == *format::record::TOMBSTONE {
            self.cache.insert(key, Slot::Tombstone(now));
            return Ok(None);
        }
        let seal = format::record::seal(id, context.seal_key());
        let record = match format::record::decode(&seal, &format::keys::session(&key), bytes) {
            Ok(record) => record,
            Err(error) => {
                // It stays unreadable; the user has to sign in again.
                let reason = error.to_string();
                if self.unreadable.should_log(&reason) {
                    tracing::warn!(
                        error = reason,
                        "session in Redis cannot be decoded, treated as ended"
                    );
                }
                return Ok(None);
            }
        };
        let session = Arc::new(record.into_session(context));
        self.cache_session(key, &session, seal, now, epoch);
        if !session.is_live(self.clock.now()) {
            return Ok(None);
        }
        self.introspection_queue.enqueue_if_stale(key, &session);
        Ok(Some(session))
    }

    /// Reads a record; concurrent reads of one key share the request.
    async fn read(&self, key: SessionKey) -> local::single_flight::ReadResult {
        self.metrics.cache_request(CacheResult::Miss);
        let connection = Arc::clone(&self.connection);
        self.single_flight
            .run(key, move || {
                async move {
                    let bytes: Option<Vec<u8>> =
                        connection.query(&format::scripts::read(&key)).await?;
                    Ok(bytes.map(Bytes::from))
                }
                .boxed()
            })
            .await
    }

    fn cache_session(
        &self,
        key: SessionKey,
        session: &Arc<LiveSession<P>>,
        seal: Seal,
        now: u64,
        epoch: u64,
    ) {
        let (sid, subjects) = self.index_keys(session);
        self.local_index
            .insert(key, session, sid.as_ref(), &subjects, now);
        let entry = Entry {
            session: Arc::clone(session),
            seal,
            validated_at: now,
            epoch,
        };
        self.cache.insert(key, Slot::Session(entry));
    }

    /// Stores a new session, or replaces one under the same id.
    pub(super) async fn insert(
        &self,
        id: &SessionId,
        context: &(impl SessionContext<Prepared = P> + ?Sized),
        session: Arc<LiveSession<P>>,
    ) -> Result<(), StoreError> {
        let key = id.key();
        session.set_introspected_at(self.clock.now());
        let seal = format::record::seal(id, context.seal_key());
        let (now, epoch) = (self.millis(), self.subscription.epoch());
        if let Err(error) = self.write(key, &session, &seal, Write::Create).await {
            let pending = PendingSession {
                session: Arc::clone(&session),
                seal: seal.clone(),
            };
            let keeps = self.settings.when_down == WhenDown::Keep;
            if !(keeps && self.outbox.push_session(key, pending)) {
                // A record that was written nevertheless is unusable without the cookie.
                return Err(error);
            }
        }
        self.record_first_use(&key, &session).await;
        self.cache_session(key, &session, seal, now, epoch);
        Ok(())
    }

    /// Replaces a session that is not revoked.
    pub(super) async fn update(
        &self,
        id: &SessionId,
        context: &(impl SessionContext<Prepared = P> + ?Sized),
        session: Arc<LiveSession<P>>,
    ) -> Result<(), StoreError> {
        let key = id.key();
        session.set_introspected_at(self.clock.now());
        // A session is refreshed because it is used.
        session.update_used_at(0, self.clock.now());
        let seal = format::record::seal(id, context.seal_key());
        let (now, epoch) = (self.millis(), self.subscription.epoch());
        self.write(key, &session, &seal, Write::Update).await?;
        self.cache_session(key, &session, seal, now, epoch);
        Ok(())
    }

    /// Writes record and index entries. If the session was revoked meanwhile, its copy is, too.
    async fn write(
        &self,
        key: SessionKey,
        session: &Arc<LiveSession<P>>,
        seal: &Seal,
        mode: Write,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let expires = session.expires_at;
        if expires <= now {
            return Ok(());
        }
        let record = format::record::encode(seal, &format::keys::session(&key), session);
        let command = format::scripts::write(&key, &record, expires - now, mode);
        let written: Option<()> = self.connection.query(&command).await?;
        if written.is_none() && self.has_tombstone(key).await? {
            session.revoke();
            return Ok(());
        }
        let entry = IndexEntry {
            key,
            started_at: session.started_at(),
        };
        // Indexed after the write: a revocation in between finds the record or the closed index.
        let (sid, subjects) = self.index_keys(session);
        if let Some(sid) = sid {
            let add = Index::Sid(sid).add(&entry, expires, now, MAX_SESSIONS_PER_SID);
            let added: Option<Vec<Vec<u8>>> = self.connection.query(&add).await?;
            if added.is_none() {
                session.revoke();
                let tombstone = format::scripts::write_tombstone(&key);
                let _: Option<()> = self.connection.query(&tombstone).await?;
                return Ok(());
            }
        }
        let mut evicted: Vec<Vec<u8>> = Vec::new();
        for subject in subjects {
            let add = Index::Subject(subject).add(&entry, expires, now, MAX_SESSIONS_PER_SUBJECT);
            evicted.extend(self.connection.query::<Vec<Vec<u8>>>(&add).await?);
        }
        if evicted.is_empty() {
            return Ok(());
        }
        let evicted = IndexEntry::list(&evicted);
        let invalidation = Invalidation::Sessions(evicted.iter().map(|entry| entry.key).collect());
        self.apply_locally(&invalidation);
        self.apply_at_redis(&invalidation, &[]).await.map(|_| ())
    }

    async fn has_tombstone(&self, key: SessionKey) -> Result<bool, StoreError> {
        let bytes: Option<Vec<u8>> = self.connection.query(&format::scripts::read(&key)).await?;
        Ok(bytes.is_some_and(|bytes| bytes == format::record::TOMBSTONE))
    }

    pub(super) async fn put_blob(&self, name: &str, blob: &[u8]) -> Result<(), StoreError> {
        let mut command = redis::cmd("SET");
        command.arg(format::keys::blob(name)).arg(blob);
        command.arg("EX").arg(BLOB_TTL_SECONDS);
        self.connection.query(&command).await
    }

    pub(super) async fn blob(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let mut command = redis::cmd("GET");
        command.arg(format::keys::blob(name));
        self.connection.query(&command).await
    }

    /// Milliseconds since the start of the process, from a monotonic clock.
    fn millis(&self) -> u64 {
        millis(self.started.elapsed())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
