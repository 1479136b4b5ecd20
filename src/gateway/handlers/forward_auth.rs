//! Forward auth: a reverse proxy asks whether a request may pass.

use std::sync::Arc;

use axum::body::Body;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use tracing::Level;

use super::login::{LoginFlow, form, may_start_login, target, too_long};
use super::user_page::UserPage;
use crate::gateway::auth::authenticator::{Admission, Authenticator};
use crate::gateway::auth::authorize::Permit;
use crate::gateway::error::GatewayError;
use crate::gateway::login_watch;
use crate::gateway::request::dialect::AuthRequest;
use crate::gateway::request::endpoint::Endpoint;
use crate::gateway::request::hosts::Hosts;
use crate::gateway::request::target::RequestTarget;
use crate::gateway::response::{GatewayResponse, append_cookie, unauthorized};
use crate::model::{AuthorizationRequest, Dialect, Mode, RequestedUrl};
use crate::route::Site;
use crate::telemetry::metrics::Rejection;
use crate::web::cookie::{self, Foreign};
use crate::web::request::navigation::{is_preflight, overrides_method};

/// `x-envoy-auth-headers-to-remove`: request headers that Envoy removes before the application gets
/// the request.
pub(crate) const ENVOY_HEADERS_TO_REMOVE: HeaderName =
    HeaderName::from_static("x-envoy-auth-headers-to-remove");

/// Answers authorization requests.
pub(crate) struct ForwardAuth {
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) login: Arc<LoginFlow>,
    pub(crate) user_page: Arc<UserPage>,
    /// Whether positive responses have `Cookie` and `Authorization` as the application should see them.
    pub(crate) echo_credentials: bool,
}

impl ForwardAuth {
    /// Answers one authorization request, in any dialect: 200 with the identity headers, or the
    /// response for the user.
    pub(crate) async fn check(
        &self,
        auth: AuthRequest<'_>,
    ) -> Result<GatewayResponse, GatewayError> {
        let (headers, inbound) = (&auth.parts.headers, auth.inbound);
        // A value that is not a host names no application.
        for host in [auth.own_host.ok(), auth.forwarded_host]
            .into_iter()
            .flatten()
        {
            let named = host.find_named(auth.parts.uri.path());
            named.map_or(Ok(()), refuse_proxy_mode)?;
        }
        let url = auth.url()?;
        let host = auth.routes(url.authority());
        let site = host
            .find(url.path())
            .ok_or_else(|| GatewayError::NoApplication(url.authority().to_string()))?;
        refuse_proxy_mode(site)?;
        let hosts = Hosts {
            request: &auth,
            url: &url,
            site,
        };
        let routed = hosts.routed()?;
        site.metrics.authorizations.count(auth.dialect);
        if !routed.verified {
            site.metrics.unverified_hosts.count(auth.dialect);
        }
        let application = &site.application;
        let known_method = auth.method(&application.policy);
        let method = known_method.as_ref().unwrap_or(&Method::GET);
        let target = RequestTarget {
            host,
            path: url.path(),
            method,
            headers,
            source: inbound.source(),
        };
        if auth.shows_response()
            && let Some(page) = self.own_page(&auth, &url, target).await
        {
            return page;
        }
        let is_overridden = application.policy.uses_methods() && overrides_method(headers);
        let request = AuthorizationRequest {
            url: &url,
            method: known_method.as_ref().filter(|_| !is_overridden),
            client: inbound.known_client(),
            preflight: known_method
                .as_ref()
                .is_some_and(|method| !is_overridden && is_preflight(method, headers)),
            routed_host: routed.elsewhere,
        };
        target.check_path(site)?;
        let admission = self
            .authenticator
            .admit(site, &request, headers, target.source);
        let admission = admission.await?;
        if matches!(admission, Admission::Refused(Rejection::LoginRequired)) {
            self.watch_refused(&auth, site, &url, method);
        }
        match admission {
            Admission::Permitted {
                permit,
                cookie,
                credentials_consumed,
            } => {
                let mut permitted = permitted(site, &permit, headers);
                let response = permitted.response.headers_mut();
                if self.echo_credentials {
                    echo_credentials_to(headers, credentials_consumed, response);
                }
                if auth.dialect == Dialect::Envoy {
                    instruct_envoy(headers, credentials_consumed, response);
                }
                if let Some(cookie) = cookie {
                    append_cookie(&mut permitted.response, &cookie);
                }
                Ok(permitted)
            }
            Admission::Refused(Rejection::LoginRequired)
                if auth.shows_response() && form::is_submission(method, headers) =>
            {
                Ok(form::lost(site, headers, &url))
            }
            Admission::Refused(Rejection::LoginRequired)
                if auth.shows_response() && may_start_login(site, method, headers) =>
            {
                let target = target::of(application, Some(&url.to_string()));
                let target = target.map_err(|_| too_long(site))?;
                self.login.start(method, site, headers, target)
            }
            Admission::Refused(reason) => {
                let is_shown = auth.shows_response();
                Ok(unauthorized(site, headers, is_shown, reason))
            }
        }
    }

