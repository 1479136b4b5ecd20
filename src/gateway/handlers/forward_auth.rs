//! Forward auth: a reverse proxy asks whether a request may pass.

use std::sync::Arc;

use axum::body::Body;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

use crate::gateway::auth::authorize::Admission;
use crate::gateway::auth::session::Permit;
use crate::gateway::dialect::Surface;
use crate::gateway::endpoint::Endpoint;
use crate::gateway::error::GatewayError;
use crate::gateway::handlers::login::{append_cookie, may_start_login, target};
use crate::gateway::hosts::Hosts;
use crate::gateway::response::{GatewayResponse, json};
use crate::gateway::{Parted, RequestTarget};
use crate::model::{Authority, AuthorizationRequest, Mode};
use crate::route::{Site, Snapshot};
use crate::telemetry::metrics::Rejection;
use crate::web::cookie::{self, Foreign};
use crate::web::header::identity;
use crate::web::request::inbound::{Inbound, own_host};
use crate::web::request::navigation::{is_preflight, overrides_method};

impl Parted {
    /// One request, in any dialect: 200 with the identity headers, or what the person is to see
    /// instead.
    pub(in crate::gateway) async fn forward(
        &self,
        surface: Surface<'_>,
        parts: &Parts,
        inbound: &Inbound<'_>,
        snapshot: &Snapshot,
    ) -> Result<GatewayResponse, GatewayError> {
        let headers = &parts.headers;
        for host in [own_host(parts), inbound.host] {
            // One that is no host names none.
            let authority = Authority::parse(host).ok();
            let named = authority
                .and_then(|authority| snapshot.table.find_named(&authority, parts.uri.path()));
            named.map_or(Ok(()), is_asked_about)?;
        }
        let url = surface.url(parts, inbound, &snapshot.table)?;
        let authority = url.authority();
        let site = snapshot
            .table
            .find(&authority, url.path())
            .ok_or_else(|| GatewayError::NoApplication(authority.to_string()))?;
        is_asked_about(site)?;
        let dialect = self.dialect(surface, headers);
        let hosts = Hosts {
            surface,
            dialect,
            parts,
            inbound,
            table: &snapshot.table,
            url: &url,
            site,
        };
        let routed = hosts.routed()?;
        site.metrics.authorizations.count(dialect);
        if !routed.verified {
            site.metrics.unverified_hosts.count(dialect);
        }
        let application = &site.application;
        let told = surface.method(parts, inbound, &application.policy);
        let method = told.as_ref().unwrap_or(&Method::GET);
        let asked = RequestTarget {
            authority,
            path: url.path(),
            method,
            headers,
            source: inbound.source(),
        };
        if surface.shows_response() {
            // Where nothing else routes our own pages to us, they are asked about like any other.
            let target = url.path_and_query();
            let endpoint = Endpoint::of(&target, |path| snapshot.table.own_path(&authority, path));
            if let Some(page) = self.own_page(endpoint, asked, snapshot) {
                let mut answer = page.await?;
                if answer.response.status().is_success() {
                    // It is about our page; the request that was asked about must not pass.
                    *answer.response.status_mut() = StatusCode::FORBIDDEN;
                }
                return Ok(answer);
            }
        }
        let is_overridden = application.policy.uses_methods() && overrides_method(headers);
        let request = AuthorizationRequest {
            url: &url,
            method: told.as_ref().filter(|_| !is_overridden),
            client: inbound.known_client(),
            preflight: told
                .as_ref()
                .is_some_and(|method| !is_overridden && is_preflight(method, headers)),
            routed_host: routed.elsewhere,
        };
        asked.certain(snapshot, site)?;
        match self.admit(site, &request, headers, asked.source).await? {
            Admission::Passed(pass) => {
                let mut answer = allow(site, &pass.permit, headers);
                let consumed = pass.by_credentials || self.opened_session(site, headers);
                let told = answer.response.headers_mut();
                if self.echo_credentials {
                    echo(headers, consumed, told);
                }
                if let Surface::Envoy(_) = surface {
                    instruct_envoy(headers, consumed, told);
                }
                if let Some(cookie) = pass.cookie {
                    append_cookie(&mut answer.response, &cookie);
                }
                Ok(answer)
            }
            Admission::Refused(Rejection::LoginRequired)
                if surface.shows_response() && may_start_login(site, method, headers) =>
            {
                let target = target::of(application, Some(&url.to_string()));
                self.start_login_for(method, site, headers, target)
            }
            Admission::Refused(reason) => Ok(unauthorized(site, surface.shows_response(), reason)),
        }
    }
}

