//! The client side of the reverse proxy: sends requests to applications and returns their responses.
//! Bodies are streamed, nothing is stored, and the slower side sets the pace.
//!
//! Nothing here knows a session. A `ProxyRequest` has everything that is to be sent; a response that
//! is not complete and a `Tunnel` are handed back, and the caller says when they have to end.

mod error;
mod headers;
mod outgoing;
mod pool;
mod probe;
mod request;
mod response;
mod timeouts;
mod upgrade;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::body::{Body, HttpBody as _};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;

use crate::model::UpstreamProtocol;
use crate::web::client::trust::Trust;
pub(crate) use error::UpstreamError;
use pool::{MaxRead, PoolProtocol, Pools};
pub use probe::{ProbeError, ProbeResponse};
pub(crate) use request::{Destination, ProxyRequest, SetHeaders};
pub(crate) use response::ProxyResponse;
use response::ResponseBody;
pub use timeouts::Timeouts;
use timeouts::{IdleTimer, RequestBody};
pub(crate) use upgrade::Tunnel;
use upgrade::Upgrade;

/// Sends requests to applications over pooled connections. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Upstream {
    pools: Arc<ArcSwap<AllPools>>,
    timeouts: Timeouts,
}

/// By whether certificates are verified: these never share a connection.
type AllPools = [ProtocolPools; 2];

/// The pools by protocol. Connections whose reads are large are for clients of HTTP/1.1 only, since
/// buffers stay as large as they have become.
struct ProtocolPools {
    http1: Pools,
    http1_small_reads: Pools,
    http2: Pools,
}

impl ProtocolPools {
    fn new(trust: &Trust, insecure: bool, connect_timeout: Duration) -> Self {
        let pools = |protocol| Pools::new(protocol, trust, insecure, connect_timeout);
        Self {
            http1: pools(PoolProtocol::Http1(MaxRead::Large)),
            http1_small_reads: pools(PoolProtocol::Http1(MaxRead::Small)),
            http2: pools(PoolProtocol::Http2),
        }
    }

    fn get(&self, protocol: UpstreamProtocol, client: Version) -> &Pools {
        match protocol {
            UpstreamProtocol::Http1 if client == Version::HTTP_2 => &self.http1_small_reads,
            UpstreamProtocol::Http1 => &self.http1,
            UpstreamProtocol::Http2 => &self.http2,
        }
    }
}

impl Upstream {
    /// Prepares the pools. Opens no connection yet.
    #[must_use]
    pub fn new(trust: &Trust, timeouts: Timeouts) -> Self {
        let pools = Arc::new(ArcSwap::from_pointee(pools(trust, timeouts)));
        Self { pools, timeouts }
    }

    /// Verifies certificates by `trust` on connections that are opened from now on. Those in use are
    /// closed when their requests are done.
    pub fn replace_trust(&self, trust: &Trust) {
        self.pools.store(Arc::new(pools(trust, self.timeouts)));
    }

    /// How long an application may take to begin a response.
    pub(crate) fn response_timeout(&self) -> Duration {
        self.timeouts.response
    }

    /// Sends a request and waits for the head of the response. A request without a body is sent once
    /// more where it is safe and a pooled connection turned out to be closed (RFC 9110 section 9.2.2).
    pub(crate) async fn proxy(
        &self,
        request: &ProxyRequest<'_>,
        body: Body,
    ) -> Result<ProxyResponse, UpstreamError> {
        let upgrade = Upgrade::requested(request.parts);
        let destination = match upgrade {
            // Other protocols begin in HTTP/1.1 (RFC 9113 section 8.6).
            Some(_) => Destination {
                protocol: UpstreamProtocol::Http1,
                ..request.destination
            },
            None => request.destination,
        };
        let method = &request.parts.method;
        let has_body = !body.is_end_stream();
        let build = || outgoing::build(request, destination, upgrade.as_ref(), has_body);
        let timer = IdleTimer::new();
        let mut outgoing = build()?;
        if has_body {
            let head = outgoing.headers().keys().chain(request.set.reserved);
            let head = if may_have_trailers(request) {
                head.cloned().collect()
            } else {
                Vec::new()
            };
            *outgoing.body_mut() = Body::new(RequestBody::new(body, timer.clone(), head));
        }
        let client = request.parts.version;
        let sent = self.send(outgoing, destination, client, &timer);
        let mut response = tokio::select! {
            biased;
            response = sent => response,
            () = timer.body_timeout(request.body_timeout), if has_body => {
                Err(UpstreamError::BodyTimeout(request.body_timeout))
            }
        };
        let repeatable =
            !has_body && matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        if repeatable && let Err(UpstreamError::Stale(_)) = &response {
            response = self.send(build()?, destination, client, &timer).await;
        }
        let (mut response, is_complete) = response?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let upgrade = upgrade.ok_or(UpstreamError::Protocol)?;
            let protocol = response.headers().get(header::UPGRADE).cloned();
            let tunnel = upgrade.accept(&mut response)?;
            let mut response = inbound(response);
            let headers = response.headers_mut();
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.extend(protocol.map(|protocol| (header::UPGRADE, protocol)));
            return Ok(ProxyResponse::Upgraded(response.map(drop), tunnel));
        }
        let is_complete = is_complete || response.body().is_end_stream();
        let response = inbound(response);
        Ok(if is_complete {
            ProxyResponse::Complete(response)
        } else {
            ProxyResponse::Streaming(response)
        })
    }

    /// Sends a request and waits for the head of the response. Returns as well whether the whole
    /// response is known to have arrived.
    async fn send(
        &self,
        request: Request<Body>,
        destination: Destination<'_>,
        client: Version,
        timer: &IdleTimer,
    ) -> Result<(Response<Incoming>, bool), UpstreamError> {
        let Destination {
            backend,
            protocol,
            insecure,
        } = destination;
        let pool = {
            let pools = self.pools.load();
            pools[usize::from(insecure)]
                .get(protocol, client)
                .of(backend)
        };
        let Timeouts { connect, response } = self.timeouts;
        tokio::select! {
            biased;
            sent = pool.send(request) => {
                sent.map_err(|error| UpstreamError::new(error, connect))
            }
            () = timer.response_timeout(response) => Err(UpstreamError::ResponseTimeout(response)),
        }
    }
}

fn pools(trust: &Trust, timeouts: Timeouts) -> AllPools {
    [false, true].map(|insecure| ProtocolPools::new(trust, insecure, timeouts.connect))
}

/// Whether trailers can follow a request. In HTTP/1.1 they end chunks (RFC 9112 section 7.1.2).
fn may_have_trailers(request: &ProxyRequest<'_>) -> bool {
    let parts = request.parts;
    parts.version == Version::HTTP_2 || parts.headers.contains_key(header::TRANSFER_ENCODING)
}

/// The application's response as the client gets it.
fn inbound(response: Response<Incoming>) -> Response<ResponseBody> {
    let (parts, body) = response.into_parts();
    let mut response = Response::new(ResponseBody::new(body));
    *response.status_mut() = parts.status;
    *response.headers_mut() = headers::inbound(parts.headers);
    if let Some(reason) = parts.extensions.get::<hyper::ext::ReasonPhrase>() {
        response.extensions_mut().insert(reason.clone());
    }
    response
}
