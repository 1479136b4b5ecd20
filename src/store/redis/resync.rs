//! After an outage: Redis is told what it missed, and asked what we missed.

use std::sync::atomic::Ordering;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::cache::Entry;
use super::revalidation::AT_ONCE;
use super::scripts::{self, Put};
use super::{Redis, SessionKey};
use crate::store::StoreError;

/// Sessions after which Redis is told that there are more.
const CHUNK: usize = 1_000;

impl Redis {
    /// Brings Redis and this process up to date with each other. What fails is tried again.
    pub(super) async fn catch_up(&self) {
        if self.tell_all().await.is_ok() {
            let _ = self.confirm_all().await;
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
    /// may have been missed before, and whenever Redis has lost what it knew.
    async fn confirm_all(&self) -> Result<(), StoreError> {
        let epoch = self.subscription.epoch();
        let (lost, held) = self.look_for_loss().await?;
        if !lost && self.confirmed.load(Ordering::Relaxed) == epoch {
            self.mended(held);
            return Ok(());
        }
        let mut doubtful = self.cache.sweep(self.clock.now());
        doubtful.retain(|(_, entry)| lost || entry.epoch != epoch);
        for some in doubtful.chunks(CHUNK) {
            if lost {
                self.still_filling().await?;
            }
            stream::iter(some.iter().cloned())
                .map(|(key, entry)| self.confirm(key, entry))
                .buffer_unordered(AT_ONCE)
                .try_collect::<()>()
                .await?;
        }
        self.confirmed.store(epoch, Ordering::Relaxed);
        self.mended(held);
        Ok(())
    }

    /// Writes a session again that Redis has lost: it restarted without its data, was flushed, or
    /// was too full. authentik is asked about it as soon as possible, because what Redis knew of
    /// ended sessions is lost too.
    pub(super) async fn put_back(&self, key: SessionKey, entry: &Entry) -> Result<(), StoreError> {
        if self.lost.should_log("") {
            tracing::warn!(
                "Redis has lost sessions that are in use; they are written again. A Redis of its own, with persistence and without eviction, keeps them"
            );
        }
        entry.session.checked(0);
        self.store(key, &entry.session, &entry.seal, Put::Back)
            .await?;
        self.put_use_back(&key, &entry.session).await?;
        if entry.session.has_ended() {
            // Whoever ended it meanwhile found nothing to mark.
            let _: Option<()> = self.connection.query(&scripts::end(&key)).await?;
        }
        self.due.consider(key, &entry.session);
        Ok(())
    }
}
