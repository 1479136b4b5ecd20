//! Resynchronization after an outage: flushes the outbox and revalidates cached sessions.

use std::sync::atomic::Ordering;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::RedisStore;
use super::revalidation::MAX_CONCURRENT;
use crate::model::SessionKey;
use crate::store::error::StoreError;
use crate::store::redis::format::scripts::{self, Write};
use crate::store::redis::local::cache::Entry;
use crate::store::session::Prepared;

/// Sessions that are revalidated between two reports that this replica still restores sessions.
const CHUNK_SESSIONS: usize = 1_000;

impl<P: Prepared> RedisStore<P> {
    /// Flushes the outbox, then revalidates cached sessions. On an error, the next call goes on.
    pub(super) async fn resync(&self) {
        if self.flush_outbox().await.is_ok() {
            let _ = self.revalidate_all().await;
        }
    }

    /// Writes to Redis what waits for it.
    async fn flush_outbox(&self) -> Result<(), StoreError> {
        while let Some(invalidation) = self.outbox.next_invalidation() {
            self.apply_at_redis(&invalidation, &[]).await?;
            self.outbox.delivered(&invalidation);
        }
        while let Some((key, pending)) = self.outbox.next_session() {
            if pending.session.is_live(self.clock.now()) {
                self.write(key, &pending.session, &pending.seal, Write::Create)
                    .await?;
            }
            self.outbox.remove_session(&key);
        }
        Ok(())
    }

    /// Revalidates every cached session after each new subscription, because messages before it
    /// may be missing, and whenever Redis lost its data.
    async fn revalidate_all(&self) -> Result<(), StoreError> {
        let epoch = self.subscription.epoch();
        let (lost, generation) = self.detect_data_loss().await?;
        if !lost && self.revalidated_epoch.load(Ordering::Relaxed) == epoch {
            self.acknowledge_generation(generation);
            return Ok(());
        }
        let mut stale = self.cache.sweep(self.clock.now());
        stale.retain(|(_, entry)| lost || entry.epoch != epoch);
        for chunk in stale.chunks(CHUNK_SESSIONS) {
            if lost {
                self.extend_refill().await?;
            }
            stream::iter(chunk.iter().cloned())
                .map(|(key, entry)| self.revalidate(key, entry))
                .buffer_unordered(MAX_CONCURRENT)
                .try_collect::<()>()
                .await?;
        }
        self.revalidated_epoch.store(epoch, Ordering::Relaxed);
        self.acknowledge_generation(generation);
        Ok(())
    }

    /// Restores a session that Redis lost: it restarted without its data, was flushed, or evicted
    /// it. The session is introspected as soon as possible, because tombstones are lost too.
    pub(super) async fn restore(
        &self,
        key: SessionKey,
        entry: &Entry<P>,
    ) -> Result<(), StoreError> {
        if self.data_loss.should_log("") {
            tracing::warn!(
                hint = "use a dedicated Redis with persistence and without eviction",
                "Redis has lost sessions that are in use, writing them again"
            );
        }
        entry.session.set_introspected_at(0);
        self.write(key, &entry.session, &entry.seal, Write::Restore)
            .await?;
        self.restore_used_at(&key, &entry.session).await?;
        if entry.session.is_revoked() {
            // A revocation meanwhile found no record to replace.
            let _: Option<()> = self
                .connection
                .query(&scripts::write_tombstone(&key))
                .await?;
        }
        self.introspection_queue
            .enqueue_if_stale(key, &entry.session);
        Ok(())
    }
}
