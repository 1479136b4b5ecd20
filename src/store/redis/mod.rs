//! Sessions in Redis, shared by every replica.
//!
//! ```text
//! load ─► cache, fresh ─────────────────────────────► session        no I/O
//!           │ doubtful: news may be missing ─► GET ─► goes on, or ended
//!           └ miss ─► one GET per key ─► unseal ────► session, or none
//! end  ─► held copies end ─► index at Redis ─► marks in place of records ─► news to all replicas
//! ```
//!
//! A record that has ended leaves a mark until it would have expired, so that a replica may put a
//! session back that Redis has lost, and never one that has ended.

mod cache;
mod connection;
mod data_loss;
mod error;
mod idle;
mod inspect;
mod introspection_schedule;
mod invalidation;
mod keys;
mod local_index;
mod outbox;
mod record;
mod resync;
mod revalidation;
mod revocation;
mod scripts;
mod server;
mod single_flight;
mod subscription;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use tokio_util::sync::CancellationToken;

use super::seal::{KeyedHash, Seal};
use super::{Owner, SetupError, StoreError};
use crate::clock::Clock;
use crate::config::{self, WhenDown};
use crate::model::{IdleTimeout, Session, SessionId, SessionKey};
use crate::telemetry::Throttle;
use crate::telemetry::metrics::{CacheResult, StoreMetrics};
use cache::{Cache, Entry, Slot};
use connection::Connection;
use data_loss::Holding;
use introspection_schedule::Due;
use invalidation::News;
use local_index::Held;
use outbox::{Login, Pending};
use revalidation::Doubtful;
use scripts::{Index, Member, Put};
use server::Server;
use single_flight::Flights;
use subscription::Subscription;

/// A session that is in use is looked for at Redis this often even while news arrive: what Redis
/// has lost is found.
const CONFIRM_EVERY: Duration = Duration::from_mins(1);
/// Sessions that one person may have at a time, at all applications together.
const PER_SUBJECT: usize = super::memory::PER_SUBJECT;
/// Sessions that one session of authentik may have: as many as memory holds.
const PER_SID: usize = 1 << 20;
/// How long what other parts of the program keep is kept unused, in seconds.
const BLOB_SECONDS: u32 = 30 * 24 * 3600;

/// See the module.
pub(super) struct Redis {
    connection: Arc<Connection>,
    metrics: StoreMetrics,
    subscription: Subscription,
    cache: Cache,
    held: Held,
    holding: Holding,
    flights: Flights,
    pending: Pending,
    settings: Settings,
    idle: Option<IdleTimeout>,
    clock: Clock,
    started: Instant,
    due: Due,
    doubtful: Doubtful,
    /// The subscription since which all cached sessions were confirmed.
    confirmed: AtomicU64,
    unreadable: Throttle,
    lost: Throttle,
}

struct Settings {
    revalidate: Duration,
    when_down: WhenDown,
    /// Names people in the index. Made from the outpost's token, which all replicas have.
    people: KeyedHash,
}

impl Redis {
    /// Connects to nothing yet: that is what [`Redis::run`] does.
    pub(super) fn new(
        config: config::Redis,
        people: &SecretString,
        cache_bytes: u64,
        idle: Option<IdleTimeout>,
        clock: Clock,
        metrics: StoreMetrics,
    ) -> Result<Arc<Self>, SetupError> {
        let settings = Settings {
            revalidate: config.revalidate,
            when_down: config.when_down,
            people: KeyedHash::new(people.expose_secret().as_bytes()),
        };
        // What ended before this process started, nobody told it.
        let due = Due::new(clock.now());
        Ok(Arc::new(Self {
            connection: Arc::new(Connection::new(Server::new(config)?, metrics.clone())),
            metrics,
            subscription: Subscription::default(),
            cache: Cache::new(cache_bytes),
            held: Held::new(),
            holding: Holding::default(),
            flights: Flights::default(),
            pending: Pending::default(),
            settings,
            idle,
            clock,
            started: Instant::now(),
            due,
            doubtful: Doubtful::new(),
            confirmed: AtomicU64::new(0),
            unreadable: Throttle::default(),
            lost: Throttle::default(),
        }))
    }

