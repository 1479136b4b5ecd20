//! News of ended sessions between replicas, as published on the channel: one line each.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::names::Hash;
use crate::model::SessionKey;

/// What ended. Whoever can publish at Redis can end sessions, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    /// These sessions.
    Sessions(Vec<SessionKey>),
    /// Every session of authentik's session.
    Sid(Hash),
    /// Every session of a person as of now.
    Subject(Hash),
}

impl News {
    /// The text form: a word, then hashes.
    pub(super) fn to_text(&self) -> String {
        let (word, hashes): (_, Vec<_>) = match self {
            Self::Sessions(keys) => ("sessions", keys.iter().map(SessionKey::as_bytes).collect()),
            Self::Sid(hash) => ("sid", vec![hash]),
            Self::Subject(hash) => ("subject", vec![hash]),
        };
        let mut text = word.to_owned();
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
            ("subject", [hash]) => Some(Self::Subject(*hash)),
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
            News::Subject([2; 32]),
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
            &format!("sid  {hash}"),
        ] {
            assert_eq!(News::parse(strange.as_bytes()), None, "{strange}");
        }
        assert_eq!(News::parse(b"\xff"), None);
    }
}
