//! The HTTP response of every failure: status, text for users, headers. The only place where an error
//! becomes HTTP.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use secrecy::ExposeSecret as _;
use tracing::Level;

use super::error::{GatewayError, LoginFailure};
use super::proxy_error::{ProxyError, ProxyFailure};
use super::response::{GatewayResponse, RequestId, append_cookie, html, json};
use crate::gateway::request::endpoint::{Endpoint, OUTPOST_PATH, own_url, start_url};
use crate::model::{Diagnostic, Hint as _};
use crate::oidc::OidcError;
use crate::upstream::UpstreamError;
use crate::web::client::FetchError;
use crate::web::page::Page;

/// Header with the reason of an error for operators of nginx, which shows an error page of its own.
const REASON: HeaderName = HeaderName::from_static("x-authentik-proxy-error");

impl LoginFailure {
    fn status(&self) -> StatusCode {
        match self {
            Self::Denied(denied) if denied.is_access_denied() => StatusCode::FORBIDDEN,
            Self::Denied(_)
            | Self::Unmatched(_)
            | Self::Loop { .. }
            | Self::Oidc(OidcError::CodeRefused) => StatusCode::BAD_REQUEST,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::Oidc(OidcError::Unreachable { .. }) => StatusCode::BAD_GATEWAY,
            Self::Misrouted | Self::Cookie(_) | Self::Oidc(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn public_text(&self) -> (&'static str, &'static str) {
        match self {
            Self::Denied(denied) if denied.is_access_denied() => (
                "Access denied",
                "You are not permitted to use this application. Ask its administrator for access.",
            ),
            Self::Denied(_) => (
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
            Self::TargetTooLong => (
                "The address is too long",
                "You have to sign in, and the address that you wanted to open is too long to come back to afterwards. Sign in at the application's start page first, then open the address again.",
            ),
            Self::Cookie(_) => (
                "Too many groups for a cookie",
                "You were signed in, but what the application has to know about you is too large for your browser's cookies. Your administrator finds in the log what to change.",
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

impl ProxyError {
    /// RFC 9110 sections 15.5.9, 15.6.3 and 15.6.5.
    fn status(&self) -> StatusCode {
        use UpstreamError as E;
        let ProxyFailure::Upstream(error) = &self.cause else {
            return StatusCode::BAD_GATEWAY;
        };
        match error {
            E::ResponseTimeout(_) | E::Connect(FetchError::Timeout, _) => {
                StatusCode::GATEWAY_TIMEOUT
            }
            E::Client => StatusCode::BAD_REQUEST,
            E::BodyTimeout(_) => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    /// Headline and text for users.
    fn public_text(&self) -> (&'static str, &'static str) {
        use UpstreamError as E;
        match &self.cause {
            ProxyFailure::Upstream(E::ResponseTimeout(_)) => (
                "The application does not answer",
                "It was asked, but no answer came in time. Please try again in a moment.",
            ),
            ProxyFailure::Upstream(E::Client | E::BodyTimeout(_)) => {
                ("Bad request", "The request did not arrive as a whole.")
            }
            ProxyFailure::BackendOverride(_)
            | ProxyFailure::HostHeader
            | ProxyFailure::Upstream(E::Protocol | E::Host) => (
                "Misconfigured",
                "This application is not set up correctly. Tell your administrator.",
            ),
            ProxyFailure::Upstream(E::TooLarge(_) | E::Malformed { .. }) => (
                "The application's answer cannot be read",
                "The application behind this address answered, but not as it should. Tell your administrator.",
            ),
            ProxyFailure::Upstream(E::Connect(..) | E::Broken(_) | E::Stale(_)) => (
                "The application cannot be reached",
                "The application behind this address does not answer right now. Please try again in a moment.",
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
            | Self::ClientUrl(_)
            | Self::NoApplication(_) => StatusCode::BAD_REQUEST,
            Self::TransferCoding => StatusCode::NOT_IMPLEMENTED,
            Self::MalformedAuthRequest(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotFound(_) | Self::ProxyMode(_) | Self::NotOffered(_) => StatusCode::NOT_FOUND,
            Self::Denied { .. } | Self::AmbiguousPath(_) | Self::Background(_) => {
                StatusCode::FORBIDDEN
            }
            Self::Credentials { .. } => StatusCode::BAD_GATEWAY,
            Self::LimitExceeded(..) => StatusCode::TOO_MANY_REQUESTS,
            Self::UnsupportedMethod(_) | Self::PageMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Upstream(error) => error.status(),
            Self::Login { failure, .. } => failure.status(),
        }
    }

    fn public_text(&self) -> (&'static str, &'static str) {
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
            | Self::ClientUrl(_)
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
            Self::Denied { .. } | Self::AmbiguousPath(_) => (
                "Access denied",
                "You are not permitted to open this page. Ask its administrator for access.",
            ),
            Self::Credentials { .. } => (
                "Sign-in service unreachable",
                "Your credentials cannot be checked right now. Please try again in a moment.",
            ),
            Self::LimitExceeded(..) => (
                "Too many attempts",
                "There were too many attempts to sign in. Please try again later.",
            ),
            Self::UnsupportedMethod(_) => {
                ("Not allowed", "Requests of this kind are not passed on.")
            }
            Self::PageMethod { .. } => ("Not allowed", "This page does not answer such requests."),
            Self::Background(_) => (
                "Nothing was done",
                "This address only acts when it is opened as a page. Open it in the browser.",
            ),
            Self::Upstream(error) => error.public_text(),
            Self::Login { failure, .. } => failure.public_text(),
        }
    }

    /// What a user can do next: labels and targets, the best first.
    fn links(&self) -> Vec<(&'static str, Cow<'_, str>)> {
        const OTHER_ACCOUNT: &str = "Sign out to use another account";
        match self {
            Self::Login {
                site,
                failure,
                target,
            } => {
                let retry = ("Try again", start_url(target).into());
                // authentik would deny again until it asks for another account.
                let denied =
                    matches!(failure, LoginFailure::Denied(denied) if denied.is_access_denied());
                let end = site.relying_party.end_session_url().filter(|_| denied);
                let end = end.map(|url| (OTHER_ACCOUNT, url.as_str().into()));
                end.into_iter().chain([retry]).collect()
            }
            Self::Denied {
                site,
                is_signed_in: true,
                ..
            } => {
                let url = own_url(
                    &site.application.external,
                    &format!("{OUTPOST_PATH}/sign_out"),
                );
                vec![(OTHER_ACCOUNT, url.into())]
            }
            _ => Vec::new(),
        }
    }

    /// The `grpc-message` for a gRPC call to an application. Failures that do not concern an
    /// application in proxy mode keep their page.
    fn grpc_message(&self) -> Option<&'static str> {
        match self {
            Self::Store(..)
            | Self::Denied { .. }
            | Self::AmbiguousPath(_)
            | Self::Credentials { .. }
            | Self::LimitExceeded(..)
            | Self::Upstream(_) => Some(self.public_text().1),
            _ => None,
        }
    }

    /// The response, with the operator's message for the log.
    pub(crate) fn into_response(self, endpoint: Endpoint<'_>, id: &RequestId) -> GatewayResponse {
        let error = (!matches!(self, Self::NotFound(_))).then(|| Diagnostic {
            hint: self.hint(),
            ..self.to_string().into()
        });
        let site = self.site().map(Arc::clone);
        let response = if matches!(endpoint, Endpoint::ForwardAuth(dialect, _) if dialect.is_nginx())
        {
            // nginx shows its own page for any status but 401 and 403.
            let mut response = Response::new(Body::empty());
            *response.status_mut() = match self {
                Self::Denied { .. }
                | Self::AmbiguousPath(_)
                | Self::HostMismatch(_)
                | Self::ClientUrl(_)
                | Self::LimitExceeded(..) => StatusCode::FORBIDDEN,
                Self::ProxyMode(_) | Self::NotOffered(_) => StatusCode::NOT_FOUND,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            if let Ok(reason) = HeaderValue::from_str(&self.with_hint().replace('"', "'")) {
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
            let (title, text) = self.public_text();
            let links = self.links();
            let links: Vec<_> = links.iter().map(|(label, to)| (*label, &**to)).collect();
            let detail = match &self {
                Self::Upstream(error) if error.shows_detail() => Some(error.with_hint()),
                Self::Login {
                    failure: LoginFailure::Denied(denied),
                    ..
                } => denied.shown(),
                _ => None,
            };
            let application = site.as_ref().map(|site| site.application.title.as_str());
            let id = id.to_string();
            let page = Page {
                title,
                text,
                detail: detail.as_deref(),
                application,
                links: &links,
                request_id: &id,
                ..Page::default()
            };
            let mut response = html(self.status(), &page);
            if let Self::LimitExceeded(_, limit) = &self {
                let seconds = HeaderValue::from(limit.retry_after());
                response.headers_mut().insert(header::RETRY_AFTER, seconds);
            }
            if self.status() == StatusCode::REQUEST_TIMEOUT || matches!(self, Self::TransferCoding)
            {
                // The rest of what the client sends would belong to no request (RFC 9110 section
                // 15.5.9), or its beginning is unknown.
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
                append_cookie(&mut response, reset.expose_secret());
            }
            response
        };
        let grpc_message = (endpoint == Endpoint::Application)
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
            level: Level::INFO,
            from_upstream: false,
            error,
            grpc_message,
        }
    }
}
