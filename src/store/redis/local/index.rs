//! The sessions of this process by `sid` and by subject, so that a revocation reaches every copy
//! at once, without Redis, and also copies that the cache has evicted.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use dashmap::DashMap;
use quick_cache::sync::Cache;

use crate::model::SessionKey;
use crate::store::redis::format::invalidation::SignOutTime;
use crate::store::redis::format::keys::Hash;
use crate::store::session::LiveSession;

/// Revocations that are remembered, for sessions that are just being read.
const MAX_REVOCATIONS: usize = 16_384;
/// Entries of an index from which on those without sessions are removed.
const MIN_COMPACTION_LEN: usize = 1024;

/// A revoked session or authentik session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::store::redis) enum Revoked {
    /// One session.
    Session(SessionKey),
    /// Every session of an authentik session.
    Sid(Hash),
}

/// See the module.
pub(in crate::store::redis) struct LocalIndex<P> {
    by_sid: Index<P>,
    by_subject: Index<P>,
    /// When each was learned, in milliseconds since the start of the process.
    revocations: Cache<Revoked, u64>,
}

impl<P> LocalIndex<P> {
    pub(in crate::store::redis) fn new() -> Self {
        Self {
            by_sid: Index::new(),
            by_subject: Index::new(),
            revocations: Cache::new(MAX_REVOCATIONS),
        }
    }

    /// Adds a session that was read at `read` (milliseconds), before it can be used. It is revoked
    /// at once if it was revoked since: revocations are recorded before the index is searched.
    /// The end of an authentik session is final, whenever it was.
    pub(in crate::store::redis) fn insert(
        &self,
        key: SessionKey,
        session: &Arc<LiveSession<P>>,
        sid: Option<&Hash>,
        subjects: &[Hash],
        read: u64,
    ) {
        for subject in subjects {
            self.by_subject.add(subject, key, session);
        }
        if let Some(sid) = sid {
            self.by_sid.add(sid, key, session);
        }
        let revoked = self.revocations.get(&Revoked::Session(key));
        let sid_revoked = sid.and_then(|sid| self.revocations.get(&Revoked::Sid(*sid)));
        if revoked.is_some_and(|revoked| revoked >= read) || sid_revoked.is_some() {
            session.revoke();
        }
    }

    /// Remembers that a session was revoked, for copies that are just being read.
    pub(in crate::store::redis) fn record_revocation(&self, key: SessionKey, now: u64) {
        self.revocations.insert(Revoked::Session(key), now);
    }

    /// Revokes every session of an authentik session, now and in the future.
    pub(in crate::store::redis) fn revoke_by_sid(&self, sid: &Hash, now: u64) -> Vec<SessionKey> {
        self.revocations.insert(Revoked::Sid(*sid), now);
        self.by_sid.revoke(sid, |_| true)
    }

    /// Revokes every session of a user that had started when the user signed out.
    pub(in crate::store::redis) fn revoke_by_subject(
        &self,
        subject: &Hash,
        signed_out: SignOutTime,
        now: u64,
    ) -> Vec<SessionKey> {
        let keys = self
            .by_subject
            .revoke(subject, |session| signed_out.revokes(session.started_at()));
        for key in &keys {
            self.record_revocation(*key, now);
        }
        keys
    }
}

type Entry<P> = (SessionKey, Weak<LiveSession<P>>);

/// Weak references to sessions by hash.
struct Index<P> {
    names: DashMap<Hash, Vec<Entry<P>>>,
    limit: AtomicUsize,
}

impl<P> Index<P> {
    fn new() -> Self {
        Self {
            names: DashMap::new(),
            limit: AtomicUsize::new(MIN_COMPACTION_LEN),
        }
    }

    fn add(&self, name: &Hash, key: SessionKey, session: &Arc<LiveSession<P>>) {
        let mut entries = self.names.entry(*name).or_default();
        entries.retain(|(_, session)| session.strong_count() > 0);
        // Most names have one session; without this, there would be room for four.
        if entries.is_empty() {
            entries.reserve_exact(1);
        }
        entries.push((key, Arc::downgrade(session)));
        drop(entries);
        if self.names.len() > self.limit.load(Ordering::Relaxed) {
            self.names.retain(|_, entries| {
                entries.retain(|(_, session)| session.strong_count() > 0);
                !entries.is_empty()
            });
            // Doubling amortizes the cost over as many insertions.
            let limit = (2 * self.names.len()).max(MIN_COMPACTION_LEN);
            self.limit.store(limit, Ordering::Relaxed);
        }
    }

    /// Revokes the sessions of `name` that match.
    fn revoke(&self, name: &Hash, matches: impl Fn(&LiveSession<P>) -> bool) -> Vec<SessionKey> {
        let mut revoked = Vec::new();
        self.names.remove_if_mut(name, |_, entries| {
            entries.retain(|(key, session)| {
                let Some(session) = session.upgrade() else {
                    return false;
                };
                if matches(&session) {
                    session.revoke();
                    revoked.push(*key);
                    return false;
                }
                true
            });
            entries.is_empty()
        });
        revoked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SessionId;

    fn session() -> Arc<LiveSession<()>> {
        Arc::new(LiveSession::sample())
    }

    #[test]
    fn every_copy_is_revoked_whenever_it_is_made() {
        let (index, key) = (LocalIndex::new(), SessionId::random().key());
        let (first, second, late) = (session(), session(), session());
        index.insert(key, &first, Some(&[1; 32]), &[[9; 32]], 0);
        index.insert(key, &second, Some(&[1; 32]), &[[9; 32]], 0);
        assert_eq!(index.revoke_by_sid(&[1; 32], 5).len(), 2);
        index.insert(key, &late, Some(&[1; 32]), &[[9; 32]], 10);
        for copy in [first, second, late] {
            assert!(!copy.is_live(0));
        }
    }

    #[test]
    fn a_user_may_sign_in_again() {
        let (index, key) = (LocalIndex::new(), SessionId::random().key());
        let (before, reading, after) = (session(), session(), session());
        index.insert(key, &before, None, &[[9; 32]], 0);
        index.revoke_by_subject(&[9; 32], SignOutTime::at(0), 5);
        index.insert(key, &reading, None, &[[9; 32]], 4);
        index.insert(key, &after, None, &[[9; 32]], 6);
        assert!(!before.is_live(0));
        assert!(!reading.is_live(0), "was read before the revocation");
        assert!(after.is_live(0));
    }

    #[test]
    fn sessions_that_are_gone_leave_nothing_behind() {
        let index = LocalIndex::new();
        for number in 0..10 * MIN_COMPACTION_LEN {
            let mut name = [0; 32];
            name[..8].copy_from_slice(&number.to_be_bytes());
            index.insert(
                SessionId::random().key(),
                &session(),
                Some(&name),
                &[[9; 32]],
                0,
            );
        }
        assert!(index.by_sid.names.len() <= 2 * MIN_COMPACTION_LEN);
        assert_eq!(index.by_subject.names.len(), 1);
    }
}
