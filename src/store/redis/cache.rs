//! What this process has at hand of each session, bounded by bytes.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache as Inner;

use crate::model::{Session, SessionKey};
use crate::store::seal::Seal;

/// About what a session takes; decides how many the cache makes room for at first.
const USUAL_BYTES: u64 = 4096;
/// What the mark of an ended session weighs, in bytes.
const MARK_BYTES: u64 = 160;

/// A cached session.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) session: Arc<Session>,
    /// Seals the session's record.
    pub(super) seal: Seal,
    /// When Redis last confirmed it, in milliseconds since the start of the process.
    pub(super) confirmed: u64,
    /// The subscription to news under which that was.
    pub(super) epoch: u64,
}

/// What a key leads to.
#[derive(Clone)]
pub(super) enum Slot {
    /// A session, which may have ended since.
    Session(Entry),
    /// The session had ended at this time, in milliseconds since the start of the process.
    Ended(u64),
}

impl Slot {
    fn session(&self) -> Option<&Arc<Session>> {
        match self {
            Self::Session(entry) => Some(&entry.session),
            Self::Ended(_) => None,
        }
    }
}

/// Slots by key. Readers do not wait for each other.
pub(super) struct Cache(Inner<SessionKey, Slot, ByBytes>);

impl Cache {
    /// A cache of about `bytes` bytes.
    pub(super) fn new(bytes: u64) -> Self {
        let expected = usize::try_from(bytes / USUAL_BYTES).unwrap_or(usize::MAX);
        Self(Inner::with_weighter(expected.max(16), bytes, ByBytes))
    }

    pub(super) fn get(&self, key: &SessionKey) -> Option<Slot> {
        self.0.get(key)
    }

    /// The session under `key`, if it is live at `now`.
    pub(super) fn live(&self, key: &SessionKey, now: i64) -> Option<Arc<Session>> {
        match self.0.get(key)? {
            Slot::Session(entry) if entry.session.is_live(now) => Some(entry.session),
            Slot::Session(_) | Slot::Ended(_) => None,
        }
    }

    /// Who still holds a session that this one comes in place of is told.
    pub(super) fn insert(&self, key: SessionKey, slot: Slot) {
        let old = self.0.get(&key);
        let new = slot.session().cloned();
        self.0.insert(key, slot);
        if let Some(old) = old.as_ref().and_then(Slot::session)
            && new.is_none_or(|new| !Arc::ptr_eq(&new, old))
        {
            old.replaced();
        }
    }

    pub(super) fn remove(&self, key: &SessionKey) {
        self.0.remove(key);
    }

    /// Every session that is live at `now`. The others make room.
    pub(super) fn sweep(&self, now: i64) -> Vec<(SessionKey, Entry)> {
        let mut live = Vec::new();
        for (key, slot) in self.0.iter() {
            match slot {
                Slot::Session(entry) if entry.session.is_live(now) => live.push((key, entry)),
                Slot::Session(_) => {
                    self.0.remove(&key);
                }
                Slot::Ended(_) => {}
            }
        }
        live
    }

    /// How many sessions are live at `now`.
    pub(super) fn count(&self, now: i64) -> usize {
        let live = |slot: &Slot| matches!(slot, Slot::Session(entry) if entry.session.is_live(now));
        self.0.iter().filter(|(_, slot)| live(slot)).count()
    }
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<SessionKey, Slot> for ByBytes {
    fn weight(&self, _: &SessionKey, slot: &Slot) -> u64 {
        match slot {
            Slot::Session(entry) => entry.session.weight(),
            Slot::Ended(_) => MARK_BYTES,
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
    fn who_holds_a_session_hears_that_another_is_in_its_place() {
        let id = SessionId::random();
        let entry = || Entry {
            session: Arc::new(Session::sample()),
            seal: Seal::derive(b"test", &[]),
            confirmed: 0,
            epoch: 0,
        };
        let (cache, old, new) = (Cache::new(1 << 20), entry(), entry());
        let mut change = pin!(old.session.changed());
        let mut context = Context::from_waker(Waker::noop());
        for (slot, is_told) in [(&old, false), (&old, false), (&new, true)] {
            cache.insert(id.key(), Slot::Session(slot.clone()));
            let told = change.as_mut().poll(&mut context).is_ready();
            assert_eq!(told, is_told);
        }
    }
}
