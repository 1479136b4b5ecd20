//! The idle timeout of sessions (OWASP Session Management Cheat Sheet).

use std::time::Duration;

/// Uses are recorded this many times within a timeout.
const RECORDS_PER_TIMEOUT: i64 = 10;

/// An idle timeout, and how often uses are recorded. A session expires when nine to ten tenths of
/// the timeout have passed since its last use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdleTimeout {
    timeout: i64,
}

impl IdleTimeout {
    /// A timeout of whole seconds, at least ten.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        let timeout = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX / 2);
        Self {
            timeout: timeout.max(RECORDS_PER_TIMEOUT),
        }
    }

    /// Whether the use recorded at `used_at` is recent enough that one at `now` need not be recorded
    /// (Unix seconds).
    #[must_use]
    pub fn is_recorded(self, used_at: i64, now: i64) -> bool {
        now - used_at < self.timeout / RECORDS_PER_TIMEOUT
    }

    /// Whether a session last used at `used_at` has expired at `now` (Unix seconds).
    #[must_use]
    pub fn is_expired(self, used_at: i64, now: i64) -> bool {
        now - used_at > self.timeout
    }

    /// The timeout in seconds.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.timeout
    }

    /// The time to record for a use at `now` that could not be written to the backend, so that the
    /// next use tries again.
    #[must_use]
    pub fn retry_from(self, now: i64) -> i64 {
        now - self.timeout / RECORDS_PER_TIMEOUT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ap_2026_06_uses_are_recorded_ten_times_within_the_timeout() {
        let idle = IdleTimeout::new(Duration::from_mins(30));
        for (since, recorded, expired) in [
            (0, true, false),
            (179, true, false),
            (180, false, false),
            (1_800, false, false),
            (1_801, false, true),
        ] {
            assert_eq!(idle.is_recorded(1_000, 1_000 + since), recorded, "{since}");
            assert_eq!(idle.is_expired(1_000, 1_000 + since), expired, "{since}");
        }
        let now = 5_000;
        assert!(!idle.is_recorded(idle.retry_from(now), now), "tried again");
    }
}
