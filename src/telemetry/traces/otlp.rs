//! Traces by OTLP over gRPC.

use std::time::Duration;

use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{
    Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanData, SpanExporter as Export};

use super::super::Throttle;
use super::{Begun, Ended, TracesError};
use crate::config;

/// How the service is called unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` says more.
const SERVICE: &str = "authentik-proxy";

/// The way to a collector, if there is one. Cheap to clone.
#[derive(Clone, Default)]
pub struct Traces(Option<(SdkTracerProvider, SdkTracer)>);

/// A request in a trace, if there are traces.
pub struct Span(Option<opentelemetry_sdk::trace::Span>);

impl Traces {
    /// Exports to where the environment says. Needs a runtime; connects in the background.
    pub fn new(config: config::Traces) -> Result<Self, TracesError> {
        if !config.enabled {
            return Ok(Self(None));
        }
        let exporter = SpanExporter::builder().with_tonic().build();
        let exporter = exporter.map_err(|error| TracesError(error.to_string()))?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(Reporting {
                exporter,
                throttle: Throttle::default(),
            })
            .with_resource(resource(config.named))
            .build();
        let tracer = provider.tracer(SERVICE);
        Ok(Self(Some((provider, tracer))))
    }

    /// Begins a span, and makes it the parent of what the application traces (W3C Trace Context).
    #[must_use]
    pub fn begin(&self, begun: Begun<'_>) -> Span {
        let Some((_, tracer)) = &self.0 else {
            return Span(None);
        };
        let Begun {
            method,
            uri,
            headers,
            trusted,
        } = begun;
        let propagator = TraceContextPropagator::new();
        let parent = if trusted() {
            propagator.extract_with_context(&Context::new(), &HeaderExtractor(headers))
        } else {
            Context::new()
        };
        // Names and attributes are those of the semantic conventions for HTTP servers.
        let span = tracer
            .span_builder(method.as_str().to_owned())
            .with_kind(SpanKind::Server)
            .with_attributes([
                KeyValue::new("http.request.method", method.as_str().to_owned()),
                KeyValue::new("url.path", uri.path().to_owned()),
            ])
            .start_with_context(tracer, &parent);
        let context = Context::new().with_remote_span_context(span.span_context().clone());
        propagator.inject_context(&context, &mut HeaderInjector(headers));
        Span(Some(span))
    }

    /// Sends what is not sent yet, for at most so long.
    pub async fn stop(self, timeout: Duration) {
        if let Some((provider, _)) = self.0 {
            let sent = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(timeout));
            if let Ok(Err(error)) = sent.await {
                tracing::warn!(%error, "last traces were not sent");
            }
        }
    }
}

impl Span {
    /// Ends the span.
    pub fn end(self, ended: &Ended<'_>) {
        let Some(mut span) = self.0.filter(opentelemetry::trace::Span::is_recording) else {
            return;
        };
        let status = ended.status;
        span.set_attributes([
            KeyValue::new("http.response.status_code", i64::from(status.as_u16())),
            KeyValue::new("server.address", ended.host.to_owned()),
            KeyValue::new("authentik_proxy.request_id", ended.request_id.to_owned()),
        ]);
        if let Some(slug) = ended.application {
            span.set_attribute(KeyValue::new(
                "authentik_proxy.application",
                slug.to_owned(),
            ));
        }
        if status.is_server_error() {
            span.set_status(Status::error(ended.error.unwrap_or_default().to_owned()));
        }
        span.end();
    }
}

/// Logs why traces do not arrive: the SDK drops them without a word.
#[derive(Debug)]
struct Reporting {
    exporter: SpanExporter,
    throttle: Throttle,
}

impl Export for Reporting {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let sent = self.exporter.export(batch).await;
        if let Err(error) = &sent {
            // Has the code and, of what went wrong on this side, the cause; never a header.
            let message = error.to_string();
            if self.throttle.should_log(&message) {
                tracing::warn!(
                    error = message,
                    hint = "the collector must listen for OTLP over gRPC at OTEL_EXPORTER_OTLP_ENDPOINT (usually port 4317)",
                    "traces are not exported"
                );
            }
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

fn resource(named: bool) -> Resource {
    let builder = Resource::builder();
    let builder = if named {
        builder
    } else {
        builder.with_service_name(SERVICE)
    };
    builder
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build()
}
