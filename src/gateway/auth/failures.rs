//! Counters of failed attempts, per client address, and per client address and user name.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Failures of one client address within [`WINDOW_SECONDS`].
pub(crate) const MAX_FAILURES: u32 = 120;
/// Failures of one client address with one user name within [`WINDOW_SECONDS`].
pub(crate) const MAX_FAILURES_PER_USER: u32 = 10;
/// Seconds after which failures are forgotten.
pub(crate) const WINDOW_SECONDS: i64 = 60;
/// Counters of failures that are kept, of addresses and of user names each.
const MAX_COUNTERS: usize = 16_384;

/// Failures of addresses, and of user names at addresses.
#[derive(Default)]
pub(crate) struct Failures {
    addresses: Counters,
    users: Counters,
}

/// Counters by a keyed hash of the address, or of the address and the user name.
#[derive(Default)]
struct Counters {
    known: HashMap<u64, Counter>,
    swept_at: i64,
}

#[derive(Clone, Copy)]
struct Counter {
    failures: u32,
    /// Time of the first of them, in Unix seconds.
    since: i64,
    /// Running attempts.
    running: u32,
}

/// The counters of an attempt: of its address, and of its user name there.
#[derive(Clone, Copy, Default)]
pub(crate) struct Keys {
    pub(crate) address: Option<u64>,
    pub(crate) user: Option<u64>,
}

impl Failures {
    /// Fails if a limit is reached, with the seconds until it is not.
    pub(crate) fn check(&self, keys: Keys, now: i64) -> Result<(), i64> {
        self.addresses.check(keys.address, MAX_FAILURES, now)?;
        self.users.check(keys.user, MAX_FAILURES_PER_USER, now)
    }

    /// Whether the running attempts may reach a limit.
    pub(crate) fn is_taken(&self, keys: Keys, now: i64) -> bool {
        self.addresses.is_taken(keys.address, MAX_FAILURES, now)
            || self.users.is_taken(keys.user, MAX_FAILURES_PER_USER, now)
    }

    /// Counts an attempt that begins. Returns the counters that count it.
    pub(crate) fn begin(&mut self, keys: Keys, now: i64) -> Keys {
        Keys {
            address: self.addresses.begin(keys.address, now),
            user: self.users.begin(keys.user, now),
        }
    }

    /// Counts the end of an attempt, and its failure.
    pub(crate) fn end(&mut self, keys: Keys, failed: bool, now: i64) {
        self.addresses.end(keys.address, failed, now);
        self.users.end(keys.user, failed, now);
    }
}

impl Counters {
    fn get(&self, key: Option<u64>) -> Option<&Counter> {
        self.known.get(&key?)
    }

    fn check(&self, key: Option<u64>, limit: u32, now: i64) -> Result<(), i64> {
        match self.get(key) {
            Some(counter) if counter.current(now) >= limit => {
                Err(WINDOW_SECONDS - (now - counter.since))
            }
            _ => Ok(()),
        }
    }

    fn is_taken(&self, key: Option<u64>, limit: u32, now: i64) -> bool {
        let counter = self.get(key);
        counter.is_some_and(|counter| counter.current(now) + counter.running >= limit)
    }

    fn begin(&mut self, key: Option<u64>, now: i64) -> Option<u64> {
        let key = key?;
        if self.known.len() >= MAX_COUNTERS && self.swept_at != now {
            self.swept_at = now;
            self.known.retain(|_, counter| counter.is_needed(now));
        }
        if self.known.len() >= MAX_COUNTERS && !self.known.contains_key(&key) {
            // That many failures within the window took that many requests, each within the bounds
            // above. The memory is bounded instead.
            return None;
        }
        let counter = self.known.entry(key).or_insert(Counter {
            failures: 0,
            since: now,
            running: 0,
        });
        counter.running += 1;
        Some(key)
    }

    fn end(&mut self, key: Option<u64>, failed: bool, now: i64) {
        let Some(Entry::Occupied(mut found)) = key.map(|key| self.known.entry(key)) else {
            return;
        };
        let counter = found.get_mut();
        counter.running = counter.running.saturating_sub(1);
        if failed {
            if counter.current(now) == 0 {
                (counter.failures, counter.since) = (0, now);
            }
            counter.failures += 1;
        }
        if !counter.is_needed(now) {
            found.remove();
        }
    }
}

impl Counter {
    /// The failures within the window.
    fn current(self, now: i64) -> u32 {
        if (0..WINDOW_SECONDS).contains(&(now - self.since)) {
            self.failures
        } else {
            0
        }
    }

    fn is_needed(self, now: i64) -> bool {
        self.running > 0 || self.current(now) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ap_2026_04_counters_have_a_bound_in_memory_and_attempts_that_fail_not_leave_none() {
        let keys = |user| Keys {
            address: Some(1),
            user: Some(user),
        };
        let mut failures = Failures::default();
        for user in 0..3 * MAX_COUNTERS as u64 {
            let counted = failures.begin(keys(user), 100);
            failures.end(counted, false, 100);
        }
        assert!(failures.users.known.is_empty() && failures.addresses.known.is_empty());
        for key in 0..3 * MAX_COUNTERS as u64 {
            let counted = failures.users.begin(Some(key), 100);
            failures.users.end(counted, true, 100);
        }
        assert_eq!(failures.users.known.len(), MAX_COUNTERS);
        assert_eq!(failures.users.begin(Some(u64::MAX), 200), Some(u64::MAX));
        assert_eq!(failures.users.known.len(), 1);
    }
}
