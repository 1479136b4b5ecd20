//! Bounds the requests to authentik that unauthenticated clients cause: checks of credentials and
//! exchanges of authorization codes.
//!
//! A few run at a time, a few more wait, and each client address has its share of both, so that one
//! client does not delay the others. Failures are counted per client address, and per client address
//! and user name; never per user name alone, which would let an attacker lock a user out.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::GatewayError;
use crate::route::Site;
use crate::web::inbound::Source;

/// Requests at a time.
const MAX_RUNNING: usize = 32;
/// Requests that run or wait; more are refused.
const MAX_PENDING: usize = 288;
/// Requests at a time of one client address.
const MAX_RUNNING_PER_CLIENT: usize = 8;
/// Requests of one client address that run or wait.
const MAX_PENDING_PER_CLIENT: usize = 40;
/// The same for a trusted proxy that does not name its clients.
const MAX_RUNNING_PER_PROXY: usize = 24;
const MAX_PENDING_PER_PROXY: usize = 192;
/// Failures of one client address with one user name within [`WINDOW`].
const MAX_FAILURES_PER_USER: u32 = 10;
/// Failures of one client address within [`WINDOW`].
const MAX_FAILURES: u32 = 120;
/// Seconds after which failures are forgotten.
const WINDOW: i64 = 60;
/// Counters of failures that are kept.
const MAX_COUNTERS: usize = 16_384;
/// `Retry-After`, in seconds, where too many requests wait.
const RETRY_PENDING: i64 = 2;

/// Why authentik is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TooMany {
    /// Guesses.
    #[error(
        "too many failures from one client address within {WINDOW} s: refused for {0} s more; if it is the address of a reverse proxy, let that send X-Forwarded-For"
    )]
    Failures(i64),
    /// Requests at a time.
    #[error(
        "too many checks of credentials or codes wait for authentik; if that goes on, look at authentik's response times"
    )]
    Pending,
}

impl TooMany {
    /// Seconds after which another try makes sense.
    pub(super) fn retry_after(self) -> i64 {
        match self {
            Self::Failures(seconds) => seconds,
            Self::Pending => RETRY_PENDING,
        }
    }
}

/// As what a request fails.
pub(super) fn too_many(site: &Arc<Site>) -> impl FnOnce(TooMany) -> GatewayError + use<'_> {
    |limit| GatewayError::TooManyRequests(Arc::clone(site), limit)
}

/// What is asked of authentik.
#[derive(Clone, Copy)]
pub(super) enum Attempt<'a> {
    /// Whether a password is right.
    Password(&'a str),
    /// About a token or a code, which cannot be guessed.
    Token,
    /// About credentials that were good before. They have no limit of failures.
    Renewal,
}

/// The limiter. Locks are held for a few operations in memory, never across an await.
pub(super) struct AuthentikLimiter {
    running: Arc<Semaphore>,
    pending: Mutex<Pending>,
    failures: Mutex<Failures>,
    hasher: RandomState,
}

#[derive(Default)]
struct Pending {
    all: usize,
    sources: HashMap<Source, Share>,
}

struct Share {
    running: Arc<Semaphore>,
    pending: usize,
}

/// Counters of failures, by a keyed hash of what they are about.
#[derive(Default)]
struct Failures {
    counters: HashMap<u64, Counter>,
    swept_at: i64,
}

#[derive(Clone, Copy)]
struct Counter {
    failures: u32,
    since: i64,
}

/// The counters of an attempt, with their limits.
type Counters = [Option<(u64, u32)>; 2];

/// A request that may run. It counts as a failure unless it is said to be none.
pub(super) struct Running<'a> {
    limiter: &'a AuthentikLimiter,
    counters: Counters,
    _waiting: Waiting<'a>,
    _permits: [Option<OwnedSemaphorePermit>; 2],
}

impl Running<'_> {
    /// The request was no failed attempt.
    pub(super) fn was_no_failure(self) {
        lock(&self.limiter.failures).uncount(self.counters);
    }
}

