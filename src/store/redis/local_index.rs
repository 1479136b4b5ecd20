//! The sessions of this process by authentik's session and by person, so that news of an end
//! reaches every copy at once, without Redis and whatever the cache still holds.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use dashmap::DashMap;
use quick_cache::sync::Cache;

use super::invalidation::SignedOut;
use super::keys::Hash;
use crate::model::{Session, SessionKey};

/// How many ends are remembered, for sessions that are just being read.
const ENDS_REMEMBERED: usize = 16_384;
/// Names that are kept before those without sessions are looked for.
const FEW: usize = 1024;

/// What an end is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Ended {
    /// One session.
    Session(SessionKey),
    /// Every session of authentik's session.
    Sid(Hash),
}

/// See the module.
pub(super) struct Held {
    by_sid: Index,
    by_subject: Index,
    /// When they were heard of, in milliseconds since the start of the process.
    ends: Cache<Ended, u64>,
}

impl Held {
    pub(super) fn new() -> Self {
        Self {
            by_sid: Index::new(),
            by_subject: Index::new(),
            ends: Cache::new(ENDS_REMEMBERED),
        }
    }

    /// Takes a session in before anybody can use it, as it was `read` (milliseconds). It is ended
    /// on the spot if it ended since: whoever ends sessions notes that first and looks here
    /// second. The end of authentik's session is for good, whenever it was.
    pub(super) fn add(
        &self,
        key: SessionKey,
        session: &Arc<Session>,
        sid: Option<&Hash>,
        subject: &Hash,
        read: u64,
    ) {
        self.by_subject.add(subject, key, session);
        if let Some(sid) = sid {
            self.by_sid.add(sid, key, session);
        }
        let ended = self.ends.get(&Ended::Session(key));
        let sid_ended = sid.and_then(|sid| self.ends.get(&Ended::Sid(*sid)));
        if ended.is_some_and(|ended| ended >= read) || sid_ended.is_some() {
            session.end();
        }
    }

    /// Remembers that a session has ended, for copies that are just being made.
    pub(super) fn note(&self, key: SessionKey, now: u64) {
        self.ends.insert(Ended::Session(key), now);
    }

    /// Ends every session of authentik's session, now and for good.
    pub(super) fn end_sid(&self, sid: &Hash, now: u64) -> Vec<SessionKey> {
        self.ends.insert(Ended::Sid(*sid), now);
        self.by_sid.end(sid, |_| true)
    }

    /// Ends every session of a person that had begun when they signed out.
    pub(super) fn end_subject(&self, subject: &Hash, then: SignedOut, now: u64) -> Vec<SessionKey> {
        let keys = self
            .by_subject
            .end(subject, |session| then.ends(session.began_at()));
        for key in &keys {
            self.note(*key, now);
        }
        keys
    }
}

/// Holds no session alive.
struct Index {
    names: DashMap<Hash, Vec<(SessionKey, Weak<Session>)>>,
    limit: AtomicUsize,
}

impl Index {
    fn new() -> Self {
        Self {
            names: DashMap::new(),
            limit: AtomicUsize::new(FEW),
        }
    }

    fn add(&self, name: &Hash, key: SessionKey, session: &Arc<Session>) {
        let mut held = self.names.entry(*name).or_default();
        held.retain(|(_, session)| session.strong_count() > 0);
        held.push((key, Arc::downgrade(session)));
        drop(held);
        if self.names.len() > self.limit.load(Ordering::Relaxed) {
            self.names.retain(|_, held| {
                held.retain(|(_, session)| session.strong_count() > 0);
                !held.is_empty()
            });
            // Doubling spreads the cost of looking at all names over as many additions.
            let limit = (2 * self.names.len()).max(FEW);
            self.limit.store(limit, Ordering::Relaxed);
        }
    }

    /// Ends the sessions that carry the name and are meant.
    fn end(&self, name: &Hash, is_meant: impl Fn(&Session) -> bool) -> Vec<SessionKey> {
        let mut ended = Vec::new();
        self.names.remove_if_mut(name, |_, held| {
            held.retain(|(key, session)| {
                let Some(session) = session.upgrade() else {
                    return false;
                };
                if is_meant(&session) {
                    session.end();
                    ended.push(*key);
                    return false;
                }
                true
            });
            held.is_empty()
        });
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SessionId;

    fn session() -> Arc<Session> {
        Arc::new(Session::sample())
    }

    #[test]
    fn every_copy_ends_whenever_it_is_made() {
        let (held, key) = (Held::new(), SessionId::random().key());
        let (first, second, late) = (session(), session(), session());
        held.add(key, &first, Some(&[1; 32]), &[9; 32], 0);
        held.add(key, &second, Some(&[1; 32]), &[9; 32], 0);
        assert_eq!(held.end_sid(&[1; 32], 5).len(), 2);
        held.add(key, &late, Some(&[1; 32]), &[9; 32], 10);
        for copy in [first, second, late] {
            assert!(!copy.is_live(0));
        }
    }

    #[test]
    fn a_person_may_sign_in_again() {
        let (held, key) = (Held::new(), SessionId::random().key());
        let (before, reading, after) = (session(), session(), session());
        held.add(key, &before, None, &[9; 32], 0);
        held.end_subject(&[9; 32], SignedOut::at(0), 5);
        held.add(key, &reading, None, &[9; 32], 4);
        held.add(key, &after, None, &[9; 32], 6);
        assert!(!before.is_live(0));
        assert!(!reading.is_live(0), "was read before it ended");
        assert!(after.is_live(0));
    }

    #[test]
    fn sessions_that_are_gone_leave_nothing_behind() {
        let held = Held::new();
        for number in 0..10 * FEW {
            let mut name = [0; 32];
            name[..8].copy_from_slice(&number.to_be_bytes());
            held.add(
                SessionId::random().key(),
                &session(),
                Some(&name),
                &[9; 32],
                0,
            );
        }
        assert!(held.by_sid.names.len() <= 2 * FEW);
        assert_eq!(held.by_subject.names.len(), 1);
    }
}
