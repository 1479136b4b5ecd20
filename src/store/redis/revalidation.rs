//! Revalidation: reads the record of a cached session at Redis. A request waits for it if
//! invalidation messages may be missing; otherwise it runs in the background, to detect data loss.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use tokio::sync::{Mutex, mpsc};

use super::RedisStore;
use super::format::record;
use crate::model::SessionKey;
use crate::store::error::StoreError;
use crate::store::redis::local::cache::{Entry, Slot};
use crate::store::session::Prepared;

/// Sessions that may wait for revalidation; others are queued by a later request.
const MAX_QUEUED: usize = 1024;
/// Sessions that are revalidated at the same time.
pub(super) const MAX_CONCURRENT: usize = 32;

/// Sessions to be revalidated in the background.
pub(super) struct RevalidationQueue<P> {
    sender: mpsc::Sender<(SessionKey, Entry<P>)>,
    receiver: Mutex<mpsc::Receiver<(SessionKey, Entry<P>)>>,
}

impl<P> RevalidationQueue<P> {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(MAX_QUEUED);
        Self {
            sender,
            receiver: Mutex::new(receiver),
        }
    }
}

impl<P: Prepared> RedisStore<P> {
    /// Reads the record of a cached session: revokes the session if a tombstone is there, restores
    /// the record if it is lost. On an error, the cached session stays as it is.
    pub(super) async fn revalidate(
        &self,
        key: SessionKey,
        entry: Entry<P>,
    ) -> Result<(), StoreError> {
        let (now, epoch) = (self.millis(), self.subscription.epoch());
        match self.read(key).await? {
            Some(bytes) if *bytes == *record::TOMBSTONE => {
                entry.session.revoke();
                self.cache.insert(key, Slot::Tombstone(now));
                return Ok(());
            }
            None if self.outbox.session(&key).is_none() => self.restore(key, &entry).await?,
            _ => {}
        }
        let session = Arc::clone(&entry.session);
        let is_other = |slot: &Slot<P>| matches!(slot, Slot::Session(now) if !Arc::ptr_eq(&now.session, &session));
        if self.cache.get(&key).is_some_and(|slot| is_other(&slot)) {
            // The session was refreshed meanwhile.
            return Ok(());
        }
        let validated = Entry {
            validated_at: now,
            epoch,
            ..entry
        };
        self.cache.insert(key, Slot::Session(validated));
        Ok(())
    }

    /// Queues a session for [`RedisStore::revalidate`].
    pub(super) fn revalidate_in_background(&self, key: SessionKey, entry: &Entry<P>) {
        let validated_at = self.millis();
        let entry = Entry {
            validated_at,
            ..entry.clone()
        };
        if self
            .revalidation_queue
            .sender
            .try_send((key, entry.clone()))
            .is_ok()
        {
            // Counts as validated at once, so that one of many requests queues it.
            self.cache.insert(key, Slot::Session(entry));
        }
    }

    /// Revalidates queued sessions. Never returns.
    pub(super) async fn run_revalidation(&self) {
        let mut receiver = self.revalidation_queue.receiver.lock().await;
        stream::poll_fn(|context| receiver.poll_recv(context))
            .for_each_concurrent(MAX_CONCURRENT, |(key, entry)| async move {
                // On an error it is queued again later.
                let _ = self.revalidate(key, entry).await;
            })
            .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::config::Config;
    use crate::model::SessionId;
    use crate::store::redis::{REVALIDATION_INTERVAL, millis};
    use crate::store::session::{LiveSession, NoContext};
    use crate::telemetry::metrics::Metrics;

    /// A store that has run for some minutes beside a Redis that does not answer.
    fn without_redis() -> RedisStore<()> {
        let config = Config::from_pairs([
            ("AUTHENTIK_HOST", "http://authentik.test"),
            ("AUTHENTIK_TOKEN", "token"),
            ("AUTHENTIK_REDIS__HOST", "127.0.0.1"),
            ("AUTHENTIK_PROXY_REDIS__COMMAND_TIMEOUT", "1ms"),
            ("AUTHENTIK_PROXY_REDIS__REVALIDATION_INTERVAL", "1h"),
        ])
        .expect("usable");
        let (redis, subject_index_key) = (config.redis.expect("a place"), config.authentik.token);
        let metrics = Metrics::new().store();
        let store = RedisStore::new(
            redis,
            &subject_index_key,
            16 << 20,
            None,
            Clock::manual(0),
            metrics,
        )
        .expect("a store");
        let mut store = Arc::into_inner(store).expect("the only reference");
        store.started -= 2 * REVALIDATION_INTERVAL;
        store
    }

    fn entry() -> Entry<()> {
        Entry {
            session: Arc::new(LiveSession::sample()),
            seal: record::seal(&SessionId::random(), &[7; 32]),
            validated_at: 0,
            epoch: 0,
        }
    }

    #[tokio::test]
    async fn a_tombstone_expires_while_redis_does_not_answer() {
        let (store, id) = (without_redis(), SessionId::random());
        let insert_tombstone = |at| store.cache.insert(id.key(), Slot::Tombstone(at));
        insert_tombstone(store.millis());
        let found = store.load(&id, &NoContext).await;
        assert!(found.expect("known").is_none());
        insert_tombstone(store.millis() - millis(REVALIDATION_INTERVAL) - 1);
        let found = store.load(&id, &NoContext).await;
        assert!(
            found.is_err(),
            "the session may have been created again since"
        );
    }

    #[tokio::test]
    async fn sessions_wait_once_each_for_revalidation_and_within_bounds() {
        let store = without_redis();
        let ids: Vec<_> = (0..=MAX_QUEUED).map(|_| SessionId::random()).collect();
        for id in &ids {
            store.cache.insert(id.key(), Slot::Session(entry()));
        }
        for id in ids.iter().chain(&ids) {
            let found = store.load(id, &NoContext).await;
            assert!(found.expect("known").is_some());
        }
        let mut receiver = store.revalidation_queue.receiver.lock().await;
        for id in &ids[..MAX_QUEUED] {
            let (waiting, _) = receiver.try_recv().expect("waits");
            assert_eq!(waiting, id.key());
        }
        assert!(receiver.try_recv().is_err(), "once each");
        drop(receiver);
        let last = &ids[MAX_QUEUED];
        store.load(last, &NoContext).await.expect("known");
        let (waiting, _) = store
            .revalidation_queue
            .receiver
            .lock()
            .await
            .try_recv()
            .expect("its turn");
        assert_eq!(
            waiting,
            last.key(),
            "one that found no place is queued later"
        );
    }
}
