//! The key pairs that providers name: fetched from authentik, and again only when they changed.

use std::collections::HashMap;
use std::sync::Arc;

use http::StatusCode;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use uuid::Uuid;

use super::api::{Api, ApiError};
use crate::model::{Hint, HintText};
use crate::tls::{CertifiedKey, KeyPairError, key_pair};
use crate::web::client::rest::RestError;

/// Certificates by the id of their key pair.
pub(super) type Certificates = HashMap<Uuid, Certificate>;

/// A certificate as authentik had it.
#[derive(Clone)]
pub(super) struct Certificate {
    fingerprint: String,
    pub(super) key: Arc<CertifiedKey>,
}

#[derive(Debug, thiserror::Error)]
enum CertificateError {
    /// The provider names a key pair that does not exist or that the token may not read.
    #[error("{url} answered with {status}")]
    NotReadable { url: String, status: StatusCode },
    #[error(transparent)]
    Api(ApiError),
    #[error(transparent)]
    KeyPair(#[from] KeyPairError),
}

impl From<ApiError> for CertificateError {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Rest(RestError::Status { url, status, .. })
            | ApiError::Token { url, status }
                if matches!(status, StatusCode::NOT_FOUND | StatusCode::FORBIDDEN) =>
            {
                Self::NotReadable { url, status }
            }
            error => Self::Api(error),
        }
    }
}

impl Hint for CertificateError {
    fn hint(&self) -> Option<HintText> {
        let hint = match self {
            Self::NotReadable { .. } => {
                "choose another certificate for the provider, or let the outpost's user read it"
            }
            Self::Api(error) => return error.hint(),
            Self::KeyPair(_) => "choose another certificate for the provider",
        };
        Some(hint.into())
    }
}

/// Fetches what the providers name. What cannot be fetched stays as it was `before`.
pub(super) async fn fetch(
    api: &Api<'_>,
    providers: &[Value],
    before: &Certificates,
) -> Certificates {
    let mut found = Certificates::new();
    for id in providers.iter().filter_map(id_of) {
        if found.contains_key(&id) {
            continue;
        }
        let before = before.get(&id);
        let fetched = fetch_one(api, id, before).await.unwrap_or_else(|error| {
            let event = match before {
                Some(_) => "cannot be fetched, the previous one stays in use",
                None => "cannot be used, serving a self-signed one",
            };
            tracing::warn!(%error, hint = error.hint().as_deref(), "certificate {id} {event}");
            before.cloned()
        });
        found.extend(fetched.map(|certificate| (id, certificate)));
    }
    found
}

/// The key pair that a provider's record names.
pub(super) fn id_of(provider: &Value) -> Option<Uuid> {
    provider.get("certificate")?.as_str()?.parse().ok()
}

async fn fetch_one(
    api: &Api<'_>,
    id: Uuid,
    before: Option<&Certificate>,
) -> Result<Option<Certificate>, CertificateError> {
    let fingerprint = api.fingerprint(id).await?;
    if let Some(before) = before
        && before.fingerprint == fingerprint
        && !fingerprint.is_empty()
    {
        return Ok(Some(before.clone()));
    }
    let certificate = api.certificate(id).await?;
    let key = key_pair(&certificate, api.private_key(id).await?.expose_secret())?;
    tracing::info!(fingerprint, "certificate {id} loaded");
    let key = Arc::new(key);
    Ok(Some(Certificate { fingerprint, key }))
}
