//! The claim of a replica to refresh a session: a refresh token can be used once.

use std::time::Duration;

use aws_lc_rs::rand;

use super::RedisStore;
use super::format::{keys, scripts};
use crate::model::SessionKey;
use crate::store::session::Prepared;

/// The right to refresh a session, until it is released or expires. Its value differs from that of
/// every other claim, so that a claim that expired does not release the next one.
#[derive(Debug)]
#[must_use]
pub struct RefreshClaim([u8; 16]);

impl RefreshClaim {
    /// A new claim.
    ///
    /// # Panics
    /// If the operating system has no randomness.
    pub(in crate::store) fn random() -> Self {
        let mut bytes = [0; 16];
        rand::fill(&mut bytes).expect("the system's random source works");
        Self(bytes)
    }
}

impl<P: Prepared> RedisStore<P> {
    /// Takes the claim for `time`; `None` if another replica has it, or while Redis does not answer.
    pub(in crate::store) async fn claim_refresh(
        &self,
        key: &SessionKey,
        time: Duration,
    ) -> Option<RefreshClaim> {
        let claim = RefreshClaim::random();
        let command = scripts::claim(keys::refresh(key), &claim.0, time.as_secs());
        let claimed: Result<Option<()>, _> = self.connection.query(&command).await;
        matches!(claimed, Ok(Some(()))).then_some(claim)
    }

    /// Releases the claim. If Redis does not answer, it expires.
    pub(in crate::store) async fn release_refresh(&self, key: &SessionKey, claim: RefreshClaim) {
        let command = scripts::release(keys::refresh(key), &claim.0);
        let _: Result<i64, _> = self.connection.query(&command).await;
    }
}
