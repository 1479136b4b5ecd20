//! The metrics listener: metrics, liveness, readiness.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::store::Store;
use crate::telemetry::metrics::Metrics;

/// Whether we want traffic: once configured, and until we are asked to stop.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    configured: AtomicBool,
    stopping: AtomicBool,
}

impl Readiness {
    /// A configuration was loaded.
    pub fn configured(&self) {
        self.0.configured.store(true, Ordering::Release);
    }

    /// We were asked to stop.
    pub fn stopping(&self) {
        self.0.stopping.store(true, Ordering::Release);
    }

    /// Whether traffic is welcome.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.configured.load(Ordering::Acquire) && !self.0.stopping.load(Ordering::Acquire)
    }
}

/// The routes of the metrics listener.
pub fn router(metrics: Metrics, store: Store, readiness: Readiness) -> Router {
    let exposition = [(
        header::CONTENT_TYPE,
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    )];
    let ready = move || async move {
        if readiness.is_ready() {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    Router::new()
        .route(
            "/metrics",
            get(move || async move { (exposition, metrics.render(store.len())).into_response() }),
        )
        .route(
            "/outpost.goauthentik.io/ping",
            get(|| async { StatusCode::NO_CONTENT }),
        )
        .route("/outpost.goauthentik.io/ready", get(ready))
}
