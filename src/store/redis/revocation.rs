//! Revocation: in this process at once, at Redis and at other replicas as soon as Redis is up. The
//! cost depends on the number of revoked sessions, not on the number of sessions.

use super::RedisStore;
use super::format::keys;
use crate::model::{Hint as _, SessionKey};
use crate::store::error::StoreError;
use crate::store::redis::format::invalidation::{Invalidation, SignOutTime};
use crate::store::redis::format::scripts::{self, Index, IndexEntry};
use crate::store::redis::local::cache::Slot;
use crate::store::session::Prepared;

impl<P: Prepared> RedisStore<P> {
    /// Revokes one session at every replica.
    pub(crate) async fn revoke(&self, key: &SessionKey) {
        let slot = self.cache.get(key);
        if let Some(pending) = self.outbox.session(key) {
            pending.session.revoke();
        }
        self.revoke_all(Invalidation::Sessions(vec![*key])).await;
        if let Some(Slot::Session(cached)) = slot {
            let (sid, subjects) = self.index_keys(&cached.session);
            let subjects = subjects.into_iter().map(Index::Subject);
            let indexes = sid.map(Index::Sid).into_iter().chain(subjects);
            let started_at = cached.session.started_at();
            let entry = IndexEntry {
                key: *key,
                started_at,
            };
            for index in indexes {
                // On an error, the entry is removed when it expires.
                let _: Result<i64, _> = self.connection.query(&index.remove(&entry)).await;
            }
        }
    }

    /// Revokes a session that probably does not exist; not queued while Redis is down.
    pub(crate) async fn revoke_best_effort(&self, key: &SessionKey) {
        if self.cache.get(key).is_some() {
            self.revoke(key).await;
        } else {
            // On an error, introspection finds the session.
            let _: Result<usize, _> = self.write_tombstones(&[*key]).await;
        }
    }

    /// Revokes every session of an authentik session; returns how many are known.
    pub(crate) async fn revoke_by_sid(&self, sid: &str) -> usize {
        self.revoke_all(Invalidation::Sid(keys::sid_hash(sid)))
            .await
    }

    /// Revokes every session of a user; returns how many are known.
    pub(crate) async fn revoke_by_subject(&self, sub: &str) -> usize {
        let now = SignOutTime::at(self.clock.now());
        let mut known = 0;
        for subject in self.subject_keys.hashes(sub) {
            let found = self.revoke_all(Invalidation::Subject(subject, now)).await;
            // Most sessions are in several indexes.
            known = known.max(found);
        }
        known
    }

    async fn revoke_all(&self, invalidation: Invalidation) -> usize {
        let local = self.apply_locally(&invalidation);
        match self.apply_at_redis(&invalidation, &local).await {
            Ok(count) => count,
            Err(error) => {
                if !self.outbox.push_invalidation(invalidation) {
                    tracing::warn!(
                        "too many revocations are waiting for Redis, introspection will find the oldest",
                    );
                }
                tracing::warn!(
                    %error,
                    hint = error.hint().as_deref(),
                    "session revoked on this replica only, others are notified when Redis is back"
                );
                local.len()
            }
        }
    }

    /// Revokes the sessions of this process. Returns their keys.
    pub(super) fn apply_locally(&self, invalidation: &Invalidation) -> Vec<SessionKey> {
        let now = self.millis();
        let revoked = match invalidation {
            Invalidation::Sessions(keys) => {
                let revoke = |key: &&SessionKey| {
                    self.local_index.record_revocation(**key, now);
                    match self.cache.get(key) {
                        Some(Slot::Session(entry)) => entry.session.revoke(),
                        Some(Slot::Tombstone(_)) => {}
                        None => return false,
                    }
                    true
                };
                keys.iter().filter(revoke).copied().collect()
            }
            Invalidation::Sid(hash) => self.local_index.revoke_by_sid(hash, now),
            Invalidation::Subject(hash, signed_out) => {
                self.local_index.revoke_by_subject(hash, *signed_out, now)
            }
        };
        for key in &revoked {
            self.cache.insert(*key, Slot::Tombstone(now));
        }
        revoked
    }

    /// Writes tombstones for the sessions in the index and for `local` ones, in case the index is
    /// lost. Then publishes the invalidation.
    pub(super) async fn apply_at_redis(
        &self,
        invalidation: &Invalidation,
        local: &[SessionKey],
    ) -> Result<usize, StoreError> {
        let index = match invalidation {
            Invalidation::Sessions(keys) => return self.write_tombstones(keys).await,
            Invalidation::Sid(hash) => Index::Sid(*hash),
            Invalidation::Subject(hash, _) => Index::Subject(*hash),
        };
        let entries: Vec<Vec<u8>> = self.connection.query(&index.close()).await?;
        let mut entries = IndexEntry::list(&entries);
        if let Invalidation::Subject(_, signed_out) = invalidation {
            entries.retain(|entry| signed_out.revokes(entry.started_at));
        }
        let mut keys: Vec<_> = entries.iter().map(|entry| entry.key).collect();
        for key in local {
            if !keys.contains(key) {
                keys.push(*key);
            }
        }
        self.write_tombstones(&keys).await?;
        self.publish(invalidation).await?;
        // Last, so that a retry after an error still finds the entries.
        for entry in &entries {
            self.connection.query::<i64>(&index.remove(entry)).await?;
        }
        Ok(keys.len())
    }

    /// Writes tombstones, then publishes the sessions that existed: no replica reads a record after
    /// it learned of the revocation. Returns their number.
    async fn write_tombstones(&self, keys: &[SessionKey]) -> Result<usize, StoreError> {
        let mut known = Vec::new();
        for key in keys {
            let existed: Option<()> = self
                .connection
                .query(&scripts::write_tombstone(key))
                .await?;
            if existed.is_some() || self.cache.get(key).is_some() {
                known.push(*key);
            }
        }
        let count = known.len();
        if count > 0 {
            self.publish(&Invalidation::Sessions(known)).await?;
        }
        Ok(count)
    }

    async fn publish(&self, invalidation: &Invalidation) -> Result<(), StoreError> {
        let mut command = redis::cmd("PUBLISH");
        command.arg(keys::CHANNEL).arg(invalidation.to_text());
        self.connection.query::<i64>(&command).await.map(|_| ())
    }
}
