//! Responses of the gateway, with what the log and the metrics need of them.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use tracing::Level;

use crate::model::Diagnostic;
use crate::route::{LiveSession, Site};
use crate::telemetry::metrics::Rejection;
pub(crate) use crate::web::header::names::REQUEST_ID;
use crate::web::page::Page;
use crate::web::request::navigation::may_be_browser;

/// A response, and what the log and the metrics need.
pub(crate) struct GatewayResponse {
    pub(crate) response: Response<Body>,
    pub(crate) site: Option<Arc<Site>>,
    pub(crate) session: Option<Arc<LiveSession>>,
    /// The level of its line in the log. That of authorization requests is `DEBUG`, since they are
    /// many and say little.
    pub(crate) level: Level,
    /// Whether it is the application's response, which is passed on unchanged.
    pub(crate) from_upstream: bool,
    /// Why the request is not served, for operators.
    pub(crate) error: Option<Diagnostic>,
    /// The `grpc-message` for a gRPC call, if the response is in place of an application's.
    pub(crate) grpc_message: Option<&'static str>,
}

impl GatewayResponse {
    pub(crate) fn of(site: &Arc<Site>, response: Response<Body>) -> Self {
        Self {
            response,
            site: Some(Arc::clone(site)),
            session: None,
            level: Level::INFO,
            from_upstream: false,
            error: None,
            grpc_message: None,
        }
    }

    /// Forbids caching: the response is for one user, and holds the user's token.
    pub(crate) fn forbid_caching(&mut self) {
        let headers = self.response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

pub(crate) fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(crate) fn html(status: StatusCode, page: &Page<'_>) -> Response<Body> {
    let mut response = Response::new(Body::from(page.render()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(page.policy()),
    );
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

/// 302 to a URL of visible ASCII.
pub(crate) fn redirect(to: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::FOUND;
    let headers = response.headers_mut();
    // Targets are visible ASCII by construction.
    if let Ok(to) = HeaderValue::from_str(to) {
        headers.insert(header::LOCATION, to);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Adds a `Set-Cookie` header.
pub(crate) fn append_cookie(response: &mut Response<Body>, cookie: &str) {
    if let Ok(mut cookie) = HeaderValue::from_str(cookie) {
        cookie.set_sensitive(true);
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}

/// The message for a client without a session that is not sent to the login.
pub(crate) const SIGN_IN: &str = "Sign in first: open the application in a browser.";
const REFUSED: &str =
    "The credentials of this request were refused. Its Authorization header is not valid here.";

/// The text of a 401.
pub(crate) fn unauthorized_text(reason: Rejection) -> &'static str {
    match reason {
        Rejection::InvalidCredentials => REFUSED,
        _ => SIGN_IN,
    }
}

/// Programs that ask their user for a password show the realm.
const BASIC: HeaderValue =
    HeaderValue::from_static("Basic realm=\"authentik app password\", charset=\"UTF-8\"");
pub(crate) const BEARER: HeaderValue = HeaderValue::from_static("Bearer realm=\"authentik\"");

/// 401 for a request with these headers: nginx redirects browsers to `/start` on it. Other clients get
/// the reason, if the response is shown to them, and the schemes that they can use (RFC 9110
/// section 15.5.2).
pub(crate) fn unauthorized(
    site: &Arc<Site>,
    headers: &HeaderMap,
    is_shown: bool,
    reason: Rejection,
) -> GatewayResponse {
    site.metrics.rejections.count(reason);
    let status = StatusCode::UNAUTHORIZED;
    let response = if is_shown {
        let mut response = json(
            status,
            &serde_json::json!({
                "error": match reason {
                    Rejection::InvalidCredentials => "invalid_credentials",
                    _ => "login_required",
                },
                "message": unauthorized_text(reason),
                "url": site.application.external.as_str(),
            }),
        );
        let challenges = response.headers_mut();
        if site.application.intercept_header_auth && !may_be_browser(headers) {
            challenges.append(header::WWW_AUTHENTICATE, BASIC);
        }
        challenges.append(header::WWW_AUTHENTICATE, BEARER);
        response
    } else {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        response
    };
    GatewayResponse {
        level: Level::DEBUG,
        ..GatewayResponse::of(site, response)
    }
}

/// Length of an id that is taken over, in bytes.
const MAX_ID_BYTES: usize = 128;

/// The id of a request, in its response and in the log.
#[derive(Debug)]
pub(crate) enum RequestId {
    /// Given by a trusted reverse proxy.
    Given(HeaderValue),
    /// Hexadecimal digits.
    Own([u8; 16]),
}

impl RequestId {
    /// The id that a trusted reverse proxy gave the request, or a new one.
    pub(crate) fn of(headers: &HeaderMap, trusted: impl FnOnce() -> bool) -> Self {
        let given = headers.get(&REQUEST_ID);
        given
            .filter(|id| is_acceptable(id.as_bytes()) && trusted())
            .map_or_else(Self::new, |id| Self::Given(id.clone()))
    }

    /// The next id: a random start for the process, then counted, since every request has one.
    fn new() -> Self {
        static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| {
            let mut bytes = [0; 8];
            // An id without randomness is still an id.
            let _ = aws_lc_rs::rand::fill(&mut bytes);
            AtomicU64::new(u64::from_ne_bytes(bytes))
        });
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self::Own(std::array::from_fn(|at| {
            b"0123456789abcdef"[(number >> (60 - 4 * at) & 0xf) as usize]
        }))
    }

    /// As the value of [`REQUEST_ID`].
    pub(crate) fn value(&self) -> HeaderValue {
        match self {
            Self::Given(id) => id.clone(),
            Self::Own(digits) => {
                HeaderValue::from_bytes(digits).expect("hexadecimal digits are visible ASCII")
            }
        }
    }

    /// As text.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Given(id) => id.to_str().unwrap_or_default(),
            Self::Own(digits) => std::str::from_utf8(digits).unwrap_or_default(),
        }
    }
}

/// Whether an id is safe in logs and pages.
fn is_acceptable(id: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte);
    (1..=MAX_ID_BYTES).contains(&id.len()) && id.iter().all(allowed)
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_taken_over_from_trusted_peers_if_they_are_harmless() {
        let long = "a".repeat(MAX_ID_BYTES + 1);
        for (given, trusted, taken) in [
            ("8f14e45fceea167a5a36dedd4bea2543", true, true),
            ("8f14e45fceea167a5a36dedd4bea2543", false, false),
            ("1-5759e988:bd862e/3f+e1=_.", true, true),
            ("", true, false),
            ("<script>", true, false),
            ("a b", true, false),
            (long.as_str(), true, false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_str(given).expect("a value"));
            let id = RequestId::of(&headers, || trusted).to_string();
            assert_eq!(id == given, taken, "{given:?} became {id}");
            assert!(taken || id.len() == 16, "{id}");
        }
        let none = HeaderMap::new();
        let ids = [&none, &none].map(|headers| RequestId::of(headers, || true).to_string());
        assert_ne!(ids[0], ids[1]);
    }
}
