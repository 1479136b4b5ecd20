//! Connections to applications: pooled, plain or TLS, with a limit on the time that opening one
//! may take.

use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use futures_util::future::BoxFuture;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client as Pool, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use tower_service::Service;

use super::failure::Failure;
use super::pace::Pace;
use crate::web::client::{Connector, classify, connector};
use crate::web::trust::Trust;

/// For how long an unused connection is kept. Applications close theirs after 5 s (Node.js), 75 s
/// (nginx) or never; a connection that was closed meanwhile is noticed and replaced.
const KEPT: Duration = Duration::from_secs(30);
/// Unused connections to one application.
const KEPT_EACH: usize = 256;

/// How long applications may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a connection to stand, TLS included.
    pub connect: Duration,
    /// For an answer to begin, from when the request was sent.
    pub response: Duration,
}

/// The way to applications. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Upstream {
    verifying: Pool<Timed, Body>,
    /// For applications whose certificate is not verified: never shares a connection with others.
    accepting: Pool<Timed, Body>,
    pub(super) patience: Patience,
}

impl Upstream {
    /// Prepares the way; connects to nothing yet.
    #[must_use]
    pub fn new(trust: &Trust, patience: Patience) -> Self {
        let pool = |insecure| pool(trust.client(insecure), patience.connect);
        Self {
            verifying: pool(false),
            accepting: pool(true),
            patience,
        }
    }

    /// Sends a request and waits for the head of the answer.
    pub(super) async fn send(
        &self,
        request: Request<Body>,
        insecure: bool,
        pace: &Pace,
    ) -> Result<Response<Incoming>, Failure> {
        let pool = if insecure {
            &self.accepting
        } else {
            &self.verifying
        };
        tokio::select! {
            biased;
            answer = pool.request(request) => answer.map_err(|error| failure(&error, self.patience)),
            () = pace.silence(self.patience.response) => Err(Failure::Silent(self.patience.response)),
        }
    }
}

fn failure(error: &Error, patience: Patience) -> Failure {
    if error.is_connect() {
        return Failure::Connect(classify(error), patience.connect);
    }
    let source = std::error::Error::source(error);
    let hyper = source.and_then(|source| source.downcast_ref::<hyper::Error>());
    if hyper.is_some_and(|error| error.is_user() || error.is_body_write_aborted()) {
        return Failure::Client;
    }
    Failure::Broken(classify(error))
}

fn pool(tls: ClientConfig, limit: Duration) -> Pool<Timed, Body> {
    let inner = connector(tls, limit);
    Pool::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(KEPT)
        .pool_max_idle_per_host(KEPT_EACH)
        .build(Timed { inner, limit })
}

/// A connector whose whole work, from the look-up of the name to the end of the TLS handshake,
/// has a limit.
#[derive(Clone)]
struct Timed {
    inner: Connector,
    limit: Duration,
}

impl Service<Uri> for Timed {
    type Response = <Connector as Service<Uri>>::Response;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = tokio::time::timeout(self.limit, self.inner.call(uri));
        Box::pin(async move {
            match connecting.await {
                Ok(connected) => connected,
                Err(elapsed) => {
                    Err(std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed).into())
                }
            }
        })
    }
}
