//! Every failure of the data plane. Its HTTP response is in [`error_response`](super::error_response).

use std::sync::Arc;

use secrecy::SecretString;

use super::auth::authentik_limiter::LimitExceeded;
use super::auth::cookie_sessions::CookieError;
use super::proxy_error::ProxyError;
use crate::gateway::request::dialect::MalformedAuthRequest;
use crate::gateway::request::hosts::{HostMismatch, RoutedHostError};
use crate::gateway::request::listener::NotOffered;
use crate::model::AuthorityError;
use crate::oidc::OidcError;
use crate::route::Site;
use crate::store::StoreError;
use crate::telemetry::metrics::{LoginOutcome, Metrics, Rejection};

/// Why a request is not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GatewayError {
    /// No configuration has been loaded from authentik yet.
    #[error("no configuration from authentik yet")]
    NotConfigured,
    /// An invalid `Host`.
    #[error("invalid Host header: {0}")]
    Host(#[from] AuthorityError),
    /// A request with two different hosts.
    #[error("there are two Host headers, or one that is not :authority")]
    TwoHosts,
    /// A body in another transfer coding than `chunked` (RFC 9112 section 6.1).
    #[error("the request's Transfer-Encoding is not exactly \"chunked\"")]
    TransferCoding,
    /// A request of a trusted peer with two hosts, of two applications.
    #[error(
        "{name} is {other:?} and X-Forwarded-Host is {forwarded:?}, which are two applications"
    )]
    TwoApplications {
        /// The header with the other host.
        name: &'static str,
        /// The other host.
        other: String,
        /// The last element of `X-Forwarded-Host`.
        forwarded: String,
    },
    /// No application has this host.
    #[error("no app for hostname {0:?}")]
    NoApplication(String),
    /// The reverse proxy does not describe the user's request.
    #[error("{0}")]
    MalformedAuthRequest(MalformedAuthRequest),
    /// A reverse proxy passes on a URL of a client that is none.
    #[error("the client's URL is not valid: {0}")]
    ClientUrl(MalformedAuthRequest),
    /// An authorization request whose hosts name different applications.
    #[error("{0}")]
    HostMismatch(#[from] HostMismatch),
    /// The listener does not answer the request.
    #[error("{0}")]
    NotOffered(#[from] NotOffered),
    /// The outpost has no such page.
    #[error("there is no such page")]
    NotFound(Arc<Site>),
    /// An authorization request for an application in proxy mode, whose traffic passes through the
    /// outpost.
    #[error("the application is in proxy mode, where no reverse proxy asks")]
    ProxyMode(Arc<Site>),
    /// Sessions cannot be looked up.
    #[error("{1}")]
    Store(Arc<Site>, StoreError),
    /// The request is denied, for this user or for all.
    #[error("denied: {reason}")]
    Denied {
        /// The application.
        site: Arc<Site>,
        /// Why, for operators.
        reason: String,
        /// Whether the user has a session, so that another account may help.
        is_signed_in: bool,
    },
    /// A path that a server behind the outpost may take for one of another application of the host.
    #[error(
        "ambiguous path: servers normalize it differently, and some would take it for another application's of the host"
    )]
    AmbiguousPath(Arc<Site>),
    /// Credentials that authentik could not check.
    #[error("credentials could not be verified: {failure}")]
    Credentials {
        /// The application.
        site: Arc<Site>,
        /// What happened.
        failure: Arc<OidcError>,
    },
    /// A client causes more requests to authentik than it may.
    #[error("{1}")]
    LimitExceeded(Arc<Site>, LimitExceeded),
    /// A method that is not passed on to applications.
    #[error("the method is not passed on")]
    UnsupportedMethod(Arc<Site>),
    /// A method that a page of the outpost does not support.
    #[error("the page has only the methods {allow}")]
    PageMethod {
        /// The application.
        site: Arc<Site>,
        /// `Allow` (RFC 9110 section 10.2.1).
        allow: &'static str,
    },
    /// A request of a script, an image, a prefetch or `HEAD` for a page that has an effect.
    #[error("the page acts only where a browser opens it")]
    Background(Arc<Site>),
    /// The application does not answer.
    #[error("{0}")]
    Upstream(Box<ProxyError>),
    /// A login that cannot be finished.
    #[error("{failure}")]
    Login {
        /// The application.
        site: Arc<Site>,
        /// What happened.
        failure: LoginFailure,
        /// The return target, for another attempt.
        target: String,
    },
}

/// Why a login ends with a page instead of a redirect.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginFailure {
    /// authentik refused the login.
    #[error("{0}")]
    Denied(Denied),
    /// The state or the browser's login cookie is lost, again.
    #[error("the login could not be matched to this browser, even after starting over: {0}")]
    Unmatched(&'static str),
    /// The browser comes back again and again without a session.
    #[error("signed in repeatedly within a minute, but no session cookie comes back")]
    Loop {
        /// `Set-Cookie` value that resets the counter of attempts.
        reset: SecretString,
    },
    /// The callback is protected instead of being passed to the outpost.
    #[error("the reverse proxy asks for a sign-in at the outpost's own callback")]
    Misrouted,
    /// No cookie of the browser could hold the return target.
    #[error("the URL to return to after the sign-in is longer than 8 KiB")]
    TargetTooLong,
    /// The session does not fit into cookies.
    #[error("{0}")]
    Cookie(CookieError),
    /// A request to authentik failed.
    #[error("{0}")]
    Oidc(OidcError),
}

