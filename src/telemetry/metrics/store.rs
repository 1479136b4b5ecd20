//! What is counted of the session store at Redis.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::BUCKETS;
use super::labels::ResultLabels;
use super::outcomes::{Counters, Lookup};

/// What is counted of the session store at Redis.
#[derive(Debug, Clone)]
pub struct StoreMetrics {
    pub(super) up: Gauge,
    errors: Counter,
    duration: Histogram,
    lookups: Counters<Lookup>,
}

impl StoreMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let (up, errors) = (Gauge::default(), Counter::default());
        let duration = Histogram::new(BUCKETS);
        let help = "1 while the connection to Redis stands";
        registry.register("redis_up", help, up.clone());
        let help = "Commands that Redis did not answer, or refused";
        registry.register("redis_errors", help, errors.clone());
        let help = "Time that commands at Redis take";
        registry.register("redis_duration_seconds", help, duration.clone());
        let lookups = Family::<ResultLabels, Counter>::default();
        let help = "Sessions that were looked up, by whether Redis had to be asked";
        registry.register("session_lookups", help, Clone::clone(&lookups));
        let lookups = Counters::new(|result| lookups.get_or_create_owned(&ResultLabels { result }));
        Self {
            up,
            errors,
            duration,
            lookups,
        }
    }

    /// Notes whether the connection stands.
    pub fn up(&self, up: bool) {
        self.up.set(i64::from(up));
    }

    /// Counts a session that was looked up.
    pub fn looked_up(&self, lookup: Lookup) {
        self.lookups.count(lookup);
    }

    /// Counts a command.
    pub fn observe(&self, duration: Duration, succeeded: bool) {
        self.duration.observe(duration.as_secs_f64());
        if !succeeded {
            self.errors.inc();
        }
    }
}
