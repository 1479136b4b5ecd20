//! Whether anything happens on a connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Whether a connection does anything.
#[derive(Clone, Default)]
pub(super) struct Activity(Arc<Seen>);

#[derive(Default)]
struct Seen {
    in_flight: AtomicU32,
    /// Whether a request began since the connection itself looked.
    recently: AtomicBool,
    /// Whether a request began since the connection limiter looked.
    used: AtomicBool,
}

impl Activity {
    /// Notes a request, which lasts as long as what is returned.
    pub(super) fn begin(&self) -> InFlight {
        self.0.in_flight.fetch_add(1, Ordering::Relaxed);
        self.0.recently.store(true, Ordering::Relaxed);
        self.0.used.store(true, Ordering::Relaxed);
        InFlight(Arc::clone(&self.0))
    }

    /// Whether there is no request now.
    pub(super) fn is_idle(&self) -> bool {
        self.0.in_flight.load(Ordering::Relaxed) == 0
    }

    /// Whether there was no request since the last call, and there is none now.
    pub(super) fn was_idle(&self) -> bool {
        !self.0.recently.swap(false, Ordering::Relaxed) && self.is_idle()
    }

    /// The same, for the connection limiter.
    pub(super) fn is_unused(&self) -> bool {
        self.is_idle() && !self.0.used.swap(false, Ordering::Relaxed)
    }
}

/// A request that is not yet answered to its end.
pub(super) struct InFlight(Arc<Seen>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
