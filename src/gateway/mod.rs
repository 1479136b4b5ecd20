//! The data plane: answers requests from the current snapshot and the session store.

mod access_log;
mod auth;
mod error;
mod error_response;
mod grpc;
mod handlers;
mod hints;
mod login_watch;
mod proxy_error;
mod proxy_reports;
mod request;
mod response;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::BoxError;
use axum::body::{Body, HttpBody};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode};

use crate::admin::Readiness;
use crate::clock::Clock;
use crate::model::{Authority, Dialect, Dialects};
use crate::route::{Live, Snapshot, Store};
use crate::telemetry::Reporter;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::{Begun, Ended, Span, Traces};
use crate::upstream::Upstream;
use crate::web::cookie::Form;
use crate::web::header::names::{POWERED_BY, POWERED_BY_VALUE};
use crate::web::request::framing;
use crate::web::request::inbound::{Inbound, Peer, TrustedProxies, names_two_hosts, own_host};
use access_log::AccessLine;
use auth::authenticator::Authenticator;
use auth::cookie_sessions::CookieSessions;
pub use auth::cookie_sessions::CookieSettings;
use auth::session::Sessions;
pub use auth::token_refresh::{self, Refresher};
use auth::verified_cookies::VerifiedCookies;
use error::GatewayError;
#[cfg(feature = "ext-authz")]
pub use handlers::ext_authz;
use handlers::forward_auth::ForwardAuth;
use handlers::login::LoginFlow;
use handlers::proxy::{ProxiedRequest, ReverseProxy};
use handlers::user_page::UserPage;
pub use login_watch::{
    Event, Line, LoginReader, LoginWatch, MAX_READERS, Response as StepResponse, SessionCookie,
    Step,
};
use proxy_reports::ProxyReports;
use request::dialect::AuthRequest;
use request::endpoint::Endpoint;
use request::listener::ForwardAuthSettings;
pub use request::listener::Listener;
use request::target::RequestTarget;
use response::{GatewayResponse, REQUEST_ID, RequestId};

/// Answers requests. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
    listener: Listener,
}

/// What a [`Gateway`] is made of.
pub struct Context {
    /// The current snapshot.
    pub live: Live,
    /// The sessions.
    pub store: Store,
    /// Peers whose forwarded headers are trusted.
    pub trusted: TrustedProxies,
    /// The enabled dialects of forward auth; over gRPC Envoy's always is.
    pub dialects: Dialects,
    /// Whether only listeners of their own answer authorization requests.
    pub has_forward_auth_listener: bool,
    /// The time.
    pub clock: Clock,
    /// Time between the start of a login and its callback, in seconds.
    pub login_timeout: i64,
    /// Lifetime of a session that is refreshed, in seconds.
    pub max_age: i64,
    /// How long a session goes on in the background after its reauthorization is due, in seconds.
    pub reauthorize_grace_period: i64,
    /// The form of new cookies, where browsers accept it.
    pub cookie_form: Form,
    /// Whether signed-in users may see the page about their session.
    pub user_page: bool,
    /// The settings of sessions in cookies.
    pub cookies: CookieSettings,
    /// Whether positive responses of forward auth have `Cookie` and `Authorization` as the
    /// application should see them.
    pub echo_credentials: bool,
    /// The queue of sessions that are due for a refresh.
    pub refresher: Refresher,
    /// The state of the readiness probe.
    pub readiness: Readiness,
    /// The metrics.
    pub metrics: Metrics,
    /// Reports misconfigured reverse proxies to authentik.
    pub reporter: Reporter,
    /// The connections to applications.
    pub upstream: Upstream,
    /// Idle timeout while reading a request body.
    pub body_timeout: Duration,
    /// Exports traces.
    pub traces: Traces,
    /// Publishes the steps of logins.
    pub watch: LoginWatch,
}

/// The parts that all listeners share.
struct Shared {
    live: Live,
    trusted: TrustedProxies,
    settings: ForwardAuthSettings,
    readiness: Readiness,
    metrics: Metrics,
    proxy_reports: ProxyReports,
    traces: Traces,
    watch: LoginWatch,
    login: Arc<LoginFlow>,
    forward_auth: ForwardAuth,
    proxy: ReverseProxy,
    user_page: Arc<UserPage>,
}

/// The target that Envoy's HTTP `ext_authz` authorizes with a request for `target`; `None` for any
/// other request.
#[must_use]
pub fn envoy_target(target: &str) -> Option<&str> {
    match Endpoint::of(target, |_| None) {
        Endpoint::ForwardAuth(Dialect::Envoy, target) => Some(target),
        _ => None,
    }
}

