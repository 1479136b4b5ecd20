//! Writes that wait for Redis during an outage: invalidations, which hold in this process already,
//! and, with `redis.when_down = keep`, new sessions. Bounded.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::model::SessionKey;
use crate::store::redis::format::invalidation::Invalidation;
use crate::store::seal::Seal;
use crate::store::session::{LiveSession, Prepared};

/// Invalidations that may wait. The oldest are dropped; introspection finds those sessions.
const MAX_INVALIDATIONS: usize = 4096;
/// New sessions that may wait. More logins are refused.
const MAX_SESSIONS: usize = 4096;

/// See the module.
pub(in crate::store::redis) struct Outbox<P>(Mutex<Queues<P>>);

struct Queues<P> {
    invalidations: VecDeque<Invalidation>,
    sessions: HashMap<SessionKey, PendingSession<P>>,
}

/// A session that Redis does not know yet.
#[derive(Clone)]
pub(in crate::store::redis) struct PendingSession<P> {
    pub(in crate::store::redis) session: Arc<LiveSession<P>>,
    pub(in crate::store::redis) seal: Seal,
}

impl<P> Default for Outbox<P> {
    fn default() -> Self {
        Self(Mutex::new(Queues {
            invalidations: VecDeque::new(),
            sessions: HashMap::new(),
        }))
    }
}

impl<P: Prepared> Outbox<P> {
    /// Queues an invalidation. Returns false if the oldest one was dropped for it.
    pub(in crate::store::redis) fn push_invalidation(&self, invalidation: Invalidation) -> bool {
        let mut queues = self.lock();
        if queues.invalidations.contains(&invalidation) {
            return true;
        }
        queues.invalidations.push_back(invalidation);
        let fits = queues.invalidations.len() <= MAX_INVALIDATIONS;
        if !fits {
            queues.invalidations.pop_front();
        }
        fits
    }

    /// Queues a new session. Returns false if the queue is full.
    pub(in crate::store::redis) fn push_session(
        &self,
        key: SessionKey,
        session: PendingSession<P>,
    ) -> bool {
        let mut queues = self.lock();
        let fits = queues.sessions.len() < MAX_SESSIONS;
        if fits {
            queues.sessions.insert(key, session);
        }
        fits
    }

    /// The queued session of this key.
    pub(in crate::store::redis) fn session(&self, key: &SessionKey) -> Option<PendingSession<P>> {
        self.lock().sessions.get(key).cloned()
    }

    /// The oldest invalidation.
    pub(in crate::store::redis) fn next_invalidation(&self) -> Option<Invalidation> {
        self.lock().invalidations.front().cloned()
    }

    /// Removes the oldest invalidation, if it is this one.
    pub(in crate::store::redis) fn delivered(&self, invalidation: &Invalidation) {
        let mut queues = self.lock();
        if queues.invalidations.front() == Some(invalidation) {
            queues.invalidations.pop_front();
        }
    }

    /// Any queued session.
    pub(in crate::store::redis) fn next_session(&self) -> Option<(SessionKey, PendingSession<P>)> {
        let queues = self.lock();
        let (key, session) = queues.sessions.iter().next()?;
        Some((*key, session.clone()))
    }

    /// Removes a queued session.
    pub(in crate::store::redis) fn remove_session(&self, key: &SessionKey) {
        self.lock().sessions.remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, Queues<P>> {
        self.0
            .lock()
            .expect("nothing panics while holding this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalidations_wait_once_each_in_order_and_within_bounds() {
        let outbox = Outbox::<()>::default();
        let invalidation = |number: usize| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&number.to_be_bytes());
            Invalidation::Sid(hash)
        };
        assert!(
            outbox.push_invalidation(invalidation(0)) && outbox.push_invalidation(invalidation(0))
        );
        for number in 1..MAX_INVALIDATIONS {
            assert!(outbox.push_invalidation(invalidation(number)));
        }
        assert!(
            !outbox.push_invalidation(invalidation(MAX_INVALIDATIONS)),
            "the first was dropped"
        );
        assert_eq!(outbox.next_invalidation(), Some(invalidation(1)));
        outbox.delivered(&invalidation(0));
        assert_eq!(
            outbox.next_invalidation(),
            Some(invalidation(1)),
            "not the one that was delivered"
        );
        outbox.delivered(&invalidation(1));
        assert_eq!(outbox.next_invalidation(), Some(invalidation(2)));
    }
}
