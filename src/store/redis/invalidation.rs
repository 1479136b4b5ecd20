//! News of ended sessions between replicas, as published on the channel: one line each.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::keys::Hash;
use crate::model::SessionKey;

/// What ended. Whoever can publish at Redis can end sessions, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    /// These sessions.
    Sessions(Vec<SessionKey>),
    /// Every session of authentik's session.
    Sid(Hash),
    /// Every session of a person that had begun when they signed out.
    Subject(Hash, SignedOut),
}

/// When somebody signed out, in Unix seconds. It may be long ago when it is told: who signed in
/// after it stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SignedOut(i64);

/// How far the clocks of authentik, which says when sessions begin, and of the replica where
/// somebody signs out may be apart, in seconds. In doubt a session ends: whoever signed in again so
/// soon after a sign-out that Redis missed has to do so once more.
const SKEW: i64 = 5;

impl SignedOut {
    /// They did so now.
    pub(super) fn at(now: i64) -> Self {
        Self(now)
    }

    /// Whether it ends a session that began then, Unix seconds.
    pub(super) fn ends(self, began_at: i64) -> bool {
        began_at <= self.0.saturating_add(SKEW)
    }
}

impl News {
    /// The text form: a word, then hashes.
    pub(super) fn to_text(&self) -> String {
        let (mut text, hashes): (_, Vec<_>) = match self {
            Self::Sessions(keys) => (
                "sessions".to_owned(),
                keys.iter().map(SessionKey::as_bytes).collect(),
            ),
            Self::Sid(hash) => ("sid".to_owned(), vec![hash]),
            Self::Subject(hash, SignedOut(then)) => (format!("subject@{then}"), vec![hash]),
        };
        for hash in hashes {
            text.push(' ');
            URL_SAFE_NO_PAD.encode_string(hash, &mut text);
        }
        text
    }

    /// Reads the text form; `None` if this version does not know it.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
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
                let then = word.strip_prefix("subject@")?.parse().ok()?;
                Some(Self::Subject(*hash, SignedOut(then)))
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
    fn news_survive_their_text_form_and_nothing_else_is_news() {
        let keys = vec![SessionId::random().key(), SessionId::random().key()];
        for news in [
            News::Sessions(keys),
            News::Sid([1; 32]),
            News::Subject([2; 32], SignedOut(-1)),
            News::Subject([2; 32], SignedOut(1_700_000_000)),
        ] {
            assert_eq!(News::parse(news.to_text().as_bytes()), Some(news));
        }
        let hash = URL_SAFE_NO_PAD.encode([1; 32]);
        for strange in [
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
            assert_eq!(News::parse(strange.as_bytes()), None, "{strange}");
        }
        assert_eq!(News::parse(b"\xff"), None);
    }
}
