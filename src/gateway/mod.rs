//! The data plane: answers requests from the current snapshot and the session store.

mod access;
mod auth;
mod endpoint;
mod error;
mod forward;
pub mod listener;
mod login;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};

use crate::admin::Readiness;
use crate::clock::Clock;
use crate::model::{Authority, Session};
use crate::route::{Live, Site, Snapshot};
use crate::store::Store;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::{Misconfiguration, Reporter, Throttle};
use crate::web::inbound::{Inbound, TrustedProxies};
use access::AccessLine;
use endpoint::Endpoint;
use error::{GatewayError, RequestId};

const POWERED_BY: HeaderName = HeaderName::from_static("x-powered-by");
const POWERED_BY_VALUE: HeaderValue = HeaderValue::from_static("authentik_proxy2");

/// Everything that answering a request takes. Cheap to clone.
#[derive(Clone)]
pub struct Gateway(Arc<Parted>);

/// The parts of a [`Gateway`].
pub struct Parted {
    /// What is protected.
    pub live: Live,
    /// Who is signed in.
    pub store: Store,
    /// Whose forwarded headers count.
    pub trusted: TrustedProxies,
    /// The time.
    pub clock: Clock,
    /// How long a started login may take, in seconds.
    pub login_timeout: i64,
    /// Whether we want traffic.
    pub readiness: Readiness,
    /// What is counted.
    pub metrics: Metrics,
    /// Who is told of misconfigured reverse proxies.
    pub reporter: Reporter,
    /// How often ignored forwarded headers are mentioned.
    pub ignored_peers: Throttle,
}

/// An answer, and what the log and the metrics want to know about it.
struct Answer {
    response: Response<Body>,
    site: Option<Arc<Site>>,
    session: Option<Arc<Session>>,
    /// Successful subrequests are many and say little; they are logged at `debug`.
    quiet: bool,
    /// Why the request is not served, for operators.
    error: Option<String>,
}

impl Answer {
    fn of(site: &Arc<Site>, response: Response<Body>) -> Self {
        Self {
            response,
            site: Some(Arc::clone(site)),
            session: None,
            quiet: false,
            error: None,
        }
    }
}

impl Gateway {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parted) -> Self {
        Self(Arc::new(parts))
    }

    /// Answers one request: the whole path of a request on one page.
    pub async fn handle<B>(&self, peer: SocketAddr, request: Request<B>) -> Response<Body> {
        let started = Instant::now();
        let (parts, _) = request.into_parts();
        let this = &*self.0;
        let endpoint = Endpoint::of(&parts.uri);
        if let Some((kind, status)) = this.without_application(endpoint) {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = status;
            response.headers_mut().insert(POWERED_BY, POWERED_BY_VALUE);
            let elapsed = started.elapsed();
            this.metrics.observe_other(&parts.method, kind, elapsed);
            return response;
        }
        let snapshot = this.live.load();
        let inbound = Inbound::read(&parts, peer, &this.trusted);
        let id = RequestId::new();
        this.note_untrusted(&inbound, peer);
        let answer = match this.answer(endpoint, &parts, inbound, &snapshot).await {
            Ok(answer) => answer,
            Err(error) => {
                this.report(&error, &parts, &inbound);
                error.answer(endpoint, &id)
            }
        };
        this.finish(answer, &parts, &inbound, &id, started)
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

    async fn answer(
        &self,
        endpoint: Endpoint<'_>,
        parts: &Parts,
        inbound: Inbound<'_>,
        snapshot: &Snapshot,
    ) -> Result<Answer, GatewayError> {
        if snapshot.outpost.is_none() {
            return Err(GatewayError::NotConfigured);
        }
        if endpoint == Endpoint::Nginx {
            return self.nginx(parts, snapshot).await;
        }
        let authority = Authority::parse(inbound.host)?;
        // A login begins on our own path; whose login it is, the page that is wanted tells.
        let wanted = match endpoint {
            Endpoint::Start => login::target::requested(parts.uri.query().unwrap_or_default()),
            _ => None,
        };
        let path = wanted.as_deref().and_then(login::target::path);
        let site = snapshot
            .table
            .find(&authority, path.unwrap_or(parts.uri.path()))
            .ok_or_else(|| GatewayError::NoApplication(authority.to_string()))?;
        match endpoint {
            Endpoint::Start => self.start(site, parts, wanted.as_deref()),
            Endpoint::Callback(query) => {
                let candidates = snapshot.table.on_host(&authority).map(Arc::clone).collect();
                // Boxed, so that the rare and large future does not weigh on every request.
                let callback: BoxFuture<'_, _> =
                    Box::pin(self.callback(site, candidates, parts, query));
                callback.await
            }
            Endpoint::SignOut => self.sign_out(site, parts).await,
            _ => Err(GatewayError::NotFound(Arc::clone(site))),
        }
    }

    fn finish(
        &self,
        answer: Answer,
        parts: &Parts,
        inbound: &Inbound<'_>,
        id: &RequestId,
        started: Instant,
    ) -> Response<Body> {
        let Answer {
            mut response,
            site,
            session,
            quiet,
            error,
        } = answer;
        response.headers_mut().insert(POWERED_BY, POWERED_BY_VALUE);
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
        response
    }

    /// Tells, now and then, of a peer that behaves like a reverse proxy but is not trusted as one:
    /// addresses and hosts are wrong until it is.
    fn note_untrusted(&self, inbound: &Inbound<'_>, peer: SocketAddr) {
        if inbound.ignored && self.ignored_peers.admits("") {
            tracing::warn!(
                "X-Forwarded-* headers from {} were ignored; if it is your reverse proxy, add its network to AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS",
                peer.ip(),
            );
        }
    }

    /// Tells authentik when it is the reverse proxy's fault.
    fn report(&self, error: &GatewayError, parts: &Parts, inbound: &Inbound<'_>) {
        if let GatewayError::OriginalUrl(_) = error {
            self.reporter.report(|| Misconfiguration {
                message: error.to_string(),
                client: inbound.client,
                url: parts.uri.path().to_owned(),
                headers: telling(&parts.headers),
            });
        }
    }
}

/// The headers that show what a reverse proxy sends: none that holds
/// credentials, no query.
fn telling(headers: &HeaderMap) -> Vec<(&'static str, String)> {
    const NAMES: [&str; 7] = [
        "host",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
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
