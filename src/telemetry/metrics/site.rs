//! Metrics of one application, with handles that are resolved in advance.

use std::time::Duration;

use http::Method;
use prometheus_client::metrics::histogram::Histogram;

use super::outcomes::{Counters, LoginOutcome, Rejection, UpstreamErrorKind};
use crate::model::Dialect;

/// Methods that become label values, in the order of the handles of [`MethodMetrics`].
const METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::OPTIONS,
    Method::PATCH,
];

/// Histograms by method, resolved in advance.
#[derive(Debug, Clone)]
pub struct MethodMetrics(Vec<Histogram>);

impl MethodMetrics {
    pub(super) fn new(handle: impl FnMut(&'static str) -> Histogram) -> Self {
        let names = METHODS.iter().map(method_name).chain(["OTHER"]);
        Self(names.map(handle).collect())
    }

    /// Records a response.
    pub fn observe(&self, method: &Method, duration: Duration) {
        let index = METHODS
            .iter()
            .position(|known| known == method)
            .unwrap_or(METHODS.len());
        self.0[index].observe(duration.as_secs_f64());
    }
}

/// Metrics of one application.
#[derive(Debug, Clone)]
pub struct SiteMetrics {
    pub(super) requests: MethodMetrics,
    pub(super) identity: Histogram,
    /// Rejected requests.
    pub rejections: Counters<Rejection>,
    /// Authorization requests.
    pub authorizations: Counters<Dialect>,
    /// Authorization requests that do not show by which host the request was routed.
    pub unverified_hosts: Counters<Dialect>,
    /// Logins.
    pub logins: Counters<LoginOutcome>,
}

impl SiteMetrics {
    /// Records a request.
    pub fn observe(&self, method: &Method, duration: Duration) {
        self.requests.observe(method, duration);
    }

    /// Records the size of the identity headers of a login, in bytes.
    #[expect(
        clippy::cast_precision_loss,
        reason = "headers have less than 2^52 bytes"
    )]
    pub fn observe_identity(&self, bytes: usize) {
        self.identity.observe(bytes as f64);
    }
}

/// Metrics of requests to an application.
#[derive(Debug, Clone)]
pub struct UpstreamMetrics {
    pub(super) responses: MethodMetrics,
    /// Requests that failed.
    pub errors: Counters<UpstreamErrorKind>,
}

impl UpstreamMetrics {
    /// Records a response.
    pub fn observe(&self, method: &Method, duration: Duration) {
        self.responses.observe(method, duration);
    }
}

pub(super) fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "OTHER",
    }
}
