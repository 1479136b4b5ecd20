//! Why there is no response, and what to do about it.

use std::io::{self, ErrorKind};
use std::path::Path;

use http::StatusCode;
use rustls::CertificateError;

use super::resolver::DnsError;

/// Why a proxy gives no connection. The text says the cause and names the proxy without credentials.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProxyError {
    /// No connection to the proxy itself.
    #[error("the proxy {0} cannot be reached: {1}")]
    Unreachable(String, String),
    /// 407 (RFC 9110 section 15.5.8).
    #[error("the proxy {0} requires other credentials (407)")]
    Credentials(String),
    /// No response through the proxy in time.
    #[error("there was no answer in time through the proxy {0}")]
    Timeout(String),
    /// The proxy refuses the tunnel.
    #[error("the proxy {0} refuses to connect to {1}: {2}")]
    Refused(String, String, StatusCode),
}

impl ProxyError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreachable(..) => {
                "check HTTP_PROXY and HTTPS_PROXY, or name authentik's host in NO_PROXY to connect directly"
            }
            Self::Timeout(_) => {
                "check that the proxy reaches AUTHENTIK_HOST, or allow more time with AUTHENTIK_PROXY_CONTROL__REQUEST_TIMEOUT"
            }
            Self::Credentials(_) => {
                "set user and password in the URL of the proxy (http://user:password@host:port, percent-encoded)"
            }
            Self::Refused(..) => {
                "permit CONNECT to AUTHENTIK_HOST and its port at the proxy, or name the host in NO_PROXY to connect directly"
            }
        }
    }
}

/// Why a Unix socket gives no connection.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the socket {path} {cause}")]
pub struct SocketError {
    path: String,
    cause: &'static str,
    hint: &'static str,
}

impl SocketError {
    pub(super) fn new(path: &Path, error: &io::Error) -> Self {
        let (cause, hint) = match error.kind() {
            ErrorKind::NotFound => (
                "does not exist",
                "check the path in AUTHENTIK_HOST, that authentik runs, and that its directory is mounted here",
            ),
            ErrorKind::PermissionDenied => (
                "may not be used by this process",
                "run as the user that the socket belongs to, or give that user's group the right to write to it",
            ),
            ErrorKind::ConnectionRefused => (
                "has no listener",
                "check that authentik runs; it makes the socket anew when it starts",
            ),
            _ => (
                "cannot be connected to",
                "check that AUTHENTIK_HOST is the path of authentik's socket",
            ),
        };
        Self {
            path: path.display().to_string(),
            cause,
            hint,
        }
    }
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
    /// The proxy on the way to authentik gives no connection.
    #[error(transparent)]
    Proxy(ProxyError),
    /// The socket of authentik gives no connection.
    #[error(transparent)]
    Socket(SocketError),
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
            Self::Proxy(error) => error.hint(),
            Self::Socket(error) => error.hint,
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
            Self::Proxy(error) => error.hint(),
            Self::Socket(error) => error.hint,
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
        if let Some(proxy) = cause.downcast_ref::<ProxyError>() {
            return FetchError::Proxy(proxy.clone());
        }
        if let Some(socket) = cause.downcast_ref::<SocketError>() {
            return FetchError::Socket(socket.clone());
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
    use std::time::Duration;

    use rustls::pki_types::{ServerName, UnixTime};

    use super::*;

    #[test]
    fn a_socket_that_may_not_be_used_is_told_from_one_without_a_listener() {
        for (kind, cause) in [
            (ErrorKind::NotFound, "does not exist"),
            (
                ErrorKind::PermissionDenied,
                "may not be used by this process",
            ),
            (ErrorKind::ConnectionRefused, "has no listener"),
            (ErrorKind::InvalidInput, "cannot be connected to"),
        ] {
            let error = SocketError::new(Path::new("/run/a.sock"), &kind.into());
            let failure = classify(&error);
            assert!(matches!(failure, FetchError::Socket(_)));
            assert_eq!(
                failure.to_string(),
                format!("the socket /run/a.sock {cause}")
            );
        }
    }

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
