//! Whether an application answers at all, for `doctor`: over the same connections, in the same
//! version of HTTP and with the same trust as requests that are proxied.

use std::time::Duration;

use axum::body::Body;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, StatusCode, Version};

use super::Upstream;
use super::error::UpstreamError;
use super::outgoing::set_target;
use super::request::Destination;
use super::timeouts::IdleTimer;
use crate::model::{Application, Backend};
use crate::web::client::FetchError;
use crate::web::header::names::{POWERED_BY, POWERED_BY_VALUE};

/// An application's response to a probe.
#[derive(Debug, Clone, Copy)]
pub struct ProbeResponse {
    /// The status.
    pub status: StatusCode,
    /// Whether an outpost responded in the application's place.
    pub is_outpost: bool,
}

/// Why no response began.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The application was reached, and began no response within this time.
    #[error("is connected, but no answer began within {0:?}")]
    ResponseTimeout(Duration),
    /// No connection could be opened, or it broke.
    #[error("{0}")]
    Unreachable(FetchError),
    /// The application answered, and its response cannot be read: cause and hint.
    #[error("{0}")]
    Unreadable(String, &'static str),
    /// The request could not be made.
    #[error("{0}")]
    Other(String),
}

impl From<UpstreamError> for ProbeError {
    fn from(error: UpstreamError) -> Self {
        match error {
            UpstreamError::ResponseTimeout(limit) => Self::ResponseTimeout(limit),
            UpstreamError::Connect(error, _)
            | UpstreamError::Broken(error)
            | UpstreamError::Stale(error) => Self::Unreachable(error),
            UpstreamError::TooLarge(_) => {
                Self::Unreadable(error.to_string(), UpstreamError::TOO_LARGE_HINT)
            }
            UpstreamError::Malformed { .. } => {
                Self::Unreadable(error.to_string(), UpstreamError::MALFORMED_HINT)
            }
            other => Self::Other(other.to_string()),
        }
    }
}

impl Upstream {
    /// Requests `/` of an application and waits until the response begins; its body is not read.
    pub async fn probe(
        &self,
        application: &Application,
        backend: &Backend,
    ) -> Result<ProbeResponse, ProbeError> {
        let destination = Destination {
            backend,
            protocol: application.policy.upstream_protocol,
            insecure: application.backend_insecure,
        };
        let origin = application.external.origin();
        let host = origin.split_once("://").map_or("", |(_, host)| host);
        let host = HeaderValue::from_str(host).map_err(|_| UpstreamError::Host)?;
        let mut request = Request::new(Body::empty());
        set_target(
            &mut request,
            destination,
            PathAndQuery::from_static("/"),
            host,
        )?;
        let (response, _) = self
            .send(request, destination, Version::HTTP_11, &IdleTimer::new())
            .await?;
        let powered_by = response.headers().get(POWERED_BY);
        Ok(ProbeResponse {
            status: response.status(),
            is_outpost: powered_by.is_some_and(|value| value == POWERED_BY_VALUE),
        })
    }
}
