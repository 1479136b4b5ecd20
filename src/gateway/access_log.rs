//! The line of a request in the log. The query is left out: it may hold codes and search words.

use axum::body::{Body, HttpBody as _};
use http::header::USER_AGENT;
use http::request::Parts;
use http::{Response, StatusCode};

use super::response::RequestId;
use crate::model::Session;
use crate::web::request::inbound::Inbound;

/// Most bytes of what a client says that a line holds.
const MAX_HOST: usize = 255;
const MAX_PATH: usize = 2048;
const MAX_USER_AGENT: usize = 512;

/// What the log says of a request.
pub(crate) struct AccessLine<'a> {
    pub(super) parts: &'a Parts,
    pub(super) inbound: &'a Inbound<'a>,
    pub(super) id: &'a RequestId,
    pub(super) session: Option<&'a Session>,
    pub(super) response: &'a Response<Body>,
    /// Why the request was not served.
    pub(super) error: Option<&'a str>,
    /// In seconds.
    pub(super) runtime: f64,
}

macro_rules! line {
    ($level:ident, $line:expr) => {
        tracing::$level!(
            target: "authentik_proxy::access",
            remote = %$line.inbound.client,
            host = clipped($line.inbound.host, MAX_HOST),
            method = %$line.parts.method,
            scheme = $line.inbound.scheme.as_str(),
            status = $line.response.status().as_u16(),
            size = $line.response.body().size_hint().exact().unwrap_or_default(),
            runtime = $line.runtime * 1000.0,
            user_agent = $line.user_agent(),
            user = $line.user(),
            request_id = %$line.id,
            error = $line.error,
            "{}",
            clipped($line.parts.uri.path(), MAX_PATH),
        )
    };
}

impl AccessLine<'_> {
    /// Writes the line: failures as warnings, but not that a rule denies what it should; what is `quiet`, because there is so much of it, for
    /// debugging only.
    pub(crate) fn write(&self, quiet: bool) {
        let denied = self.response.status() == StatusCode::FORBIDDEN;
        if self.error.is_some() && !denied {
            line!(warn, self);
        } else if quiet {
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
        clipped(agent.unwrap_or(""), MAX_USER_AGENT)
    }
}

/// The beginning of a text.
fn clipped(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}
