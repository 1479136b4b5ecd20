//! The data plane: answers requests from the current snapshot and the session store.

mod access_log;
pub(crate) mod auth;
mod dialect;
mod endpoint;
pub(crate) mod error;
pub(crate) mod grpc;
mod handlers;
mod hosts;
mod listener;
mod proxy_error;
pub(crate) mod response;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::BoxError;
use axum::body::{Body, HttpBody};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, StatusCode};

use crate::admin::Readiness;
use crate::clock::Clock;
use crate::model::Authority;
use crate::route::{Live, Site, Snapshot};
use crate::store::Store;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::{Begun, Ended, Span, Traces};
use crate::telemetry::{Misconfiguration, Reporter, Throttle};
use crate::upstream::Upstream;
use crate::web::cookie::Form;
use crate::web::header::names::{POWERED_BY, POWERED_BY_VALUE};
use crate::web::request::framing;
use crate::web::request::inbound::{
    Inbound, Peer, Source, TrustedProxies, is_forwarded, names_two_hosts, own_host,
};
use access_log::AccessLine;
pub use auth::credentials::CredentialCache;
pub use auth::token_refresh::{self, Refresher};
use endpoint::Endpoint;
use error::GatewayError;
#[cfg(feature = "ext-authz")]
pub use handlers::ext_authz;
use handlers::login;
use handlers::proxy::ProxiedRequest;
pub use listener::{ForwardAuth, Listener};
use response::{GatewayResponse, REQUEST_ID, RequestId};

/// Everything that answering a request takes. Cheap to clone.
#[derive(Clone)]
pub struct Gateway(Arc<Parted>, Listener);

/// The parts of a [`Gateway`].
pub struct Parted {
    /// What is protected.
    pub live: Live,
    /// Who is signed in.
    pub store: Store,
    /// Whose forwarded headers count.
    pub trusted: TrustedProxies,
    /// Which authorization requests are answered.
    pub forward_auth: ForwardAuth,
    /// The time.
    pub clock: Clock,
    /// How long a started login may take, in seconds.
    pub login_timeout: i64,
    /// How long a session that is refreshed may live in all, in seconds.
    pub max_age: i64,
    /// The form in which cookies are handed out, where browsers accept it.
    pub cookie_form: Form,
    /// Whether positive answers of forward auth carry `Cookie` and `Authorization` as the
    /// application should see them.
    pub echo_credentials: bool,
    /// Who refreshes sessions that are about to run out.
    pub refresher: Refresher,
    /// Whether we want traffic.
    pub readiness: Readiness,
    /// What is counted.
    pub metrics: Metrics,
    /// Who is told of misconfigured reverse proxies.
    pub reporter: Reporter,
    /// How often ignored forwarded headers are mentioned.
    pub ignored_peers: Throttle,
    /// What is known of credentials in `Authorization`.
    pub credential_cache: CredentialCache,
    /// The way to applications.
    pub upstream: Upstream,
    /// How long a client may send nothing of a request's body that somebody waits for.
    pub body_timeout: Duration,
    /// The way to a collector of traces.
    pub traces: Traces,
}

/// What somebody asks one of our own pages.
#[derive(Clone, Copy)]
struct RequestTarget<'a> {
    authority: Authority<'a>,
    path: &'a str,
    method: &'a Method,
    headers: &'a HeaderMap,
    /// Whom it counts for where there are limits.
    source: Source,
}

