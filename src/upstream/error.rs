//! Why an application gives no answer, in words for people and for operators.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::model::{BackendError, Session};
use crate::route::Site;
use crate::telemetry::metrics::UpstreamError;
use crate::web::client::FetchError;

/// A request that was passed on without success.
#[derive(Debug)]
pub(crate) struct Unanswered {
    /// The application.
    pub(crate) site: Arc<Site>,
    /// Where it was looked for.
    pub(crate) address: String,
    /// Who asked.
    pub(crate) session: Option<Arc<Session>>,
    /// What happened.
    pub(crate) failure: Failure,
}

/// What happened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// There is no connection.
    #[error("{0}")]
    Connect(FetchError, Duration),
    /// There is a connection, and no answer.
    #[error("no answer began within {0:?}")]
    Silent(Duration),
    /// The connection ended before the answer began.
    #[error("the connection ended without an answer: {0}")]
    Broken(FetchError),
    /// The same with a connection that had served before: it may have been closed at the other end
    /// just when we took it.
    #[error("the connection ended without an answer: {0}")]
    Stale(FetchError),
    /// It was the client that did not finish its request.
    #[error("the client did not finish its request")]
    Client,
    /// It stopped in the middle of its request.
    #[error("the client sent nothing more of its request for {0:?}")]
    Stalled(Duration),
    /// The application wants to speak a protocol that nobody asked for.
    #[error("it changed to another protocol than was asked for")]
    Protocol,
    /// A claim that names no place.
    #[error("the claim backend_override in the person's token cannot be used: {0}")]
    Override(#[from] BackendError),
    /// A claim that is no host.
    #[error("the claim host_header in the person's token is no host")]
    HostHeader,
}

impl Failure {
    fn kind(&self) -> UpstreamError {
        match self {
            Self::Connect(FetchError::Dns, _) => UpstreamError::Dns,
            Self::Connect(FetchError::Refused, _) => UpstreamError::Refused,
            Self::Connect(FetchError::Tls(_), _) => UpstreamError::Tls,
            Self::Connect(FetchError::Timeout, _) => UpstreamError::ConnectTimeout,
            Self::Silent(_) => UpstreamError::ResponseTimeout,
            Self::Connect(FetchError::Connection(_), _) | Self::Broken(_) | Self::Stale(_) => {
                UpstreamError::Connection
            }
            Self::Client | Self::Stalled(_) => UpstreamError::Client,
            Self::Protocol => UpstreamError::Protocol,
            Self::Override(_) | Self::HostHeader => UpstreamError::Claim,
        }
    }

    /// RFC 9110 sections 15.5.9, 15.6.3 and 15.6.5.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Silent(_) | Self::Connect(FetchError::Timeout, _) => StatusCode::GATEWAY_TIMEOUT,
            Self::Client => StatusCode::BAD_REQUEST,
            Self::Stalled(_) => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    /// Headline and text for people.
    pub(crate) fn words(&self) -> (&'static str, &'static str) {
        match self {
            Self::Silent(_) => (
                "The application does not answer",
                "It was asked, but no answer came in time. Please try again in a moment.",
            ),
            Self::Client | Self::Stalled(_) => {
                ("Bad request", "The request did not arrive as a whole.")
            }
            Self::Override(_) | Self::HostHeader | Self::Protocol => (
                "Misconfigured",
                "This application is not set up correctly. Tell your administrator.",
            ),
            Self::Connect(..) | Self::Broken(_) | Self::Stale(_) => (
                "The application cannot be reached",
                "The application behind this address does not answer right now. Please try again in a moment.",
            ),
        }
    }

    /// What an operator should look at.
    fn advice(&self) -> &'static str {
        match self {
            Self::Silent(_) => {
                "check the application, or allow more time with AUTHENTIK_PROXY_UPSTREAM__RESPONSE_TIMEOUT"
            }
            Self::Connect(error, _) | Self::Broken(error) | Self::Stale(error) => {
                error.advice_for_applications()
            }
            Self::Client => "the client or a proxy in front of us gave up",
            Self::Stalled(_) => {
                "the client or a proxy in front of us stopped sending; allow more time with AUTHENTIK_PROXY_LISTEN__BODY_TIMEOUT if it only pauses"
            }
            Self::Protocol => "check the application",
            Self::Override(_) | Self::HostHeader => {
                "correct the property mapping of the provider at authentik that sets it"
            }
        }
    }
}

impl Unanswered {
    /// Counts it by its kind.
    pub(crate) fn count(&self) {
        if let Some(metrics) = &self.site.upstream_metrics {
            metrics.errors.count(self.failure.kind());
        }
    }

    /// Whether the person may read this text.
    pub(crate) fn is_told(&self) -> bool {
        let session = self.session.as_ref();
        session.is_some_and(|session| session.claims.ak_proxy.is_superuser)
    }
}

impl std::error::Error for Unanswered {}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            site,
            address,
            failure,
            ..
        } = self;
        let name = &site.application.name;
        write!(
            f,
            "the application of provider {name:?} at {address}: {failure}; {}",
            failure.advice()
        )
    }
}
