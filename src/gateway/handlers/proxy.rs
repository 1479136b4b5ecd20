//! Proxy mode: all traffic of an application passes through the outpost.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::login::{LoginFlow, form, long_target, may_start_login, target, too_long};
use crate::gateway::auth::authenticator::{Admission, Authenticator};
use crate::gateway::auth::authorize::{Permit, authorize};
use crate::gateway::auth::session_watch::{
    SessionWatch, session_ended, session_ended_meanwhile, watched,
};
use crate::gateway::error::GatewayError;
use crate::gateway::grpc;
use crate::gateway::login_watch::Response;
use crate::gateway::proxy_error::{ProxyError, ProxyFailure};
use crate::gateway::request::endpoint::{OUTPOST_PATH, own_url};
use crate::gateway::response::{
    GatewayResponse, SIGN_IN, append_cookie, redirect, unauthorized, unauthorized_text,
};
use crate::model::{Authority, AuthorizationRequest, Backend, RequestedUrl};
use crate::route::{LiveSession, Site};
use crate::server::ConnectionHandle;
use crate::telemetry::metrics::Rejection;
use crate::upstream::{
    Destination, ProxyRequest, ProxyResponse, SetHeaders, Tunnel, Upstream, UpstreamError,
};
use crate::web::header::identity::Identity;
use crate::web::request::inbound::Inbound;
use crate::web::request::navigation::{is_preflight, overrides_method};

/// What stands for itself in a query: RFC 3986's unreserved characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A request for an application in proxy mode.
#[derive(Clone, Copy)]
pub(crate) struct ProxiedRequest<'a> {
    pub(crate) site: &'a Arc<Site>,
    /// The application's address.
    pub(crate) backend: &'a Backend,
    pub(crate) parts: &'a Parts,
    pub(crate) inbound: &'a Inbound<'a>,
    /// The requested host.
    pub(crate) host: Authority<'a>,
}

/// Proxies the requests of applications in proxy mode.
pub(crate) struct ReverseProxy {
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) login: Arc<LoginFlow>,
    pub(crate) upstream: Upstream,
    /// Idle timeout while reading a request body.
    pub(crate) body_timeout: Duration,
}

impl ReverseProxy {
    /// Proxies a request that is authorized; others are answered with a redirect to the login or 401.
    pub(crate) async fn handle(
        &self,
        proxied: ProxiedRequest<'_>,
        body: Body,
    ) -> Result<GatewayResponse, GatewayError> {
        let ProxiedRequest {
            site,
            parts,
            inbound,
            ..
        } = proxied;
        let (method, headers) = (&parts.method, &parts.headers);
        if matches!(*method, Method::CONNECT | Method::TRACE) {
            // TRACE would show the identity headers to the page that asks.
            return Err(GatewayError::UnsupportedMethod(Arc::clone(site)));
        }
        let target = parts.uri.path_and_query();
        let target = target.map_or("/", PathAndQuery::as_str);
        let url = RequestedUrl::of_request(inbound.scheme, proxied.host, target)
            .map_err(|_| GatewayError::UnsupportedMethod(Arc::clone(site)))?;
        let is_overridden = site.application.policy.uses_methods() && overrides_method(headers);
        let request = AuthorizationRequest {
            url: &url,
            method: Some(method).filter(|_| !is_overridden),
            client: inbound.known_client(),
            preflight: !is_overridden && is_preflight(method, headers),
            routed_host: None,
        };
        let source = inbound.source();
        let admission = self.authenticator.admit(site, &request, headers, source);
        let admission = admission.await?;
        if matches!(admission, Admission::Refused(Rejection::LoginRequired)) {
            let (request, login) = ((method, headers), Response::Start);
            self.login
                .watch_refused(site, &url, request, "proxy", login);
            if form::is_submission(method, headers) {
                return Ok(form::lost(site, headers, &url));
            }
        }
        match admission {
            Admission::Permitted {
                permit,
                cookie,
                credentials_consumed,
            } => {
                let needs_session = || authorize(&site.application, &request, None).is_err();
                let passed =
                    self.pass_on(&permit, proxied, credentials_consumed, needs_session, body);
                let Some(mut response) = passed.await? else {
                    if form::is_submission(method, headers) {
                        return Ok(form::interrupted(site, headers, &url));
                    }
                    return self.refuse(proxied, &url, Rejection::LoginRequired);
                };
                if let Some(cookie) = cookie {
                    append_cookie(&mut response.response, &cookie);
                }
                Ok(response)
            }
            Admission::Refused(reason) => self.refuse(proxied, &url, reason),
        }
    }

    /// The response to a request that needs a session: a redirect to the login, or 401.
    fn refuse(
        &self,
        request: ProxiedRequest<'_>,
        url: &RequestedUrl<'_>,
        reason: Rejection,
    ) -> Result<GatewayResponse, GatewayError> {
        let ProxiedRequest { site, parts, .. } = request;
        let (method, headers) = (&parts.method, &parts.headers);
        if !matches!(reason, Rejection::LoginRequired) || !may_start_login(site, method, headers) {
            return Ok(GatewayResponse {
                grpc_message: Some(unauthorized_text(reason)),
                ..unauthorized(site, headers, true, reason)
            });
        }
        let target = target::of_own(&site.application, &url.path_and_query());
        let target = target.map_err(|_| too_long(site))?;
        if long_target::is_long(&target) {
            // In the address of the page that begins a login it would be longer still.
            return self.login.start(method, site, headers, target);
        }
        Ok(start(site, &target))
    }

