//! When authentik was last asked about a session. The answer is part of the record, so that any
//! replica knows, and nobody who can write to Redis can make it look fresher than it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tokio::sync::{Mutex, mpsc};

use super::cache::{Entry, Slot};
use super::{Redis, keys, record, scripts};
use crate::model::{Session, SessionKey};
use crate::store::StoreError;
use crate::store::seal::Seal;

/// Sessions that may wait for being re-checked; more wait for the next sweep.
const MOST_DUE: usize = 1024;

type Waiting = (SessionKey, Arc<Session>);

/// Sessions whose last check at authentik is too old, as they are found at Redis.
pub(super) struct Due {
    /// What was last checked at or before this is too old, Unix seconds.
    before: AtomicI64,
    sender: mpsc::Sender<Waiting>,
    receiver: Mutex<mpsc::Receiver<Waiting>>,
}

impl Due {
    pub(super) fn new(before: i64) -> Self {
        let (sender, receiver) = mpsc::channel(MOST_DUE);
        Self {
            before: AtomicI64::new(before),
            sender,
            receiver: Mutex::new(receiver),
        }
    }

    /// Queues the session if it is due. Nobody waits: a full queue is no loss, since the next
    /// sweep finds the session in the cache.
    pub(super) fn consider(&self, key: SessionKey, session: &Arc<Session>) {
        if session.checked_at() <= self.before.load(Ordering::Relaxed) {
            let _ = self.sender.try_send((key, Arc::clone(session)));
        }
    }
}

impl Redis {
    /// Notes that authentik said just now that the session stands. A failure is no loss: it is asked
    /// again.
    pub(in crate::store) async fn checked(&self, key: &SessionKey, session: &Session) {
        session.checked(self.clock.now());
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
        // What is not noted is asked again.
        let _: Result<i64, _> = self.connection.query(&replace).await;
    }

    /// Whether Redis has this session, and not one that another replica refreshed; then our copy
    /// is given up. Without an answer, ours is taken for current.
    pub(in crate::store) async fn is_current(&self, key: &SessionKey, session: &Session) -> bool {
        let Some(Slot::Session(entry)) = self.cache.get(key) else {
            return true;
        };
        if !entry.session.is_same(session) {
            return false;
        }
        let Ok(Some(found)) = self.record(key).await else {
            return true;
        };
        let current = *found == *record::ENDED || is_record_of(key, session, &entry.seal, &found);
        if !current {
            self.cache.remove(key);
        }
        current
    }

    async fn record(&self, key: &SessionKey) -> Result<Option<Vec<u8>>, StoreError> {
        self.connection.query(&scripts::read(key)).await
    }

    /// Whether this replica is to ask authentik about the session; another one may just do so.
    pub(in crate::store) async fn claim(&self, key: &SessionKey, time: Duration) -> bool {
        let claim = scripts::claim(keys::check(key), time.as_secs());
        let claimed: Result<Option<()>, _> = self.connection.query(&claim).await;
        !matches!(claimed, Ok(None))
    }

    /// Whether this replica is to refresh the session; not without an answer.
    pub(in crate::store) async fn claim_refresh(&self, key: &SessionKey, time: Duration) -> bool {
        let claim = scripts::claim(keys::refresh(key), time.as_secs());
        let claimed: Result<Option<()>, _> = self.connection.query(&claim).await;
        matches!(claimed, Ok(Some(())))
    }

    /// What was last checked at or before `time` (Unix seconds) is due when it is next read.
    pub(in crate::store) fn due_before(&self, time: i64) {
        self.due.before.fetch_max(time, Ordering::Relaxed);
    }

    /// Waits for a session that is due.
    pub(in crate::store) async fn next_due(&self) -> Option<(SessionKey, Arc<Session>)> {
        self.due.receiver.lock().await.recv().await
    }
}

/// Whether a record is that of this very session; a mark of the end is not.
fn is_record_of(key: &SessionKey, session: &Session, seal: &Seal, found: &[u8]) -> bool {
    let record = record::decode(seal, &keys::session(key), found);
    record.is_ok_and(|record| record.token() == session.access_token.expose_secret())
}
