//! A signed-in person at one application.

use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::{digest, hmac, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderMap;
use secrecy::SecretString;
use tokio::sync::Notify;

use super::Claims;

/// The random value that only the browser knows: 256 bits. Never stored, never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionId([u8; 32]);

impl SessionId {
    /// Length of the text form, in characters.
    pub const TEXT_LENGTH: usize = 43;

    /// A fresh id from the system's random source.
    ///
    /// # Panics
    /// If the operating system has no randomness, without which nothing here is safe.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 32];
        rand::fill(&mut bytes).expect("the system's random source works");
        Self(bytes)
    }

    /// The id that a MAC of 256 bits gives.
    ///
    /// # Panics
    /// If the MAC has another length.
    #[must_use]
    pub fn derived(mac: &hmac::Tag) -> Self {
        let bytes = mac.as_ref().try_into();
        Self(bytes.expect("HMAC-SHA256 has 256 bits"))
    }

    /// Reads the text form; anything but 32 bytes of unpadded base64url is `None`.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != Self::TEXT_LENGTH {
            return None;
        }
        let mut bytes = [0; 32];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(32) => Some(Self(bytes)),
            _ => None,
        }
    }

    /// The text form: unpadded base64url.
    #[must_use]
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// What the store knows the session by.
    #[must_use]
    pub fn key(&self) -> SessionKey {
        let mut key = [0; 32];
        key.copy_from_slice(digest::digest(&digest::SHA256, &self.0).as_ref());
        SessionKey(key)
    }
}

impl std::fmt::Debug for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionId(…)")
    }
}

/// SHA-256 of a [`SessionId`]: whoever reads the store cannot make a cookie from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionKey([u8; 32]);

impl SessionKey {
    /// The text form: unpadded base64url.
    #[must_use]
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

/// One person's session at one application, with the answer headers prepared.
pub struct Session {
    /// The application's `client_id`; a session counts nowhere else.
    pub client_id: Box<str>,
    /// What authentik says about the person.
    pub claims: Claims,
    /// The access token as received: sent upstream as `X-authentik-jwt`, introspected to see
    /// whether the session still stands.
    pub access_token: SecretString,
    /// End of validity, Unix seconds.
    pub expires_at: i64,
    /// The person's identity headers, rendered once.
    pub headers: HeaderMap,
    ended: AtomicBool,
    end: Notify,
}

impl Session {
    /// A session that lasts until the token does.
    #[must_use]
    pub fn new(
        client_id: &str,
        claims: Claims,
        access_token: SecretString,
        expires_at: i64,
        headers: HeaderMap,
    ) -> Self {
        let ended = AtomicBool::new(false);
        Self {
            client_id: client_id.into(),
            claims,
            access_token,
            expires_at,
            headers,
            ended,
            end: Notify::new(),
        }
    }

    /// Whether the session may still open anything at `now` (Unix seconds).
    #[must_use]
    pub fn is_live(&self, now: i64) -> bool {
        now < self.expires_at && !self.ended.load(Ordering::Acquire)
    }

    /// Ends the session for everybody who holds it, also for a cache that is just being filled.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.end.notify_waiters();
    }

    /// Waits until somebody ends the session; its time may run out without that.
    pub async fn ended(&self) {
        // Before the flag is looked at, so that no end in between is missed.
        let end = self.end.notified();
        if !self.ended.load(Ordering::Acquire) {
            end.await;
        }
    }

    /// Memory that the session takes, in bytes, roughly; what the cache is bounded by.
    #[must_use]
    pub fn weight(&self) -> u64 {
        use secrecy::ExposeSecret as _;
        let headers: usize = self
            .headers
            .iter()
            .map(|(n, v)| n.as_str().len() + v.len() + 64)
            .sum();
        let claims = self
            .claims
            .groups
            .iter()
            .map(|g| g.len() + 24)
            .sum::<usize>()
            + self.claims.ak_proxy.user_attributes.len() * 128;
        // Fixed parts, the token twice (here and as a header), and the index entries.
        (1024 + headers + claims + self.access_token.expose_secret().len()) as u64
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
    use super::SessionId;

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
