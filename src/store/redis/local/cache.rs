//! The sessions that this process caches, bounded by bytes.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache as Inner;

use crate::model::SessionKey;
use crate::store::seal::Seal;
use crate::store::session::{LiveSession, Prepared};

/// Estimated size of an entry, for the initial capacity of the cache.
const ESTIMATED_ENTRY_BYTES: u64 = 4096;
/// Weight of a tombstone.
const TOMBSTONE_BYTES: u64 = 160;

/// A cached session.
#[derive(Clone)]
pub(in crate::store::redis) struct Entry<P> {
    pub(in crate::store::redis) session: Arc<LiveSession<P>>,
    /// Encrypts the session's record.
    pub(in crate::store::redis) seal: Seal,
    /// When the session was last read from or validated at Redis, in milliseconds since the start
    /// of the process.
    pub(in crate::store::redis) validated_at: u64,
    /// The epoch of the subscription at that time.
    pub(in crate::store::redis) epoch: u64,
}

/// The cached state of a key.
#[derive(Clone)]
pub(in crate::store::redis) enum Slot<P> {
    /// A session, which may be revoked since.
    Session(Entry<P>),
    /// The session was revoked, as known at this time, in milliseconds since the start of the
    /// process.
    Tombstone(u64),
}

impl<P> Slot<P> {
    fn session(&self) -> Option<&Arc<LiveSession<P>>> {
        match self {
            Self::Session(entry) => Some(&entry.session),
            Self::Tombstone(_) => None,
        }
    }
}

/// Slots by key. Readers do not block each other.
pub(in crate::store::redis) struct Cache<P>(Inner<SessionKey, Slot<P>, ByBytes>);

impl<P: Prepared> Cache<P> {
    /// A cache of about `bytes` bytes.
    pub(in crate::store::redis) fn new(bytes: u64) -> Self {
        let expected = usize::try_from(bytes / ESTIMATED_ENTRY_BYTES).unwrap_or(usize::MAX);
        Self(Inner::with_weighter(expected.max(16), bytes, ByBytes))
    }

    pub(in crate::store::redis) fn get(&self, key: &SessionKey) -> Option<Slot<P>> {
        self.0.get(key)
    }

    /// The session under `key`, if it is live at `now`.
    pub(in crate::store::redis) fn live(
        &self,
        key: &SessionKey,
        now: i64,
    ) -> Option<Arc<LiveSession<P>>> {
        match self.0.get(key)? {
            Slot::Session(entry) if entry.session.is_live(now) => Some(entry.session),
            Slot::Session(_) | Slot::Tombstone(_) => None,
        }
    }

    /// Stores a slot. Users of another session in its place are notified.
    pub(in crate::store::redis) fn insert(&self, key: SessionKey, slot: Slot<P>) {
        let old = self.0.get(&key);
        let new = slot.session().cloned();
        self.0.insert(key, slot);
        if let Some(old) = old.as_ref().and_then(Slot::session)
            && new.is_none_or(|new| !Arc::ptr_eq(&new, old))
        {
            old.notify_replaced();
        }
    }

    pub(in crate::store::redis) fn remove(&self, key: &SessionKey) {
        self.0.remove(key);
    }

    /// Every session that is live at `now`. Others are removed.
    pub(in crate::store::redis) fn sweep(&self, now: i64) -> Vec<(SessionKey, Entry<P>)> {
        let mut live = Vec::new();
        for (key, slot) in self.0.iter() {
            match slot {
                Slot::Session(entry) if entry.session.is_live(now) => live.push((key, entry)),
                Slot::Session(_) => {
                    self.0.remove(&key);
                }
                Slot::Tombstone(_) => {}
            }
        }
        live
    }

    /// How many sessions are live at `now`.
    pub(in crate::store::redis) fn count(&self, now: i64) -> usize {
        let live =
            |slot: &Slot<P>| matches!(slot, Slot::Session(entry) if entry.session.is_live(now));
        self.0.iter().filter(|(_, slot)| live(slot)).count()
    }
}

#[derive(Clone)]
struct ByBytes;

impl<P> Weighter<SessionKey, Slot<P>> for ByBytes {
    fn weight(&self, _: &SessionKey, slot: &Slot<P>) -> u64 {
        match slot {
            Slot::Session(entry) => entry.session.weight(),
            Slot::Tombstone(_) => TOMBSTONE_BYTES,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;
    use crate::model::SessionId;

    #[test]
    fn users_of_a_session_are_notified_when_it_is_replaced() {
        let id = SessionId::random();
        let entry = || Entry {
            session: Arc::new(LiveSession::<()>::sample()),
            seal: Seal::derive(b"test", &[]),
            validated_at: 0,
            epoch: 0,
        };
        let (cache, old, new) = (Cache::new(1 << 20), entry(), entry());
        let mut change = pin!(old.session.changed());
        let mut context = Context::from_waker(Waker::noop());
        for (slot, is_notified) in [(&old, false), (&old, false), (&new, true)] {
            cache.insert(id.key(), Slot::Session(slot.clone()));
            let notified = change.as_mut().poll(&mut context).is_ready();
            assert_eq!(notified, is_notified);
        }
    }
}
