//! The key pairs that providers name: fetched from authentik, and again only when they changed.

use std::collections::HashMap;
use std::sync::Arc;

use secrecy::ExposeSecret as _;
use serde_json::Value;
use uuid::Uuid;

use super::api::{Api, ApiError};
use crate::tls::{CertifiedKey, KeyPairError, key_pair};

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
    #[error("{0}")]
    Api(#[from] ApiError),
    #[error("{0}")]
    KeyPair(#[from] KeyPairError),
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
            let instead = match before {
                Some(_) => "the one that is known stays in use",
                None => "a self-signed one is shown instead",
            };
            tracing::warn!("certificate {id} cannot be used: {error}; {instead}");
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
    tracing::info!("certificate {id} loaded, fingerprint {fingerprint}");
    let key = Arc::new(key);
    Ok(Some(Certificate { fingerprint, key }))
}
