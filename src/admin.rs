//! The metrics listener: metrics, liveness, readiness, status.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::clock::Clock;
use crate::model::Dialect;
use crate::route::{ControlHealth, Live, Snapshot, Store};
use crate::telemetry::metrics::Metrics;

/// Readiness: after the first configuration, until shutdown.
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

    /// Shutdown has started.
    pub fn stopping(&self) {
        self.0.stopping.store(true, Ordering::Release);
    }

    /// Whether the outpost is ready for traffic.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.configured.load(Ordering::Acquire) && !self.0.stopping.load(Ordering::Acquire)
    }
}

/// The routes of the metrics listener.
pub fn router(
    metrics: Metrics,
    store: Store,
    live: Live,
    readiness: Readiness,
    clock: Clock,
) -> Router {
    let exposition = [(
        header::CONTENT_TYPE,
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    )];
    let ready = {
        let readiness = readiness.clone();
        move || async move {
            if readiness.is_ready() {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    };
    let status = {
        let store = store.clone();
        move || async move {
            let json = [(header::CONTENT_TYPE, "application/json")];
            let status = status(&store, &live, &readiness, clock.now());
            (json, format!("{:#}\n", json!(status))).into_response()
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
        .route("/status", get(status))
}

/// The response of `/status`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    /// The version of this program.
    pub version: String,
    /// Whether the outpost is ready for traffic.
    pub ready: bool,
    /// The outpost, once known.
    pub outpost: Option<ServedOutpost>,
    /// The configuration from authentik.
    pub configuration: ConfigurationStatus,
    /// The websocket to authentik.
    pub websocket: WebsocketStatus,
    /// The session store.
    pub store: StoreStatus,
    /// The settings of the outpost.
    pub settings: SettingsStatus,
    /// The number of authorization requests by application and dialect, where there were any.
    pub forward_auth: Vec<AuthorizationStatus>,
}

/// The authorization requests about one application in one dialect, since the start.
#[derive(Debug, Serialize, Deserialize)]
pub struct AuthorizationStatus {
    /// The application's slug.
    pub application: String,
    /// The dialect.
    pub dialect: String,
    /// Number of requests.
    pub requests: u64,
    /// Number of requests that did not show by which host the request was routed.
    pub unverified_hosts: u64,
}

/// The outpost.
#[derive(Debug, Serialize, Deserialize)]
pub struct ServedOutpost {
    /// Its primary key.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// The version of authentik, if known.
    pub authentik_version: Option<String>,
}

/// The configuration from authentik.
#[derive(Debug, Serialize, Deserialize)]
pub struct ConfigurationStatus {
    /// Whether there is one.
    pub loaded: bool,
    /// Its age in seconds, since authentik sent it.
    pub age_seconds: Option<i64>,
    /// Whether it is the saved one, because authentik is unavailable.
    pub stale: bool,
    /// Number of applications.
    pub applications: usize,
}

/// The websocket to authentik.
#[derive(Debug, Serialize, Deserialize)]
pub struct WebsocketStatus {
    /// Whether it is connected, and authentik answered on it.
    pub connected: bool,
}

/// The settings of the outpost.
#[derive(Debug, Serialize, Deserialize)]
pub struct SettingsStatus {
    /// The files that they are read from.
    pub sources: Vec<SourceStatus>,
    /// The keys of settings that changed and apply after a restart only.
    pub needs_restart: Vec<String>,
}

/// A file that settings are read from.
#[derive(Debug, Serialize, Deserialize)]
pub struct SourceStatus {
    /// What is read from it: `config`, or the key of a setting.
    pub source: String,
    /// Its path.
    pub path: String,
    /// When what is in use was read, Unix seconds.
    pub read_at: i64,
    /// Whether the last attempt to read it found something that cannot be used.
    pub failed: bool,
}

/// The session store.
#[derive(Debug, Serialize, Deserialize)]
pub struct StoreStatus {
    /// `redis` or `memory`.
    pub kind: String,
    /// Whether it is connected.
    pub reachable: bool,
    /// Number of sessions in this process.
    pub sessions: usize,
}

fn status(store: &Store, live: &Live, readiness: &Readiness, now: i64) -> Status {
    let (snapshot, health) = (live.load(), live.health());
    let outpost = snapshot.outpost.as_ref().map(|outpost| ServedOutpost {
        id: outpost.id,
        name: outpost.name.clone(),
        authentik_version: outpost.version.clone(),
    });
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ready: readiness.is_ready(),
        outpost,
        configuration: ConfigurationStatus {
            loaded: health.updated_at().is_some(),
            age_seconds: health.updated_at().map(|updated_at| now - updated_at),
            stale: health.is_stale(),
            applications: snapshot.table.sites().len(),
        },
        websocket: WebsocketStatus {
            connected: health.is_connected(),
        },
        store: StoreStatus {
            kind: store.kind().as_str().to_owned(),
            reachable: store.is_up(),
            sessions: store.len(),
        },
        settings: settings(health),
        forward_auth: authorizations(&snapshot),
    }
}

fn settings(health: &ControlHealth) -> SettingsStatus {
    let settings = health.settings();
    let sources = settings.sources.iter().map(|source| SourceStatus {
        source: source.source.to_owned(),
        path: source.path.display().to_string(),
        read_at: source.read_at,
        failed: source.failed,
    });
    let needs_restart = settings.needs_restart.iter();
    SettingsStatus {
        sources: sources.collect(),
        needs_restart: needs_restart.map(|&key| key.to_owned()).collect(),
    }
}

fn authorizations(snapshot: &Snapshot) -> Vec<AuthorizationStatus> {
    let sites = snapshot.table.sites().iter();
    let each = sites.flat_map(|site| Dialect::ALL.map(|dialect| (site, dialect)));
    let counted = each.map(|(site, dialect)| AuthorizationStatus {
        application: site.application.slug.clone(),
        dialect: dialect.to_string(),
        requests: site.metrics.authorizations.get(dialect),
        unverified_hosts: site.metrics.unverified_hosts.get(dialect),
    });
    counted.filter(|counted| counted.requests > 0).collect()
}
