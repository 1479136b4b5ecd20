//! Cached sessions are looked for at Redis: while somebody waits if news may be missing, behind the
//! requests if Redis may only have lost them.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use tokio::sync::{Mutex, mpsc};

use super::cache::{Entry, Slot};
use super::{Redis, record};
use crate::model::SessionKey;
use crate::store::StoreError;

/// Sessions that may wait; more are looked for with a later request.
const MOST: usize = 1024;
/// Sessions that are looked for at the same time.
pub(super) const AT_ONCE: usize = 32;

/// Sessions to be looked for that nobody waits for.
pub(super) struct Doubtful {
    sender: mpsc::Sender<(SessionKey, Entry)>,
    receiver: Mutex<mpsc::Receiver<(SessionKey, Entry)>>,
}

impl Doubtful {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(MOST);
        Self {
            sender,
            receiver: Mutex::new(receiver),
        }
    }
}

impl Redis {
    /// Asks Redis whether a session that is in use still stands. Without an answer, what is known
    /// here goes on.
    pub(super) async fn confirm(&self, key: SessionKey, entry: Entry) -> Result<(), StoreError> {
        let (now, epoch) = (self.millis(), self.subscription.epoch());
        match self.read(key).await? {
            Some(bytes) if *bytes == *record::ENDED => {
                entry.session.end();
                self.cache.insert(key, Slot::Ended(now));
                return Ok(());
            }
            None if self.pending.login(&key).is_none() => self.put_back(key, &entry).await?,
            _ => {}
        }
        let session = Arc::clone(&entry.session);
        let is_other = |slot: &Slot| matches!(slot, Slot::Session(now) if !Arc::ptr_eq(&now.session, &session));
        if self.cache.get(&key).is_some_and(|slot| is_other(&slot)) {
            // It was refreshed meanwhile.
            return Ok(());
        }
        let confirmed = Entry {
            confirmed: now,
            epoch,
            ..entry
        };
        self.cache.insert(key, Slot::Session(confirmed));
        Ok(())
    }

    /// [`Redis::confirm`] without anybody waiting for it.
    pub(super) fn confirm_behind(&self, key: SessionKey, entry: &Entry) {
        let confirmed = self.millis();
        let entry = Entry {
            confirmed,
            ..entry.clone()
        };
        if self.doubtful.sender.try_send((key, entry.clone())).is_ok() {
            // Taken for confirmed at once, so that one of many requests asks.
            self.cache.insert(key, Slot::Session(entry));
        }
    }

    /// Looks for the sessions that nobody waits for, for ever.
    pub(super) async fn confirm_doubtful(&self) {
        let mut receiver = self.doubtful.receiver.lock().await;
        stream::poll_fn(|context| receiver.poll_recv(context))
            .for_each_concurrent(AT_ONCE, |(key, entry)| async move {
                // Without an answer it is asked about again.
                let _ = self.confirm(key, entry).await;
            })
            .await;
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::clock::Clock;
    use crate::config::Config;
    use crate::model::{Claims, Session, SessionId};
    use crate::store::Owner;
    use crate::store::redis::{CONFIRM_EVERY, millis};
    use crate::telemetry::metrics::Metrics;

    struct App;

    impl Owner for App {
        fn seal_key(&self) -> &[u8; 32] {
            &[7; 32]
        }

        fn headers(&self, _: &Claims, _: &str) -> HeaderMap {
            HeaderMap::new()
        }
    }

    /// A store that has run for some minutes beside a Redis that does not answer.
    fn without_redis() -> Redis {
        let config = Config::from_pairs([
            ("AUTHENTIK_HOST", "http://authentik.test"),
            ("AUTHENTIK_TOKEN", "token"),
            ("AUTHENTIK_REDIS__HOST", "127.0.0.1"),
            ("AUTHENTIK_PROXY_REDIS__TIMEOUT", "1ms"),
            ("AUTHENTIK_PROXY_REDIS__REVALIDATE", "1h"),
        ])
        .expect("usable");
        let (redis, people) = (config.redis.expect("a place"), config.authentik.token);
        let metrics = Metrics::new().store();
        let store =
            Redis::new(redis, &people, 16 << 20, None, Clock::manual(0), metrics).expect("a store");
        let mut store = Arc::into_inner(store).expect("nobody else has it");
        store.started -= 2 * CONFIRM_EVERY;
        store
    }

    fn entry() -> Entry {
        Entry {
            session: Arc::new(Session::sample()),
            seal: record::seal(&SessionId::random(), &[7; 32]),
            confirmed: 0,
            epoch: 0,
        }
    }

    #[tokio::test]
    async fn what_ended_long_ago_is_unknown_while_redis_does_not_answer() {
        let (store, id) = (without_redis(), SessionId::random());
        let ended = |then| store.cache.insert(id.key(), Slot::Ended(then));
        ended(store.millis());
        let found = store.load(&id, &App).await;
        assert!(found.expect("known").is_none());
        ended(store.millis() - millis(CONFIRM_EVERY) - 1);
        let found = store.load(&id, &App).await;
        assert!(found.is_err(), "it may have been opened again since");
    }

    #[tokio::test]
    async fn sessions_wait_once_each_to_be_confirmed_and_within_bounds() {
        let store = without_redis();
        let ids: Vec<_> = (0..=MOST).map(|_| SessionId::random()).collect();
        for id in &ids {
            store.cache.insert(id.key(), Slot::Session(entry()));
        }
        for id in ids.iter().chain(&ids) {
            let found = store.load(id, &App).await;
            assert!(found.expect("known").is_some());
        }
        let mut receiver = store.doubtful.receiver.lock().await;
        for id in &ids[..MOST] {
            let (waiting, _) = receiver.try_recv().expect("waits");
            assert_eq!(waiting, id.key());
        }
        assert!(receiver.try_recv().is_err(), "once each");
        drop(receiver);
        let last = &ids[MOST];
        store.load(last, &App).await.expect("known");
        let (waiting, _) = store
            .doubtful
            .receiver
            .lock()
            .await
            .try_recv()
            .expect("its turn");
        assert_eq!(waiting, last.key(), "who found no place asks again");
    }
}
