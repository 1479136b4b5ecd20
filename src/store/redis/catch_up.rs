//! After an outage: Redis is told what it missed, and asked what we missed.

use futures_util::StreamExt as _;
use futures_util::stream;

use super::scripts::Put;
use super::{Redis, SessionKey};
use crate::store::cache::Entry;

/// Sessions that are confirmed at the same time.
const AT_ONCE: usize = 8;

impl Redis {
    /// Tells Redis what waits for it. What fails goes on waiting.
    pub(super) async fn catch_up(&self) {
        while let Some(news) = self.pending.next_end() {
            if self.carry_out(&news, &[]).await.is_err() {
                return;
            }
            self.pending.told(&news);
        }
        while let Some((key, login)) = self.pending.next_login() {
            if login.session.is_live(self.clock.now())
                && self
                    .store(key, &login.session, &login.seal, Put::New)
                    .await
                    .is_err()
            {
                return;
            }
            self.pending.forget_login(&key);
        }
    }

    /// Asks Redis about every cached session, since news of its end may have been missed. What
    /// Redis has lost is put back before anybody asks another replica for it.
    pub(super) async fn confirm_all(&self) {
        let epoch = self.subscription.epoch();
        let doubtful = self.cache.sweep(self.clock.now()).into_iter();
        let doubtful = doubtful.filter(|(_, entry)| entry.epoch != epoch);
        stream::iter(doubtful)
            .for_each_concurrent(AT_ONCE, |(key, entry)| async move {
                self.confirm(key, entry).await;
            })
            .await;
    }

    /// Writes a session again that Redis has lost: it restarted without its data, was flushed, or
    /// was too full. authentik is asked about it as soon as possible, because what Redis knew of
    /// ended sessions is lost too.
    pub(super) async fn put_back(&self, key: SessionKey, entry: &Entry) {
        let Some(seal) = &entry.seal else { return };
        if self.lost.admits("") {
            tracing::warn!(
                "Redis has lost sessions that are in use; they are written again. A Redis of its own, with persistence and without eviction, keeps them"
            );
        }
        entry.session.checked(0);
        if self
            .store(key, &entry.session, seal, Put::Back)
            .await
            .is_ok()
        {
            self.due.consider(key, &entry.session);
        }
    }
}
