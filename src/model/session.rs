//! A signed-in person at one application.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

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

    /// The bytes, to derive keys from; never for storage or logs.
    pub(crate) fn secret(&self) -> &[u8; 32] {
        &self.0
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

    /// The bytes, as an index holds them.
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key of these bytes; anything but 32 of them is `None`.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

/// What a session is refreshed with (RFC 6749 section 6).
#[derive(Clone)]
pub struct Refresh {
    /// The refresh token; good for one use.
    pub token: SecretString,
    /// When the person signed in, Unix seconds.
    pub started_at: i64,
}

/// Seconds before its end from which on a session is refreshed: a quarter of its life within these
/// bounds.
const REFRESH_WINDOW_SECONDS: std::ops::RangeInclusive<i64> = 30..=300;
/// Seconds between two attempts to refresh a session.
const REFRESH_RETRY_SECONDS: i64 = 10;

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
    /// How the session can outlive its access token.
    pub refresh: Option<Refresh>,
    /// When it may be tried to refresh it again, Unix seconds.
    retry_at: AtomicI64,
    introspected_at: AtomicI64,
    used_at: AtomicI64,
    ended: AtomicBool,
    /// It ended, or was replaced.
    change: Notify,
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
        Self {
            client_id: client_id.into(),
            claims,
            access_token,
            expires_at,
            headers,
            refresh: None,
            retry_at: AtomicI64::new(0),
            introspected_at: AtomicI64::new(0),
            used_at: AtomicI64::new(0),
            ended: AtomicBool::new(false),
            change: Notify::new(),
        }
    }

    /// Somebody's, which lasts until ten seconds after the epoch.
    #[cfg(test)]
    pub(crate) fn sample() -> Self {
        let claims = Claims::default();
        Self::new("c", claims, "t".into(), 10, HeaderMap::new())
    }

    /// When authentik last said that the session stands, Unix seconds; 0 if it never did.
    #[must_use]
    pub fn introspected_at(&self) -> i64 {
        self.introspected_at.load(Ordering::Relaxed)
    }

    /// Notes that authentik said at `now` (Unix seconds) that the session stands.
    pub fn set_introspected_at(&self, now: i64) {
        self.introspected_at.store(now, Ordering::Relaxed);
    }

    /// When the session was last used, Unix seconds, as far as it was noted here; 0 if it was not.
    #[must_use]
    pub fn used_at(&self) -> i64 {
        self.used_at.load(Ordering::Relaxed)
    }

    /// Notes a use at `now` (Unix seconds) in place of the one that is `known`; `false` if somebody
    /// else did meanwhile.
    pub fn update_used_at(&self, known: i64, now: i64) -> bool {
        let order = Ordering::Relaxed;
        let exchanged = self.used_at.compare_exchange(known, now, order, order);
        exchanged.is_ok()
    }

    /// The same session, which can be refreshed.
    #[must_use]
    pub fn refreshable(self, refresh: Option<Refresh>) -> Self {
        Self { refresh, ..self }
    }

    /// When the person signed in, Unix seconds: as we noted for a session that can be refreshed, as
    /// authentik says for others. 0 if nobody said.
    #[must_use]
    pub fn started_at(&self) -> i64 {
        let noted = self.refresh.as_ref().map(|refresh| refresh.started_at);
        noted.or(self.claims.iat).unwrap_or_default()
    }

    /// From when on the session should be refreshed, Unix seconds; `None` if it cannot be.
    #[must_use]
    pub fn refresh_at(&self) -> Option<i64> {
        self.refresh.as_ref()?;
        let life = self.expires_at - self.claims.iat.unwrap_or(self.expires_at);
        let early = (life / 4).clamp(
            *REFRESH_WINDOW_SECONDS.start(),
            *REFRESH_WINDOW_SECONDS.end(),
        );
        Some(self.expires_at - early)
    }

    /// Whether the session should be refreshed at `now` (Unix seconds).
    #[must_use]
    pub fn needs_refresh(&self, now: i64) -> bool {
        self.refresh_at().is_some_and(|refresh_at| now > refresh_at)
    }

    /// Whether this caller is to refresh the session at `now`: one in a while.
    #[must_use]
    pub fn claim_refresh_attempt(&self, now: i64) -> bool {
        let turn = self.retry_at.load(Ordering::Relaxed);
        let next = now + REFRESH_RETRY_SECONDS;
        let order = Ordering::Relaxed;
        now >= turn
            && self
                .retry_at
                .compare_exchange(turn, next, order, order)
                .is_ok()
    }

    /// Whether `other` is this session as it is now, not before or after a refresh.
    #[must_use]
    pub fn has_same_token(&self, other: &Self) -> bool {
        use secrecy::ExposeSecret as _;
        self.access_token.expose_secret() == other.access_token.expose_secret()
    }

    /// Whether somebody ended the session; it may also be over.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Whether the session may still open anything at `now` (Unix seconds).
    #[must_use]
    pub fn is_live(&self, now: i64) -> bool {
        now < self.expires_at && !self.is_revoked()
    }

    /// Ends the session for everybody who holds it, also for a cache that is just being filled.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.change.notify_waiters();
    }

    /// Tells those who hold this session that there is another in its place, after a refresh.
    pub fn replaced(&self) {
        self.change.notify_waiters();
    }

    /// Waits until somebody ends the session, or there is another in its place; its time may run out
    /// without that.
    pub async fn changed(&self) {
        // Before the flag is looked at, so that no end in between is missed.
        let change = self.change.notified();
        if !self.is_revoked() {
            change.await;
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
    use http::HeaderMap;

    use super::{Refresh, Session, SessionId};
    use crate::model::Claims;

    #[test]
    fn a_session_is_refreshed_in_its_last_quarter_by_one_at_a_time() {
        for (life, refresh_at) in [(100, 70), (1_000, 750), (86_400, 86_100)] {
            let claims = Claims {
                iat: Some(1_000),
                ..Claims::default()
            };
            let session = Session::new("c", claims, "t".into(), 1_000 + life, HeaderMap::new());
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
            assert!(session.claim_refresh_attempt(2_000) && !session.claim_refresh_attempt(2_009));
            assert!(session.claim_refresh_attempt(2_010));
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
