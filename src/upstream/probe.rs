//! Whether an application answers at all, for the doctor: over the same connections, in the same
//! version of HTTP and with the same trust as requests that are passed on.

use std::time::Duration;

use axum::body::Body;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, StatusCode};

use super::address;
use super::client::{Upstream, Way};
use super::error::Failure;
use super::timeouts::Pace;
use crate::gateway::{POWERED_BY, POWERED_BY_VALUE};
use crate::model::{Application, Backend};
use crate::web::client::FetchError;

/// What an application answered.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    /// The status.
    pub status: StatusCode,
    /// Whether it was no application that answered, but an outpost.
    pub is_outpost: bool,
}

/// Why no answer began.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// The application was reached, and says nothing.
    #[error("is connected, but no answer began within {0:?}")]
    Silent(Duration),
    /// There is no connection, or it broke.
    #[error("{0}")]
    Unreachable(FetchError),
    /// The request could not be made.
    #[error("{0}")]
    Other(String),
}

impl From<Failure> for NoAnswer {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Silent(patience) => Self::Silent(patience),
            Failure::Connect(error, _) | Failure::Broken(error) | Failure::Stale(error) => {
                Self::Unreachable(error)
            }
            other => Self::Other(other.to_string()),
        }
    }
}

impl Upstream {
    /// Asks an application for its first page, and waits until the answer begins; what follows is
    /// not read.
    pub async fn probe(
        &self,
        application: &Application,
        backend: &Backend,
    ) -> Result<Answered, NoAnswer> {
        let way = Way {
            backend,
            protocol: application.policy.upstream_protocol,
            insecure: application.backend_insecure,
        };
        let origin = application.external.origin();
        let host = origin.split_once("://").map_or("", |(_, host)| host);
        let host = HeaderValue::from_str(host).map_err(|_| Failure::HostHeader)?;
        let mut request = Request::new(Body::empty());
        address(&mut request, way, PathAndQuery::from_static("/"), host)?;
        let (answer, _) = self.send(request, way, &Pace::new()).await?;
        let powered_by = answer.headers().get(POWERED_BY);
        Ok(Answered {
            status: answer.status(),
            is_outpost: powered_by.is_some_and(|value| value == POWERED_BY_VALUE),
        })
    }
}
