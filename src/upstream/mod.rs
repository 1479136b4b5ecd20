//! Passing a request on to its application, and the answer back. Nothing is kept: bytes go through
//! in both directions as fast as the slower side takes them.

pub(crate) mod answer_body;
mod chunked;
mod client;
mod connections;
mod error;
mod headers;
mod probe;
mod timeouts;
mod upgrade;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody as _};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use crate::gateway::Parted;
use crate::gateway::auth::session::{Permit, session_ids};
use crate::gateway::auth::session_watch::{Guard, guarded};
use crate::gateway::error::GatewayError;
use crate::gateway::grpc;
use crate::gateway::response::GatewayResponse;
use crate::model::{Authority, Backend, Session, UpstreamProtocol};
use crate::route::Site;
use crate::web::request::inbound::Inbound;
use answer_body::AnswerBody;
use client::Way;
pub use client::{Patience, Upstream};
pub(crate) use error::{Failure, Unanswered};
pub use probe::{Answered, NoAnswer};
use timeouts::{Pace, Paced};
use upgrade::Upgrade;

/// A request on its way.
#[derive(Clone, Copy)]
pub(crate) struct Passage<'a> {
    pub(crate) site: &'a Arc<Site>,
    /// Where the application is.
    pub(crate) backend: &'a Backend,
    pub(crate) parts: &'a Parts,
    pub(crate) inbound: &'a Inbound<'a>,
    /// The host that the person asked for.
    pub(crate) host: Authority<'a>,
}

impl Parted {
    /// Passes a request on. Only who holds a permit can. Where `consumed`, the request's
    /// credentials were for us, and nobody else may see them.
    pub(crate) async fn pass_on(
        &self,
        permit: &Permit,
        passage: Passage<'_>,
        consumed: bool,
        body: Body,
    ) -> Result<GatewayResponse, GatewayError> {
        let session = permit.session();
        let backend = match backend(passage.backend, session) {
            Ok(backend) => backend,
            Err((address, failure)) => return Err(unanswered(passage, session, address, failure)),
        };
        let upgrade = Upgrade::wanted(passage.parts);
        let outgoing = Outgoing {
            passage,
            backend: &backend,
            // Other protocols begin in HTTP/1.1 (RFC 9113 section 8.6).
            protocol: match upgrade {
                Some(_) => UpstreamProtocol::Http1,
                None => passage.site.application.policy.upstream_protocol,
            },
            session,
            consumed,
        };
        let passed = self.exchange(&outgoing, upgrade, body).await;
        let response =
            passed.map_err(|failure| unanswered(passage, session, backend.to_string(), failure))?;
        Ok(GatewayResponse {
            session: session.cloned(),
            from_upstream: true,
            ..GatewayResponse::of(passage.site, response)
        })
    }

    async fn exchange(
        &self,
        outgoing: &Outgoing<'_>,
        upgrade: Option<Upgrade>,
        body: Body,
    ) -> Result<Response<Body>, Failure> {
        let Outgoing {
            passage, backend, ..
        } = *outgoing;
        let begun = Instant::now();
        let method = &passage.parts.method;
        let has_body = !body.is_end_stream();
        let pace = Pace::new();
        let mut request = outgoing.request(upgrade.as_ref(), has_body)?;
        if has_body {
            let personal = &passage.site.application.policy.identity_headers;
            let head = request.headers().keys().chain(personal);
            let head = if may_have_trailers(passage.parts) {
                head.cloned().collect()
            } else {
                Vec::new()
            };
            *request.body_mut() = Body::new(Paced {
                body,
                pace: pace.clone(),
                head,
            });
        }
        let sent = self.upstream.send(request, outgoing.way(), &pace);
        let limit = self.time_to_send(passage.parts);
        let mut answer = tokio::select! {
            biased;
            answer = sent => answer,
            () = pace.stall(limit), if has_body => Err(Failure::Stalled(limit)),
        };
        let repeatable =
            !has_body && matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        if repeatable && let Err(Failure::Stale(_)) = &answer {
            let again = outgoing.request(upgrade.as_ref(), has_body)?;
            answer = self.upstream.send(again, outgoing.way(), &pace).await;
        }
        let (answer, is_whole) = answer?;
        if let Some(metrics) = &passage.site.upstream_metrics
            && passage.backend == backend
        {
            metrics.observe(method, begun.elapsed());
        }
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            let upgrade = upgrade.ok_or(Failure::Protocol)?;
            return self.change(outgoing, upgrade, answer);
        }
        let is_whole = is_whole || answer.body().is_end_stream();
        let guard = if is_whole { None } else { self.guard(outgoing) };
        Ok(respond(answer, guard))
    }

    /// For how long a client may send nothing of a request that it has not finished. Where that is a
    /// gRPC call, it may be the application's turn just as well.
    fn time_to_send(&self, parts: &Parts) -> Duration {
        if grpc::is_call(parts) {
            self.body_timeout.max(self.upstream.patience.response)
        } else {
            self.body_timeout
        }
    }

    /// Both sides change to another protocol.
    fn change(
        &self,
        outgoing: &Outgoing<'_>,
        upgrade: Upgrade,
        mut answer: Response<Incoming>,
    ) -> Result<Response<Body>, Failure> {
        let granted = upgrade.is_granted(answer.headers());
        let application = answer.extensions_mut().remove::<OnUpgrade>();
        let application = application.filter(|_| granted).ok_or(Failure::Protocol)?;
        let protocol = answer.headers().get(header::UPGRADE).cloned();
        upgrade.tunnel(application, self.guard(outgoing));
        let mut response = respond(answer, None).map(|_| Body::empty());
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.extend(protocol.map(|protocol| (header::UPGRADE, protocol)));
        Ok(response)
    }

    /// What watches over the session, where the person has one.
    fn guard(&self, outgoing: &Outgoing<'_>) -> Option<Guard> {
        let Passage { site, parts, .. } = outgoing.passage;
        let headers = &parts.headers;
        outgoing.session.map(|session| Guard {
            session: Arc::clone(session),
            ids: session_ids(site, headers)
                .chain(crate::gateway::auth::credentials::session_id(site, headers))
                .collect(),
            site: Arc::clone(site),
            store: self.store.clone(),
            clock: self.clock.clone(),
            refresher: self.refresher.clone(),
        })
    }
}

