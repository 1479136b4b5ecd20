//! What Redis's errors mean to an operator: cause and hint. Never with a secret.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// The hint for a Redis that does not respond.
const NO_RESPONSE: &str = "check that Redis is not stuck, and that firewalls and network policies permit connections to it";

/// Why a command or a connection failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store::redis) struct Failure {
    pub(in crate::store::redis) cause: Arc<str>,
    pub(in crate::store::redis) hint: Option<&'static str>,
}

impl Failure {
    pub(in crate::store::redis) fn new(cause: impl Into<Arc<str>>, hint: &'static str) -> Self {
        Self {
            cause: cause.into(),
            hint: Some(hint),
        }
    }

    /// There was no response in time.
    pub(in crate::store::redis) fn timeout(timeout: Duration) -> Self {
        Self::new(format!("no response within {timeout:?}"), NO_RESPONSE)
    }

    /// The connection takes longer than a command may wait for it.
    pub(in crate::store::redis) fn connecting() -> Self {
        Self::new("still connecting", NO_RESPONSE)
    }
}

impl From<&RedisError> for Failure {
    fn from(error: &RedisError) -> Self {
        Self::new(cause(error), hint(error))
    }
}

/// Whether the connection is of no more use.
pub(in crate::store::redis) fn is_lost(error: &RedisError) -> bool {
    error.is_io_error() || error.is_unrecoverable_error()
}

/// Whether Redis refuses the credentials, or wants some.
pub(in crate::store::redis) fn is_refusal(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("NOAUTH" | "WRONGPASS"))
}

/// Whether the server is read-only: it was demoted, or never was the primary.
pub(in crate::store::redis) fn is_demoted(error: &RedisError) -> bool {
    let demoted = [ServerErrorKind::ReadOnly, ServerErrorKind::MasterDown];
    matches!(error.kind(), ErrorKind::Server(kind) if demoted.contains(&kind))
}

fn cause(error: &RedisError) -> String {
    if error.is_connection_refusal() {
        "the connection was refused".into()
    } else if error.is_timeout() {
        "no response in time".into()
    } else if let Some(tls) = tls_error(error) {
        format!("TLS failed: {tls}")
    } else if error.kind() == ErrorKind::AuthenticationFailed {
        "user name or password is wrong".into()
    } else {
        // Texts of the system and of Redis hold no credentials.
        error.to_string()
    }
}

fn hint(error: &RedisError) -> &'static str {
    const ADDRESS: &str = "check the address (AUTHENTIK_REDIS__HOST, AUTHENTIK_REDIS__PORT) and that Redis is running";
    const LOGIN: &str = "check AUTHENTIK_REDIS__USERNAME and AUTHENTIK_REDIS__PASSWORD";
    if error.is_timeout() {
        return NO_RESPONSE;
    }
    if tls_error(error).is_some() {
        return "check AUTHENTIK_REDIS__TLS_CA_CERT and that the certificate names the host";
    }
    if is_refusal(error) {
        return LOGIN;
    }
    match (error.kind(), error.code()) {
        (_, Some("NOPERM")) => {
            "give the user: ~authentik-proxy:* &authentik-proxy:* +ping +get +set +eval +publish +subscribe, and the commands of the index (docs/RELIABILITY.md)"
        }
        (_, Some("OOM")) => "Redis is full: raise its maxmemory, or use a dedicated Redis",
        (_, Some("MISCONF")) => "Redis cannot write its data to disk: check its own log",
        (_, Some("READONLY")) => {
            "this is a read-only replica: name the primary, or the Sentinels that know it"
        }
        (_, Some("LOADING")) => "Redis is just starting: wait",
        (_, Some("CLUSTERDOWN" | "MASTERDOWN")) => {
            "a part of the cluster has no primary: look at `CLUSTER INFO` of its nodes"
        }
        (_, Some("MOVED" | "CROSSSLOT")) => {
            "this Redis is a cluster: name its nodes in AUTHENTIK_PROXY_REDIS__CLUSTER"
        }
        (ErrorKind::MasterNameNotFoundBySentinel, _) => {
            "check AUTHENTIK_PROXY_REDIS__SENTINEL_MASTER, and that a primary is up"
        }
        (ErrorKind::Io | ErrorKind::Parse, _) if !error.is_connection_refusal() => {
            "check the address, whether Redis expects TLS (AUTHENTIK_REDIS__TLS), and Redis's own log"
        }
        _ => ADDRESS,
    }
}

fn tls_error(error: &RedisError) -> Option<String> {
    let source = error.source()?;
    let source = source.downcast_ref::<Arc<dyn Error + Send + Sync>>()?;
    if let Some(tls) = source.downcast_ref::<rustls::Error>() {
        return Some(tls.to_string());
    }
    let inner = source.downcast_ref::<io::Error>()?.get_ref()?;
    inner
        .downcast_ref::<rustls::Error>()
        .map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_says_what_to_do() {
        let io = |kind| RedisError::from(io::Error::from(kind));
        let server = |code: &str| redis::make_extension_error(code.into(), Some("x".into()));
        let tls = rustls::Error::General("no".into());
        for (error, cause, fix) in [
            (
                io(io::ErrorKind::ConnectionRefused),
                "refused",
                "AUTHENTIK_REDIS__HOST",
            ),
            (
                io(io::ErrorKind::TimedOut),
                "no response in time",
                "not stuck",
            ),
            (
                io(io::ErrorKind::UnexpectedEof),
                "end of file",
                "AUTHENTIK_REDIS__TLS",
            ),
            (
                io::Error::new(io::ErrorKind::InvalidData, tls).into(),
                "TLS failed",
                "AUTHENTIK_REDIS__TLS_CA_CERT",
            ),
            (server("NOAUTH"), "NOAUTH", "AUTHENTIK_REDIS__PASSWORD"),
            (server("OOM"), "OOM", "maxmemory"),
            (server("MISCONF"), "MISCONF", "disk"),
            (
                (
                    ErrorKind::AuthenticationFailed,
                    "Password authentication failed",
                )
                    .into(),
                "password is wrong",
                "AUTHENTIK_REDIS__PASSWORD",
            ),
            (
                (ErrorKind::MasterNameNotFoundBySentinel, "none").into(),
                "none",
                "SENTINEL_MASTER",
            ),
        ] {
            let failure = Failure::from(&error);
            let hint = failure.hint.expect("a hint");
            assert!(
                failure.cause.contains(cause) && hint.contains(fix),
                "{failure:?}"
            );
        }
    }
}