    fn watch_refused(
        &self,
        auth: &AuthRequest<'_>,
        site: &Site,
        url: &RequestedUrl<'_>,
        method: &Method,
    ) {
        let (request, mode) = ((method, &auth.parts.headers), auth.dialect.as_str());
        let login = if auth.shows_response() {
            login_watch::Response::Authentik
        } else {
            login_watch::Response::Unauthorized
        };
        self.login.watch_refused(site, url, request, mode, login);
    }

    /// The outpost's pages, which are answered here where nothing else routes them to the outpost.
    async fn own_page(
        &self,
        auth: &AuthRequest<'_>,
        url: &RequestedUrl<'_>,
        target: RequestTarget<'_>,
    ) -> Option<Result<GatewayResponse, GatewayError>> {
        let path_and_query = url.path_and_query();
        let endpoint = Endpoint::of(&path_and_query, |path| target.host.own_path(path));
        let page: BoxFuture<'_, _> = match endpoint {
            Endpoint::UserPage if self.user_page.is_enabled => {
                Box::pin(self.user_page.answer(target, auth.parts, auth.inbound))
            }
            _ => self.login.page(endpoint, target)?,
        };
        Some(page.await.map(|mut page| {
            if page.response.status().is_success() {
                // It is the outpost's page; the user's request must not pass.
                *page.response.status_mut() = StatusCode::FORBIDDEN;
            }
            page
        }))
    }
}

/// Refuses authorization requests for an application in proxy mode, and those that came by its host:
/// clients reach the outpost there, and a positive response would show them headers that are for
/// applications only.
fn refuse_proxy_mode(site: &Arc<Site>) -> Result<(), GatewayError> {
    if site.application.mode == Mode::Proxy {
        return Err(GatewayError::ProxyMode(Arc::clone(site)));
    }
    Ok(())
}

/// Sets `Cookie` and `Authorization` of a positive response as the application should see them, for a
/// reverse proxy that puts both in place of the client's, and removes the client's if the response
/// has none.
fn echo_credentials_to(request: &HeaderMap, consumed: bool, response: &mut HeaderMap) {
    if let Some(cookies) = cookie::foreign(request) {
        response.insert(header::COOKIE, secret(cookies));
    }
    let own = request.get(header::AUTHORIZATION).filter(|_| !consumed);
    if let Some(own) = own
        && !response.contains_key(header::AUTHORIZATION)
    {
        response.insert(header::AUTHORIZATION, secret(own.clone()));
    }
}

/// The same for Envoy, which keeps the client's header if the response has none, unless the response
/// names it as one to remove.
fn instruct_envoy(request: &HeaderMap, consumed: bool, response: &mut HeaderMap) {
    let cookies = match Foreign::of(request) {
        Foreign::Unchanged => false,
        Foreign::Changed(left) => {
            response.insert(header::COOKIE, secret(left));
            false
        }
        Foreign::Removed => true,
    };
    let authorization = consumed && !response.contains_key(header::AUTHORIZATION);
    let removed = match (cookies, authorization) {
        (false, false) => return,
        (true, false) => "cookie",
        (false, true) => "authorization",
        (true, true) => "cookie,authorization",
    };
    response.insert(ENVOY_HEADERS_TO_REMOVE, HeaderValue::from_static(removed));
}

fn secret(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

/// 200 with the identity headers, which the reverse proxy copies to the application.
fn permitted(site: &Arc<Site>, permit: &Permit, request: &HeaderMap) -> GatewayResponse {
    let mut headers = site.permitted.clone();
    let agent = request.get(header::USER_AGENT);
    if agent.is_none() {
        headers.remove(header::USER_AGENT);
    }
    if let Some(session) = permit.session() {
        site.identity(session).write_to(&mut headers);
    }
    for (name, value) in &site.extra {
        headers.insert(name, value.current());
    }
    if let Some(agent) = agent {
        headers.insert(header::USER_AGENT, agent.clone());
    }
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = headers;
    GatewayResponse {
        session: permit.session().cloned(),
        level: Level::DEBUG,
        ..GatewayResponse::of(site, response)
    }
}
