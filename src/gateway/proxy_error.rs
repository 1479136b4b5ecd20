//! Requests that were proxied without success: cause, hint for operators, kind for the metrics.

use std::fmt;
use std::sync::Arc;

use crate::model::{BackendError, Hint, HintText};
use crate::route::{LiveSession, Site};
use crate::telemetry::metrics::UpstreamErrorKind;
use crate::upstream::UpstreamError;

/// A request that was proxied without success.
#[derive(Debug)]
pub(crate) struct ProxyError {
    /// The application.
    pub(crate) site: Arc<Site>,
    /// The address that it was sent to.
    pub(crate) address: String,
    /// The session of the request.
    pub(crate) session: Option<Arc<LiveSession>>,
    /// What happened.
    pub(crate) cause: ProxyFailure,
}

/// Why a request could not be proxied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyFailure {
    /// The application gave no response.
    #[error("{0}")]
    Upstream(#[from] UpstreamError),
    /// The user's token names another address, which is not usable.
    #[error("the claim backend_override in the user's token cannot be used: {0}")]
    BackendOverride(#[from] BackendError),
    /// The user's token names another host, which is not a host.
    #[error("the claim host_header in the user's token is not a host")]
    HostHeader,
}

impl ProxyError {
    /// Counts it by its kind.
    pub(crate) fn count(&self) {
        let kind = match &self.cause {
            ProxyFailure::Upstream(error) => error.kind(),
            ProxyFailure::BackendOverride(_) | ProxyFailure::HostHeader => UpstreamErrorKind::Claim,
        };
        if let Some(metrics) = &self.site.upstream_metrics {
            metrics.errors.count(kind);
        }
    }

    /// Whether the user may read the operator's text: administrators of authentik only.
    pub(crate) fn shows_detail(&self) -> bool {
        let session = self.session.as_ref();
        session.is_some_and(|session| session.claims.ak_proxy.is_superuser)
    }
}

impl std::error::Error for ProxyError {}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            site,
            address,
            cause,
            ..
        } = self;
        let name = &site.application.name;
        write!(
            f,
            "the application of provider {name:?} at {address}: {cause}"
        )
    }
}

impl Hint for ProxyError {
    fn hint(&self) -> Option<HintText> {
        use UpstreamError as E;
        let hint = match &self.cause {
            ProxyFailure::Upstream(E::ResponseTimeout(_)) => {
                "check the application, or allow more time with AUTHENTIK_PROXY_UPSTREAM__RESPONSE_TIMEOUT"
            }
            ProxyFailure::Upstream(E::Connect(error, _) | E::Broken(error) | E::Stale(error)) => {
                error.hint_for_application()
            }
            ProxyFailure::Upstream(E::TooLarge(_)) => UpstreamError::TOO_LARGE_HINT,
            ProxyFailure::Upstream(E::Malformed { .. }) => UpstreamError::MALFORMED_HINT,
            ProxyFailure::Upstream(E::Client) => {
                "the client or a proxy in front of the outpost gave up"
            }
            ProxyFailure::Upstream(E::BodyTimeout(_)) => {
                "the client or a proxy in front of the outpost stopped sending: allow more time with AUTHENTIK_PROXY_LISTEN__BODY_TIMEOUT if it only pauses"
            }
            ProxyFailure::Upstream(E::Protocol) => "check the application",
            ProxyFailure::Upstream(E::Host) => "correct the provider's external host",
            ProxyFailure::BackendOverride(_) | ProxyFailure::HostHeader => {
                "correct the property mapping of the provider at authentik that sets it"
            }
        };
        Some(hint.into())
    }
}
