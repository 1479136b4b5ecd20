//! What Redis's errors mean to an operator: the cause, then what to do. Never with a secret.

use std::error::Error;
use std::io;
use std::sync::Arc;

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// What to do about a Redis that does not answer.
pub(super) const SILENT: &str =
    "check that Redis is not stuck, and that firewalls and network policies let us reach it";

/// Cause and fix, for one line of the log.
pub(super) fn explain(error: &RedisError) -> String {
    format!("{}; {}", cause(error), advice(error))
}

/// Whether the connection is of no more use.
pub(super) fn is_lost(error: &RedisError) -> bool {
    error.is_io_error() || error.is_unrecoverable_error()
}

/// Whether we talk to a server that takes no writes: it was replaced, or never was the right one.
pub(super) fn is_demoted(error: &RedisError) -> bool {
    let demoted = [ServerErrorKind::ReadOnly, ServerErrorKind::MasterDown];
    matches!(error.kind(), ErrorKind::Server(kind) if demoted.contains(&kind))
}

fn cause(error: &RedisError) -> String {
    if error.is_connection_refusal() {
        "the connection was refused".into()
    } else if error.is_timeout() {
        "there was no answer in time".into()
    } else if let Some(tls) = tls_error(error) {
        format!("TLS failed: {tls}")
    } else if error.kind() == ErrorKind::AuthenticationFailed {
        "user name or password is wrong".into()
    } else {
        // Texts of the system and of Redis hold no credentials.
        error.to_string()
    }
}

fn advice(error: &RedisError) -> &'static str {
    const ADDRESS: &str = "check the address (AUTHENTIK_REDIS__HOST, AUTHENTIK_REDIS__PORT) and that Redis is running";
    const LOGIN: &str = "check AUTHENTIK_REDIS__USERNAME and AUTHENTIK_REDIS__PASSWORD";
    if error.is_timeout() {
        return SILENT;
    }
    if tls_error(error).is_some() {
        return "check AUTHENTIK_REDIS__TLS_CA_CERT and that the certificate names the host";
    }
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS")) => LOGIN,
        (_, Some("NOPERM")) => {
            "give the user: ~authentik-proxy:* &authentik-proxy:* +ping +get +set +eval +publish +subscribe, and the commands of the index (docs/RELIABILITY.md)"
        }
        (_, Some("OOM")) => "Redis is full: raise its maxmemory, or give it to us alone",
        (_, Some("MISCONF")) => "Redis cannot write its data to disk: look at its own log",
        (_, Some("READONLY")) => {
            "this is a read-only replica: name the primary, or the Sentinels that know it"
        }
        (_, Some("LOADING")) => "Redis is just starting; nothing to do",
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
                "no answer in time",
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
            let text = explain(&error);
            assert!(text.contains(cause) && text.contains(fix), "{text}");
        }
    }
}
