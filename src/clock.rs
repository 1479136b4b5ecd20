//! Time as a parameter, so that tests own it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since the Unix epoch, from the system or from a test.
#[derive(Debug, Clone, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stays at `seconds` until it is advanced; clones share the time.
    #[must_use]
    pub fn manual(seconds: i64) -> Self {
        Self(Some(Arc::new(AtomicI64::new(seconds))))
    }

    /// Now, in Unix seconds.
    #[must_use]
    pub fn now(&self) -> i64 {
        match &self.0 {
            Some(seconds) => seconds.load(Ordering::Relaxed),
            None => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| {
                    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
                }),
        }
    }

    /// Advances a manual clock; no effect on the system's clock.
    pub fn advance(&self, seconds: i64) {
        if let Some(clock) = &self.0 {
            clock.fetch_add(seconds, Ordering::Relaxed);
        }
    }
}