/// Refuses questions about an application in proxy mode, and those that came by its host: it is
/// clients that talk to us there, and a positive answer would show them what is for applications
/// alone.
fn is_asked_about(site: &Arc<Site>) -> Result<(), GatewayError> {
    if site.application.mode == Mode::Proxy {
        return Err(GatewayError::ProxyMode(Arc::clone(site)));
    }
    Ok(())
}

/// What Envoy is to remove of a request before it goes to the application.
pub(in crate::gateway) const ENVOY_HEADERS_TO_REMOVE: HeaderName =
    HeaderName::from_static("x-envoy-auth-headers-to-remove");

/// What a program without a session is told.
pub(in crate::gateway) const SIGN_IN: &str = "Sign in first: open the application in a browser.";

/// 401: nginx sends people to `/start` on it; scripts are told what is the matter.
pub(in crate::gateway) fn unauthorized(
    site: &Arc<Site>,
    shows_response: bool,
    reason: Rejection,
) -> GatewayResponse {
    site.metrics.rejections.count(reason);
    let status = StatusCode::UNAUTHORIZED;
    let response = if shows_response {
        let mut response = json(
            status,
            &serde_json::json!({
                "error": "login_required",
                "message": SIGN_IN,
                "url": site.application.external.as_str(),
            }),
        );
        let challenge = HeaderValue::from_static("Bearer realm=\"authentik\"");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge);
        response
    } else {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        response
    };
    GatewayResponse {
        quiet: true,
        ..GatewayResponse::of(site, response)
    }
}

/// Says in a positive answer which cookies and which `Authorization` the application should see, for
/// a reverse proxy that puts both in place of the client's, and removes the client's where there is
/// nothing in their place.
fn echo(request: &HeaderMap, consumed: bool, answer: &mut HeaderMap) {
    if let Some(cookies) = cookie::foreign(request) {
        answer.insert(header::COOKIE, secret(cookies));
    }
    let own = request.get(header::AUTHORIZATION).filter(|_| !consumed);
    if let Some(own) = own
        && !answer.contains_key(header::AUTHORIZATION)
    {
        answer.insert(header::AUTHORIZATION, secret(own.clone()));
    }
}

/// The same for Envoy, which leaves the client's header where there is nothing in its place, unless
/// it is told to remove it.
fn instruct_envoy(request: &HeaderMap, consumed: bool, answer: &mut HeaderMap) {
    let cookies = match Foreign::of(request) {
        Foreign::Unchanged => false,
        Foreign::Changed(left) => {
            answer.insert(header::COOKIE, secret(left));
            false
        }
        Foreign::Removed => true,
    };
    let authorization = consumed && !answer.contains_key(header::AUTHORIZATION);
    let removed = match (cookies, authorization) {
        (false, false) => return,
        (true, false) => "cookie",
        (false, true) => "authorization",
        (true, true) => "cookie,authorization",
    };
    answer.insert(ENVOY_HEADERS_TO_REMOVE, HeaderValue::from_static(removed));
}

fn secret(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

/// 200 with the identity headers, which the reverse proxy copies to the application.
fn allow(site: &Arc<Site>, permit: &Permit, request: &HeaderMap) -> GatewayResponse {
    let mut headers = match permit.session() {
        Some(session) => session.headers.clone(),
        None => identity::anonymous(),
    };
    for name in &site.application.policy.identity_headers {
        headers.entry(name).or_insert(identity::EMPTY);
    }
    for (name, value) in &site.meta {
        headers.insert(name, value.clone());
    }
    for (name, value) in &site.extra {
        headers.insert(name, value.current());
    }
    if let Some(agent) = request.get(header::USER_AGENT) {
        headers.insert(header::USER_AGENT, agent.clone());
    }
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = headers;
    GatewayResponse {
        session: permit.session().cloned(),
        quiet: true,
        ..GatewayResponse::of(site, response)
    }
}