impl Gateway {
    /// A gateway for [`Listener::Public`].
    #[must_use]
    pub fn new(context: Context) -> Self {
        let in_cookies = context.store.cookies();
        let in_cookies = in_cookies.map(|store| {
            CookieSessions::new(Arc::clone(store), context.cookies, context.clock.clone())
        });
        let sessions = Sessions {
            in_cookies,
            store: context.store,
            clock: context.clock,
            cookie_form: context.cookie_form,
            max_age: context.max_age,
            verified: VerifiedCookies::default(),
            reauthorize_grace_period: context.reauthorize_grace_period,
        };
        let live = context.live.clone();
        let authenticator = Arc::new(Authenticator::new(sessions, context.refresher, live));
        let login = Arc::new(LoginFlow {
            authenticator: Arc::clone(&authenticator),
            login_timeout: context.login_timeout,
        });
        let user_page = Arc::new(UserPage {
            authenticator: Arc::clone(&authenticator),
            login: Arc::clone(&login),
            is_enabled: context.user_page,
        });
        let shared = Shared {
            live: context.live,
            trusted: context.trusted,
            settings: ForwardAuthSettings {
                dialects: context.dialects,
                has_listener: context.has_forward_auth_listener,
            },
            readiness: context.readiness,
            metrics: context.metrics,
            proxy_reports: ProxyReports::new(context.reporter),
            traces: context.traces,
            watch: context.watch,
            forward_auth: ForwardAuth {
                authenticator: Arc::clone(&authenticator),
                login: Arc::clone(&login),
                user_page: Arc::clone(&user_page),
                echo_credentials: context.echo_credentials,
            },
            proxy: ReverseProxy {
                authenticator,
                login: Arc::clone(&login),
                upstream: context.upstream,
                body_timeout: context.body_timeout,
            },
            user_page,
            login,
        };
        Self {
            shared: Arc::new(shared),
            listener: Listener::Public,
        }
    }

    /// The same gateway for another listener.
    #[must_use]
    pub fn on(&self, listener: Listener) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            listener,
        }
    }

    /// Answers one request: the whole path of a request on one page.
    pub async fn handle<B>(&self, peer: impl Into<Peer>, request: Request<B>) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let started = Instant::now();
        let (mut parts, body) = request.into_parts();
        let peer: Peer = peer.into();
        let this = &*self.shared;
        let snapshot = this.live.load();
        let target = parts.uri.path_and_query();
        let endpoint = Endpoint::of(target.map_or("/", PathAndQuery::as_str), |path| {
            this.own_path(path, &parts, peer, &snapshot)
        });
        if let Some((kind, status)) = this.probe(endpoint) {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = status;
            response.headers_mut().insert(POWERED_BY, POWERED_BY_VALUE);
            let elapsed = started.elapsed();
            this.metrics.observe_other(&parts.method, kind, elapsed);
            return response;
        }
        let endpoint = endpoint.refine(&parts.headers, this.settings.dialects);
        let trusted = || this.trusted.contains(peer.address.ip());
        let id = RequestId::of(&parts.headers, trusted);
        let span = this.traces.begin(Begun {
            method: &parts.method,
            uri: &parts.uri,
            headers: &mut parts.headers,
            trusted: &trusted,
        });
        if let Endpoint::Application = endpoint {
            parts.headers.insert(REQUEST_ID, id.value());
        }
        let inbound = Inbound::read(&parts, peer, &this.trusted);
        let reports = &this.proxy_reports;
        reports.log_untrusted_peer(&inbound, &parts.headers, &id);
        let observed = this.watch.observe(&id, &inbound);
        let dispatch = |body| this.dispatch(endpoint, &parts, body, &inbound, &snapshot);
        let result = match (self.listener.check(endpoint, this.settings), &observed) {
            (Ok(()), None) => dispatch(body).await,
            (Ok(()), Some(observed)) => observed.scope(dispatch(body)).await,
            (Err(refused), _) => Err(refused.into()),
        };
        let mut response = result.unwrap_or_else(|error| {
            reports.report(&error, &parts, &inbound);
            error.count(&this.metrics);
            error.into_response(endpoint, &id)
        });
        if let Endpoint::ForwardAuth(..) = endpoint {
            response.forbid_caching();
        }
        if let Some(observed) = observed {
            observed.answered(&parts, &response);
        }
        this.finish(response, &parts, &inbound, &id, span, started)
    }

    /// Answers one gRPC request of Envoy's `ext_authz`.
    #[cfg(feature = "ext-authz")]
    pub async fn handle_grpc(
        &self,
        peer: Peer,
        request: Request<hyper::body::Incoming>,
    ) -> Response<Body> {
        let gateway = self.on(Listener::ExtAuthz);
        let handle = move |peer, request| -> BoxFuture<'static, Response<Body>> {
            let gateway = gateway.clone();
            Box::pin(async move { gateway.handle::<Body>(peer, request).await })
        };
        ext_authz::answer(handle, self.shared.proxy.body_timeout, peer, request).await
    }
}

