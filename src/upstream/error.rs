//! Why an application gives no response.

use std::time::Duration;

use super::pool::{LineError, SendError};
use crate::telemetry::metrics::UpstreamErrorKind;
use crate::web::client::{FetchError, classify};

/// Why an application gives no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    /// No connection could be opened, within this time.
    #[error("{0}")]
    Connect(FetchError, Duration),
    /// The application was sent the request, and began no response within this time.
    #[error("no answer began within {0:?}")]
    ResponseTimeout(Duration),
    /// The connection ended before the response began.
    #[error("the connection ended without an answer: {0}")]
    Broken(FetchError),
    /// The same on a connection that had served another request: the application may have closed it
    /// at the moment in which it was used again.
    #[error("the connection ended without an answer: {0}")]
    Stale(FetchError),
    /// The head of the response has more lines or bytes than the outpost reads.
    #[error("the response has more header lines or bytes than are accepted{}", located(.0.as_ref()))]
    TooLarge(Option<LineError>),
    /// The response is not HTTP/1.1.
    #[error("the response is not valid HTTP: {error}{}", located(line.as_ref()))]
    Malformed {
        /// Why.
        error: String,
        /// The line that is meant, if it is known.
        line: Option<LineError>,
    },
    /// The client did not finish its request.
    #[error("the client did not finish its request")]
    Client,
    /// The client sent nothing of its body for this time.
    #[error("the client sent nothing more of its request for {0:?}")]
    BodyTimeout(Duration),
    /// The application changed to a protocol that the client had not asked for.
    #[error("it changed to another protocol than was asked for")]
    Protocol,
    /// The host cannot be sent in a request.
    #[error("the host cannot be sent in a request")]
    Host,
}

impl UpstreamError {
    /// What helps against [`TooLarge`](Self::TooLarge).
    pub(crate) const TOO_LARGE_HINT: &str = "the application sends more than 512 header lines or 400 KiB of them: make it send fewer, cookies most of all";
    /// What helps against [`Malformed`](Self::Malformed).
    /// Other lines that are no header are left out (`pool::http1`).
    pub(crate) const MALFORMED_HINT: &str = "if the version or status is invalid, check that the provider's internal host is a port that serves HTTP, whether it should begin with https://, and applications.<slug>.upstream_protocol; else correct the application: an invalid header is a line with a NUL byte or with a CR that is no end of line, an invalid content-length is no number or differs from another one";

    /// What an error of a connection means. `connect` is the limit on opening one.
    pub(super) fn new(error: SendError, connect: Duration) -> Self {
        match error {
            SendError::Connect(error) => Self::Connect(classify(&*error), connect),
            SendError::Connection {
                error,
                reused,
                line,
            } => Self::broken(&error, reused, line),
            SendError::Pool(error) if error.is_connect() => {
                Self::Connect(classify(&error), connect)
            }
            SendError::Pool(error) => {
                let source = std::error::Error::source(&error);
                match source.and_then(|source| source.downcast_ref::<hyper::Error>()) {
                    // The pool does not tell whether it was reused; most are.
                    Some(error) => Self::broken(error, true, None),
                    None => Self::Broken(classify(&error)),
                }
            }
        }
    }

    fn broken(error: &hyper::Error, reused: bool, line: Option<LineError>) -> Self {
        if error.is_user() || error.is_body_write_aborted() {
            return Self::Client;
        }
        if error.is_parse_too_large() {
            return Self::TooLarge(line);
        }
        if error.is_parse() {
            return Self::Malformed {
                error: error.to_string(),
                line,
            };
        }
        match classify(error) {
            error @ FetchError::Connection(_) if reused => Self::Stale(error),
            error => Self::Broken(error),
        }
    }

    /// Its label in the metrics.
    pub(crate) fn kind(&self) -> UpstreamErrorKind {
        match self {
            Self::Connect(FetchError::Dns, _) => UpstreamErrorKind::Dns,
            Self::Connect(FetchError::Refused, _) => UpstreamErrorKind::Refused,
            Self::Connect(FetchError::Tls(_), _) => UpstreamErrorKind::Tls,
            Self::Connect(FetchError::Timeout, _) => UpstreamErrorKind::ConnectTimeout,
            Self::ResponseTimeout(_) => UpstreamErrorKind::ResponseTimeout,
            Self::Connect(
                FetchError::Connection(_) | FetchError::Proxy(_) | FetchError::Socket(_),
                _,
            )
            | Self::Broken(_)
            | Self::Stale(_)
            | Self::TooLarge(_)
            | Self::Malformed { .. } => UpstreamErrorKind::Connection,
            Self::Client | Self::BodyTimeout(_) => UpstreamErrorKind::Client,
            Self::Protocol => UpstreamErrorKind::Protocol,
            Self::Host => UpstreamErrorKind::Claim,
        }
    }
}

/// The end of a message: the line that is meant, if it is known.
fn located(line: Option<&LineError>) -> String {
    line.map_or_else(String::new, |line| format!(": {line}"))
}
