//! Whether a connection is idle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// The requests of a connection. Cheap to clone; clones share it.
#[derive(Clone, Default)]
pub(super) struct Activity(Arc<State>);

#[derive(Default)]
struct State {
    in_flight: AtomicU32,
    /// Whether a request began since the last [`Activity::was_idle`].
    recently: AtomicBool,
    /// Whether a request began since the last [`Activity::is_unused`].
    used: AtomicBool,
}

impl Activity {
    /// Counts a request until the guard is dropped.
    pub(super) fn begin(&self) -> InFlight {
        self.0.in_flight.fetch_add(1, Ordering::Relaxed);
        self.0.recently.store(true, Ordering::Relaxed);
        self.0.used.store(true, Ordering::Relaxed);
        InFlight(Arc::clone(&self.0))
    }

    /// Whether no request is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.0.in_flight.load(Ordering::Relaxed) == 0
    }

    /// Whether no request is in flight and none was since the last call.
    pub(super) fn was_idle(&self) -> bool {
        !self.0.recently.swap(false, Ordering::Relaxed) && self.is_idle()
    }

    /// The same, with a memory of its own, for the connection limiter.
    pub(super) fn is_unused(&self) -> bool {
        self.is_idle() && !self.0.used.swap(false, Ordering::Relaxed)
    }
}

/// A request whose response is not sent completely.
pub(super) struct InFlight(Arc<State>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
