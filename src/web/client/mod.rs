//! The back channel: one TLS configuration and one connector for REST, websocket, token,
//! introspection and JWKS requests to authentik.

mod resolver;
pub mod rest;
pub mod trust;

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{CertificateError, ClientConfig};
use tower_service::Service;

use crate::web::keepalive;
use resolver::{DnsError, Resolver};
use trust::{TlsError, TlsOptions, Trust};

/// Maximum size of a response.
const MAX_RESPONSE_BYTES: usize = 32 << 20;

/// Opens connections to authentik, plain or TLS; shared by HTTP requests and the websocket.
pub type Connector = HttpsConnector<HttpConnector<Resolver>>;

/// An HTTP client for authentik. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct BackChannel {
    client: Client<Connector, Full<Bytes>>,
    connector: Connector,
    timeout: Duration,
}

/// Why no response came. What to do depends on the server: see [`FetchError::hint_for_authentik`] and
/// [`FetchError::hint_for_application`].
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The name could not be resolved.
    #[error("the host name could not be resolved")]
    Dns,
    /// The connection was refused.
    #[error("the connection was refused")]
    Refused,
    /// TLS failed.
    #[error("TLS failed: {0}")]
    Tls(rustls::Error),
    /// No response in time.
    #[error("there was no answer in time")]
    Timeout,
    /// The connection broke.
    #[error("the connection failed: {0}")]
    Connection(String),
}

impl FetchError {
    /// What to check if the server is an application.
    #[must_use]
    pub fn hint_for_application(&self) -> &'static str {
        match self {
            Self::Dns => {
                "the name is that of no Service that exists, or DNS does not work: correct the provider's internal host, or create the Service"
            }
            Self::Refused => {
                "nothing listens there: check the port of the provider's internal host, and whether the application runs"
            }
            Self::Tls(rustls::Error::InvalidCertificate(error)) => for_certificate(
                error,
                "correct the provider's internal host to a name that the certificate is for",
                "name the authority of its certificate in AUTHENTIK_PROXY_TLS__CA_FILE, or turn off \"Internal host SSL Validation\" of the provider",
            ),
            Self::Tls(_) => "is it http:// instead of https://? Check the provider's internal host",
            Self::Timeout => {
                "check that network policies and firewalls permit the connection, or allow more time with AUTHENTIK_PROXY_UPSTREAM__CONNECT_TIMEOUT"
            }
            Self::Connection(_) => {
                "check the application's own log, whether the provider's internal host should begin with https://, and whether the application speaks the version of HTTP that applications.<slug>.upstream_protocol names"
            }
        }
    }

    /// What to check if the server is authentik.
    #[must_use]
    pub fn hint_for_authentik(&self) -> &'static str {
        match self {
            Self::Dns => "check the host name in AUTHENTIK_HOST and the cluster's DNS",
            Self::Refused => "check the port in AUTHENTIK_HOST and that authentik is running",
            Self::Tls(rustls::Error::InvalidCertificate(error)) => for_certificate(
                error,
                "correct the host in AUTHENTIK_HOST to a name that the certificate is for",
                "name the authority of authentik's certificate in AUTHENTIK_PROXY_TLS__CA_FILE, or set AUTHENTIK_INSECURE=true to skip verification",
            ),
            Self::Tls(_) => {
                "check scheme and port in AUTHENTIK_HOST: is it http:// instead of https://?"
            }
            Self::Timeout => {
                "check that firewalls and network policies permit connections to AUTHENTIK_HOST, or allow more time with AUTHENTIK_PROXY_CONTROL__REQUEST_TIMEOUT"
            }
            Self::Connection(_) => "check AUTHENTIK_HOST (http or https?) and authentik's own log",
        }
    }
}

/// What helps against a certificate that is not accepted: `named` if it is for other names, and
/// `trusted` if it is not its time either.
fn for_certificate(
    error: &CertificateError,
    named: &'static str,
    trusted: &'static str,
) -> &'static str {
    use CertificateError as E;
    match error {
        E::Expired | E::ExpiredContext { .. } | E::NotValidYet | E::NotValidYetContext { .. } => {
            "renew the certificate, or set this host's clock right"
        }
        E::NotValidForName | E::NotValidForNameContext { .. } => named,
        _ => trusted,
    }
}

impl BackChannel {
    /// Prepares the client; does not connect. `SSL_CERT_FILE` and `SSL_CERT_DIR` replace
    /// the system's certificates.
    pub fn new(options: &TlsOptions, timeout: Duration) -> Result<Self, TlsError> {
        let trust = Trust::load(options.ca_file.as_deref())?;
        Ok(Self::over(&trust, options.insecure, timeout))
    }

