//! Misconfigured reverse proxies: a log line for untrusted ones, an event at authentik for those that
//! send malformed authorization requests.

use http::HeaderMap;
use http::request::Parts;

use super::error::GatewayError;
use super::response::RequestId;
use crate::model::Hint as _;
use crate::telemetry::{Misconfiguration, Reporter, Throttle};
use crate::web::request::inbound::{Inbound, is_forwarded};

/// Reports misconfigured reverse proxies to operators.
pub(crate) struct ProxyReports {
    reporter: Reporter,
    /// Limits how often ignored forwarded headers are logged.
    ignored_peers: Throttle,
}

impl ProxyReports {
    pub(crate) fn new(reporter: Reporter) -> Self {
        Self {
            reporter,
            ignored_peers: Throttle::default(),
        }
    }

    /// Logs, at a limited rate, a peer that sends forwarded headers but is not trusted: addresses and
    /// hosts are wrong until it is.
    pub(crate) fn log_untrusted_peer(
        &self,
        inbound: &Inbound<'_>,
        headers: &HeaderMap,
        id: &RequestId,
    ) {
        if !inbound.trusted && is_forwarded(headers) && self.ignored_peers.should_log("") {
            tracing::warn!(
                request_id = %id,
                hint = "if it is your reverse proxy, add its network to AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS",
                "X-Forwarded-* headers from {} are ignored",
                inbound.peer,
            );
        }
    }

    /// Reports a misconfigured reverse proxy to authentik.
    pub(crate) fn report(&self, error: &GatewayError, parts: &Parts, inbound: &Inbound<'_>) {
        if let GatewayError::MalformedAuthRequest(_) = error {
            self.reporter.report(|| Misconfiguration {
                message: error.with_hint(),
                client: inbound.client,
                url: parts.uri.path().chars().take(512).collect(),
                headers: diagnostic_headers(&parts.headers),
            });
        }
    }
}

/// The headers that show the configuration of a reverse proxy, without credentials and queries.
fn diagnostic_headers(headers: &HeaderMap) -> Vec<(&'static str, String)> {
    const NAMES: [&str; 9] = [
        "host",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-method",
        "x-forwarded-proto",
        "x-forwarded-uri",
        "x-original-method",
        "x-original-url",
        "x-sent-from",
    ];
    let text = |name: &'static str| {
        let value = headers.get(name)?.to_str().ok()?;
        let value = value.split(['?', '#']).next().unwrap_or_default();
        // The part before an `@` may be a password.
        (!value.contains('@')).then(|| (name, value.chars().take(512).collect()))
    };
    NAMES.into_iter().filter_map(text).collect()
}
