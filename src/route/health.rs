//! What the control plane knows of itself, for the status page.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use arc_swap::ArcSwap;

/// A file that settings are read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceHealth {
    /// What is read from it: `config`, or the key of a setting.
    pub source: &'static str,
    /// Its path.
    pub path: PathBuf,
    /// When what is in use was read, Unix seconds.
    pub read_at: i64,
    /// Whether the last attempt to read it found something that cannot be used.
    pub failed: bool,
}

/// What is known of the settings and their files.
#[derive(Debug, Clone, Default)]
pub struct SettingsHealth {
    /// The files that are watched.
    pub sources: Vec<SourceHealth>,
    /// The keys of settings that changed and apply after a restart only.
    pub needs_restart: Vec<&'static str>,
}

/// The health of the control plane. The control plane writes it, beside its metrics.
#[derive(Debug, Default)]
pub struct ControlHealth {
    /// Unix seconds; 0 before the first configuration.
    updated_at: AtomicI64,
    stale: AtomicBool,
    connected: AtomicBool,
    settings: ArcSwap<SettingsHealth>,
}

impl ControlHealth {
    /// When authentik sent the configuration that is served, Unix seconds; `None` before the first.
    #[must_use]
    pub fn updated_at(&self) -> Option<i64> {
        let updated_at = self.updated_at.load(Ordering::Relaxed);
        (updated_at != 0).then_some(updated_at)
    }

    /// Records when authentik sent the configuration that is served, Unix seconds.
    pub fn set_updated_at(&self, updated_at: i64) {
        self.updated_at.store(updated_at, Ordering::Relaxed);
    }

    /// Whether the saved configuration is served because authentik is unavailable.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// Sets whether the saved configuration is served because authentik is unavailable.
    pub fn set_stale(&self, stale: bool) {
        self.stale.store(stale, Ordering::Relaxed);
    }

    /// Whether the websocket to authentik is connected.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Sets whether the websocket to authentik is connected.
    pub fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }

    /// What is known of the settings and their files.
    #[must_use]
    pub fn settings(&self) -> Arc<SettingsHealth> {
        self.settings.load_full()
    }

    /// Records what is known of the settings and their files.
    pub fn set_settings(&self, settings: SettingsHealth) {
        self.settings.store(Arc::new(settings));
    }
}
