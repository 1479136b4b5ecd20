//! Verification of server certificates on outgoing connections.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::model::{Hint, HintText};

/// Certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The CA file cannot be read.
    #[error("the CA file {0} (AUTHENTIK_PROXY_TLS__CA_FILE) cannot be used: {1}")]
    CaFile(PathBuf, String),
    /// The file that replaces the system's certificates cannot be read.
    #[error("the file {0} (SSL_CERT_FILE) cannot be used: {1}")]
    SystemFile(PathBuf, String),
    /// The TLS library rejects the configuration.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

impl Hint for TlsError {
    fn hint(&self) -> Option<HintText> {
        match self {
            Self::CaFile(..) | Self::SystemFile(..) => {
                Some("mount it, readable and PEM, or correct its path".into())
            }
            Self::Setup(_) => None,
        }
    }
}

/// How authentik's certificate is checked.
#[derive(Debug, Clone, Default)]
pub struct TlsOptions {
    /// Accept any certificate (`AUTHENTIK_INSECURE`).
    pub insecure: bool,
    /// A CA to trust besides the system's, PEM.
    pub ca_file: Option<PathBuf>,
}

/// The trusted CA certificates, read once. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Trust {
    verifying: ClientConfig,
    accepting: ClientConfig,
}

impl Trust {
    /// Reads the system's CA certificates (or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`) and those
    /// of `ca_file`.
    pub fn load(ca_file: Option<&Path>) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = || {
            ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
        };
        let any = Arc::new(AcceptAny(provider.signature_verification_algorithms));
        let verifying = builder()?.with_root_certificates(roots(ca_file)?);
        let accepting = builder()?.dangerous().with_custom_certificate_verifier(any);
        Ok(Self {
            verifying: verifying.with_no_client_auth(),
            accepting: accepting.with_no_client_auth(),
        })
    }

    /// The same while the program runs, where `system_file` (`SSL_CERT_FILE`) must be usable as well:
    /// the certificates that were read before are better than none.
    pub fn reload(ca_file: Option<&Path>, system_file: Option<&Path>) -> Result<Self, TlsError> {
        if let Some(path) = system_file {
            certificates(path).map_err(|reason| TlsError::SystemFile(path.to_owned(), reason))?;
        }
        Self::load(ca_file)
    }

    /// The TLS configuration of a client; an `insecure` one accepts any certificate.
    #[must_use]
    pub fn client(&self, insecure: bool) -> ClientConfig {
        if insecure {
            self.accepting.clone()
        } else {
            self.verifying.clone()
        }
    }
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(
            %error,
            hint = "check that the file exists and is readable",
            "system CA certificates (or SSL_CERT_FILE, SSL_CERT_DIR) cannot be loaded",
        );
    }
    roots.add_parsable_certificates(system.certs);
    if let Some(path) = ca_file {
        let refused = |reason: String| TlsError::CaFile(path.to_owned(), reason);
        for certificate in certificates(path).map_err(refused)? {
            roots.add(certificate)?;
        }
    }
    if roots.is_empty() {
        tracing::warn!(
            hint = "name a file of them in SSL_CERT_FILE or AUTHENTIK_PROXY_TLS__CA_FILE",
            "no CA certificates found: connections to https:// addresses will fail",
        );
    }
    Ok(roots)
}

/// The certificates of a PEM file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    let found: Result<Vec<_>, _> = found.collect();
    let found = found.map_err(|error| error.to_string())?;
    if found.is_empty() {
        return Err("it has no PEM certificate".into());
    }
    Ok(found)
}

/// Accepts any certificate, for `AUTHENTIK_INSECURE` and applications without verification. The
/// signature of the handshake is still verified.
#[derive(Debug)]
struct AcceptAny(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
