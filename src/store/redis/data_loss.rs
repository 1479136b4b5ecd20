//! Detects that Redis lost its data: it restarted without persistence, was flushed, or failed over
//! to an empty replica.
//!
//! Each data set at Redis has a generation, a random value that is written when there is none. If
//! the generation changes, every replica restores the sessions that it has cached. Until that had
//! time to happen, a missing record does not prove that the session ended: it is an error, not
//! "signed out".

use std::sync::{Mutex, PoisonError};

use super::RedisStore;
use super::format::scripts;
use crate::model::SessionId;
use crate::store::error::StoreError;
use crate::store::session::Prepared;

/// How long Redis counts as incomplete after a new generation, or after a replica last reported
/// that it restores sessions. Several times as long as a replica takes to detect the loss.
const REFILL_TIMEOUT_SECONDS: u64 = 10;

/// Identifies the data set at Redis.
#[derive(PartialEq, Eq)]
pub(super) struct Generation(Vec<u8>);

/// The generation that this process last saw; `None` before the first.
#[derive(Default)]
pub(super) struct KnownGeneration(Mutex<Option<Generation>>);

impl KnownGeneration {
    /// Whether Redis had another generation before.
    fn differs(&self, current: &Generation) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().is_some_and(|known| known != current)
    }

    fn set(&self, current: Generation) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(current);
    }
}

impl<P: Prepared> RedisStore<P> {
    /// An error while replicas may still restore sessions that Redis lost.
    pub(super) async fn ensure_complete(&self) -> Result<(), StoreError> {
        let (_, refilling) = self.current_generation().await?;
        if refilling {
            return Err(StoreError::new(
                "Redis has lost its data, and replicas are writing theirs again",
                None,
            ));
        }
        Ok(())
    }

    /// Whether Redis lost its data since this process last looked, and the current generation, to
    /// be acknowledged once the cached sessions are restored.
    pub(super) async fn detect_data_loss(&self) -> Result<(bool, Generation), StoreError> {
        let (current, _) = self.current_generation().await?;
        Ok((self.generation.differs(&current), current))
    }

    /// Every cached session is at Redis in this generation.
    pub(super) fn acknowledge_generation(&self, current: Generation) {
        self.generation.set(current);
    }

    /// Reports that this replica still restores sessions.
    pub(super) async fn extend_refill(&self) -> Result<(), StoreError> {
        let command = scripts::extend_refill(REFILL_TIMEOUT_SECONDS);
        self.connection.query(&command).await
    }

    async fn current_generation(&self) -> Result<(Generation, bool), StoreError> {
        // 256 random bits, though no secret.
        let candidate = SessionId::random().key();
        let command = scripts::generation(candidate.as_bytes(), REFILL_TIMEOUT_SECONDS);
        let (current, refilling) = self.connection.query(&command).await?;
        Ok((Generation(current), refilling))
    }
}
