//! Prometheus metrics. Where the vendor's outpost has a metric, its name and labels are used. Label
//! values are bounded: hosts of known applications, methods of RFC 9110.

mod labels;
mod outcomes;
mod site;
mod sources;
mod store;

use std::sync::{Arc, RwLock};
use std::time::Duration;

use http::Method;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use labels::{
    ConnectionLabels, DialectLabels, HostLabels, LoginLabels, OutcomeLabels, OutpostLabels,
    ReasonLabels, RequestLabels, UpstreamLabels,
};
pub use outcomes::{
    CacheResult, Counters, Label, LoginOutcome, RefreshOutcome, Rejection, UpstreamErrorKind,
};
use site::method_name;
pub use site::{MethodMetrics, SiteMetrics, UpstreamMetrics};
pub use sources::SourceMetrics;
pub use store::StoreMetrics;

/// Upper bounds of the histograms, in seconds.
const BUCKETS: [f64; 13] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0,
];

/// All metrics of the process. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    requests: Family<RequestLabels, Histogram, fn() -> Histogram>,
    identity: Family<HostLabels, Histogram, fn() -> Histogram>,
    upstream: Family<UpstreamLabels, Histogram, fn() -> Histogram>,
    info: Family<OutpostLabels, Gauge>,
    last_update: Family<OutpostLabels, Gauge>,
    connection: Family<ConnectionLabels, Gauge>,
    sessions: Gauge,
    stale: Gauge,
    store: StoreMetrics,
    sources: SourceMetrics,
    rejections: Family<ReasonLabels, Counter>,
    authorizations: Family<DialectLabels, Counter>,
    unverified_hosts: Family<DialectLabels, Counter>,
    logins: Family<LoginLabels, Counter>,
    upstream_errors: Family<ReasonLabels, Counter>,
    refreshes: Counters<RefreshOutcome>,
    /// The outpost's name, for requests that belong to no application.
    outpost: RwLock<String>,
}