    /// As [`new`](Self::new), with shared parts.
    #[must_use]
    pub fn over(trust: &Trust, insecure: bool, timeout: Duration) -> Self {
        let connector = connector(trust.client(insecure), timeout, &[]);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector.clone());
        Self {
            client,
            connector,
            timeout,
        }
    }

    /// The connector, for protocols other than HTTP requests.
    #[must_use]
    pub fn connector(&self) -> Connector {
        self.connector.clone()
    }

    /// Sends a GET request, and reads the whole response.
    pub async fn get(&self, url: &str) -> Result<Response<Bytes>, FetchError> {
        let request = Request::builder().uri(url).body(Full::default());
        let request = request.map_err(|error| FetchError::Connection(error.to_string()))?;
        self.fetch(request).await
    }

    /// Sends a request and reads the whole response.
    pub async fn fetch(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, FetchError> {
        let exchange = async {
            let answer = self
                .client
                .request(request)
                .await
                .map_err(|error| classify(&error))?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, MAX_RESPONSE_BYTES).collect().await;
            let body = body.map_err(|error| FetchError::Connection(error.to_string()))?;
            Ok(Response::from_parts(parts, body.to_bytes()))
        };
        tokio::time::timeout(self.timeout, exchange)
            .await
            .unwrap_or(Err(FetchError::Timeout))
    }

    /// Opens a connection for a websocket.
    pub async fn connect(
        &self,
        uri: Uri,
    ) -> Result<<Connector as Service<Uri>>::Response, FetchError> {
        let connecting = self.connector().call(uri);
        match tokio::time::timeout(self.timeout, connecting).await {
            Err(_) => Err(FetchError::Timeout),
            Ok(connected) => connected.map_err(|error| classify(&*error)),
        }
    }
}

/// Opens connections, plain or TLS with these ALPN protocols. Host names are resolved for each
/// connection; the last addresses are used while DNS fails.
#[must_use]
pub fn connector(mut tls: ClientConfig, timeout: Duration, alpn: &[&str]) -> Connector {
    tls.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let mut http = HttpConnector::new_with_resolver(Resolver::system());
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(timeout));
    http.set_keepalive(Some(keepalive::IDLE_TIME));
    http.set_keepalive_interval(Some(keepalive::PROBE_INTERVAL));
    http.set_keepalive_retries(Some(keepalive::MAX_PROBES));
    (http, tls).into()
}

/// Finds the cause in a chain of errors by type, never by text.
#[must_use]
pub fn classify(error: &(dyn std::error::Error + 'static)) -> FetchError {
    let mut last = error.to_string();
    let mut link = Some(error);
    while let Some(cause) = link {
        last = cause.to_string();
        if cause.is::<DnsError>() {
            return FetchError::Dns;
        }
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return FetchError::Tls(tls.clone());
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            match io.kind() {
                std::io::ErrorKind::ConnectionRefused => return FetchError::Refused,
                std::io::ErrorKind::TimedOut => return FetchError::Timeout,
                _ => {}
            }
            // `io::Error::source` skips the error that it wraps.
            if let Some(inner) = io.get_ref() {
                return classify(inner);
            }
        }
        link = cause.source();
    }
    FetchError::Connection(last)
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{ServerName, UnixTime};

    use super::*;

    #[test]
    fn hints_on_certificates_name_what_is_wrong_with_them() {
        use CertificateError as E;
        let time = UnixTime::since_unix_epoch(Duration::ZERO);
        let expected = ServerName::try_from("app.test").expect("a name");
        let renew = ["renew the certificate"; 2];
        let name = ["AUTHENTIK_HOST to a name", "internal host to a name"];
        let trust = ["AUTHENTIK_INSECURE=true", "SSL Validation"];
        for (error, [authentik, application]) in [
            (E::Expired, renew),
            (
                E::ExpiredContext {
                    time,
                    not_after: time,
                },
                renew,
            ),
            (E::NotValidYet, renew),
            (
                E::NotValidYetContext {
                    time,
                    not_before: time,
                },
                renew,
            ),
            (E::NotValidForName, name),
            (
                E::NotValidForNameContext {
                    expected,
                    presented: Vec::new(),
                },
                name,
            ),
            (E::UnknownIssuer, trust),
            (E::BadEncoding, trust),
        ] {
            let failure = FetchError::Tls(rustls::Error::InvalidCertificate(error));
            let (to, of) = (failure.hint_for_authentik(), failure.hint_for_application());
            assert!(to.contains(authentik), "{failure}: {to}");
            assert!(of.contains(application), "{failure}: {of}");
        }
    }
}
