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

use super::failures::{Failures, Keys, WINDOW_SECONDS};
use crate::model::{Hint, HintText};
use crate::web::request::inbound::Source;

/// Requests to authentik at a time.
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
/// `Retry-After`, in seconds, where too many requests wait.
const RETRY_AFTER_PENDING_SECONDS: i64 = 2;

/// Why authentik is not asked: a limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LimitExceeded {
    /// Failed attempts; with the seconds until the next one is accepted.
    #[error(
        "too many failures from one client address within {WINDOW_SECONDS} s: refused for {0} s more"
    )]
    Failures(i64),
    /// Requests to authentik at a time.
    #[error("too many checks of credentials or codes wait for authentik")]
    Pending,
}

impl Hint for LimitExceeded {
    fn hint(&self) -> Option<HintText> {
        let hint = match self {
            Self::Failures(_) => {
                "if it is the address of a reverse proxy, let that send X-Forwarded-For"
            }
            Self::Pending => "if that goes on, check authentik's response times",
        };
        Some(hint.into())
    }
}

impl LimitExceeded {
    /// Seconds until another attempt may succeed.
    pub(crate) fn retry_after(self) -> i64 {
        match self {
            Self::Failures(seconds) => seconds,
            Self::Pending => RETRY_AFTER_PENDING_SECONDS,
        }
    }
}

/// A request to authentik that a client causes.
#[derive(Clone, Copy)]
pub(crate) enum Attempt<'a> {
    /// A check of a user name and a password.
    Password(&'a str),
    /// A check of a token, which cannot be guessed.
    Token,
    /// An exchange of an authorization code, which cannot be guessed either. It has a counter of its
    /// own, so that wrong passwords do not end logins at the same address.
    Code,
    /// A check of credentials that were valid before. It has no limit of failures.
    Renewal,
}

/// The limiter. Locks are held for a few operations in memory, never across an await.
pub(crate) struct AuthentikLimiter {
    running: Arc<Semaphore>,
    pending: Mutex<Pending>,
    failures: Mutex<Failures>,
    hasher: RandomState,
}

#[derive(Default)]
struct Pending {
    all: usize,
    sources: HashMap<Source, ClientQueue>,
}

struct ClientQueue {
    running: Arc<Semaphore>,
    pending: usize,
}

/// The permission to send one request to authentik.
pub(crate) struct AttemptPermit<'a> {
    limiter: &'a AuthentikLimiter,
    keys: Keys,
    now: i64,
    failed: bool,
    _waiting: QueuePlace<'a>,
    _permits: [Option<OwnedSemaphorePermit>; 2],
}

impl AttemptPermit<'_> {
    /// Counts a failure: authentik refused the attempt. A cancelled attempt is no failure, since its
    /// client does not learn the answer.
    pub(crate) fn failed(mut self) {
        self.failed = true;
    }
}

impl Drop for AttemptPermit<'_> {
    fn drop(&mut self) {
        lock(&self.limiter.failures).end(self.keys, self.failed, self.now);
    }
}

/// The place in the queue of a request that waits or runs.
struct QueuePlace<'a> {
    limiter: &'a AuthentikLimiter,
    source: Source,
}

