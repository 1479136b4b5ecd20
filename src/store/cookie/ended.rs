//! Ends that outlive the sessions: what a replica has to know to refuse a cookie that it sees later.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{self, SHA256};

use crate::model::{Session, SessionKey};

/// Ends that are remembered: 32 MiB at most.
const MAX_ENDS: usize = 1 << 18;

/// How much the clocks of authentik and of this host may differ, in seconds. Only the end of all
/// sessions of a user compares them.
const CLOCK_SKEW_SECONDS: i64 = 5;

/// Hash of what ended.
type Key = [u8; 16];

/// The ends of sessions, until the last session that each concerns would have ended.
#[derive(Default)]
pub(super) struct Ended(Mutex<Ends>);

#[derive(Default)]
struct Ends {
    by_key: HashMap<Key, End>,
    by_time: BTreeSet<(i64, Key)>,
    /// Ends at or before this time may have been forgotten (Unix seconds).
    forgotten_until: i64,
}

#[derive(Clone, Copy)]
struct End {
    /// When it happened, Unix seconds.
    at: i64,
    /// How long it is remembered, Unix seconds.
    until: i64,
}

impl Ended {
    /// Remembers the end of one session, until `until` (Unix seconds).
    pub(super) fn session(&self, key: &SessionKey, until: i64, now: i64) -> bool {
        self.remember(hash(b'i', key.as_bytes()), until, now, MAX_ENDS)
    }

    /// Remembers the end of authentik's session `sid`.
    pub(super) fn sid(&self, sid: &str, until: i64, now: i64) -> bool {
        self.remember(hash(b's', sid.as_bytes()), until, now, MAX_ENDS)
    }

    /// Remembers the end of all sessions of a user that began before `now`.
    pub(super) fn subject(&self, sub: &str, until: i64, now: i64) -> bool {
        self.remember(hash(b'u', sub.as_bytes()), until, now, MAX_ENDS)
    }

    /// Whether a session has ended, by its key, its `sid` or its user.
    pub(super) fn has(&self, key: &SessionKey, session: &Session) -> bool {
        let sid = session.claims.sid.as_deref();
        let sid = sid.map(|sid| hash(b's', sid.as_bytes()));
        let subject = hash(b'u', session.claims.sub.as_bytes());
        let ends = self.lock();
        ends.by_key.contains_key(&hash(b'i', key.as_bytes()))
            || sid.is_some_and(|sid| ends.by_key.contains_key(&sid))
            || ends
                .by_key
                .get(&subject)
                .is_some_and(|end| session.started_at() + CLOCK_SKEW_SECONDS <= end.at)
    }

    /// Whether authentik's session `sid` has ended.
    pub(super) fn has_sid(&self, sid: &str) -> bool {
        let sid = hash(b's', sid.as_bytes());
        self.lock().by_key.contains_key(&sid)
    }

    /// Whether the end of a session may have been forgotten: others took the place of its record.
    pub(super) fn may_have_forgotten(&self, session: &Session) -> bool {
        let forgotten_until = self.lock().forgotten_until;
        session.started_at() <= forgotten_until + CLOCK_SKEW_SECONDS && forgotten_until > 0
    }

    /// Forgets the ends of sessions that have expired.
    pub(super) fn expire(&self, now: i64) {
        self.lock().expire(now);
    }

    /// Returns whether another end had to be forgotten for the first time in a second.
    fn remember(&self, key: Key, until: i64, now: i64, limit: usize) -> bool {
        let mut ends = self.lock();
        let mut end = End { at: now, until };
        if let Some(old) = ends.by_key.get(&key).copied() {
            ends.by_time.remove(&(old.until, key));
            end.until = until.max(old.until);
        }
        ends.by_key.insert(key, end);
        ends.by_time.insert((end.until, key));
        if ends.by_key.len() <= limit {
            return false;
        }
        ends.expire(now);
        let before = ends.forgotten_until;
        while ends.by_key.len() > limit {
            let Some((_, first)) = ends.by_time.pop_first() else {
                break;
            };
            if let Some(end) = ends.by_key.remove(&first) {
                ends.forgotten_until = ends.forgotten_until.max(end.at);
            }
        }
        ends.forgotten_until > before
    }