/// Upper bounds of header sizes, in bytes. nginx's default buffer is 4 KiB or 8 KiB.
const HEADER_BUCKETS: [f64; 6] = [1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0];

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers the metrics.
    #[must_use]
    pub fn new() -> Self {
        Self::counting(Counter::default())
    }

    /// Registers the metrics, with the counter of log lines that were lost.
    #[must_use]
    pub fn counting(lost_lines: Counter) -> Self {
        let mut registry = Registry::with_prefix("authentik_outpost");
        let requests: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(BUCKETS));
        let upstream: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(BUCKETS));
        let (info, last_update) = (Family::default(), Family::default());
        let (connection, sessions) = (Family::default(), Gauge::default());
        let help = "Time from request head to response head";
        registry.register("proxy_request_duration_seconds", help, requests.clone());
        let identity: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(HEADER_BUCKETS));
        let help = "Size of the identity headers, per login";
        registry.register("proxy_identity_headers_bytes", help, identity.clone());
        let help = "Time from forwarding a request to the response head of the application";
        registry.register(
            "proxy_upstream_response_duration_seconds",
            help,
            upstream.clone(),
        );
        registry.register("info", "The outpost and its version", Clone::clone(&info));
        let help = "Unix time of the last configuration update";
        registry.register("last_update", help, Clone::clone(&last_update));
        let help = "1 while the websocket to authentik is connected";
        registry.register("connection", help, Clone::clone(&connection));
        registry.register(
            "proxy_sessions",
            "Sessions in the memory of this process",
            Clone::clone(&sessions),
        );
        let stale = Gauge::default();
        let help = "1 while the saved configuration is in use because authentik is unavailable";
        registry.register("config_stale", help, stale.clone());
        let help = "Log lines that were not written";
        registry.register("log_lines_lost", help, lost_lines);
        let store = StoreMetrics::register(&mut registry);
        let sources = SourceMetrics::register(&mut registry);
        let rejections = Family::default();
        let help = "Requests that were rejected, by reason";
        registry.register("proxy_rejected_requests", help, Clone::clone(&rejections));
        let (authorizations, unverified_hosts) = (Family::default(), Family::default());
        let help = "Authorization requests from reverse proxies";
        registry.register(
            "proxy_authorization_requests",
            help,
            Clone::clone(&authorizations),
        );
        let help = "Authorization requests that do not show by which host the request was routed";
        registry.register(
            "proxy_unverified_host_requests",
            help,
            Clone::clone(&unverified_hosts),
        );
        let logins = Family::default();
        let help = "Logins, by outcome";
        registry.register("proxy_logins", help, Clone::clone(&logins));
        let upstream_errors = Family::default();
        let help = "Requests to applications that failed, by reason";
        registry.register(
            "proxy_upstream_errors",
            help,
            Clone::clone(&upstream_errors),
        );
        let refreshes = Family::<OutcomeLabels, Counter>::default();
        let help = "Token refreshes, by outcome";
        registry.register("token_refreshes", help, Clone::clone(&refreshes));
        let refreshes =
            Counters::new(|outcome| refreshes.get_or_create_owned(&OutcomeLabels { outcome }));
        let outpost = RwLock::default();
        Self(Arc::new(Inner {
            registry,
            requests,
            identity,
            upstream,
            info,
            last_update,
            connection,
            sessions,
            stale,
            store,
            sources,
            rejections,
            authorizations,
            unverified_hosts,
            logins,
            upstream_errors,
            refreshes,
            outpost,
        }))
    }

    /// The handles of the session store.
    #[must_use]
    pub fn store(&self) -> StoreMetrics {
        self.0.store.clone()
    }

    /// The handles of the files that settings are read from.
    #[must_use]
    pub fn sources(&self) -> SourceMetrics {
        self.0.sources.clone()
    }

    /// The handles for one application.
    #[must_use]
    pub fn site(&self, outpost: &str, host: &str) -> SiteMetrics {
        let labels = HostLabels {
            outpost_name: outpost.to_owned(),
            host: host.to_owned(),
        };
        let dialects = |family: &Family<DialectLabels, Counter>| {
            Counters::new(|dialect| {
                family.get_or_create_owned(&DialectLabels {
                    outpost_name: outpost.to_owned(),
                    host: host.to_owned(),
                    dialect,
                })
            })
        };
        SiteMetrics {
            authorizations: dialects(&self.0.authorizations),
            unverified_hosts: dialects(&self.0.unverified_hosts),
            requests: MethodMetrics::new(|method| self.handle(outpost, method, host, "app")),
            identity: self.0.identity.get_or_create_owned(&labels),
            rejections: Counters::new(|reason| self.rejection(outpost, host, reason)),
            logins: Counters::new(|outcome| {
                self.0.logins.get_or_create_owned(&LoginLabels {
                    outpost_name: outpost.to_owned(),
                    host: host.to_owned(),
                    outcome,
                })
            }),
        }
    }

    /// The handles for refreshes.
    #[must_use]
    pub fn refreshes(&self) -> Counters<RefreshOutcome> {
        self.0.refreshes.clone()
    }

    /// The handles for requests for `host` to the application at `upstream_host`.
    #[must_use]
    pub fn upstream(
        &self,
        outpost: &str,
        host: &str,
        scheme: &str,
        upstream_host: &str,
    ) -> UpstreamMetrics {
        let responses = MethodMetrics::new(|method| {
            self.0.upstream.get_or_create_owned(&UpstreamLabels {
                outpost_name: outpost.to_owned(),
                method,
                scheme: scheme.to_owned(),
                host: host.to_owned(),
                upstream_host: upstream_host.to_owned(),
            })
        });
        let errors = Counters::new(|reason| {
            self.0.upstream_errors.get_or_create_owned(&ReasonLabels {
                outpost_name: outpost.to_owned(),
                host: host.to_owned(),
                reason,
            })
        });
        UpstreamMetrics { responses, errors }
    }

    /// Records a ping, or a request that belongs to no application.
    pub fn observe_other(&self, method: &Method, kind: &'static str, duration: Duration) {
        self.handle(&self.outpost_name(), method_name(method), "", kind)
            .observe(duration.as_secs_f64());
    }

    /// Counts a rejected request that belongs to no application.
    pub fn reject(&self, reason: Rejection) {
        self.rejection(&self.outpost_name(), "", Rejection::VALUES[reason.index()])
            .inc();
    }

    fn outpost_name(&self) -> String {
        let name = self.0.outpost.read();
        name.expect("no code panics while holding this lock")
            .clone()
    }

    fn rejection(&self, outpost: &str, host: &str, reason: &'static str) -> Counter {
        self.0.rejections.get_or_create_owned(&ReasonLabels {
            outpost_name: outpost.to_owned(),
            host: host.to_owned(),
            reason,
        })
    }

    /// Records a configuration update at `now` (Unix seconds).
    ///
    /// # Panics
    /// Never: nothing panics while the lock is held.
    pub fn updated(&self, outpost: &crate::model::Outpost, now: i64) {
        outpost.name.clone_into(
            &mut self
                .0
                .outpost
                .write()
                .expect("no code panics while holding this lock"),
        );
        let labels = OutpostLabels {
            outpost_name: outpost.name.clone(),
            outpost_type: "proxy",
            uuid: outpost.id.to_string(),
            version: outpost.version.clone().unwrap_or_default(),
            build: env!("CARGO_PKG_VERSION"),
        };
        // The previous version or name no longer applies.
        self.0.info.clear();
        self.0.last_update.clear();
        self.0.info.get_or_create(&labels).set(1);
        self.0.last_update.get_or_create(&labels).set(now);
    }

    /// Sets whether the saved configuration is in use because authentik is unavailable.
    pub fn stale(&self, stale: bool) {
        self.0.stale.set(i64::from(stale));
    }

    /// Sets whether the websocket is connected.
    pub fn connected(&self, outpost: &crate::model::Outpost, connected: bool) {
        let labels = ConnectionLabels {
            outpost_name: outpost.name.clone(),
            outpost_type: "proxy",
            uuid: outpost.id.to_string(),
        };
        self.0.connection.clear();
        self.0
            .connection
            .get_or_create(&labels)
            .set(i64::from(connected));
    }

    /// The text exposition (`OpenMetrics`), with the number of sessions as of now.
    #[must_use]
    pub fn render(&self, sessions: usize) -> String {
        self.0
            .sessions
            .set(i64::try_from(sessions).unwrap_or(i64::MAX));
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut out, &self.0.registry);
        out
    }

    fn handle(
        &self,
        outpost: &str,
        method: &'static str,
        host: &str,
        kind: &'static str,
    ) -> Histogram {
        self.0.requests.get_or_create_owned(&RequestLabels {
            outpost_name: outpost.to_owned(),
            method,
            host: host.to_owned(),
            r#type: kind,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_vendors_names_and_bounds_the_labels() {
        let metrics = Metrics::new();
        let site = metrics.site("outpost", "a.test");
        let odd = Method::from_bytes(b"BREW").expect("a method");
        site.observe(&Method::GET, Duration::from_millis(1));
        site.observe(&odd, Duration::from_millis(1));
        site.observe_identity(5000);
        site.rejections.count(Rejection::Rule);
        metrics.reject(Rejection::UnknownHost);
        let text = metrics.render(3);
        for line in [
            "authentik_outpost_proxy_request_duration_seconds_count{outpost_name=\"outpost\",method=\"GET\",host=\"a.test\",type=\"app\"} 1",
            "method=\"OTHER\",host=\"a.test\",type=\"app\"} 1",
            "authentik_outpost_proxy_identity_headers_bytes_bucket{le=\"8192.0\",outpost_name=\"outpost\",host=\"a.test\"} 1",
            "authentik_outpost_proxy_sessions 3",
            "authentik_outpost_proxy_rejected_requests_total{outpost_name=\"outpost\",host=\"a.test\",reason=\"rule\"} 1",
            "authentik_outpost_proxy_rejected_requests_total{outpost_name=\"\",host=\"\",reason=\"unknown_host\"} 1",
            "authentik_outpost_proxy_logins_total{outpost_name=\"outpost\",host=\"a.test\",outcome=\"succeeded\"} 0",
            "authentik_outpost_token_refreshes_total{outcome=\"rejected\"} 0",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("BREW"));
    }
}
