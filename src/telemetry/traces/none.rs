//! No traces: this program was built without them.

use std::time::Duration;

use super::{Begun, Ended, TracesError};
use crate::config;

/// Nothing.
#[derive(Debug, Clone, Default)]
pub struct Traces(());

/// Nothing.
#[derive(Debug)]
pub struct Span(());

impl Traces {
    /// Warns if traces are enabled.
    pub fn new(config: config::Traces) -> Result<Self, TracesError> {
        if config.enabled {
            tracing::warn!(
                hint =
                    "unset OTEL_EXPORTER_OTLP_ENDPOINT, or use a build with the feature \"otel\"",
                "traces are not exported: this build has no feature \"otel\""
            );
        }
        Ok(Self(()))
    }

    /// Does nothing.
    #[must_use]
    pub fn begin(&self, _: Begun<'_>) -> Span {
        Span(())
    }

    /// Does nothing.
    #[expect(clippy::unused_async, reason = "with the feature it waits")]
    pub async fn stop(self, _: Duration) {}
}

impl Span {
    /// Does nothing.
    pub fn end(self, _: &Ended<'_>) {}
}