impl Shared {
    /// The response to a probe and to requests that need no application: kind in the metrics, status.
    fn probe(&self, endpoint: Endpoint<'_>) -> Option<(&'static str, StatusCode)> {
        match endpoint {
            Endpoint::Ping => Some(("ping", StatusCode::NO_CONTENT)),
            Endpoint::Ready if self.readiness.is_ready() => Some(("ping", StatusCode::OK)),
            Endpoint::Ready => Some(("ping", StatusCode::SERVICE_UNAVAILABLE)),
            Endpoint::Static => Some(("static", StatusCode::NOT_FOUND)),
            _ => None,
        }
    }

    /// The part of a path that follows the outpost's own path below an application of the request's
    /// host.
    fn own_path<'a>(
        &self,
        path: &'a str,
        parts: &Parts,
        peer: Peer,
        snapshot: &Snapshot,
    ) -> Option<&'a str> {
        let below = |host| {
            snapshot
                .table
                .host(Authority::parse(host).ok()?)
                .own_path(path)
        };
        let own = below(Inbound::read(parts, peer, &self.trusted).host)?;
        // A client may have chosen X-Forwarded-Host if its own path is authorized.
        (!own.starts_with("/auth/") || below(own_host(parts)).is_some()).then_some(own)
    }

    async fn dispatch<B>(
        &self,
        endpoint: Endpoint<'_>,
        parts: &Parts,
        body: B,
        inbound: &Inbound<'_>,
        snapshot: &Snapshot,
    ) -> Result<GatewayResponse, GatewayError>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if snapshot.outpost.is_none() {
            return Err(GatewayError::NotConfigured);
        }
        if !framing::is_understood(&parts.headers) {
            return Err(GatewayError::TransferCoding);
        }
        if names_two_hosts(parts) {
            return Err(GatewayError::TwoHosts);
        }
        let table = &snapshot.table;
        if let Endpoint::ForwardAuth(dialect, argument) = endpoint {
            let request = AuthRequest::new(dialect, argument, parts, inbound, table);
            return self.forward_auth.check(request).await;
        }
        let target = RequestTarget {
            host: table.host(Authority::parse(inbound.host)?),
            path: parts.uri.path(),
            method: &parts.method,
            headers: &parts.headers,
            source: inbound.source(),
        };
        let own_host = own_host(parts);
        // An own host that is not one names no application.
        if inbound.host != own_host
            && let Ok(own) = Authority::parse(own_host)
        {
            target.check_other_host("Host", table.host(own))?;
        }
        for earlier in inbound.earlier_hosts() {
            if let Ok(earlier) = Authority::parse(earlier) {
                target.check_other_host("another X-Forwarded-Host", table.host(earlier))?;
            }
        }
        if let Some(page) = self.login.page(endpoint, target) {
            return page.await;
        }
        if let Endpoint::UserPage = endpoint {
            let page: BoxFuture<'_, _> = Box::pin(self.user_page.answer(target, parts, inbound));
            return page.await;
        }
        let site = target.site()?;
        if let (Endpoint::Application, Some(backend)) = (endpoint, &site.application.backend) {
            target.check_path(site)?;
            let request = ProxiedRequest {
                site,
                backend,
                parts,
                inbound,
                host: target.host.authority(),
            };
            let proxied: BoxFuture<'_, _> = Box::pin(self.proxy.handle(request, Body::new(body)));
            return proxied.await;
        }
        Err(GatewayError::NotFound(Arc::clone(site)))
    }

    fn finish(
        &self,
        response: GatewayResponse,
        parts: &Parts,
        inbound: &Inbound<'_>,
        id: &RequestId,
        span: Span,
        started: Instant,
    ) -> Response<Body> {
        let GatewayResponse {
            mut response,
            site,
            session,
            level,
            from_upstream,
            error,
            grpc_message,
        } = response;
        let headers = response.headers_mut();
        if from_upstream {
            headers.entry(REQUEST_ID).or_insert_with(|| id.value());
        } else {
            headers.insert(POWERED_BY, POWERED_BY_VALUE);
            headers.insert(REQUEST_ID, id.value());
        }
        let response = match grpc_message {
            Some(message) if grpc::is_call(parts) => grpc::as_grpc(&response, message),
            _ => response,
        };
        let elapsed = started.elapsed();
        match &site {
            Some(site) => site.metrics.observe(&parts.method, elapsed),
            None => self.metrics.observe_other(&parts.method, "app", elapsed),
        }
        AccessLine {
            parts,
            inbound,
            id,
            session: session.as_deref(),
            response: &response,
            error: error.as_ref(),
            runtime: elapsed.as_secs_f64(),
        }
        .write(level);
        span.end(&Ended {
            status: response.status(),
            host: inbound.host,
            application: site.as_deref().map(|site| site.application.slug.as_str()),
            request_id: id.as_str(),
            error: error.as_ref().map(|error| error.what.as_str()),
        });
        response
    }
}