impl<'a> RequestTarget<'a> {
    fn site(&self, snapshot: &'a Snapshot) -> Result<&'a Arc<Site>, GatewayError> {
        let found = snapshot.table.find(&self.authority, self.path);
        found.ok_or_else(|| GatewayError::NoApplication(self.authority.to_string()))
    }

    /// Refuses a request whose `Host` names another application than the `X-Forwarded-Host` that
    /// its peer is believed: the peer may have chosen by the one, and let the client choose the
    /// other. A host that names no application, such as that of a Service, contradicts nothing.
    fn agrees(&self, snapshot: &Snapshot, own_host: &str) -> Result<(), GatewayError> {
        let Ok(own) = Authority::parse(own_host) else {
            return Ok(());
        };
        let named = [&own, &self.authority];
        match named.map(|authority| snapshot.table.find_named(authority, self.path)) {
            [Some(site), Some(other)] if !Arc::ptr_eq(site, other) => {
                Err(GatewayError::TwoApplications {
                    own: own.to_string(),
                    forwarded: self.authority.to_string(),
                })
            }
            _ => Ok(()),
        }
    }

    /// Refuses a path for which a server behind us may look in another application of the host.
    fn certain(&self, snapshot: &Snapshot, site: &Arc<Site>) -> Result<(), GatewayError> {
        if snapshot.table.is_certain(&self.authority, self.path) {
            return Ok(());
        }
        Err(GatewayError::Ambiguous(Arc::clone(site)))
    }
}

/// The target that Envoy's HTTP `ext_authz` asks about with a request for `target`; `None` for any
/// other request.
#[must_use]
pub fn envoy_target(target: &str) -> Option<&str> {
    match Endpoint::of(target, |_| None) {
        Endpoint::Forward(dialect::Surface::Envoy(asked)) => Some(asked),
        _ => None,
    }
}

impl Gateway {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parted) -> Self {
        Self(Arc::new(parts), Listener::Public)
    }

    /// The same for another listener.
    #[must_use]
    pub fn on(&self, listener: Listener) -> Self {
        Self(Arc::clone(&self.0), listener)
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
        let this = &*self.0;
        let snapshot = this.live.load();
        let target = parts.uri.path_and_query();
        let endpoint = Endpoint::of(target.map_or("/", PathAndQuery::as_str), |path| {
            this.own_path(path, &parts, peer, &snapshot)
        });
        if let Some((kind, status)) = this.without_application(endpoint) {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = status;
            response.headers_mut().insert(POWERED_BY, POWERED_BY_VALUE);
            let elapsed = started.elapsed();
            this.metrics.observe_other(&parts.method, kind, elapsed);
            return response;
        }
        let trusted = || this.trusted.contains(peer.address.ip());
        let id = RequestId::of(&parts.headers, trusted);
        let span = this.traces.begin(Begun {
            method: &parts.method,
            uri: &parts.uri,
            headers: &mut parts.headers,
            trusted: &trusted,
        });
        if let Endpoint::Other = endpoint {
            parts.headers.insert(REQUEST_ID, id.value());
        }
        let inbound = Inbound::read(&parts, peer, &this.trusted);
        this.log_untrusted_peer(&inbound, &parts.headers, &id);
        let answer = match this.offers(endpoint, self.1, &parts.headers) {
            Ok(()) => {
                this.answer(endpoint, &parts, body, &inbound, &snapshot)
                    .await
            }
            Err(refused) => Err(refused),
        };
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                this.report(&error, &parts, &inbound);
                error.count(&this.metrics);
                error.answer(endpoint, &id)
            }
        };
        if let Endpoint::Forward(_) = endpoint {
            answer.forbid_caching();
        }
        this.finish(answer, &parts, &inbound, &id, span, started)
    }
}

impl Parted {
    /// What needs no application: its kind in the metrics, and the status.
    fn without_application(&self, endpoint: Endpoint<'_>) -> Option<(&'static str, StatusCode)> {
        match endpoint {
            Endpoint::Ping => Some(("ping", StatusCode::NO_CONTENT)),
            Endpoint::Ready if self.readiness.is_ready() => Some(("ping", StatusCode::OK)),
            Endpoint::Ready => Some(("ping", StatusCode::SERVICE_UNAVAILABLE)),
            Endpoint::Static => Some(("static", StatusCode::NOT_FOUND)),
            _ => None,
        }
    }

    async fn answer<B>(
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
        if let Endpoint::Forward(surface) = endpoint {
            return self.forward(surface, parts, inbound, snapshot).await;
        }
        let asked = RequestTarget {
            authority: Authority::parse(inbound.host)?,
            path: parts.uri.path(),
            method: &parts.method,
            headers: &parts.headers,
            source: inbound.source(),
        };
        if inbound.host != own_host(parts) {
            asked.agrees(snapshot, own_host(parts))?;
        }
        if let Some(page) = self.own_page(endpoint, asked, snapshot) {
            return page.await;
        }
        let site = asked.site(snapshot)?;
        if let (Endpoint::Other, Some(backend)) = (endpoint, &site.application.backend) {
            asked.certain(snapshot, site)?;
            let request = ProxiedRequest {
                site,
                backend,
                parts,
                inbound,
                host: asked.authority,
            };
            let passed: BoxFuture<'_, _> = Box::pin(self.proxy(request, Body::new(body)));
            return passed.await;
        }
        Err(GatewayError::NotFound(Arc::clone(site)))
    }