/// Whether trailers can follow a request. In HTTP/1.1 they end chunks (RFC 9112 section 7.1.2).
fn may_have_trailers(parts: &Parts) -> bool {
    parts.version == Version::HTTP_2 || parts.headers.contains_key(header::TRANSFER_ENCODING)
}

/// Where the request goes: to the application, or where the person's token says.
fn backend<'a>(
    backend: &'a Backend,
    session: Option<&Arc<Session>>,
) -> Result<Cow<'a, Backend>, (String, Failure)> {
    let wanted = session.map_or("", |session| &session.claims.ak_proxy.backend_override);
    if wanted.is_empty() {
        return Ok(Cow::Borrowed(backend));
    }
    match Backend::parse(wanted) {
        Ok(backend) => Ok(Cow::Owned(backend)),
        Err(error) => Err((wanted.to_owned(), error.into())),
    }
}

/// A request that is about to be sent.
struct Outgoing<'a> {
    passage: Passage<'a>,
    backend: &'a Backend,
    protocol: UpstreamProtocol,
    session: Option<&'a Arc<Session>>,
    consumed: bool,
}

impl Outgoing<'_> {
    fn way(&self) -> Way<'_> {
        Way {
            backend: self.backend,
            protocol: self.protocol,
            insecure: self.passage.site.application.backend_insecure,
        }
    }

    /// The request without its body.
    fn request(&self, upgrade: Option<&Upgrade>, has_body: bool) -> Result<Request<Body>, Failure> {
        let parts = self.passage.parts;
        if headers::nominates_too_many(&parts.headers) {
            return Err(Failure::Client);
        }
        let (asked, host) = self.hosts()?;
        let mut headers = headers::outbound(self, asked, has_body);
        if let Some(upgrade) = upgrade {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, upgrade.protocol.clone());
        }
        let target = parts.uri.path_and_query().cloned();
        let target = target.ok_or(Failure::Client)?;
        let mut request = Request::new(Body::empty());
        *request.method_mut() = parts.method.clone();
        *request.headers_mut() = headers;
        address(&mut request, self.way(), target, host)?;
        Ok(request)
    }

    /// The host that the person asked for, and `Host`: the same, unless their token names another.
    fn hosts(&self) -> Result<(HeaderValue, HeaderValue), Failure> {
        let wanted = self
            .session
            .map_or("", |session| &session.claims.ak_proxy.host_header);
        let asked = HeaderValue::from_str(self.passage.inbound.host);
        let asked = asked.map_err(|_| Failure::Client)?;
        if wanted.is_empty() {
            return Ok((asked.clone(), asked));
        }
        Authority::parse(wanted).map_err(|_| Failure::HostHeader)?;
        let host = HeaderValue::from_str(wanted).map_err(|_| Failure::HostHeader)?;
        Ok((asked, host))
    }
}

/// Says in a request what is wanted, and of which host.
fn address(
    request: &mut Request<Body>,
    way: Way<'_>,
    target: PathAndQuery,
    host: HeaderValue,
) -> Result<(), Failure> {
    let mut uri = http::uri::Parts::default();
    uri.path_and_query = Some(target);
    match way.protocol {
        UpstreamProtocol::Http1 => {
            request.headers_mut().insert(header::HOST, host);
        }
        // HTTP/2 says the host in the target, and nowhere else (RFC 9113 section 8.3.1).
        UpstreamProtocol::Http2 => {
            uri.scheme = Some(way.backend.scheme().clone());
            let host = host.as_bytes().try_into();
            uri.authority = Some(host.map_err(|_| Failure::HostHeader)?);
        }
    }
    *request.uri_mut() = Uri::from_parts(uri).map_err(|_| Failure::Client)?;
    Ok(())
}

/// The application's answer as the client gets it.
fn respond(answer: Response<Incoming>, guard: Option<Guard>) -> Response<Body> {
    let (parts, body) = answer.into_parts();
    let body = AnswerBody(body);
    let mut response = Response::new(match guard {
        Some(guard) => guarded(body, guard),
        None => Body::new(body),
    });
    *response.status_mut() = parts.status;
    *response.headers_mut() = headers::inbound(parts.headers);
    if let Some(reason) = parts.extensions.get::<hyper::ext::ReasonPhrase>() {
        response.extensions_mut().insert(reason.clone());
    }
    response
}

fn unanswered(
    passage: Passage<'_>,
    session: Option<&Arc<Session>>,
    address: String,
    failure: Failure,
) -> GatewayError {
    GatewayError::Upstream(Box::new(Unanswered {
        site: Arc::clone(passage.site),
        address,
        session: session.cloned(),
        failure,
    }))
}
