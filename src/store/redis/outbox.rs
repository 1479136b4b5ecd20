//! What Redis has to be told once it is back: ends that hold here already, and, where that is
//! wanted, logins. Bounded, so that a long outage fills no memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use super::invalidation::News;
use crate::model::{Session, SessionKey};
use crate::store::seal::Seal;

/// Ends that may wait; the oldest make room, and are found again by the re-check.
const MOST_ENDS: usize = 4096;
/// Logins that may wait; more are refused.
const MOST_LOGINS: usize = 4096;

/// See the module.
#[derive(Default)]
pub(super) struct Pending(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    ends: VecDeque<News>,
    logins: HashMap<SessionKey, Login>,
}

/// A session that Redis does not know yet.
#[derive(Clone)]
pub(super) struct Login {
    pub(super) session: Arc<Session>,
    pub(super) seal: Seal,
}

impl Pending {
    /// Lets an end wait. Returns false if another one had to make room.
    pub(super) fn end(&self, news: News) -> bool {
        let mut waiting = self.lock();
        if waiting.ends.contains(&news) {
            return true;
        }
        waiting.ends.push_back(news);
        let fits = waiting.ends.len() <= MOST_ENDS;
        if !fits {
            waiting.ends.pop_front();
        }
        fits
    }

    /// Lets a login wait. Returns false if there are too many.
    pub(super) fn log_in(&self, key: SessionKey, login: Login) -> bool {
        let mut waiting = self.lock();
        let fits = waiting.logins.len() < MOST_LOGINS;
        if fits {
            waiting.logins.insert(key, login);
        }
        fits
    }

    /// The login of this session, if it waits.
    pub(super) fn login(&self, key: &SessionKey) -> Option<Login> {
        self.lock().logins.get(key).cloned()
    }

    /// The end that has waited longest.
    pub(super) fn next_end(&self) -> Option<News> {
        self.lock().ends.front().cloned()
    }

    /// The end that has waited longest was told.
    pub(super) fn told(&self, news: &News) {
        let mut waiting = self.lock();
        if waiting.ends.front() == Some(news) {
            waiting.ends.pop_front();
        }
    }

    /// Some login that waits.
    pub(super) fn next_login(&self) -> Option<(SessionKey, Login)> {
        let waiting = self.lock();
        let (key, login) = waiting.logins.iter().next()?;
        Some((*key, login.clone()))
    }

    /// A login waits no more.
    pub(super) fn forget_login(&self, key: &SessionKey) {
        self.lock().logins.remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0
            .lock()
            .expect("nothing panics while holding this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_wait_once_each_in_order_and_within_bounds() {
        let pending = Pending::default();
        let news = |number: usize| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&number.to_be_bytes());
            News::Sid(hash)
        };
        assert!(pending.end(news(0)) && pending.end(news(0)));
        for number in 1..MOST_ENDS {
            assert!(pending.end(news(number)));
        }
        assert!(!pending.end(news(MOST_ENDS)), "the first had to make room");
        assert_eq!(pending.next_end(), Some(news(1)));
        pending.told(&news(0));
        assert_eq!(
            pending.next_end(),
            Some(news(1)),
            "not the one that was told"
        );
        pending.told(&news(1));
        assert_eq!(pending.next_end(), Some(news(2)));
    }
}
