//! Answers on their way out: what they say, and what the log wants to know about them.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};

use crate::model::Session;
use crate::route::Site;
use crate::web::page::{POLICY, Page};

/// An answer, and what the log and the metrics want to know about it.
pub(super) struct Answer {
    pub(super) response: Response<Body>,
    pub(super) site: Option<Arc<Site>>,
    pub(super) session: Option<Arc<Session>>,
    /// Successful subrequests are many and say little; they are logged at `debug`.
    pub(super) quiet: bool,
    /// Whether it is the application's answer, to which we add nothing.
    pub(super) passed_on: bool,
    /// Why the request is not served, for operators.
    pub(super) error: Option<String>,
}

impl Answer {
    pub(super) fn of(site: &Arc<Site>, response: Response<Body>) -> Self {
        Self {
            response,
            site: Some(Arc::clone(site)),
            session: None,
            quiet: false,
            passed_on: false,
            error: None,
        }
    }
}

pub(super) fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
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

pub(super) fn html(status: StatusCode, page: &Page<'_>) -> Response<Body> {
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
        HeaderValue::from_static(POLICY),
    );
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

/// Links an answer to its lines in the log.
#[derive(Debug)]
pub(super) struct RequestId(u64);

impl RequestId {
    /// The next id: a random start for the process, then counted, since every request has one.
    pub(super) fn new() -> Self {
        static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| {
            let mut bytes = [0; 8];
            // An id without randomness is still an id.
            let _ = aws_lc_rs::rand::fill(&mut bytes);
            AtomicU64::new(u64::from_ne_bytes(bytes))
        });
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
