//! The session of a user at one application: a plain value. What is live about it is the store's.

pub(super) mod access_token;
pub(super) mod claims;
pub(super) mod idle;
pub(super) mod shared;

use std::sync::Arc;

use aws_lc_rs::{digest, hmac, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::SecretString;

use crate::model::{AccessToken, Claims};

/// The session id: 256 random bits in the browser's cookie. Never stored, never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionId {
    secret: [u8; 32],
    /// Hashed once, since every look-up needs it.
    key: SessionKey,
}

impl SessionId {
    /// Length of the text form, in characters.
    pub const TEXT_LENGTH: usize = 43;

    /// A new id from the operating system's random source.
    ///
    /// # Panics
    /// If the operating system has no randomness.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 32];
        rand::fill(&mut bytes).expect("the system's random source works");
        Self::new(bytes)
    }

    fn new(secret: [u8; 32]) -> Self {
        let mut key = [0; 32];
        key.copy_from_slice(digest::digest(&digest::SHA256, &secret).as_ref());
        let key = SessionKey(key);
        Self { secret, key }
    }

    /// An id derived from a MAC of 256 bits.
    ///
    /// # Panics
    /// If the MAC has another length.
    #[must_use]
    pub fn derived(mac: &hmac::Tag) -> Self {
        let bytes = mac.as_ref().try_into();
        Self::new(bytes.expect("HMAC-SHA256 has 256 bits"))
    }

    /// Parses the text form; `None` unless it is 32 bytes of unpadded base64url.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != Self::TEXT_LENGTH {
            return None;
        }
        let mut bytes = [0; 32];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(32) => Some(Self::new(bytes)),
            _ => None,
        }
    }

    /// The text form: unpadded base64url.
    #[must_use]
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.secret)
    }

    /// The bytes, to derive keys from; not for storage or logs.
    pub(crate) fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// The key of the session in the store.
    #[must_use]
    pub fn key(&self) -> SessionKey {
        self.key
    }
}

impl std::fmt::Debug for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionId(…)")
    }
}

/// SHA-256 of a [`SessionId`]: read access to the store reveals no cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionKey([u8; 32]);

impl SessionKey {
    /// The text form: unpadded base64url.
    #[must_use]
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// The bytes, as in an index.
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key of these bytes; `None` unless there are 32.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

/// A refresh token (RFC 6749 section 6) and when its session started.
#[derive(Clone)]
pub struct Refresh {
    /// The refresh token; can be used once.
    pub token: SecretString,
    /// When the user signed in, Unix seconds.
    pub started_at: i64,
}

/// How long before its expiry a session is refreshed: a quarter of its lifetime, within these
/// bounds, and never more than half of it.
const REFRESH_WINDOW_SECONDS: std::ops::RangeInclusive<i64> = 30..=300;
/// Time between two attempts to refresh a session: a third of the window, within these bounds.
const REFRESH_RETRY_SECONDS: std::ops::RangeInclusive<i64> = 1..=10;

/// The session of a user at one application.
pub struct Session {
    /// The application's `client_id`; a session is valid for this application only.
    pub client_id: Arc<str>,
    /// The claims of the user.
    pub claims: Claims,
    /// The access token: sent to the application as `X-authentik-jwt`, and introspected.
    pub access_token: AccessToken,
    /// End of validity, Unix seconds.
    pub expires_at: i64,
    /// The refresh token, if the session can outlive its access token.
    pub refresh: Option<Refresh>,
}

impl Session {
    /// A session that is valid as long as its access token.
    #[must_use]
    pub fn new(
        client_id: &str,
        claims: Claims,
        access_token: AccessToken,
        expires_at: i64,
    ) -> Self {
        // Only the login that asked for it compares it.
        let claims = Claims {
            nonce: None,
            ..claims
        };
        Self {
            client_id: shared::text(client_id),
            claims,
            access_token,
            expires_at,
            refresh: None,
        }
    }

