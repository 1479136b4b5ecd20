//! What operators see of the files of the configuration.

use crate::config::SourceFile;
use crate::route::{Live, SettingsHealth, SourceHealth};
use crate::telemetry::metrics::SourceMetrics;

/// What is known of each file.
pub(super) struct Status {
    sources: Vec<SourceHealth>,
    /// The keys of settings that changed and apply after a restart only.
    pub(super) needs_restart: Vec<&'static str>,
}

impl Status {
    /// All `files` were read at `now` (Unix seconds).
    pub(super) fn new(files: &[SourceFile], now: i64) -> Self {
        let mut status = Self {
            sources: Vec::new(),
            needs_restart: Vec::new(),
        };
        status.succeeded(files, now);
        status
    }

    /// All `files` were read at `now` (Unix seconds), and are in use.
    pub(super) fn succeeded(&mut self, files: &[SourceFile], now: i64) {
        let sources = files.iter().map(|file| SourceHealth {
            source: file.source,
            path: file.path.clone(),
            read_at: now,
            failed: false,
        });
        self.sources = sources.collect();
    }

    /// Nothing of `files` is in use, because some of them have failed.
    pub(super) fn failed(&mut self, files: &[SourceFile]) {
        for known in &mut self.sources {
            let mut files = files.iter();
            let file = files.find(|file| file.is(known.source, &known.path));
            known.failed = file.is_some_and(|file| file.failed);
        }
        for file in files.iter().filter(|file| file.failed) {
            let mut sources = self.sources.iter();
            if !sources.any(|known| file.is(known.source, &known.path)) {
                self.sources.push(SourceHealth {
                    source: file.source,
                    path: file.path.clone(),
                    read_at: 0,
                    failed: true,
                });
            }
        }
    }

    /// Makes it visible.
    pub(super) fn publish(&self, live: &Live, metrics: &SourceMetrics) {
        let sources = self.sources.iter();
        metrics.set(
            sources.map(|source| (source.source, source.read_at, source.failed)),
            self.needs_restart.len(),
        );
        live.health().set_settings(SettingsHealth {
            sources: self.sources.clone(),
            needs_restart: self.needs_restart.clone(),
        });
    }
}
