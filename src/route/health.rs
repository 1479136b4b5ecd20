//! What the control plane knows of itself, for the status page.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// The health of the control plane. The control plane writes it, beside its metrics.
#[derive(Debug, Default)]
pub struct ControlHealth {
    /// Unix seconds; 0 before the first configuration.
    updated_at: AtomicI64,
    stale: AtomicBool,
    connected: AtomicBool,
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
}
