//! Key pairs that providers serve TLS with.

use http::StatusCode;
use serde_json::json;
use uuid::Uuid;

use super::{ApiAnswer, no_match};
use crate::dialect::Dialect;
use crate::state::State;

/// Answers for the key pair `id`; only those that a provider names are the outpost's business.
pub(super) fn answer(dialect: Dialect, state: &State, id: &str, rest: &[&str]) -> ApiAnswer {
    let used = state
        .providers
        .iter()
        .any(|entry| entry.text("certificate") == id);
    let found = Uuid::parse_str(id)
        .ok()
        .and_then(|id| state.keypairs.get(&id));
    let Some(pair) = found.filter(|_| used) else {
        return no_match("CertificateKeyPair");
    };
    let url = |view: &str| format!("/api/v3/crypto/certificatekeypairs/{id}/{view}/?download");
    let key_type = if dialect == Dialect::V2025_6 {
        "private_key_type"
    } else {
        "key_type"
    };
    let body = match rest {
        ["view_certificate", ""] => json!({"data": pair.certificate}),
        ["view_private_key", ""] => json!({"data": pair.private_key}),
        _ => json!({
            "pk": id,
            "name": pair.name,
            "fingerprint_sha256": pair.fingerprint,
            "fingerprint_sha1": "",
            "cert_expiry": null,
            "cert_subject": "CN=rcgen self signed cert",
            "private_key_available": true,
            key_type: "ec",
            "certificate_download_url": url("view_certificate"),
            "private_key_download_url": url("view_private_key"),
            "managed": null,
        }),
    };
    (StatusCode::OK, body)
}
