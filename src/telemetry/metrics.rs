//! Prometheus metrics, named as the vendor's outpost names them. Label values are bounded: hosts
//! are those of known applications, methods those of RFC 9110.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use http::Method;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper bounds of the histograms, in seconds.
const BUCKETS: [f64; 13] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0,
];

/// Methods that become label values, in the order of the handles of [`SiteMetrics`].
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
    upstream: Family<UpstreamLabels, Histogram, fn() -> Histogram>,
    info: Family<OutpostLabels, Gauge>,
    last_update: Family<OutpostLabels, Gauge>,
    connection: Family<ConnectionLabels, Gauge>,
    sessions: Gauge,
    /// The outpost's name, for requests that belong to no application.
    outpost: RwLock<String>,
}

/// Histograms of one application by method, resolved ahead of the requests.
#[derive(Debug, Clone)]
pub struct SiteMetrics(Vec<Histogram>);

impl SiteMetrics {
    /// Counts an answered request.
    pub fn observe(&self, method: &Method, duration: Duration) {
        let index = METHODS
            .iter()
            .position(|known| known == method)
            .unwrap_or(METHODS.len());
        self.0[index].observe(duration.as_secs_f64());
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
        let outpost = RwLock::default();
        Self(Arc::new(Inner {
            registry,
            requests,
            upstream,
            info,
            last_update,
            connection,
            sessions,
            outpost,
        }))
    }

    /// The handles for one application.
    #[must_use]
    pub fn site(&self, outpost: &str, host: &str) -> SiteMetrics {
        let names = METHODS.iter().map(method_name).chain(["OTHER"]);
        SiteMetrics(
            names
                .map(|method| self.handle(outpost, method, host, "app"))
                .collect(),
        )
    }

    /// The handles for what the application at `upstream_host` answers to requests for `host`.
    #[must_use]
    pub fn upstream(
        &self,
        outpost: &str,
        host: &str,
        scheme: &str,
        upstream_host: &str,
    ) -> SiteMetrics {
        let names = METHODS.iter().map(method_name).chain(["OTHER"]);
        let handle = |method| {
            self.0.upstream.get_or_create_owned(&UpstreamLabels {
                outpost_name: outpost.to_owned(),
                method,
                scheme: scheme.to_owned(),
                host: host.to_owned(),
                upstream_host: upstream_host.to_owned(),
            })
        };
        SiteMetrics(names.map(handle).collect())
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

    /// Notes a configuration that was taken over at `now` (Unix seconds).
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
        let text = metrics.render(3);
        for line in [
            "authentik_outpost_proxy_request_duration_seconds_count{outpost_name=\"outpost\",method=\"GET\",host=\"a.test\",type=\"app\"} 1",
            "method=\"OTHER\",host=\"a.test\",type=\"app\"} 1",
            "authentik_outpost_proxy_sessions 3",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("BREW"));
    }
}