    /// An anonymous session that expires 1,000 seconds after the epoch.
    #[cfg(test)]
    pub(crate) fn sample() -> Self {
        Self::new("c", Claims::default(), "t".into(), 1_000)
    }

    /// The same session with a refresh token.
    #[must_use]
    pub fn refreshable(self, refresh: Option<Refresh>) -> Self {
        Self { refresh, ..self }
    }

    /// When the user signed in, Unix seconds: as recorded for a session that can be refreshed, else
    /// the `iat` of the access token; 0 if it has none.
    #[must_use]
    pub fn started_at(&self) -> i64 {
        let recorded = self.refresh.as_ref().map(|refresh| refresh.started_at);
        recorded.or(self.claims.iat).unwrap_or_default()
    }

    /// When the session should be refreshed, Unix seconds; `None` if it cannot be.
    #[must_use]
    pub fn refresh_at(&self) -> Option<i64> {
        self.refresh.as_ref()?;
        Some(self.expires_at - self.refresh_window())
    }

    /// Minimum time between two attempts to refresh the session, in seconds: a short session gets
    /// several attempts as well.
    #[must_use]
    pub fn refresh_retry_seconds(&self) -> i64 {
        let (min, max) = (REFRESH_RETRY_SECONDS.start(), REFRESH_RETRY_SECONDS.end());
        (self.refresh_window() / 3).clamp(*min, *max)
    }

    fn refresh_window(&self) -> i64 {
        let (min, max) = (REFRESH_WINDOW_SECONDS.start(), REFRESH_WINDOW_SECONDS.end());
        let Some(issued_at) = self.claims.iat else {
            return *min;
        };
        let lifetime = (self.expires_at - issued_at).max(0);
        (lifetime / 4).clamp(*min, *max).min(lifetime / 2)
    }

    /// Whether the session should be refreshed at `now` (Unix seconds).
    #[must_use]
    pub fn needs_refresh(&self, now: i64) -> bool {
        self.refresh_at().is_some_and(|refresh_at| now > refresh_at)
    }

    /// Whether `other` has the same access token: it is this session, and no refresh lies between.
    #[must_use]
    pub fn has_same_token(&self, other: &Self) -> bool {
        self.access_token == other.access_token
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("client_id", &self.client_id)
            .field("claims", &self.claims)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{Refresh, Session, SessionId};
    use crate::model::Claims;

    #[test]
    fn a_session_is_refreshed_in_its_last_quarter_a_short_one_in_its_last_half() {
        for (life, refresh_at, retry) in [
            (10, 5, 1),
            (20, 10, 3),
            (60, 30, 10),
            (100, 70, 10),
            (1_000, 750, 10),
            (86_400, 86_100, 10),
        ] {
            let claims = Claims {
                iat: Some(1_000),
                ..Claims::default()
            };
            let session = Session::new("c", claims, "t".into(), 1_000 + life);
            assert!(
                !session.needs_refresh(1_000 + life - 1),
                "it cannot be refreshed"
            );
            let session = session.refreshable(Some(Refresh {
                token: "r".into(),
                started_at: 1_000,
            }));
            assert!(!session.needs_refresh(1_000 + refresh_at), "{life}");
            assert!(session.needs_refresh(1_001 + refresh_at), "{life}");
            assert_eq!(session.refresh_retry_seconds(), retry, "{life}");
        }
    }

    #[test]
    fn ids_survive_their_text_form_and_nothing_else_is_one() {
        let id = SessionId::random();
        let text = id.to_text();
        assert_eq!(text.len(), SessionId::TEXT_LENGTH);
        assert_eq!(SessionId::parse(text.as_bytes()), Some(id.clone()));
        assert_ne!(SessionId::random(), id);
        for bad in [
            "",
            "a",
            &text[1..],
            &format!("{text}a"),
            &"=".repeat(43),
            &"ä".repeat(21),
        ] {
            assert_eq!(SessionId::parse(bad.as_bytes()), None, "{bad}");
        }
        assert!(!format!("{id:?}").contains(&text));
    }
}
