//! Errors of the store.

use std::path::PathBuf;
use std::sync::Arc;

use crate::model::{Hint, HintText};

/// The store cannot answer. Never the same as "no such session".
#[derive(Debug, Clone, thiserror::Error)]
#[error("the session store is unavailable: {reason}")]
pub struct StoreError {
    reason: Arc<str>,
    hint: Option<&'static str>,
}

impl StoreError {
    pub(super) fn new(reason: impl Into<Arc<str>>, hint: Option<&'static str>) -> Self {
        let reason = reason.into();
        Self { reason, hint }
    }
}

impl StoreError {
    /// A session from a cookie that authentik cannot be asked about.
    #[must_use]
    pub fn unconfirmed() -> Self {
        let hint = "check the connection to authentik; session.when_unconfirmed says what happens meanwhile";
        Self::new("authentik did not confirm the session in time", Some(hint))
    }
}

impl Hint for StoreError {
    fn hint(&self) -> Option<HintText> {
        self.hint.map(Into::into)
    }
}

/// The store cannot be set up as configured.
#[derive(Debug, thiserror::Error)]
#[error("the CA certificates for Redis in {path} cannot be used: {reason}")]
pub struct SetupError {
    pub(super) path: PathBuf,
    pub(super) reason: String,
}

impl Hint for SetupError {
    fn hint(&self) -> Option<HintText> {
        Some("check AUTHENTIK_REDIS__TLS_CA_CERT".into())
    }
}
