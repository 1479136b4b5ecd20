//! What is counted of one application, with handles that are resolved ahead of the requests.

use std::time::Duration;

use http::Method;
use prometheus_client::metrics::histogram::Histogram;

use super::outcomes::{Counters, LoginOutcome, Refusal, UpstreamErrorKind};
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

/// Histograms by method, resolved ahead of the requests.
#[derive(Debug, Clone)]
pub struct MethodMetrics(Vec<Histogram>);

impl MethodMetrics {
    pub(super) fn new(handle: impl FnMut(&'static str) -> Histogram) -> Self {
        let names = METHODS.iter().map(method_name).chain(["OTHER"]);
        Self(names.map(handle).collect())
    }

    /// Counts an answer.
    pub fn observe(&self, method: &Method, duration: Duration) {
        let index = METHODS
            .iter()
            .position(|known| known == method)
            .unwrap_or(METHODS.len());
        self.0[index].observe(duration.as_secs_f64());
    }
}

/// What is counted of one application.
#[derive(Debug, Clone)]
pub struct SiteMetrics {
    pub(super) requests: MethodMetrics,
    pub(super) identity: Histogram,
    /// Requests that were not served.
    pub refusals: Counters<Refusal>,
    /// Authorization requests of reverse proxies.
    pub authorizations: Counters<Dialect>,
    /// Those of them that do not show by which host the request was routed.
    pub unverified_hosts: Counters<Dialect>,
    /// Logins.
    pub logins: Counters<LoginOutcome>,
}

impl SiteMetrics {
    /// Counts an answered request.
    pub fn observe(&self, method: &Method, duration: Duration) {
        self.requests.observe(method, duration);
    }

    /// Notes how many bytes the identity headers of somebody who signed in have.
    #[expect(
        clippy::cast_precision_loss,
        reason = "headers have less than 2^52 bytes"
    )]
    pub fn observe_identity(&self, bytes: usize) {
        self.identity.observe(bytes as f64);
    }
}

/// What is counted of the answers of an application that requests are passed on to.
#[derive(Debug, Clone)]
pub struct UpstreamMetrics {
    pub(super) responses: MethodMetrics,
    /// Requests without an answer.
    pub errors: Counters<UpstreamErrorKind>,
}

impl UpstreamMetrics {
    /// Counts an answer.
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