/// A request that waits or runs.
struct Waiting<'a> {
    limiter: &'a AuthentikLimiter,
    source: Source,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut pending = lock(&self.limiter.pending);
        pending.all -= 1;
        if let Some(share) = pending.sources.get_mut(&self.source) {
            share.pending -= 1;
            if share.pending == 0 {
                pending.sources.remove(&self.source);
            }
        }
    }
}

impl Default for AuthentikLimiter {
    fn default() -> Self {
        Self {
            running: Arc::new(Semaphore::new(MAX_RUNNING)),
            pending: Mutex::default(),
            failures: Mutex::default(),
            hasher: RandomState::new(),
        }
    }
}

impl AuthentikLimiter {
    /// Waits until the request may run.
    pub(super) async fn acquire(
        &self,
        source: Source,
        attempt: Attempt<'_>,
        now: i64,
    ) -> Result<Running<'_>, TooMany> {
        let counters = self.counters(source, attempt);
        // Counted before it is known, or else those that run together would not be.
        lock(&self.failures).count(counters, now)?;
        let running = self.turn(source).await;
        let (waiting, permits) = running.inspect_err(|_| {
            lock(&self.failures).uncount(counters);
        })?;
        Ok(Running {
            limiter: self,
            counters,
            _waiting: waiting,
            _permits: permits,
        })
    }

    async fn turn(
        &self,
        source: Source,
    ) -> Result<(Waiting<'_>, [Option<OwnedSemaphorePermit>; 2]), TooMany> {
        let (share, waiting) = self.enqueue(source)?;
        // Semaphores that are never closed.
        let own = share.acquire_owned().await.ok();
        let all = Arc::clone(&self.running).acquire_owned().await.ok();
        Ok((waiting, [own, all]))
    }

    fn enqueue(&self, source: Source) -> Result<(Arc<Semaphore>, Waiting<'_>), TooMany> {
        let (most_running, most) = match source {
            Source::Client(_) => (MAX_RUNNING_PER_CLIENT, MAX_PENDING_PER_CLIENT),
            Source::Proxy(_) => (MAX_RUNNING_PER_PROXY, MAX_PENDING_PER_PROXY),
        };
        let mut pending = lock(&self.pending);
        if pending.all >= MAX_PENDING {
            return Err(TooMany::Pending);
        }
        let share = pending.sources.entry(source).or_insert_with(|| Share {
            running: Arc::new(Semaphore::new(most_running)),
            pending: 0,
        });
        if share.pending >= most {
            return Err(TooMany::Pending);
        }
        share.pending += 1;
        let running = Arc::clone(&share.running);
        pending.all += 1;
        let waiting = Waiting {
            limiter: self,
            source,
        };
        Ok((running, waiting))
    }

    /// Which counters hold for an attempt. Behind a proxy that does not name its clients there are
    /// none: a limit would lock out everyone there, or a user by name.
    fn counters(&self, source: Source, attempt: Attempt<'_>) -> Counters {
        let Source::Client(address) = source else {
            return [None; 2];
        };
        let hash = |user| self.hasher.hash_one((address, user));
        match attempt {
            Attempt::Renewal => [None; 2],
            Attempt::Token => [Some((hash(None), MAX_FAILURES)), None],
            Attempt::Password(user) => [
                Some((hash(None), MAX_FAILURES)),
                Some((hash(Some(user)), MAX_FAILURES_PER_USER)),
            ],
        }
    }
}

impl Failures {
    fn count(&mut self, counters: Counters, now: i64) -> Result<(), TooMany> {
        let counters = || counters.into_iter().flatten();
        for (key, limit) in counters() {
            if let Some(counter) = self.counters.get(&key)
                && counter.is_current(now)
                && counter.failures >= limit
            {
                return Err(TooMany::Failures(WINDOW - (now - counter.since)));
            }
        }
        for (key, _) in counters() {
            if self.counters.len() >= MAX_COUNTERS && self.swept_at != now {
                self.swept_at = now;
                self.counters.retain(|_, counter| counter.is_current(now));
            }
            if self.counters.len() >= MAX_COUNTERS && !self.counters.contains_key(&key) {
                // Thousands of addresses at once: the bounds above hold, and no memory is spent.
                continue;
            }
            let counter = self.counters.entry(key).or_insert(Counter {
                failures: 0,
                since: now,
            });
            if !counter.is_current(now) {
                *counter = Counter {
                    failures: 0,
                    since: now,
                };
            }
            counter.failures += 1;
        }
        Ok(())
    }

