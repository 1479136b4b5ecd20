//! TLS towards clients: certificates by SNI.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use rustls::server::{ClientHello, ResolvesServerCert};
pub use rustls::sign::CertifiedKey;

/// Name in the self-signed certificate for other names.
const FALLBACK: &str = "authentik-proxy.invalid";

/// A key pair that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyPairError {
    /// No certificate.
    #[error("the certificate is not PEM: {0}")]
    Certificate(String),
    /// No private key.
    #[error("the private key is not PEM: {0}")]
    Key(String),
    /// Unsupported, or key and certificate do not match.
    #[error("{0}")]
    Unusable(#[from] rustls::Error),
    /// The self-signed certificate cannot be generated.
    #[error("a certificate cannot be made: {0}")]
    Generate(String),
}

/// Reads a certificate chain and its private key.
pub fn key_pair(certificate: &str, key: &str) -> Result<CertifiedKey, KeyPairError> {
    let refused = |reason: &dyn fmt::Display| KeyPairError::Certificate(reason.to_string());
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes());
    let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(|e| refused(&e))?;
    if chain.is_empty() {
        return Err(refused(&"there is no certificate in it"));
    }
    // The reason could quote the key.
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|_| KeyPairError::Key("there is no private key in it".into()))?;
    certified(chain, key)
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, KeyPairError> {
    let provider = aws_lc_rs::default_provider();
    Ok(CertifiedKey::from_der(chain, key, &provider)?)
}

/// A self-signed certificate, for names without one.
pub struct Fallback(Arc<CertifiedKey>);

impl Fallback {
    /// Generates its key.
    pub fn generate() -> Result<Self, KeyPairError> {
        let made = rcgen::generate_simple_self_signed([FALLBACK.to_owned()])
            .map_err(|error| KeyPairError::Generate(error.to_string()))?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let certified = certified(vec![made.cert.der().clone()], key.into())?;
        Ok(Self(Arc::new(certified)))
    }
}

/// The TLS configuration of a server: certificates by name from `find`, `fallback` for all other
/// names; TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1, session resumption.
pub fn server<F>(fallback: Fallback, find: F) -> Result<Arc<ServerConfig>, KeyPairError>
where
    F: Fn(Option<&str>) -> Option<Arc<CertifiedKey>> + Send + Sync + 'static,
{
    let Fallback(fallback) = fallback;
    let resolver = ByName { find, fallback };
    let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&versions)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(Arc::new(config))
}

struct ByName<F> {
    find: F,
    fallback: Arc<CertifiedKey>,
}

impl<F> ResolvesServerCert for ByName<F>
where
    F: Fn(Option<&str>) -> Option<Arc<CertifiedKey>> + Send + Sync,
{
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let found = (self.find)(hello.server_name());
        Some(found.unwrap_or_else(|| Arc::clone(&self.fallback)))
    }
}

impl<F> fmt::Debug for ByName<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByName").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_key_pairs_and_says_what_is_wrong_with_others() {
        let make = || rcgen::generate_simple_self_signed(["a.test".to_owned()]).expect("made");
        let (one, other) = (make(), make());
        let (certificate, key) = (one.cert.pem(), one.signing_key.serialize_pem());
        assert!(key_pair(&certificate, &key).is_ok());
        let stranger = other.signing_key.serialize_pem();
        for (certificate, key, reason) in [
            ("", key.as_str(), "no certificate"),
            (&certificate, "", "no private key"),
            (&key, &certificate, "no certificate"),
            (&certificate, &stranger, "key"),
        ] {
            let error = key_pair(certificate, key).expect_err(reason).to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