impl Drop for QueuePlace<'_> {
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
    pub(crate) async fn acquire(
        &self,
        source: Source,
        attempt: Attempt<'_>,
        now: i64,
    ) -> Result<AttemptPermit<'_>, LimitExceeded> {
        let keys = self.keys(source, attempt);
        let refused = lock(&self.failures).check(keys, now);
        refused.map_err(LimitExceeded::Failures)?;
        let (waiting, permits) = self.permits(source).await?;
        // Counted as running before the result is known, or attempts in parallel would not count.
        let keys = {
            let mut failures = lock(&self.failures);
            failures.check(keys, now).map_err(LimitExceeded::Failures)?;
            if failures.is_taken(keys, now) {
                return Err(LimitExceeded::Pending);
            }
            failures.begin(keys, now)
        };
        Ok(AttemptPermit {
            limiter: self,
            keys,
            now,
            failed: false,
            _waiting: waiting,
            _permits: permits,
        })
    }

    async fn permits(
        &self,
        source: Source,
    ) -> Result<(QueuePlace<'_>, [Option<OwnedSemaphorePermit>; 2]), LimitExceeded> {
        let (share, waiting) = self.enqueue(source)?;
        // These semaphores are never closed.
        let own = share.acquire_owned().await.ok();
        let all = Arc::clone(&self.running).acquire_owned().await.ok();
        Ok((waiting, [own, all]))
    }

    fn enqueue(&self, source: Source) -> Result<(Arc<Semaphore>, QueuePlace<'_>), LimitExceeded> {
        let (max_running, max_pending) = match source {
            Source::Client(_) => (MAX_RUNNING_PER_CLIENT, MAX_PENDING_PER_CLIENT),
            Source::Proxy(_) => (MAX_RUNNING_PER_PROXY, MAX_PENDING_PER_PROXY),
        };
        let mut pending = lock(&self.pending);
        if pending.all >= MAX_PENDING {
            return Err(LimitExceeded::Pending);
        }
        let share = pending
            .sources
            .entry(source)
            .or_insert_with(|| ClientQueue {
                running: Arc::new(Semaphore::new(max_running)),
                pending: 0,
            });
        if share.pending >= max_pending {
            return Err(LimitExceeded::Pending);
        }
        share.pending += 1;
        let running = Arc::clone(&share.running);
        pending.all += 1;
        let waiting = QueuePlace {
            limiter: self,
            source,
        };
        Ok((running, waiting))
    }

    /// The counters of an attempt. There are none behind a proxy that does not name its clients: a
    /// limit would lock out all of its users, or a user by name.
    fn keys(&self, source: Source, attempt: Attempt<'_>) -> Keys {
        let Source::Client(address) = source else {
            return Keys::default();
        };
        let hash = |kind: &str, user: &str| Some(self.hasher.hash_one((address, kind, user)));
        match attempt {
            Attempt::Renewal => Keys::default(),
            Attempt::Code => Keys {
                address: hash("code", ""),
                user: None,
            },
            Attempt::Token => Keys {
                address: hash("credentials", ""),
                user: None,
            },
            Attempt::Password(user) => Keys {
                address: hash("credentials", ""),
                user: hash("user", user),
            },
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::auth::failures::{MAX_FAILURES, MAX_FAILURES_PER_USER};

    const ALICE: Attempt<'static> = Attempt::Password("alice");

    fn client(last: u8) -> Source {
        Source::Client([192, 0, 2, last].into())
    }

    #[tokio::test]
    async fn ap_2026_04_guesses_are_limited_by_address_and_user_name_together() {
        let limiter = AuthentikLimiter::default();
        for _ in 0..MAX_FAILURES_PER_USER {
            let running = limiter.acquire(client(1), ALICE, 100).await;
            running.expect("asked").failed();
        }
        for (source, attempt, now, expected) in [
            (client(1), ALICE, 100, Some(LimitExceeded::Failures(60))),
            (client(1), ALICE, 159, Some(LimitExceeded::Failures(1))),
            (client(1), Attempt::Renewal, 100, None),
            (client(1), Attempt::Token, 100, None),
            (client(1), Attempt::Code, 100, None),
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
            drop(running.expect("asked"));
        }
        for number in 0..MAX_FAILURES {
            let user = number.to_string();
            let attempt = Attempt::Password(&user);
            let running = limiter.acquire(client(1), attempt, 100).await;
            running.expect("asked").failed();
        }
        let asked = limiter.acquire(client(1), Attempt::Token, 100).await;
        assert_eq!(asked.err(), Some(LimitExceeded::Failures(60)));
        // Sign-ins are not counted with them.
        let asked = limiter.acquire(client(1), Attempt::Code, 100).await;
        assert!(asked.is_ok());
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
        assert_eq!(more.err(), Some(LimitExceeded::Pending));
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

    #[tokio::test]
    async fn ap_2026_04_attempts_that_run_are_no_failures_and_hold_back_more() {
        let limiter = AuthentikLimiter::default();
        let mut running = Vec::new();
        for _ in 0..MAX_FAILURES_PER_USER - 3 {
            running.push(limiter.acquire(client(1), ALICE, 100).await.expect("asked"));
        }
        // None of these has failed: valid credentials are never refused for a minute.
        running.drain(..3).for_each(AttemptPermit::failed);
        for _ in 0..3 {
            running.push(limiter.acquire(client(1), ALICE, 100).await.expect("asked"));
        }
        let more = limiter.acquire(client(1), ALICE, 100).await;
        assert_eq!(more.err(), Some(LimitExceeded::Pending));
        // Cancelled, or accepted.
        running.clear();
        assert!(limiter.acquire(client(1), ALICE, 100).await.is_ok());
    }
}
