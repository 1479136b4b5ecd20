//! The access log. It leaves out queries: they may hold codes and search terms.

use axum::body::{Body, HttpBody as _};
use http::header::USER_AGENT;
use http::request::Parts;
use http::{Response, StatusCode};
use tracing::Level;

use super::response::RequestId;
use crate::model::Diagnostic;
use crate::route::LiveSession;
use crate::web::request::inbound::Inbound;

/// Length of a logged `Host`, in bytes.
pub(super) const MAX_HOST_BYTES: usize = 255;
/// Length of a logged path, in bytes.
const MAX_PATH_BYTES: usize = 2048;
/// Length of a logged `User-Agent`, in bytes.
const MAX_USER_AGENT_BYTES: usize = 512;

/// The line of a request.
pub(crate) struct AccessLine<'a> {
    pub(super) parts: &'a Parts,
    pub(super) inbound: &'a Inbound<'a>,
    pub(super) id: &'a RequestId,
    pub(super) session: Option<&'a LiveSession>,
    pub(super) response: &'a Response<Body>,
    /// Why the request was not served.
    pub(super) error: Option<&'a Diagnostic>,
    /// Duration, in seconds.
    pub(super) runtime: f64,
}

macro_rules! line {
    ($level:ident, $line:expr) => {
        tracing::$level!(
            target: "authentik_proxy::access",
            remote = %$line.inbound.client,
            host = clipped($line.inbound.host, MAX_HOST_BYTES),
            method = $line.parts.method.as_str(),
            scheme = $line.inbound.scheme.as_str(),
            status = $line.response.status().as_u16(),
            size = $line.response.body().size_hint().exact().unwrap_or_default(),
            runtime = $line.runtime * 1000.0,
            user_agent = $line.user_agent(),
            user = $line.user(),
            request_id = $line.id.as_str(),
            error = $line.error.map(|error| error.what.as_str()),
            hint = $line.error.and_then(|error| error.hint.as_deref()),
            "{}",
            clipped($line.parts.uri.path(), MAX_PATH_BYTES),
        )
    };
}

impl AccessLine<'_> {
    /// Writes the line at `level`; failures at `WARN`, except that a rule denies a request.
    pub(crate) fn write(&self, level: Level) {
        let denied = self.response.status() == StatusCode::FORBIDDEN;
        if self.error.is_some() && !denied {
            line!(warn, self);
        } else if level == Level::DEBUG {
            line!(debug, self);
        } else {
            line!(info, self);
        }
    }

    fn user(&self) -> &str {
        self.session
            .map_or("", |session| session.claims.preferred_username.as_str())
    }

    fn user_agent(&self) -> &str {
        let agent = self.parts.headers.get(USER_AGENT);
        let agent = agent.and_then(|agent| agent.to_str().ok());
        clipped(agent.unwrap_or(""), MAX_USER_AGENT_BYTES)
    }
}

/// The beginning of a text.
pub(super) fn clipped(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}
