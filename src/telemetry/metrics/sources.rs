//! Metrics of the files that settings are read from.

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::labels::SourceLabels;

/// Metrics of the files that settings are read from.
#[derive(Debug, Clone)]
pub struct SourceMetrics {
    read_at: Family<SourceLabels, Gauge>,
    failed: Family<SourceLabels, Gauge>,
    needs_restart: Gauge,
}

impl SourceMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let (read_at, failed) = (Family::default(), Family::default());
        let needs_restart = Gauge::default();
        let help = "Unix time when the settings in use were read from a file";
        registry.register(
            "settings_read_timestamp_seconds",
            help,
            Clone::clone(&read_at),
        );
        let help = "1 if the last attempt to read settings from a file failed";
        registry.register("settings_read_failed", help, Clone::clone(&failed));
        let help = "Settings that changed and apply after a restart only";
        registry.register("settings_needing_restart", help, needs_restart.clone());
        Self {
            read_at,
            failed,
            needs_restart,
        }
    }

    /// Sets what is known: of each source, when it was read (Unix seconds) and whether the last
    /// attempt failed, and how many settings wait for a restart.
    pub fn set(
        &self,
        sources: impl Iterator<Item = (&'static str, i64, bool)>,
        needs_restart: usize,
    ) {
        self.read_at.clear();
        self.failed.clear();
        for (source, read_at, failed) in sources {
            let labels = SourceLabels { source };
            self.read_at.get_or_create(&labels).set(read_at);
            // Of several files of one setting, one that failed counts.
            let gauge = self.failed.get_or_create(&labels);
            gauge.set(gauge.get().max(i64::from(failed)));
        }
        let needs_restart = i64::try_from(needs_restart).unwrap_or(i64::MAX);
        self.needs_restart.set(needs_restart);
    }
}
