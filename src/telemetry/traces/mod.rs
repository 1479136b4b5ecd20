//! Traces of requests by OTLP, as the variables `OTEL_*` say (OpenTelemetry specification,
//! "Environment Variable Specification"). The SDK reads those itself.
//!
//! Built with the feature `otel`; without it nothing here costs anything.

#[cfg(feature = "otel")]
#[path = "otlp.rs"]
mod exporter;
#[cfg(not(feature = "otel"))]
#[path = "none.rs"]
mod exporter;

use http::{HeaderMap, Method, StatusCode, Uri};

use crate::model::{Hint, HintText};

pub use exporter::{Span, Traces};

/// Traces are enabled and cannot be exported.
#[derive(Debug, thiserror::Error)]
#[error("traces cannot be exported: {0}")]
pub struct TracesError(String);

impl Hint for TracesError {
    fn hint(&self) -> Option<HintText> {
        Some("check the variables OTEL_EXPORTER_OTLP_*".into())
    }
}

/// What is known of a request when it begins.
pub struct Begun<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its target; the query is left out of traces.
    pub uri: &'a Uri,
    /// Its headers. They name the span as the parent of whatever the application does.
    pub headers: &'a mut HeaderMap,
    /// Whether the sender's trace is to be continued.
    pub trusted: &'a dyn Fn() -> bool,
}

/// What is known when it is answered.
pub struct Ended<'a> {
    /// The answer's status.
    pub status: StatusCode,
    /// The host that was asked for.
    pub host: &'a str,
    /// The slug of the application, if there is one.
    pub application: Option<&'a str>,
    /// Links the span to lines of the log.
    pub request_id: &'a str,
    /// Why the request was not served.
    pub error: Option<&'a str>,
}