    /// Sends a request to its application. Takes a permit: this is the only caller of
    /// [`Upstream::proxy`](crate::upstream::Upstream::proxy).
    ///
    /// `None` if its session, which it needs, ends before the response begins. What the application
    /// was sent by then is broken off.
    async fn pass_on(
        &self,
        permit: &Permit,
        request: ProxiedRequest<'_>,
        credentials_consumed: bool,
        needs_session: impl Fn() -> bool,
        body: Body,
    ) -> Result<Option<GatewayResponse>, GatewayError> {
        let ProxiedRequest { site, parts, .. } = request;
        let session = permit.session();
        let failed = |address, cause| {
            GatewayError::Upstream(Box::new(ProxyError {
                site: Arc::clone(site),
                address,
                session: session.cloned(),
                cause,
            }))
        };
        let backend = match backend(request.backend, session) {
            Ok(backend) => backend,
            Err((address, error)) => return Err(failed(address, error)),
        };
        let failed = |error| failed(backend.to_string(), error);
        let policy = &site.application.policy;
        let upstream_request = ProxyRequest {
            destination: Destination {
                backend: &backend,
                protocol: policy.upstream_protocol,
                insecure: site.application.backend_insecure,
            },
            parts,
            inbound: request.inbound,
            host_header: host_header(session).map_err(failed)?,
            set: set_headers(site, session),
            credentials_consumed,
            body_timeout: if grpc::is_call(parts) {
                // A client that sends nothing may as well wait for a message of the application.
                self.body_timeout.max(self.upstream.response_timeout())
            } else {
                self.body_timeout
            },
        };
        let watch =
            || session.map(|session| self.authenticator.watch(site, session, &parts.headers));
        let begun = Instant::now();
        let mut sent = std::pin::pin!(self.upstream.proxy(&upstream_request, body));
        let response = tokio::select! {
            biased;
            response = &mut sent => response,
            () = session_ended_meanwhile(session, watch) => {
                if needs_session() {
                    return Ok(None);
                }
                sent.await
            }
        };
        if let Some(metrics) = &site.upstream_metrics
            && request.backend == &*backend
            && let Ok(_) | Err(UpstreamError::Protocol) = response
        {
            metrics.observe(&parts.method, begun.elapsed());
        }
        let response = match response.map_err(|error| failed(error.into()))? {
            ProxyResponse::Complete(response) => response.map(Body::new),
            ProxyResponse::Streaming(response) => match watch() {
                Some(watch) => watched(response, watch),
                None => response.map(Body::new),
            },
            ProxyResponse::Upgraded(response, tunnel) => {
                run(tunnel, parts, watch());
                response.map(|()| Body::empty())
            }
        };
        Ok(Some(GatewayResponse {
            session: session.cloned(),
            from_upstream: true,
            ..GatewayResponse::of(site, response)
        }))
    }
}

/// Runs a tunnel until one side, the session or the server ends.
fn run(tunnel: Tunnel, parts: &Parts, watch: Option<SessionWatch>) {
    // Every connection that can leave HTTP has one.
    if let Some(connection) = parts.extensions.get::<ConnectionHandle>() {
        connection.spawn(|stop| async move {
            tokio::select! {
                () = tunnel.run() => {}
                () = session_ended(watch) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

/// The application's address: by configuration, or by the claim `backend_override`.
fn backend<'a>(
    backend: &'a Backend,
    session: Option<&Arc<LiveSession>>,
) -> Result<Cow<'a, Backend>, (String, ProxyFailure)> {
    let claimed = session.map_or("", |session| &session.claims.ak_proxy.backend_override);
    if claimed.is_empty() {
        return Ok(Cow::Borrowed(backend));
    }
    match Backend::parse(claimed) {
        Ok(backend) => Ok(Cow::Owned(backend)),
        Err(error) => Err((claimed.to_owned(), error.into())),
    }
}

/// `Host` by the claim `host_header`.
fn host_header(session: Option<&Arc<LiveSession>>) -> Result<Option<HeaderValue>, ProxyFailure> {
    let claimed = session.map_or("", |session| &session.claims.ak_proxy.host_header);
    if claimed.is_empty() {
        return Ok(None);
    }
    Authority::parse(claimed).map_err(|_| ProxyFailure::HostHeader)?;
    let host = HeaderValue::from_str(claimed).map_err(|_| ProxyFailure::HostHeader)?;
    Ok(Some(host))
}

fn set_headers<'a>(site: &'a Site, session: Option<&'a Arc<LiveSession>>) -> SetHeaders<'a> {
    let additional = site.extra.iter();
    SetHeaders {
        user: match session {
            Some(session) => site.identity(session),
            None => Cow::Owned(Identity::anonymous()),
        },
        application: &site.meta,
        additional: additional
            .map(|(name, value)| (name.clone(), value.current()))
            .collect(),
        reserved: &site.application.policy.identity_headers,
    }
}

/// Sends the browser to the outpost's page that begins a login, which returns to `target`.
fn start(site: &Arc<Site>, target: &str) -> GatewayResponse {
    let target = utf8_percent_encode(target, ENCODED);
    let page = format!("{OUTPOST_PATH}/start?rd={target}");
    let location = own_url(&site.application.external, &page);
    GatewayResponse {
        grpc_message: Some(SIGN_IN),
        ..GatewayResponse::of(site, redirect(&location))
    }
}
