//! After an outage: Redis is told what it missed, and asked what we missed.

use std::sync::atomic::Ordering;

use futures_util::StreamExt as _;
use futures_util::stream;

use super::scripts::Put;
use super::{Redis, SessionKey};
use crate::store::StoreError;
use crate::store::cache::Entry;

/// Sessions that are confirmed at the same time.
const AT_ONCE: usize = 8;

impl Redis {
    /// Brings Redis and this process up to date with each other. What fails is tried again.
    pub(super) async fn catch_up(&self) {
        if self.tell_all().await.is_ok() {
            self.confirm_all().await;
        }
    }

    /// Tells Redis what waits for it.
    async fn tell_all(&self) -> Result<(), StoreError> {
        while let Some(news) = self.pending.next_end() {
            self.carry_out(&news, &[]).await?;
            self.pending.told(&news);
        }
        while let Some((key, login)) = self.pending.next_login() {
            if login.session.is_live(self.clock.now()) {
                self.store(key, &login.session, &login.seal, Put::New)
                    .await?;
            }
            self.pending.forget_login(&key);
        }
        Ok(())
    }

    /// Asks Redis about every cached session once for each subscription, since news of its end
    /// may have been missed before. What Redis has lost is put back before another replica is
    /// asked for it.
    async fn confirm_all(&self) {
        let epoch = self.subscription.epoch();
        if self.confirmed.load(Ordering::Relaxed) == epoch {
            return;
        }
        let doubtful = self.cache.sweep(self.clock.now()).into_iter();
        let doubtful = doubtful.filter(|(_, entry)| entry.epoch != epoch);
        let unanswered = stream::iter(doubtful)
            .map(|(key, entry)| self.confirm(key, entry))
            .buffer_unordered(AT_ONCE)
            .filter(|answer| std::future::ready(answer.is_err()))
            .count()
            .await;
        if unanswered == 0 {
            self.confirmed.store(epoch, Ordering::Relaxed);
        }
    }

    /// Writes a session again that Redis has lost: it restarted without its data, was flushed, or
    /// was too full. authentik is asked about it as soon as possible, because what Redis knew of
    /// ended sessions is lost too.
    pub(super) async fn put_back(&self, key: SessionKey, entry: &Entry) -> Result<(), StoreError> {
        let Some(seal) = &entry.seal else {
            return Ok(());
        };
        if self.lost.admits("") {
            tracing::warn!(
                "Redis has lost sessions that are in use; they are written again. A Redis of its own, with persistence and without eviction, keeps them"
            );
        }
        entry.session.checked(0);
        self.store(key, &entry.session, seal, Put::Back).await?;
        self.due.consider(key, &entry.session);
        Ok(())
    }
}