    /// Holds the connections until `stop`.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let connection = self.connection.keep(|| self.catch_up().boxed());
        tokio::select! {
            () = stop.cancelled() => {}
            () = connection => {}
            () = self.listen() => {}
            () = self.confirm_doubtful() => {}
        }
    }

    pub(super) fn cached(&self, key: &SessionKey) -> Option<Arc<Session>> {
        self.cache.live(key, self.clock.now())
    }

    pub(super) fn sweep(&self) -> Vec<(SessionKey, Arc<Session>)> {
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
        owner: &(impl Owner + ?Sized),
    ) -> Result<Option<Arc<Session>>, StoreError> {
        let key = id.key();
        let now = self.millis();
        match self.cache.get(&key) {
            Some(Slot::Session(entry)) if entry.session.has_ended() => Ok(None),
            // Another replica may have refreshed it.
            Some(Slot::Session(entry)) if !entry.session.is_live(self.clock.now()) => {
                Box::pin(self.fetch(key, id, owner)).await
            }
            Some(Slot::Session(entry)) if self.is_fresh(&entry, now) => {
                self.metrics.cache_request(CacheResult::Hit);
                if now.saturating_sub(entry.confirmed) > millis(CONFIRM_EVERY) {
                    self.confirm_behind(key, &entry);
                }
                Ok(Some(entry.session))
            }
            // Boxed, so that the rare and large future does not weigh on every request.
            Some(Slot::Session(entry)) => {
                let session = Arc::clone(&entry.session);
                // An error is in the log already, and changes nothing for who is known here.
                let _ = Box::pin(self.confirm(key, entry)).await;
                Ok(Some(session).filter(|session| session.is_live(self.clock.now())))
            }
            // Credentials may open their session again, on any replica.
            Some(Slot::Ended(then)) if now.saturating_sub(then) > millis(CONFIRM_EVERY) => {
                Box::pin(self.fetch(key, id, owner)).await
            }
            Some(Slot::Ended(_)) => Ok(None),
            None => Box::pin(self.fetch(key, id, owner)).await,
        }
    }

    /// Whether news of the session's end would have arrived, or it was confirmed just now.
    fn is_fresh(&self, entry: &Entry, now: u64) -> bool {
        let bound = millis(self.settings.revalidate);
        now.saturating_sub(entry.confirmed) < bound
            || self.subscription.covers(entry.epoch, now, bound)
    }

    async fn fetch(
        &self,
        key: SessionKey,
        id: &SessionId,
        owner: &(impl Owner + ?Sized),
    ) -> Result<Option<Arc<Session>>, StoreError> {
        if let Some(login) = self.pending.login(&key) {
            return Ok(Some(login.session).filter(|session| session.is_live(self.clock.now())));
        }
        let (now, epoch) = (self.millis(), self.subscription.epoch());
        let found = self.read(key).await?;
        if let Some(session) = self.cache.live(&key, self.clock.now()) {
            // Somebody else who waited for the same answer was quicker.
            return Ok(Some(session));
        }
        self.adopt(id, owner, found.as_deref(), now, epoch).await
    }

    /// The live session of `id` as Redis has it, whatever the cache says.
    pub(super) async fn reload(
        &self,
        id: &SessionId,
        owner: &(impl Owner + ?Sized),
    ) -> Result<Option<Arc<Session>>, StoreError> {
        let (now, epoch) = (self.millis(), self.subscription.epoch());
        let found: Option<Vec<u8>> = self.connection.query(&scripts::read(&id.key())).await?;
        self.adopt(id, owner, found.as_deref(), now, epoch).await
    }

    /// Takes over what was found under a session's name. Nothing is an answer only if Redis has not
    /// lost what it knew.
    async fn adopt(
        &self,
        id: &SessionId,
        owner: &(impl Owner + ?Sized),
        found: Option<&[u8]>,
        now: u64,
        epoch: u64,
    ) -> Result<Option<Arc<Session>>, StoreError> {
        let key = id.key();
        let Some(bytes) = found else {
            self.knows_all().await?;
            return Ok(None);
        };
        if *bytes == *record::ENDED {
            self.cache.insert(key, Slot::Ended(now));
            return Ok(None);
        }
        let seal = record::seal(id, owner.seal_key());
        let record = match record::decode(&seal, &keys::session(&key), bytes) {
            Ok(record) => record,
            Err(error) => {
                // It will never be readable; only a new sign-in helps.
                let reason = error.to_string();
                if self.unreadable.should_log(&reason) {
                    tracing::warn!(
                        "a session in Redis cannot be read and counts as ended: {reason}"
                    );
                }
                return Ok(None);
            }
        };
        let headers = owner.headers(&record.claims, record.token());
        let session = Arc::new(record.into_session(headers));
        self.keep(key, &session, seal, now, epoch);
        if !session.is_live(self.clock.now()) {
            return Ok(None);
        }
        self.due.consider(key, &session);
        Ok(Some(session))
    }

    /// One read of a record at a time, whoever asks.
    async fn read(&self, key: SessionKey) -> single_flight::Found {
        self.metrics.cache_request(CacheResult::Miss);
        let connection = Arc::clone(&self.connection);
        self.flights
            .join(key, move || {
                async move {
                    let bytes: Option<Vec<u8>> = connection.query(&scripts::read(&key)).await?;
                    Ok(bytes.map(Bytes::from))
                }
                .boxed()
            })
            .await
    }

    fn keep(&self, key: SessionKey, session: &Arc<Session>, seal: Seal, now: u64, epoch: u64) {
        let (sid, subject) = self.names(session);
        self.held.add(key, session, sid.as_ref(), &subject, now);
        let entry = Entry {
            session: Arc::clone(session),
            seal,
            confirmed: now,
            epoch,
        };
        self.cache.insert(key, Slot::Session(entry));
    }

    /// Keeps a session that has just begun, or begun again.
    pub(super) async fn insert(
        &self,
        id: &SessionId,
        owner: &(impl Owner + ?Sized),
        session: Arc<Session>,
    ) -> Result<(), StoreError> {
        let key = id.key();
        session.checked(self.clock.now());
        let seal = record::seal(id, owner.seal_key());
        let (now, epoch) = (self.millis(), self.subscription.epoch());
        if let Err(error) = self.store(key, &session, &seal, Put::New).await {
            let login = Login {
                session: Arc::clone(&session),
                seal: seal.clone(),
            };
            let keep = self.settings.when_down == WhenDown::Keep;
            if !(keep && self.pending.log_in(key, login)) {
                // What may have been written is worth nothing, since nobody has the cookie.
                return Err(error);
            }
        }
        self.note_first_use(&key, &session).await;
        self.keep(key, &session, seal, now, epoch);
        Ok(())
    }

    /// Replaces a session that has not ended.
    pub(super) async fn renew(
        &self,
        id: &SessionId,
        owner: &(impl Owner + ?Sized),
        session: Arc<Session>,
    ) -> Result<(), StoreError> {
        let key = id.key();
        session.checked(self.clock.now());
        // It is refreshed because it is used.
        session.use_again(0, self.clock.now());
        let seal = record::seal(id, owner.seal_key());
        let (now, epoch) = (self.millis(), self.subscription.epoch());
        self.store(key, &session, &seal, Put::Again).await?;
        self.keep(key, &session, seal, now, epoch);
        Ok(())
    }

    /// Writes record and index. A session that has ended meanwhile is ended here too.
    async fn store(
        &self,
        key: SessionKey,
        session: &Arc<Session>,
        seal: &Seal,
        put: Put,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let expires = session.expires_at;
        if expires <= now {
            return Ok(());
        }
        let record = record::encode(seal, &keys::session(&key), session);
        let write = scripts::write(&key, &record, expires - now, put);
        let written: Option<()> = self.connection.query(&write).await?;
        if written.is_none() && self.has_ended(key).await? {
            session.end();
            return Ok(());
        }
        let member = Member {
            key,
            began_at: session.began_at(),
        };
        // Indexed after it was written: an end in between finds the record, or leaves its mark.
        let (sid, subject) = self.names(session);
        if let Some(sid) = sid {
            let enter = Index::Sid(sid).enter(&member, expires, now, PER_SID);
            let entered: Option<Vec<Vec<u8>>> = self.connection.query(&enter).await?;
            if entered.is_none() {
                session.end();
                let _: Option<()> = self.connection.query(&scripts::end(&key)).await?;
                return Ok(());
            }
        }
        let enter = Index::Subject(subject).enter(&member, expires, now, PER_SUBJECT);
        let replaced: Vec<Vec<u8>> = self.connection.query(&enter).await?;
        if replaced.is_empty() {
            return Ok(());
        }
        let replaced = Member::list(&replaced);
        let news = News::Sessions(replaced.iter().map(|member| member.key).collect());
        self.apply(&news);
        self.carry_out(&news, &[]).await.map(|_| ())
    }

    async fn has_ended(&self, key: SessionKey) -> Result<bool, StoreError> {
        let bytes: Option<Vec<u8>> = self.connection.query(&scripts::read(&key)).await?;
        Ok(bytes.is_some_and(|bytes| bytes == record::ENDED))
    }

    pub(super) async fn keep_blob(&self, name: &str, blob: &[u8]) -> Result<(), StoreError> {
        let mut command = redis::cmd("SET");
        command.arg(keys::blob(name)).arg(blob);
        command.arg("EX").arg(BLOB_SECONDS);
        self.connection.query(&command).await
    }

    pub(super) async fn blob(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let mut command = redis::cmd("GET");
        command.arg(keys::blob(name));
        self.connection.query(&command).await
    }

    fn names(&self, session: &Session) -> (Option<keys::Hash>, keys::Hash) {
        let sid = session.claims.sid.as_deref().map(keys::sid_hash);
        (sid, self.subject_hash(&session.claims.sub))
    }

    fn subject_hash(&self, sub: &str) -> keys::Hash {
        keys::subject_hash(&self.settings.people, sub)
    }

    /// Milliseconds since the start; a monotonic clock, since it decides about freshness.
    fn millis(&self) -> u64 {
        millis(self.started.elapsed())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
