//! Every failure of the data plane, its status, its words for people and for operators. The only
//! place where an error becomes HTTP.

use std::sync::Arc;

use axum::body::Body;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};

use super::auth::authentik_limiter::LimitExceeded;
use super::dialect::{MalformedAuthRequest, Surface};
use super::endpoint::Endpoint;
use super::hosts::HostMismatch;
use super::listener::NotOffered;
use super::proxy_error::ProxyError;
use super::response::{GatewayResponse, RequestId, html, json};
use crate::model::AuthorityError;
use crate::oidc::OidcError;
use crate::route::Site;
use crate::store::StoreError;
use crate::telemetry::metrics::{LoginOutcome, Metrics, Rejection};
use crate::web::page::Page;

/// Header that tells the operator of an nginx why it shows an error page.
const REASON: HeaderName = HeaderName::from_static("x-authentik-proxy-error");

/// Why a request is not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GatewayError {
    /// Authentik has not told us yet what to protect.
    #[error("no configuration from authentik yet; the log of the control plane says why")]
    NotConfigured,
    /// A `Host` that is no host.
    #[error("the Host header is not acceptable: {0}")]
    Host(#[from] AuthorityError),
    /// A request that is for one host, and for another one.
    #[error(
        "there are two Host headers, or one that is not :authority; the client, or a proxy that adds one, must send one host"
    )]
    TwoHosts,
    /// A body in another transfer coding than `chunked` (RFC 9112 section 6.1).
    #[error("the request's Transfer-Encoding is not exactly \"chunked\"")]
    TransferCoding,
    /// A trusted peer that says two hosts, of two applications.
    #[error(
        "Host is {own:?} and X-Forwarded-Host is {forwarded:?}, which are two applications; the reverse proxy must set X-Forwarded-Host to the host that it routes by, or remove it"
    )]
    TwoApplications {
        /// `Host`, or that of the request line.
        own: String,
        /// `X-Forwarded-Host`.
        forwarded: String,
    },
    /// No application has this host.
    #[error(
        "no app for hostname {0:?}; assign its provider to this outpost, or fix the provider's external host"
    )]
    NoApplication(String),
    /// The reverse proxy does not say what was asked for.
    #[error("{0}")]
    MalformedAuthRequest(#[from] MalformedAuthRequest),
    /// An authorization request whose hosts name different applications.
    #[error("{0}")]
    HostMismatch(HostMismatch),
    /// Not here, or not at all.
    #[error("{0}")]
    NotOffered(NotOffered),
    /// Not a page of ours.
    #[error("there is no such page")]
    NotFound(Arc<Site>),
    /// A reverse proxy asks, or a client as if it were one, where all traffic passes through us.
    #[error(
        "the application is in proxy mode, where no reverse proxy asks; pass its requests on to the outpost, or set its provider to forward auth"
    )]
    ProxyMode(Arc<Site>),
    /// Sessions cannot be looked up.
    #[error("{1}")]
    Store(Arc<Site>, StoreError),
    /// Not for this person, or for nobody.
    #[error("denied: {reason}")]
    Denied {
        /// The application.
        site: Arc<Site>,
        /// Why, for operators.
        reason: String,
    },
    /// A path for which a server behind us may look in another application of the host.
    #[error(
        "ambiguous path: servers normalize it differently, and some would take it for another application's of the host"
    )]
    Ambiguous(Arc<Site>),
    /// Credentials that authentik could not be asked about.
    #[error("credentials could not be verified: {failure}")]
    Credentials {
        /// Whom they are for.
        site: Arc<Site>,
        /// What happened.
        failure: Arc<OidcError>,
    },
    /// More of what only authentik can answer than a client may cause.
    #[error("{1}")]
    TooManyRequests(Arc<Site>, LimitExceeded),
    /// A method that no application is asked with.
    #[error("the method is not passed on")]
    Method(Arc<Site>),
    /// A method that a page of ours does not have, and those that it has.
    #[error("the page has only the methods {allow}")]
    PageMethod {
        /// Whose page.
        site: Arc<Site>,
        /// `Allow` (RFC 9110 section 10.2.1).
        allow: &'static str,
    },
    /// A page of ours that acts, asked for by a script, an image, a prefetch or by `HEAD`.
    #[error("the page acts only where a browser opens it")]
    Background(Arc<Site>),
    /// The application does not answer.
    #[error("{0}")]
    Upstream(Box<ProxyError>),
    /// A login that cannot be finished.
    #[error("{failure}")]
    Login {
        /// Whose login.
        site: Arc<Site>,
        /// What happened.
        failure: LoginFailure,
        /// Where the person wanted to go, for another try.
        target: String,
    },
}