    /// The pages of a login, if `endpoint` is one. Boxed, so that these rare and large futures do
    /// not weigh on every request.
    fn own_page<'a>(
        &'a self,
        endpoint: Endpoint<'a>,
        asked: RequestTarget<'a>,
        snapshot: &'a Snapshot,
    ) -> Option<BoxFuture<'a, Result<GatewayResponse, GatewayError>>> {
        match endpoint {
            Endpoint::Start(query) => Some(Box::pin(async move {
                let wanted = login::target::requested(query);
                // Whose login it is, the page that is wanted tells.
                let path = wanted.as_deref().and_then(login::target::path);
                let site = RequestTarget {
                    path: path.unwrap_or(asked.path),
                    ..asked
                }
                .site(snapshot)?;
                self.start(site, asked.method, asked.headers, wanted.as_deref())
            })),
            Endpoint::Callback(query) => Some(Box::pin(async move {
                let site = asked.site(snapshot)?;
                login::check_callback(site, asked)?;
                let candidates = snapshot.table.on_host(&asked.authority);
                let candidates = candidates.map(Arc::clone).collect();
                self.callback(site, candidates, asked, query).await
            })),
            Endpoint::SignOut(query) => Some(Box::pin(async move {
                self.sign_out(asked.site(snapshot)?, asked, query).await
            })),
            _ => None,
        }
    }

    fn finish(
        &self,
        answer: GatewayResponse,
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
            quiet,
            from_upstream,
            error,
            grpc_message,
        } = answer;
        if !from_upstream {
            response.headers_mut().insert(POWERED_BY, POWERED_BY_VALUE);
        }
        let ids = response.headers_mut().entry(REQUEST_ID);
        ids.or_insert_with(|| id.value());
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
            error: error.as_deref(),
            runtime: elapsed.as_secs_f64(),
        }
        .write(quiet);
        span.end(&Ended {
            status: response.status(),
            host: inbound.host,
            application: site.as_deref().map(|site| site.application.slug.as_str()),
            request_id: id.as_str(),
            error: error.as_deref(),
        });
        response
    }

    /// Tells, now and then, of a peer that behaves like a reverse proxy but is not trusted as one:
    /// addresses and hosts are wrong until it is.
    fn log_untrusted_peer(&self, inbound: &Inbound<'_>, headers: &HeaderMap, id: &RequestId) {
        if !inbound.trusted && is_forwarded(headers) && self.ignored_peers.should_log("") {
            tracing::warn!(
                request_id = %id,
                "X-Forwarded-* headers from {} were ignored; if it is your reverse proxy, add its network to AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS",
                inbound.peer,
            );
        }
    }

    /// Tells authentik when it is the reverse proxy's fault.
    fn report(&self, error: &GatewayError, parts: &Parts, inbound: &Inbound<'_>) {
        if let GatewayError::MalformedAuthRequest(_) = error {
            self.reporter.report(|| Misconfiguration {
                message: error.to_string(),
                client: inbound.client,
                url: parts.uri.path().chars().take(512).collect(),
                headers: diagnostic_headers(&parts.headers),
            });
        }
    }
}

/// The headers that show what a reverse proxy sends: none that holds
/// credentials, no query.
fn diagnostic_headers(headers: &HeaderMap) -> Vec<(&'static str, String)> {
    const NAMES: [&str; 9] = [
        "host",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-method",
        "x-forwarded-proto",
        "x-forwarded-uri",
        "x-original-method",
        "x-original-url",
        "x-sent-from",
    ];
    let text = |name: &'static str| {
        let value = headers.get(name)?.to_str().ok()?;
        let value = value.split(['?', '#']).next().unwrap_or_default();
        // What stands before an `@` may be a password.
        (!value.contains('@')).then(|| (name, value.chars().take(512).collect()))
    };
    NAMES.into_iter().filter_map(text).collect()
}