    fn uncount(&mut self, counters: Counters) {
        for (key, _) in counters.into_iter().flatten() {
            if let Some(counter) = self.counters.get_mut(&key) {
                counter.failures = counter.failures.saturating_sub(1);
            }
        }
    }
}

impl Counter {
    fn is_current(self, now: i64) -> bool {
        (0..WINDOW).contains(&(now - self.since))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Attempt<'static> = Attempt::Password("alice");

    fn client(last: u8) -> Source {
        Source::Client([192, 0, 2, last].into())
    }

    #[tokio::test]
    async fn ap_2026_04_guesses_are_limited_by_address_and_user_name_together() {
        let limiter = AuthentikLimiter::default();
        for _ in 0..MAX_FAILURES_PER_USER {
            drop(limiter.acquire(client(1), ALICE, 100).await.expect("asked"));
        }
        for (source, attempt, now, expected) in [
            (client(1), ALICE, 100, Some(TooMany::Failures(60))),
            (client(1), ALICE, 159, Some(TooMany::Failures(1))),
            (client(1), Attempt::Renewal, 100, None),
            (client(1), Attempt::Token, 100, None),
            (client(1), Attempt::Password("bob"), 100, None),
            (client(2), ALICE, 100, None),
            (Source::Proxy([192, 0, 2, 1].into()), ALICE, 100, None),
            (client(1), ALICE, 160, None),
        ] {
            let asked = limiter.acquire(source, attempt, now).await;
            assert_eq!(asked.err(), expected, "{source:?} {now}");
        }
    }

    #[tokio::test]
    async fn ap_2026_04_success_is_no_failure_and_addresses_have_a_limit_of_their_own() {
        let limiter = AuthentikLimiter::default();
        for _ in 0..2 * MAX_FAILURES {
            let running = limiter.acquire(client(1), ALICE, 100).await;
            running.expect("asked").was_no_failure();
        }
        for number in 0..MAX_FAILURES {
            let user = number.to_string();
            let attempt = Attempt::Password(&user);
            drop(
                limiter
                    .acquire(client(1), attempt, 100)
                    .await
                    .expect("asked"),
            );
        }
        let asked = limiter.acquire(client(1), Attempt::Token, 100).await;
        assert_eq!(asked.err(), Some(TooMany::Failures(60)));
    }

    #[tokio::test]
    async fn ap_2026_04_each_client_has_its_share_and_the_queue_an_end() {
        let limiter = Arc::new(AuthentikLimiter::default());
        let mut attacks = Vec::new();
        for number in 0..MAX_PENDING_PER_CLIENT {
            let limiter = Arc::clone(&limiter);
            attacks.push(tokio::spawn(async move {
                let user = number.to_string();
                let attempt = Attempt::Password(&user);
                let _running = limiter.acquire(client(1), attempt, 100).await;
                std::future::pending::<()>().await;
            }));
        }
        while lock(&limiter.pending).all < MAX_PENDING_PER_CLIENT {
            tokio::task::yield_now().await;
        }
        let more = limiter.acquire(client(1), Attempt::Token, 100).await;
        assert_eq!(more.err(), Some(TooMany::Pending));
        // Another client does not wait for any of them.
        drop(limiter.acquire(client(2), ALICE, 100).await.expect("asked"));
        for attack in &attacks {
            attack.abort();
        }
        for attack in attacks {
            assert!(attack.await.is_err());
        }
        let pending = lock(&limiter.pending);
        assert!(pending.all == 0 && pending.sources.is_empty());
    }

    #[test]
    fn ap_2026_04_counters_have_a_bound_in_memory() {
        let mut failures = Failures::default();
        for key in 0..3 * MAX_COUNTERS as u64 {
            let _ = failures.count([Some((key, 1)), None], 100);
        }
        assert_eq!(failures.counters.len(), MAX_COUNTERS);
        let _ = failures.count([Some((u64::MAX, 1)), None], 200);
        assert_eq!(failures.counters.len(), 1);
    }
}
