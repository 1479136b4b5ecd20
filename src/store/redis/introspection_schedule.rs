//! When each session was last introspected at authentik. The time is part of the encrypted record:
//! every replica knows it, and write access to Redis cannot forge it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tokio::sync::{Mutex, mpsc};

use super::RedisStore;
use super::format::{keys, record, scripts};
use crate::model::SessionKey;
use crate::store::error::StoreError;
use crate::store::redis::local::cache::{Entry, Slot};
use crate::store::seal::Seal;
use crate::store::session::{LiveSession, Prepared};

/// Sessions that may wait for introspection; others wait for the next sweep.
const MAX_QUEUED: usize = 1024;

type Waiting<P> = (SessionKey, Arc<LiveSession<P>>);

/// Sessions read from Redis whose last introspection is too old.
pub(super) struct IntrospectionQueue<P> {
    /// Sessions last introspected at or before this time are stale, Unix seconds.
    cutoff: AtomicI64,
    sender: mpsc::Sender<Waiting<P>>,
    receiver: Mutex<mpsc::Receiver<Waiting<P>>>,
}

impl<P> IntrospectionQueue<P> {
    pub(super) fn new(cutoff: i64) -> Self {
        let (sender, receiver) = mpsc::channel(MAX_QUEUED);
        Self {
            cutoff: AtomicI64::new(cutoff),
            sender,
            receiver: Mutex::new(receiver),
        }
    }

    /// Queues the session if its last introspection is too old. If the queue is full, the next
    /// sweep finds the session in the cache.
    pub(super) fn enqueue_if_stale(&self, key: SessionKey, session: &Arc<LiveSession<P>>) {
        if session.introspected_at() <= self.cutoff.load(Ordering::Relaxed) {
            let _ = self.sender.try_send((key, Arc::clone(session)));
        }
    }
}

impl<P: Prepared> RedisStore<P> {
    /// Records that authentik just confirmed the session. On failure the session is introspected
    /// again later.
    pub(crate) async fn record_introspection(&self, key: &SessionKey, session: &LiveSession<P>) {
        session.set_introspected_at(self.clock.now());
        let Some(Slot::Session(Entry { seal, .. })) = self.cache.get(key) else {
            return;
        };
        let Ok(Some(before)) = self.record(key).await else {
            return;
        };
        if !is_record_of(key, session, &seal, &before) {
            return;
        }
        let record = record::encode(&seal, &keys::session(key), session);
        let replace = scripts::replace(key, &record, &before);
        let _: Result<i64, _> = self.connection.query(&replace).await;
    }

    /// Whether Redis has this session, and not one that another replica refreshed; if it has, the
    /// cached copy is dropped. Counts as current while Redis does not answer.
    pub(crate) async fn is_current(&self, key: &SessionKey, session: &LiveSession<P>) -> bool {
        let Some(Slot::Session(entry)) = self.cache.get(key) else {
            return true;
        };
        if !entry.session.has_same_token(session) {
            return false;
        }
        let Ok(Some(found)) = self.record(key).await else {
            return true;
        };
        let current =
            *found == *record::TOMBSTONE || is_record_of(key, session, &entry.seal, &found);
        if !current {
            self.cache.remove(key);
        }
        current
    }

    async fn record(&self, key: &SessionKey) -> Result<Option<Vec<u8>>, StoreError> {
        self.connection.query(&scripts::read(key)).await
    }

    /// Whether this replica is to introspect the session; `false` if another one claimed it.
    pub(crate) async fn claim_introspection(&self, key: &SessionKey, time: Duration) -> bool {
        let claim = scripts::claim(keys::check(key), b"1", time.as_secs());
        let claimed: Result<Option<()>, _> = self.connection.query(&claim).await;
        !matches!(claimed, Ok(None))
    }

    /// Sessions last introspected at or before `time` (Unix seconds) are queued when next read.
    pub(crate) fn set_introspection_cutoff(&self, time: i64) {
        self.introspection_queue
            .cutoff
            .fetch_max(time, Ordering::Relaxed);
    }

    /// Waits for a queued session.
    pub(crate) async fn next_introspection(&self) -> Option<(SessionKey, Arc<LiveSession<P>>)> {
        self.introspection_queue.receiver.lock().await.recv().await
    }
}

/// Whether a record has this session's access token.
fn is_record_of<P>(key: &SessionKey, session: &LiveSession<P>, seal: &Seal, found: &[u8]) -> bool {
    let record = record::decode(seal, &keys::session(key), found);
    record.is_ok_and(|record| record.token() == session.access_token.expose_secret())
}
