//! Idle timeout across replicas: the time of last use is a key beside each record, with the idle
//! timeout as its time to live.
//!
//! It is not part of the record, because replicas rewrite that after an introspection and would
//! overwrite later uses. It is not encrypted: write access to Redis can keep a session from
//! expiring, but cannot create one.

use super::RedisStore;
use super::format::keys;
use crate::model::{IdleTimeout, SessionKey};
use crate::store::error::StoreError;
use crate::store::session::{LiveSession, Prepared};

impl<P: Prepared> RedisStore<P> {
    /// Records a use at `now` (Unix seconds); `false` if the session exceeded the idle timeout
    /// before, and is revoked by that.
    pub(crate) async fn touch(
        &self,
        key: &SessionKey,
        session: &LiveSession<P>,
        idle: IdleTimeout,
        now: i64,
    ) -> Result<bool, StoreError> {
        let noted = session.used_at();
        if !idle.is_expired(noted, now) {
            // One of many concurrent requests records it.
            if session.update_used_at(noted, now)
                && self.write_used_at(key, idle, now).await.is_err()
            {
                session.update_used_at(now, idle.retry_from(now));
            }
            return Ok(true);
        }
        // Used at another replica, or not at all. No time is recorded if the timeout was just enabled.
        let recorded: Option<i64> = self
            .connection
            .query(redis::cmd("GET").arg(keys::used(key)))
            .await?;
        let used_at = recorded.unwrap_or_else(|| session.started_at()).max(noted);
        if idle.is_expired(used_at, now) {
            self.revoke(key).await;
            return Ok(false);
        }
        session.update_used_at(noted, now);
        self.write_used_at(key, idle, now).await?;
        Ok(true)
    }

    async fn write_used_at(
        &self,
        key: &SessionKey,
        idle: IdleTimeout,
        now: i64,
    ) -> Result<(), StoreError> {
        self.connection.query(&set_used_at(key, idle, now)).await
    }

    /// Records the start of a session as a use. A failure is harmless: replicas fall back to the
    /// time of sign-in.
    pub(super) async fn record_first_use(&self, key: &SessionKey, session: &LiveSession<P>) {
        let now = self.clock.now();
        session.update_used_at(session.used_at(), now);
        if let Some(idle) = self.idle {
            let _ = self.write_used_at(key, idle, now).await;
        }
    }

    /// Restores the time of last use that Redis lost, unless another replica has written one.
    pub(super) async fn restore_used_at(
        &self,
        key: &SessionKey,
        session: &LiveSession<P>,
    ) -> Result<(), StoreError> {
        let used_at = session.used_at();
        let lasts = |idle: &IdleTimeout| !idle.is_expired(used_at, self.clock.now());
        let Some(idle) = self.idle.filter(lasts) else {
            return Ok(());
        };
        let mut command = set_used_at(key, idle, used_at);
        let _: Option<()> = self.connection.query(command.arg("NX")).await?;
        Ok(())
    }
}

/// The time to live is one minute longer than the timeout, for clock skew.
fn set_used_at(key: &SessionKey, idle: IdleTimeout, now: i64) -> redis::Cmd {
    let mut command = redis::cmd("SET");
    command.arg(keys::used(key)).arg(now);
    command.arg("EX").arg(idle.seconds() + 60);
    command
}
