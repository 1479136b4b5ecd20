//! Redis without what it knew: it restarted without its data, was flushed, or failed over to a copy
//! without it. Every replica then gives it again what it has cached. Until they had the time to, a
//! session that is not there may be one that was lost: unknown, which is not the same as over.

use std::sync::{Mutex, PoisonError};

use super::{Redis, scripts};
use crate::model::SessionId;
use crate::store::StoreError;

/// How long after it began anew, or after a replica was last seen to fill it, Redis is taken for
/// incomplete, in seconds: several times as long as a replica takes to find it.
const REFILL_SECONDS: u64 = 10;

/// What Redis held when this process last looked, by the name that it had been given.
#[derive(Default)]
pub(super) struct Holding(Mutex<Option<Vec<u8>>>);

impl Holding {
    /// Whether it is something else than before.
    fn differs(&self, name: &[u8]) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_deref().is_some_and(|known| known != name)
    }

    fn is_now(&self, name: Vec<u8>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(name);
    }
}

/// What is to be noted once everything lost was put back.
pub(super) struct Held(Vec<u8>);

impl Redis {
    /// An error while Redis may not have every session back that a replica has.
    pub(super) async fn knows_all(&self) -> Result<(), StoreError> {
        let (_, refilling) = self.holding().await?;
        if refilling {
            return Err(StoreError::new(
                "Redis has lost its data, and replicas are giving it again what they have",
            ));
        }
        Ok(())
    }

    /// Whether Redis has lost what it knew since this process last looked, and what to note when
    /// that is mended.
    pub(super) async fn look_for_loss(&self) -> Result<(bool, Held), StoreError> {
        let (name, _) = self.holding().await?;
        Ok((self.holding.differs(&name), Held(name)))
    }

    pub(super) fn mended(&self, held: Held) {
        self.holding.is_now(held.0);
    }

    /// Says that this replica still has sessions that Redis has lost.
    pub(super) async fn still_filling(&self) -> Result<(), StoreError> {
        let command = scripts::still_filling(REFILL_SECONDS);
        self.connection.query(&command).await
    }

    async fn holding(&self) -> Result<(Vec<u8>, bool), StoreError> {
        // As random as a session's id, though no secret.
        let name = SessionId::random().key();
        let command = scripts::filling(name.as_bytes(), REFILL_SECONDS);
        self.connection.query(&command).await
    }
}
