//! When sessions were last used, for all replicas: a number beside each record, which lives for
//! the idle timeout.
//!
//! It is not part of the record: replicas write that when authentik was asked, and would undo what
//! others noted. It is not sealed: whoever writes to Redis can keep a session from being idle, and
//! cannot make one.

use super::{Redis, keys};
use crate::model::{IdleTimeout, Session, SessionKey};
use crate::store::StoreError;

impl Redis {
    /// Notes a use at `now` (Unix seconds); `false` if the session was idle for too long before,
    /// and has ended by that.
    pub(in crate::store) async fn note_use(
        &self,
        key: &SessionKey,
        session: &Session,
        idle: IdleTimeout,
        now: i64,
    ) -> Result<bool, StoreError> {
        let known = session.used_at();
        if !idle.is_over(known, now) {
            // One of many requests notes it.
            if session.use_again(known, now) && self.write_use(key, idle, now).await.is_err() {
                session.use_again(now, idle.untold(now));
            }
            return Ok(true);
        }
        // Used elsewhere, or not at all. Nothing is noted where the setting was off until now.
        let told: Option<i64> = self
            .connection
            .query(redis::cmd("GET").arg(keys::used(key)))
            .await?;
        let used_at = told.unwrap_or_else(|| session.began_at()).max(known);
        if idle.is_over(used_at, now) {
            self.remove(key).await;
            return Ok(false);
        }
        session.use_again(known, now);
        self.write_use(key, idle, now).await?;
        Ok(true)
    }

    async fn write_use(
        &self,
        key: &SessionKey,
        idle: IdleTimeout,
        now: i64,
    ) -> Result<(), StoreError> {
        self.connection.query(&note(key, idle, now)).await
    }

    /// Notes the beginning of a session as a use. A failure is no loss: others go by when it began.
    pub(super) async fn note_first_use(&self, key: &SessionKey, session: &Session) {
        let now = self.clock.now();
        session.use_again(session.used_at(), now);
        if let Some(idle) = self.idle {
            let _ = self.write_use(key, idle, now).await;
        }
    }

    /// Tells Redis again what it has lost, unless another replica knew better.
    pub(super) async fn put_use_back(
        &self,
        key: &SessionKey,
        session: &Session,
    ) -> Result<(), StoreError> {
        let used_at = session.used_at();
        let lasts = |idle: &IdleTimeout| !idle.is_over(used_at, self.clock.now());
        let Some(idle) = self.idle.filter(lasts) else {
            return Ok(());
        };
        let mut command = note(key, idle, used_at);
        let _: Option<()> = self.connection.query(command.arg("NX")).await?;
        Ok(())
    }
}

/// One minute more than the timeout, for clocks that differ.
fn note(key: &SessionKey, idle: IdleTimeout, now: i64) -> redis::Cmd {
    let mut command = redis::cmd("SET");
    command.arg(keys::used(key)).arg(now);
    command.arg("EX").arg(idle.seconds() + 60);
    command
}