/// authentik's error response (RFC 6749 section 4.1.2.1).
#[derive(Debug, thiserror::Error)]
#[error("authentik ended the login with {code:?}: {description}")]
pub(crate) struct Denied {
    /// `error`, 64 characters at most.
    pub(crate) code: String,
    /// `error_description`, 256 characters at most.
    pub(crate) description: String,
    /// Whether the response belongs to a login that this browser started, so that authentik wrote it.
    pub(crate) is_genuine: bool,
}

/// The error codes of RFC 6749 section 4.1.2.1 and OIDC Core section 3.1.2.6.
const ERROR_CODES: [&str; 16] = [
    "access_denied",
    "account_selection_required",
    "consent_required",
    "interaction_required",
    "invalid_request",
    "invalid_request_object",
    "invalid_request_uri",
    "invalid_scope",
    "login_required",
    "registration_not_supported",
    "request_not_supported",
    "request_uri_not_supported",
    "server_error",
    "temporarily_unavailable",
    "unauthorized_client",
    "unsupported_response_type",
];

impl Denied {
    /// Reads an error response, of which nothing is known yet.
    pub(crate) fn new(code: &str, description: &str) -> Self {
        let cut = |text: &str, length| {
            let characters = text.chars().filter(|character| !character.is_control());
            characters.take(length).collect()
        };
        Self {
            code: cut(code, 64),
            description: cut(description, 256),
            is_genuine: false,
        }
    }

    /// Whether the user, or a policy for the user, denied.
    pub(crate) fn is_access_denied(&self) -> bool {
        self.code == "access_denied"
    }

    /// What a page shows of it: of a response that anyone may have written, a registered code only.
    pub(crate) fn shown(&self) -> Option<String> {
        match (self.is_genuine, self.description.is_empty()) {
            (true, false) => Some(format!("{}: {}", self.code, self.description)),
            (true, true) => Some(self.code.clone()),
            (false, _) => ERROR_CODES
                .contains(&self.code.as_str())
                .then(|| self.code.clone()),
        }
    }
}

impl LoginFailure {
    fn outcome(&self) -> LoginOutcome {
        match self {
            Self::Denied(_) => LoginOutcome::Denied,
            Self::Unmatched(_) => LoginOutcome::StateMismatch,
            Self::Loop { .. } => LoginOutcome::RedirectLoop,
            Self::Misrouted => LoginOutcome::Misrouted,
            Self::TargetTooLong => LoginOutcome::TargetTooLong,
            Self::Cookie(_) => LoginOutcome::SessionTooLarge,
            Self::Oidc(OidcError::Unreachable { .. }) => LoginOutcome::Unreachable,
            Self::Oidc(_) => LoginOutcome::Invalid,
        }
    }
}

impl GatewayError {
    /// Counts the failure by its kind.
    pub(crate) fn count(&self, metrics: &Metrics) {
        let reason = match self {
            Self::Login { site, failure, .. } => {
                return site.metrics.logins.count(failure.outcome());
            }
            Self::Upstream(error) => return error.count(),
            Self::NotConfigured => Rejection::NotConfigured,
            Self::Host(_) | Self::TwoHosts | Self::TwoApplications { .. } => Rejection::InvalidHost,
            Self::TransferCoding => Rejection::UnsupportedTransferCoding,
            Self::NoApplication(_) => Rejection::UnknownHost,
            Self::MalformedAuthRequest(_) => Rejection::MisconfiguredProxy,
            Self::ClientUrl(_) => Rejection::InvalidUrl,
            Self::HostMismatch(_) => Rejection::ConflictingHosts,
            Self::NotOffered(_) => Rejection::NotOffered,
            Self::NotFound(_) | Self::ProxyMode(_) => Rejection::NotFound,
            Self::Store(..) => Rejection::StoreUnavailable,
            Self::Denied { .. } => Rejection::Rule,
            Self::AmbiguousPath(_) => Rejection::AmbiguousPath,
            Self::Credentials { .. } => Rejection::AuthentikUnavailable,
            Self::LimitExceeded(..) => Rejection::TooManyRequests,
            Self::UnsupportedMethod(_) | Self::PageMethod { .. } => Rejection::MethodNotAllowed,
            Self::Background(_) => Rejection::NotNavigation,
        };
        match self.site() {
            Some(site) => site.metrics.rejections.count(reason),
            None => metrics.reject(reason),
        }
    }

    /// The application, if it is known.
    pub(super) fn site(&self) -> Option<&Arc<Site>> {
        match self {
            Self::NotFound(site)
            | Self::ProxyMode(site)
            | Self::UnsupportedMethod(site)
            | Self::PageMethod { site, .. }
            | Self::Background(site)
            | Self::AmbiguousPath(site)
            | Self::Store(site, _)
            | Self::LimitExceeded(site, _)
            | Self::Denied { site, .. }
            | Self::Credentials { site, .. }
            | Self::Login { site, .. } => Some(site),
            Self::Upstream(error) => Some(&error.site),
            _ => None,
        }
    }
}

impl From<RoutedHostError> for GatewayError {
    fn from(error: RoutedHostError) -> Self {
        match error {
            RoutedHostError::Mismatch(error) => Self::HostMismatch(error),
            RoutedHostError::Malformed(error) => error.into(),
        }
    }
}

impl From<MalformedAuthRequest> for GatewayError {
    fn from(error: MalformedAuthRequest) -> Self {
        if error.is_from_client() {
            Self::ClientUrl(error)
        } else {
            Self::MalformedAuthRequest(error)
        }
    }
}
