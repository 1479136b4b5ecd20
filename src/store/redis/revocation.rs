//! The end of sessions: here at once, at Redis and at the other replicas as soon as Redis can be
//! told. The cost depends on how many end, never on how many there are.

use super::cache::Slot;
use super::invalidation::{News, SignedOut};
use super::scripts::{self, Index, Member};
use super::{Redis, keys};
use crate::model::SessionKey;
use crate::store::StoreError;

impl Redis {
    /// Ends one session, everywhere.
    pub(in crate::store) async fn remove(&self, key: &SessionKey) {
        let slot = self.cache.get(key);
        if let Some(login) = self.pending.login(key) {
            login.session.end();
        }
        self.end(News::Sessions(vec![*key])).await;
        if let Some(Slot::Session(entry)) = slot {
            let (sid, subject) = self.names(&entry.session);
            let indexes = [sid.map(Index::Sid), Some(Index::Subject(subject))];
            let began_at = entry.session.began_at();
            let member = Member {
                key: *key,
                began_at,
            };
            for index in indexes.into_iter().flatten() {
                // A member that stays leaves when it would have expired.
                let _: Result<i64, _> = self.connection.query(&index.leave(&member)).await;
            }
        }
    }

    /// Ends a session that is probably not there.
    pub(in crate::store) async fn forget(&self, key: &SessionKey) {
        if self.cache.get(key).is_some() {
            self.remove(key).await;
        } else {
            // Without an answer, the re-check at authentik finds it.
            let _: Result<usize, _> = self.end_records(&[*key]).await;
        }
    }

    /// Ends every session of authentik's session, everywhere; returns how many are known of.
    pub(in crate::store) async fn end_sid(&self, sid: &str) -> usize {
        self.end(News::Sid(keys::sid_hash(sid))).await
    }

    /// Ends every session of a person, everywhere; returns how many are known of.
    pub(in crate::store) async fn end_subject(&self, sub: &str) -> usize {
        let now = SignedOut::at(self.clock.now());
        self.end(News::Subject(self.subject_hash(sub), now)).await
    }

    async fn end(&self, news: News) -> usize {
        let held = self.apply(&news);
        match self.carry_out(&news, &held).await {
            Ok(ended) => ended,
            Err(error) => {
                if !self.pending.end(news) {
                    tracing::warn!(
                        "too many ends of sessions wait for Redis; the re-check at authentik will find the oldest",
                    );
                }
                tracing::warn!(
                    "a session ended here; other replicas are told when Redis is back: {error}"
                );
                held.len()
            }
        }
    }

    /// Ends what this process holds. Returns which sessions those were.
    pub(super) fn apply(&self, news: &News) -> Vec<SessionKey> {
        let now = self.millis();
        let ended = match news {
            News::Sessions(keys) => {
                let held = |key: &&SessionKey| {
                    self.held.note(**key, now);
                    match self.cache.get(key) {
                        Some(Slot::Session(entry)) => entry.session.end(),
                        Some(Slot::Ended(_)) => {}
                        None => return false,
                    }
                    true
                };
                keys.iter().filter(held).copied().collect()
            }
            News::Sid(hash) => self.held.end_sid(hash, now),
            News::Subject(hash, then) => self.held.end_subject(hash, *then, now),
        };
        for key in &ended {
            self.cache.insert(*key, Slot::Ended(now));
        }
        ended
    }

    /// Ends records at Redis: those it knows of, and those `held` here, in case it lost the
    /// index. Then tells the other replicas.
    pub(super) async fn carry_out(
        &self,
        news: &News,
        held: &[SessionKey],
    ) -> Result<usize, StoreError> {
        let index = match news {
            News::Sessions(ended) => return self.end_records(ended).await,
            News::Sid(hash) => Index::Sid(*hash),
            News::Subject(hash, _) => Index::Subject(*hash),
        };
        let members: Vec<Vec<u8>> = self.connection.query(&index.end()).await?;
        let mut members = Member::list(&members);
        if let News::Subject(_, then) = news {
            members.retain(|member| then.ends(member.began_at));
        }
        let mut ended: Vec<_> = members.iter().map(|member| member.key).collect();
        for key in held {
            if !ended.contains(key) {
                ended.push(*key);
            }
        }
        self.end_records(&ended).await?;
        self.publish(news).await?;
        // Last: what fails before is tried again, and has to find them.
        for member in &members {
            self.connection.query::<i64>(&index.leave(member)).await?;
        }
        Ok(ended.len())
    }

    /// First the marks, then the news: no replica reads a record after it heard of its end.
    /// Returns how many there were: of credentials that never were good, nobody needs to hear.
    async fn end_records(&self, ended: &[SessionKey]) -> Result<usize, StoreError> {
        let mut known = Vec::new();
        for key in ended {
            let there: Option<()> = self.connection.query(&scripts::end(key)).await?;
            if there.is_some() || self.cache.get(key).is_some() {
                known.push(*key);
            }
        }
        let count = known.len();
        if count > 0 {
            self.publish(&News::Sessions(known)).await?;
        }
        Ok(count)
    }

    async fn publish(&self, news: &News) -> Result<(), StoreError> {
        let mut command = redis::cmd("PUBLISH");
        command.arg(keys::CHANNEL).arg(news.to_text());
        self.connection.query::<i64>(&command).await.map(|_| ())
    }
}