    fn lock(&self) -> MutexGuard<'_, Ends> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ends {
    fn expire(&mut self, now: i64) {
        while let Some(first) = self
            .by_time
            .first()
            .copied()
            .filter(|(until, _)| *until <= now)
        {
            self.by_time.remove(&first);
            self.by_key.remove(&first.1);
        }
    }
}

fn hash(kind: u8, value: &[u8]) -> Key {
    let mut hash = digest::Context::new(&SHA256);
    hash.update(&[kind]);
    hash.update(value);
    let mut key = [0; 16];
    key.copy_from_slice(&hash.finish().as_ref()[..16]);
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Claims, SessionId};

    fn session(sub: &str, sid: &str, started_at: i64) -> Session {
        let claims = Claims {
            sub: sub.into(),
            sid: Some(sid.into()),
            iat: Some(started_at),
            ..Claims::default()
        };
        Session::new("c", claims, "t".into(), 10_000)
    }

    fn key() -> SessionKey {
        SessionId::random().key()
    }

    #[test]
    fn cve_2025_29928_sessions_end_by_key_by_sid_and_by_user_until_they_would_have_ended() {
        let (ended, own) = (Ended::default(), key());
        ended.session(&own, 2_000, 1_000);
        ended.sid("sid", 2_000, 1_000);
        ended.subject("sub", 2_000, 1_000);
        for (key, sub, sid, started_at, expected) in [
            (own, "a", "b", 1_500, true),
            (key(), "a", "b", 500, false),
            (key(), "a", "sid", 1_500, true),
            (key(), "sub", "b", 995, true),
            (key(), "sub", "b", 996, false),
            (key(), "sid", "sub", 500, false),
        ] {
            let session = session(sub, sid, started_at);
            assert_eq!(
                ended.has(&key, &session),
                expected,
                "{sub} {sid} {started_at}"
            );
        }
        ended.expire(1_999);
        assert!(ended.has(&own, &session("a", "b", 1)));
        ended.expire(2_000);
        assert!(!ended.has(&own, &session("a", "sid", 1)));
        assert_eq!(ended.lock().by_key.len(), 0);
    }

    #[test]
    fn a_later_end_of_the_same_user_counts_and_no_end_is_shortened() {
        let ended = Ended::default();
        ended.subject("sub", 5_000, 1_000);
        ended.subject("sub", 3_000, 2_000);
        assert!(ended.has(&key(), &session("sub", "", 1_900)));
        ended.expire(4_000);
        assert!(ended.has(&key(), &session("sub", "", 1_900)));
        let ends = ended.lock();
        assert_eq!((ends.by_key.len(), ends.by_time.len()), (1, 1));
    }

    #[test]
    fn ap_2026_04_ends_are_bounded_and_a_forgotten_one_is_known_to_be_missing() {
        let ended = Ended::default();
        let all: Vec<_> = (0..20_i64).map(|n| (key(), 1_000 + n)).collect();
        for (key, at) in &all {
            let forgot = ended.remember(hash(b'i', key.as_bytes()), at + 500, *at, 10);
            assert_eq!(forgot, *at >= 1_010, "{at}");
            assert!(ended.lock().by_key.len() <= 10);
        }
        assert!(ended.may_have_forgotten(&session("a", "b", 900)));
        assert!(ended.may_have_forgotten(&session("a", "b", 1_014)));
        assert!(!ended.may_have_forgotten(&session("a", "b", 1_015)));
        let last = &all[19].0;
        assert!(ended.has(last, &session("a", "b", 900)));
        // Expired ones go first, and nothing of them is missed.
        let ended = Ended::default();
        for (key, at) in &all {
            assert!(!ended.remember(hash(b'i', key.as_bytes()), at + 1, *at, 10));
        }
        assert!(!ended.may_have_forgotten(&session("a", "b", 1)));
    }
}
