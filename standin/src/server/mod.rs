//! The listener, its connections, and how a request passes through them.

mod routes;
mod websocket;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::DATE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming as IncomingBody};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::fault::{self, Endpoint, Fault};
use crate::message::{Answer, Body, Form, Incoming, html, json};
use crate::pages;
use crate::state::Shared;
use crate::state::requests::Recorded;

/// One run of the listener, from its start to its stop.
#[derive(Debug, Clone, Default)]
pub(crate) struct Run {
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl Run {
    /// Starts to accept connections.
    pub(crate) fn start(
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        shared: Arc<Shared>,
    ) -> Self {
        let run = Self::default();
        run.tasks.spawn(run.clone().accept(listener, tls, shared));
        run
    }

    /// Tells everything to end: websockets close with 1012, other connections are cut.
    pub(crate) fn cancel(&self) {
        self.stopping.cancel();
    }

    /// Ends everything and waits for it.
    pub(crate) async fn stop(self) {
        self.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn accept(self, listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
        while let Some(accepted) = self.stopping.run_until_cancelled(listener.accept()).await {
            // An error here is about one connection that ended early.
            let Ok((stream, _)) = accepted else { continue };
            let (run, tls, shared) = (self.clone(), tls.clone(), Arc::clone(&shared));
            let serving = async move {
                match tls {
                    None => run.connection(stream, shared).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            run.connection(stream, shared).await;
                        }
                    }
                }
            };
            self.tasks
                .spawn(self.stopping.clone().run_until_cancelled_owned(serving));
        }
    }

    async fn connection<S>(&self, stream: S, shared: Arc<Shared>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request| self.respond(request, Arc::clone(&shared)));
        // Errors are clients that went away, and answers that a fault cut short.
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
            .await;
    }

    async fn respond(
        &self,
        mut request: Request<IncomingBody>,
        shared: Arc<Shared>,
    ) -> Result<Response<Body>, Cut> {
        let upgrade = hyper::upgrade::on(&mut request);
        let incoming = read(request, &shared).await?;
        let endpoint = Endpoint::of(&incoming.path);
        let mut fault = shared.lock().fault(endpoint);
        if fault == Some(Fault::Hang) {
            shared
                .wait_until(|state| state.fault(endpoint) != Some(Fault::Hang))
                .await;
            fault = shared.lock().fault(endpoint);
        }
        if let Some(answer) = instead(fault.as_ref()).await? {
            return Ok(answer.map(whole));
        }
        if endpoint == Endpoint::Websocket {
            let (answer, identity) = websocket::handshake(&shared, &incoming);
            if let Some(identity) = identity {
                let stopping = self.stopping.clone();
                self.tasks
                    .spawn(websocket::serve(shared, upgrade, identity, stopping));
            }
            return Ok(answer.map(whole));
        }
        Ok(spoil(routes::answer(&shared, &incoming), fault))
    }
}

/// Reads a request, records it, and drops the prefix from its path.
async fn read(request: Request<IncomingBody>, shared: &Shared) -> Result<Incoming, Cut> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let query = parts.uri.query().unwrap_or_default();
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    shared.lock().requests.push(Recorded {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().map(str::to_owned),
        headers: parts
            .headers
            .iter()
            .map(|(name, v)| (name.to_string(), text(v)))
            .collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    });
    shared.announce_change();
    Ok(Incoming {
        method: parts.method,
        // A path outside the prefix keeps its slash, which no route matches.
        path: parts
            .uri
            .path()
            .strip_prefix(&shared.settings.prefix)
            .unwrap_or(parts.uri.path())
            .to_owned(),
        raw_query: query.to_owned(),
        query: Form::parse(query.as_bytes()),
        base: Incoming::base_of(&parts.headers, &shared.settings),
        headers: parts.headers,
        body,
    })
}

/// The answer that a fault gives in place of the real one, if it does.
async fn instead(fault: Option<&Fault>) -> Result<Option<Answer>, Cut> {
    Ok(match fault {
        Some(Fault::Status(code)) => {
            let status = StatusCode::from_u16(*code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Some(html(status, pages::error(status)))
        }
        Some(Fault::Html) => Some(html(StatusCode::OK, pages::captive_portal())),
        Some(Fault::WrongJson) => Some(json(StatusCode::OK, &json!([{"unexpected": 42}]))),
        Some(Fault::Slow(time)) => {
            tokio::time::sleep(*time).await;
            None
        }
        Some(Fault::Reset) => return Err(Cut),
        // A request that hangs was held before, until it no longer does.
        Some(
            Fault::Hang
            | Fault::Truncated
            | Fault::ExtraFields
            | Fault::MissingField(_)
            | Fault::ClockAhead(_),
        )
        | None => None,
    })
}

/// Applies the faults that need the real answer.
fn spoil(answer: Answer, fault: Option<Fault>) -> Response<Body> {
    match fault {
        Some(Fault::Truncated) => answer.map(|body| half(&body)),
        Some(Fault::ExtraFields) => answer.map(|body| whole(edit(body, fault::add_fields))),
        Some(Fault::MissingField(name)) => {
            answer.map(|body| whole(edit(body, |value| fault::remove_field(value, &name))))
        }
        Some(Fault::ClockAhead(seconds)) => {
            let mut answer = answer.map(whole);
            answer.headers_mut().insert(DATE, date(seconds));
            answer
        }
        _ => answer.map(whole),
    }
}

/// The time as a header, so many seconds from now.
fn date(ahead_s: i64) -> HeaderValue {
    let (now, by) = (
        SystemTime::now(),
        Duration::from_secs(ahead_s.unsigned_abs()),
    );
    let time = if ahead_s < 0 { now - by } else { now + by };
    HeaderValue::from_str(&httpdate::fmt_http_date(time)).expect("dates are ASCII")
}

/// Changes a body if it is JSON.
fn edit(body: Bytes, change: impl FnOnce(&mut Value)) -> Bytes {
    match serde_json::from_slice(&body) {
        Ok(mut value) => {
            change(&mut value);
            value.to_string().into()
        }
        Err(_) => body,
    }
}

fn whole(body: Bytes) -> Body {
    Full::new(body)
        .map_err(|never: Infallible| match never {})
        .boxed()
}

/// Half of a body, then an error that makes the server cut the connection.
fn half(body: &Bytes) -> Body {
    let start = body.slice(..body.len() / 2);
    let frames = [
        Ok(Frame::data(start)),
        Err(io::ErrorKind::ConnectionReset.into()),
    ];
    StreamBody::new(futures_util::stream::iter(frames)).boxed()
}

/// Ends a connection without an answer.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is cut on purpose")
    }
}

impl std::error::Error for Cut {}