/// Why a login ends with a page instead of a redirect.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginFailure {
    /// authentik says no (RFC 6749 section 4.1.2.1).
    #[error("authentik ended the login with {code:?}: {description}")]
    Denied {
        /// `error`.
        code: String,
        /// `error_description`.
        description: String,
    },
    /// The state or the browser's cookie is lost, again.
    #[error("the login could not be matched to this browser, even after starting over: {0}")]
    Unmatched(&'static str),
    /// The person comes back again and again without a session.
    #[error(
        "signed in repeatedly within a minute, but no session cookie comes back; check that the reverse proxy forwards cookies and that external host and scheme are right"
    )]
    Loop {
        /// `Set-Cookie` value that lets the person try again.
        reset: SecretString,
    },
    /// Our own callback is protected instead of being passed to us.
    #[error(
        "the reverse proxy asks for a sign-in at our own callback; it must pass /outpost.goauthentik.io/start, /callback and /sign_out to the outpost without asking first"
    )]
    Misrouted,
    /// The back channel.
    #[error("{0}")]
    Oidc(OidcError),
}

impl LoginFailure {
    fn outcome(&self) -> LoginOutcome {
        match self {
            Self::Denied { .. } => LoginOutcome::Denied,
            Self::Unmatched(_) => LoginOutcome::StateMismatch,
            Self::Loop { .. } => LoginOutcome::RedirectLoop,
            Self::Misrouted => LoginOutcome::Misrouted,
            Self::Oidc(OidcError::Unreachable { .. }) => LoginOutcome::Unreachable,
            Self::Oidc(_) => LoginOutcome::Invalid,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Denied { code, .. } if code == "access_denied" => StatusCode::FORBIDDEN,
            Self::Denied { .. }
            | Self::Unmatched(_)
            | Self::Loop { .. }
            | Self::Oidc(OidcError::CodeRefused) => StatusCode::BAD_REQUEST,
            Self::Oidc(OidcError::Unreachable { .. }) => StatusCode::BAD_GATEWAY,
            Self::Misrouted | Self::Oidc(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn words(&self) -> (&'static str, &'static str) {
        match self {
            Self::Denied { code, .. } if code == "access_denied" => (
                "Access denied",
                "You are not permitted to use this application. Ask its administrator for access.",
            ),
            Self::Denied { .. } => (
                "Sign-in was not completed",
                "The sign-in service ended the sign-in. Please try again.",
            ),
            Self::Unmatched(_) => (
                "Sign-in could not be completed",
                "Your browser did not send back what was needed to finish. Allow cookies for this site and try again.",
            ),
            Self::Loop { .. } => (
                "Signed in, but not recognised",
                "You were signed in several times in a row, but the application does not see it. Allow cookies for this site; if it goes on, tell your administrator.",
            ),
            Self::Oidc(OidcError::CodeRefused) => (
                "Sign-in took too long",
                "The sign-in can no longer be completed. Please try again.",
            ),
            Self::Oidc(OidcError::Unreachable { .. }) => (
                "Sign-in service unreachable",
                "The sign-in service does not answer. Please try again in a moment.",
            ),
            Self::Misrouted | Self::Oidc(_) => (
                "Sign-in is misconfigured",
                "Your sign-in could not be used. Your administrator finds the reason in the log.",
            ),
        }
    }
}

impl GatewayError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotConfigured | Self::Store(..) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Host(_)
            | Self::TwoHosts
            | Self::TwoApplications { .. }
            | Self::HostMismatch(_)
            | Self::NoApplication(_) => StatusCode::BAD_REQUEST,
            Self::TransferCoding => StatusCode::NOT_IMPLEMENTED,
            Self::MalformedAuthRequest(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotFound(_) | Self::ProxyMode(_) | Self::NotOffered(_) => StatusCode::NOT_FOUND,
            Self::Denied { .. } | Self::Ambiguous(_) | Self::Background(_) => StatusCode::FORBIDDEN,
            Self::Credentials { .. } => StatusCode::BAD_GATEWAY,
            Self::TooManyRequests(..) => StatusCode::TOO_MANY_REQUESTS,
            Self::Method(_) | Self::PageMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Upstream(error) => error.status(),
            Self::Login { failure, .. } => failure.status(),
        }
    }

    fn words(&self) -> (&'static str, &'static str) {
        match self {
            Self::NotConfigured => (
                "Not ready yet",
                "The sign-in service has not been reached yet. Please try again in a moment.",
            ),
            Self::Store(..) => (
                "Sessions unavailable",
                "Your session cannot be checked right now. Please try again in a moment.",
            ),
            Self::Host(_)
            | Self::TwoHosts
            | Self::TwoApplications { .. }
            | Self::HostMismatch(_) => ("Bad request", "The address of this request is not valid."),
            Self::TransferCoding => (
                "Not implemented",
                "The body of this request is encoded in a way that is not supported.",
            ),
            Self::NoApplication(_) | Self::MalformedAuthRequest(_) => (
                "Misconfigured",
                "This address is not set up. Tell your administrator.",
            ),
            Self::NotFound(_) | Self::ProxyMode(_) | Self::NotOffered(_) => {
                ("Not found", "There is no such page here.")
            }
            Self::Denied { .. } | Self::Ambiguous(_) => (
                "Access denied",
                "You are not permitted to open this page. Ask its administrator for access.",
            ),
            Self::Credentials { .. } => (
                "Sign-in service unreachable",
                "Your credentials cannot be checked right now. Please try again in a moment.",
            ),
            Self::TooManyRequests(..) => (
                "Too many attempts",
                "There were too many attempts to sign in. Please try again later.",
            ),
            Self::Method(_) => ("Not allowed", "Requests of this kind are not passed on."),
            Self::PageMethod { .. } => ("Not allowed", "This page does not answer such requests."),
            Self::Background(_) => (
                "Nothing was done",
                "This address only acts when it is opened as a page. Open it in the browser.",
            ),
            Self::Upstream(error) => error.words(),
            Self::Login { failure, .. } => failure.words(),
        }
    }

    /// Counts it by its kind.
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
            Self::HostMismatch(_) => Rejection::ConflictingHosts,
            Self::NotOffered(_) => Rejection::NotOffered,
            Self::NotFound(_) | Self::ProxyMode(_) => Rejection::NotFound,
            Self::Store(..) => Rejection::StoreUnavailable,
            Self::Denied { .. } => Rejection::Rule,
            Self::Ambiguous(_) => Rejection::AmbiguousPath,
            Self::Credentials { .. } => Rejection::AuthentikUnavailable,
            Self::TooManyRequests(..) => Rejection::TooManyRequests,
            Self::Method(_) | Self::PageMethod { .. } => Rejection::MethodNotAllowed,
            Self::Background(_) => Rejection::NotNavigation,
        };
        match self.site() {
            Some(site) => site.metrics.rejections.count(reason),
            None => metrics.reject(reason),
        }
    }

    /// Whose application it is about, if that is known.
    fn site(&self) -> Option<&Arc<Site>> {
        match self {
            Self::NotFound(site)
            | Self::ProxyMode(site)
            | Self::Method(site)
            | Self::PageMethod { site, .. }
            | Self::Background(site)
            | Self::Ambiguous(site)
            | Self::Store(site, _)
            | Self::TooManyRequests(site, _)
            | Self::Denied { site, .. }
            | Self::Credentials { site, .. }
            | Self::Login { site, .. } => Some(site),
            Self::Upstream(error) => Some(&error.site),
            _ => None,
        }
    }

    /// What a gRPC call to an application is told. Other failures are not about an application in
    /// proxy mode, and stay what they are.
    fn grpc_message(&self) -> Option<&'static str> {
        match self {
            Self::Store(..)
            | Self::Denied { .. }
            | Self::Ambiguous(_)
            | Self::Credentials { .. }
            | Self::TooManyRequests(..)
            | Self::Upstream(_) => Some(self.words().1),
            _ => None,
        }
    }

    /// The answer, with the operator's message for the log.
    pub(crate) fn answer(self, endpoint: Endpoint<'_>, id: &RequestId) -> GatewayResponse {
        let error = (!matches!(self, Self::NotFound(_))).then(|| self.to_string());
        let site = self.site().map(Arc::clone);
        let response = if matches!(endpoint, Endpoint::Forward(Surface::Nginx(_))) {
            // nginx makes its own page of any status but 401 and 403.
            let mut response = Response::new(Body::empty());
            *response.status_mut() = match self {
                Self::Denied { .. }
                | Self::Ambiguous(_)
                | Self::HostMismatch(_)
                | Self::TooManyRequests(..) => StatusCode::FORBIDDEN,
                Self::ProxyMode(_) | Self::NotOffered(_) => StatusCode::NOT_FOUND,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            if let Ok(reason) = HeaderValue::from_str(&self.to_string().replace('"', "'")) {
                response.headers_mut().insert(REASON, reason);
            }
            response
        } else if let Self::NoApplication(host) = &self {
            json(
                self.status(),
                &serde_json::json!({
                    "Message": "no app for hostname",
                    "Host": host,
                    "Detail": format!("Check the outpost settings and make sure '{host}' is included."),
                }),
            )
        } else {
            let (title, text) = self.words();
            let retry = match &self {
                Self::Login { target, .. } => Some(super::handlers::login::retry_url(target)),
                _ => None,
            };
            let detail = match &self {
                Self::Upstream(error) if error.shows_detail() => Some(error.to_string()),
                _ => None,
            };
            let application = site.as_ref().map(|site| site.application.title.as_str());
            let id = id.to_string();
            let page = Page {
                title,
                text,
                detail: detail.as_deref(),
                application,
                retry: retry.as_deref(),
                request_id: &id,
                ..Page::default()
            };
            let mut response = html(self.status(), &page);
            if let Self::TooManyRequests(_, limit) = &self {
                let seconds = HeaderValue::from(limit.retry_after());
                response.headers_mut().insert(header::RETRY_AFTER, seconds);
            }
            if self.status() == StatusCode::REQUEST_TIMEOUT || matches!(self, Self::TransferCoding)
            {
                // What else the client sends would belong to no request (RFC 9110 section 15.5.9),
                // or nobody knows where it begins.
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            if let Self::PageMethod { allow, .. } = &self {
                let allow = HeaderValue::from_static(allow);
                response.headers_mut().insert(header::ALLOW, allow);
            }
            if let Self::Login {
                failure: LoginFailure::Loop { reset },
                ..
            } = &self
            {
                super::handlers::login::append_cookie(&mut response, reset.expose_secret());
            }
            response
        };
        let grpc_message = (endpoint == Endpoint::Other)
            .then(|| self.grpc_message())
            .flatten();
        let session = match self {
            Self::Upstream(error) => error.session,
            _ => None,
        };
        GatewayResponse {
            response,
            site,
            session,
            quiet: false,
            from_upstream: false,
            error,
            grpc_message,
        }
    }
}
