//! Invalidation messages between replicas, as published on the channel.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::model::SessionKey;
use crate::store::redis::format::keys::Hash;

/// Revoked sessions. Publish access to Redis can revoke sessions, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store::redis) enum Invalidation {
    /// These sessions.
    Sessions(Vec<SessionKey>),
    /// Every session of an authentik session.
    Sid(Hash),
    /// Every session of a user that had started when the user signed out.
    Subject(Hash, SignOutTime),
}

/// When a user signed out, in Unix seconds. The message may arrive much later; sessions that
/// started in between stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::redis) struct SignOutTime(i64);

/// Tolerated difference between the clocks of authentik, which dates sign-ins, and of the replica
/// that handles a sign-out. A session that started this soon after a sign-out is revoked too.
const MAX_CLOCK_SKEW_SECONDS: i64 = 5;

impl SignOutTime {
    /// A sign-out at `now`.
    pub(in crate::store::redis) fn at(now: i64) -> Self {
        Self(now)
    }

    /// Whether it revokes a session that started at this time, Unix seconds.
    pub(in crate::store::redis) fn revokes(self, started_at: i64) -> bool {
        started_at <= self.0.saturating_add(MAX_CLOCK_SKEW_SECONDS)
    }
}

impl Invalidation {
    /// The text form: a word, then hashes.
    pub(in crate::store::redis) fn to_text(&self) -> String {
        let (mut text, hashes): (_, Vec<_>) = match self {
            Self::Sessions(keys) => (
                "sessions".to_owned(),
                keys.iter().map(SessionKey::as_bytes).collect(),
            ),
            Self::Sid(hash) => ("sid".to_owned(), vec![hash]),
            Self::Subject(hash, SignOutTime(at)) => (format!("subject@{at}"), vec![hash]),
        };
        for hash in hashes {
            text.push(' ');
            URL_SAFE_NO_PAD.encode_string(hash, &mut text);
        }
        text
    }

    /// Parses the text form; `None` if it is unknown to this version.
    pub(in crate::store::redis) fn parse(text: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(text).ok()?.split(' ');
        let word = words.next()?;
        let hashes: Option<Vec<Hash>> = words
            .map(|word| URL_SAFE_NO_PAD.decode(word).ok()?.try_into().ok())
            .collect();
        let hashes = hashes?;
        match (word, &hashes[..]) {
            ("sessions", keys) => {
                let keys = keys.iter().filter_map(|key| SessionKey::from_bytes(key));
                Some(Self::Sessions(keys.collect()))
            }
            ("sid", [hash]) => Some(Self::Sid(*hash)),
            (word, [hash]) => {
                let at = word.strip_prefix("subject@")?.parse().ok()?;
                Some(Self::Subject(*hash, SignOutTime(at)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SessionId;

    #[test]
    fn messages_survive_their_text_form_and_nothing_else_is_one() {
        let keys = vec![SessionId::random().key(), SessionId::random().key()];
        for message in [
            Invalidation::Sessions(keys),
            Invalidation::Sid([1; 32]),
            Invalidation::Subject([2; 32], SignOutTime(-1)),
            Invalidation::Subject([2; 32], SignOutTime(1_700_000_000)),
        ] {
            assert_eq!(
                Invalidation::parse(message.to_text().as_bytes()),
                Some(message)
            );
        }
        let hash = URL_SAFE_NO_PAD.encode([1; 32]);
        for malformed in [
            "",
            "sid",
            "sid x",
            "later x",
            &format!("sid {hash} {hash}"),
            &format!("subject {hash}"),
            &format!("subject@ {hash}"),
            "subject@1",
            &format!("sid  {hash}"),
        ] {
            assert_eq!(
                Invalidation::parse(malformed.as_bytes()),
                None,
                "{malformed}"
            );
        }
        assert_eq!(Invalidation::parse(b"\xff"), None);
    }
}
