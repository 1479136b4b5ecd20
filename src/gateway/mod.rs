//! The data plane: answers requests from the current snapshot and the session store.

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
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};

use crate::admin::Readiness;
use crate::clock::Clock;
use crate::model::{Authority, Session};
use crate::route::{Live, Site, Snapshot};
use crate::store::Store;
use crate::telemetry::metrics::Metrics;
use crate::web::inbound::{Inbound, TrustedProxies};
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
}

/// An answer, and what the log and the metrics want to know about it.
struct Answer {
    response: Response<Body>,
    site: Option<Arc<Site>>,
    session: Option<Arc<Session>>,
    /// Successful subrequests are many and say little; they are logged at `debug`.
    quiet: bool,
}

impl Answer {
    fn plain(status: StatusCode) -> Self {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        Self {
            response,
            site: None,
            session: None,
            quiet: true,
        }
    }

    fn of(site: &Arc<Site>, response: Response<Body>) -> Self {
        Self {
            response,
            site: Some(Arc::clone(site)),
            session: None,
            quiet: false,
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
        if let Some(mut answer) = this.without_application(endpoint) {
            answer
                .response
                .headers_mut()
                .insert(POWERED_BY, POWERED_BY_VALUE);
            this.metrics
                .observe_other(&parts.method, "ping", started.elapsed());
            return answer.response;
        }
        let snapshot = this.live.load();
        let inbound = Inbound::read(&parts, peer, &this.trusted);
        let id = RequestId::new();
        let answer = match this.answer(endpoint, &parts, inbound, &snapshot).await {
            Ok(answer) => answer,
            Err(error) => error.answer(endpoint, &id),
        };
        this.finish(answer, &parts, &inbound, &id, started)
    }
}

impl Parted {
    fn without_application(&self, endpoint: Endpoint<'_>) -> Option<Answer> {
        match endpoint {
            Endpoint::Ping => Some(Answer::plain(StatusCode::NO_CONTENT)),
            Endpoint::Ready if self.readiness.is_ready() => Some(Answer::plain(StatusCode::OK)),
            Endpoint::Ready => Some(Answer::plain(StatusCode::SERVICE_UNAVAILABLE)),
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
            Endpoint::Start => login::target::path(parts.uri.query().unwrap_or_default()),
            _ => None,
        };
        let site = snapshot
            .table
            .find(&authority, wanted.as_deref().unwrap_or(parts.uri.path()))
            .ok_or_else(|| GatewayError::NoApplication(authority.to_string()))?;
        match endpoint {
            Endpoint::Start => self.start(site, parts),
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
        } = answer;
        response.headers_mut().insert(POWERED_BY, POWERED_BY_VALUE);
        let elapsed = started.elapsed();
        match &site {
            Some(site) => site.metrics.observe(&parts.method, elapsed),
            None => self.metrics.observe_other(&parts.method, "app", elapsed),
        }
        let line = RequestLine {
            parts,
            inbound,
            id,
            session: session.as_deref(),
            response: &response,
        };
        if quiet {
            tracing::debug!(target: "authentik_proxy::access", line = %line.path(), "{}", line);
        } else {
            line.log(elapsed.as_secs_f64() * 1000.0);
        }
        response
    }
}

/// One request in the log. The query is left out: it may hold codes and search words.
struct RequestLine<'a> {
    parts: &'a Parts,
    inbound: &'a Inbound<'a>,
    id: &'a RequestId,
    session: Option<&'a Session>,
    response: &'a Response<Body>,
}

impl RequestLine<'_> {
    fn path(&self) -> &str {
        self.parts.uri.path()
    }

    fn log(&self, runtime: f64) {
        use axum::body::HttpBody as _;
        let header = |name| {
            self.parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        tracing::info!(
            target: "authentik_proxy::access",
            remote = %self.inbound.client,
            host = self.inbound.host,
            method = %self.parts.method,
            scheme = self.inbound.scheme.as_str(),
            status = self.response.status().as_u16(),
            size = self.response.body().size_hint().exact().unwrap_or_default(),
            runtime,
            user_agent = header(http::header::USER_AGENT).unwrap_or_default(),
            user = self.session.map(|s| s.claims.preferred_username.as_str()).unwrap_or_default(),
            request_id = %self.id,
            "{}",
            self.path(),
        );
    }
}

impl std::fmt::Display for RequestLine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let user = self
            .session
            .map(|s| s.claims.preferred_username.as_str())
            .unwrap_or_default();
        write!(
            f,
            "{} for {user:?} from {}",
            self.response.status(),
            self.inbound.client
        )
    }
}
