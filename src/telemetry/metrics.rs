//! Prometheus metrics, named as the vendor's outpost names them. Label values are bounded: hosts
//! are those of known applications, methods those of RFC 9110.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use http::Method;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper bounds of the histograms, in seconds.
const BUCKETS: [f64; 13] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0,
];

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

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    outpost_name: String,
    method: &'static str,
    host: String,
    r#type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamLabels {
    outpost_name: String,
    method: &'static str,
    scheme: String,
    host: String,
    upstream_host: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutpostLabels {
    outpost_name: String,
    outpost_type: &'static str,
    uuid: String,
    version: String,
    build: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectionLabels {
    outpost_name: String,
    outpost_type: &'static str,
    uuid: String,
}

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
    /// The outpost's name, for requests that belong to no application.
    outpost: RwLock<String>,
}

/// Upper bounds of header sizes, in bytes. nginx takes 4 KiB or 8 KiB unless told otherwise.
const HEADER_BUCKETS: [f64; 6] = [1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HostLabels {
    outpost_name: String,
    host: String,
}

/// Histograms by method, resolved ahead of the requests.
#[derive(Debug, Clone)]
pub struct MethodMetrics(Vec<Histogram>);

impl MethodMetrics {
    fn new(handle: impl FnMut(&'static str) -> Histogram) -> Self {
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

/// The histograms of one application.
#[derive(Debug, Clone)]
pub struct SiteMetrics {
    requests: MethodMetrics,
    identity: Histogram,
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

/// What is counted of the session store at Redis.
#[derive(Debug, Clone)]
pub struct StoreMetrics {
    up: Gauge,
    errors: Counter,
    duration: Histogram,
}

impl StoreMetrics {
    fn register(registry: &mut Registry) -> Self {
        let (up, errors) = (Gauge::default(), Counter::default());
        let duration = Histogram::new(BUCKETS);
        let help = "1 while the connection to Redis stands";
        registry.register("redis_up", help, up.clone());
        let help = "Commands that Redis did not answer, or refused";
        registry.register("redis_errors", help, errors.clone());
        let help = "Time that commands at Redis take";
        registry.register("redis_duration_seconds", help, duration.clone());
        Self {
            up,
            errors,
            duration,
        }
    }

    /// Notes whether the connection stands.
    pub fn up(&self, up: bool) {
        self.up.set(i64::from(up));
    }

    /// Counts a command.
    pub fn observe(&self, duration: Duration, succeeded: bool) {
        self.duration.observe(duration.as_secs_f64());
        if !succeeded {
            self.errors.inc();
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers the metrics.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("authentik_outpost");
        let requests: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(BUCKETS));
        let upstream: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(BUCKETS));
        let (info, last_update) = (Family::default(), Family::default());
        let (connection, sessions) = (Family::default(), Gauge::default());
        let help = "Time from a request's head to the answer's head";
        registry.register("proxy_request_duration_seconds", help, requests.clone());
        let identity: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(HEADER_BUCKETS));
        let help = "Size of the identity headers of somebody who signed in";
        registry.register("proxy_identity_headers_bytes", help, identity.clone());
        let help = "Time from passing a request on to the head of the application's answer";
        registry.register(
            "proxy_upstream_response_duration_seconds",
            help,
            upstream.clone(),
        );
        registry.register("info", "The outpost that is served", Clone::clone(&info));
        let help = "Unix time of the last configuration that was taken over";
        registry.register("last_update", help, Clone::clone(&last_update));
        let help = "1 while the websocket to authentik is connected";
        registry.register("connection", help, Clone::clone(&connection));
        registry.register(
            "proxy_sessions",
            "Sessions kept by this process",
            Clone::clone(&sessions),
        );
        let stale = Gauge::default();
        let help = "1 while the configuration is the last good one that was kept, because authentik does not answer";
        registry.register("configuration_stale", help, stale.clone());
        let store = StoreMetrics::register(&mut registry);
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
            outpost,
        }))
    }

    /// The handles of the session store.
    #[must_use]
    pub fn store(&self) -> StoreMetrics {
        self.0.store.clone()
    }

    /// The handles for one application.
    #[must_use]
    pub fn site(&self, outpost: &str, host: &str) -> SiteMetrics {
        let labels = HostLabels {
            outpost_name: outpost.to_owned(),
            host: host.to_owned(),
        };
        SiteMetrics {
            requests: MethodMetrics::new(|method| self.handle(outpost, method, host, "app")),
            identity: self.0.identity.get_or_create_owned(&labels),
        }
    }

    /// The handles for what the application at `upstream_host` answers to requests for `host`.
    #[must_use]
    pub fn upstream(
        &self,
        outpost: &str,
        host: &str,
        scheme: &str,
        upstream_host: &str,
    ) -> MethodMetrics {
        MethodMetrics::new(|method| {
            self.0.upstream.get_or_create_owned(&UpstreamLabels {
                outpost_name: outpost.to_owned(),
                method,
                scheme: scheme.to_owned(),
                host: host.to_owned(),
                upstream_host: upstream_host.to_owned(),
            })
        })
    }

    /// Counts a ping, or a request that no application was found for.
    ///
    /// # Panics
    /// Never: nothing panics while the lock is held.
    pub fn observe_other(&self, method: &Method, kind: &'static str, duration: Duration) {
        let outpost = self
            .0
            .outpost
            .read()
            .expect("nothing panics while holding this lock")
            .clone();
        self.handle(&outpost, method_name(method), "", kind)
            .observe(duration.as_secs_f64());
    }

    /// Notes a configuration that authentik told at `now` (Unix seconds).
    ///
    /// # Panics
    /// Never: nothing panics while the lock is held.
    pub fn updated(&self, outpost: &crate::model::Outpost, now: i64) {
        outpost.name.clone_into(
            &mut self
                .0
                .outpost
                .write()
                .expect("nothing panics while holding this lock"),
        );
        let labels = OutpostLabels {
            outpost_name: outpost.name.clone(),
            outpost_type: "proxy",
            uuid: outpost.id.to_string(),
            version: outpost.version.clone(),
            build: env!("CARGO_PKG_VERSION"),
        };
        // A former version or name is no longer true.
        self.0.info.clear();
        self.0.last_update.clear();
        self.0.info.get_or_create(&labels).set(1);
        self.0.last_update.get_or_create(&labels).set(now);
    }

    /// Notes whether the configuration is one that was kept, because authentik does not answer.
    pub fn stale(&self, stale: bool) {
        self.0.stale.set(i64::from(stale));
    }

    /// Notes whether the websocket is connected.
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

fn method_name(method: &Method) -> &'static str {
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
        let text = metrics.render(3);
        for line in [
            "authentik_outpost_proxy_request_duration_seconds_count{outpost_name=\"outpost\",method=\"GET\",host=\"a.test\",type=\"app\"} 1",
            "method=\"OTHER\",host=\"a.test\",type=\"app\"} 1",
            "authentik_outpost_proxy_identity_headers_bytes_bucket{le=\"8192.0\",outpost_name=\"outpost\",host=\"a.test\"} 1",
            "authentik_outpost_proxy_sessions 3",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("BREW"));
    }
}
