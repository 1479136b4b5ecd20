//! Pauses between attempts to reach authentik.

use std::time::Duration;

/// Attempts with short pauses at the beginning of an outage, about three minutes.
const QUICK_ATTEMPTS: u32 = 60;
/// Maximum pause between them.
const QUICK_PAUSE: Duration = Duration::from_secs(4);

/// Growing, jittered pauses between attempts.
pub(super) struct BackOff {
    attempts: u32,
    quick: u32,
    longest: Duration,
}

impl BackOff {
    pub(super) fn new(longest: Duration) -> Self {
        Self {
            attempts: 0,
            quick: 0,
            longest,
        }
    }

    /// With pauses of [`QUICK_PAUSE`] at most until there were [`QUICK_ATTEMPTS`], so that the end of
    /// a restart is noticed.
    pub(super) fn quick(longest: Duration) -> Self {
        Self {
            quick: QUICK_ATTEMPTS,
            ..Self::new(longest)
        }
    }

    pub(super) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Between half and the whole of 1, 2, 4, … seconds, at most `longest`.
    pub(super) fn next(&mut self) -> Duration {
        let mut longest = self.longest;
        if self.quick > 0 && self.attempts < self.quick {
            longest = longest.min(QUICK_PAUSE);
        }
        let whole = Duration::from_secs(1 << self.attempts.min(10)).min(longest);
        self.attempts = self.attempts.saturating_add(1);
        whole / 2 + random_below(whole / 2)
    }
}

/// A random part of `limit`.
pub(super) fn random_below(limit: Duration) -> Duration {
    let mut byte = [0; 4];
    // Jitter without randomness is no jitter, and no harm.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    limit.mul_f64(f64::from(u32::from_ne_bytes(byte)) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_grows_to_its_bound_and_starts_over() {
        let mut back_off = BackOff::new(Duration::from_secs(30));
        let first = back_off.next();
        assert!(first >= Duration::from_millis(500) && first <= Duration::from_secs(1));
        for _ in 0..100 {
            assert!(back_off.next() <= Duration::from_secs(30));
        }
        assert!(back_off.next() >= Duration::from_secs(15));
        back_off.reset();
        assert!(back_off.next() <= Duration::from_secs(1));
    }

    #[test]
    fn the_websocket_is_tried_often_in_the_first_minutes_of_an_outage() {
        let mut back_off = BackOff::quick(Duration::from_secs(30));
        let pauses: Vec<Duration> = (0..QUICK_ATTEMPTS).map(|_| back_off.next()).collect();
        assert!(
            pauses.iter().all(|pause| *pause <= QUICK_PAUSE),
            "{pauses:?}"
        );
        let in_all: Duration = pauses.iter().sum();
        assert!(in_all >= Duration::from_mins(1), "{in_all:?}");
        assert!(back_off.next() >= Duration::from_secs(15));
        back_off.reset();
        assert!((0..QUICK_ATTEMPTS).all(|_| back_off.next() <= QUICK_PAUSE));
        let mut configured = BackOff::quick(Duration::from_secs(2));
        assert!((0..QUICK_ATTEMPTS).all(|_| configured.next() <= Duration::from_secs(2)));
    }
}
