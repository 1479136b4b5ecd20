//! Metrics of the session store: of Redis, and of the cache in front of it or of cookies.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::BUCKETS;
use super::labels::ResultLabels;
use super::outcomes::{CacheResult, Counters};

/// Metrics of the session store.
#[derive(Debug, Clone)]
pub struct StoreMetrics {
    pub(super) up: Gauge,
    errors: Counter,
    duration: Histogram,
    cache_requests: Counters<CacheResult>,
}

impl StoreMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let (up, errors) = (Gauge::default(), Counter::default());
        let duration = Histogram::new(BUCKETS);
        let help = "1 while Redis is connected";
        registry.register("redis_up", help, up.clone());
        let help = "Redis commands that failed or timed out";
        registry.register("redis_command_errors", help, errors.clone());
        let help = "Duration of Redis commands";
        registry.register("redis_command_duration_seconds", help, duration.clone());
        let cache_requests = Family::<ResultLabels, Counter>::default();
        let help = "Requests to the session cache";
        registry.register(
            "session_cache_requests",
            help,
            Clone::clone(&cache_requests),
        );
        let cache_requests =
            Counters::new(|result| cache_requests.get_or_create_owned(&ResultLabels { result }));
        Self {
            up,
            errors,
            duration,
            cache_requests,
        }
    }

    /// Sets whether Redis is connected.
    pub fn up(&self, up: bool) {
        self.up.set(i64::from(up));
    }

    /// Counts a request to the session cache.
    pub fn cache_request(&self, result: CacheResult) {
        self.cache_requests.count(result);
    }

    /// Records a command.
    pub fn observe(&self, duration: Duration, succeeded: bool) {
        self.duration.observe(duration.as_secs_f64());
        if !succeeded {
            self.errors.inc();
        }
    }
}
