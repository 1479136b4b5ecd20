//! How long a session may go unused (OWASP Session Management, idle timeout).

use std::time::Duration;

/// Uses are noted this many times within a timeout.
const STEPS: i64 = 10;

/// A timeout, and how coarsely uses are noted. A session ends when nine to ten tenths of the
/// timeout have passed since it was last used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdleTimeout {
    timeout: i64,
}

impl IdleTimeout {
    /// A timeout of whole seconds, of at least ten.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        let timeout = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX / 2);
        Self {
            timeout: timeout.max(STEPS),
        }
    }

    /// Whether a use at `now` is still noted by one at `used_at` (Unix seconds).
    #[must_use]
    pub fn is_noted(self, used_at: i64, now: i64) -> bool {
        now - used_at < self.timeout / STEPS
    }

    /// Whether a session that was last used at `used_at` has been idle for too long at `now` (Unix
    /// seconds).
    #[must_use]
    pub fn is_over(self, used_at: i64, now: i64) -> bool {
        now - used_at > self.timeout
    }

    /// Seconds for which a note of a use says something.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.timeout
    }

    /// When a use at `now` is noted as, if that could not be told to others: the next use tries
    /// again, at once.
    #[must_use]
    pub fn untold(self, now: i64) -> i64 {
        now - self.timeout / STEPS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ap_2026_06_uses_are_noted_ten_times_within_the_timeout() {
        let idle = IdleTimeout::new(Duration::from_mins(30));
        for (since, noted, over) in [
            (0, true, false),
            (179, true, false),
            (180, false, false),
            (1_800, false, false),
            (1_801, false, true),
        ] {
            assert_eq!(idle.is_noted(1_000, 1_000 + since), noted, "{since}");
            assert_eq!(idle.is_over(1_000, 1_000 + since), over, "{since}");
        }
        let now = 5_000;
        assert!(!idle.is_noted(idle.untold(now), now), "tried again");
    }
}
