//! Keys derived from an application's cookie secret, one for each purpose, so that nothing signed
//! for one use can be replayed as another (CVE-2026-19349).

use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::ExposeSecret as _;

use crate::model::{AccessToken, SessionId};

/// The keys of one application. Every replica derives the same ones.
pub struct Keys {
    /// Tells these keys from all others of this process.
    pub number: u64,
    /// Signs session cookies.
    pub session: hmac::Key,
    /// Signs the login state, HS256.
    pub state: [u8; 32],
    /// Seals sessions at rest, together with each session's own id.
    pub seal: [u8; 32],
    pkce: hmac::Key,
    nonce: hmac::Key,
    credentials: hmac::Key,
    sign_out: hmac::Key,
}

impl Keys {
    /// Derives the keys from the application's `cookie_secret` and `client_id`.
    #[must_use]
    pub fn derive(cookie_secret: &str, client_id: &str) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let root = hmac::Key::new(hmac::HMAC_SHA256, cookie_secret.as_bytes());
        let derive = |purpose: &str| {
            let mut key = [0; 32];
            let tag = hmac::sign(
                &root,
                format!("authentik-proxy/{purpose}/{client_id}").as_bytes(),
            );
            key.copy_from_slice(tag.as_ref());
            key
        };
        let mac = |purpose: &str| hmac::Key::new(hmac::HMAC_SHA256, &derive(purpose));
        Self {
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            session: mac("session"),
            state: derive("state"),
            seal: derive("seal"),
            pkce: mac("pkce"),
            nonce: mac("nonce"),
            credentials: mac("credentials"),
            sign_out: mac("sign-out"),
        }
    }

    /// The PKCE verifier (RFC 7636 section 4.1) that belongs to a login's random value. Derived,
    /// so that no replica has to remember it.
    #[must_use]
    pub fn pkce_verifier(&self, random: &str) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.pkce, random.as_bytes()))
    }

    /// The id of the session that these credentials (an `Authorization` value) open: the same on
    /// every replica and each time, so that a program which keeps no cookies has one session.
    #[must_use]
    pub fn session_of(&self, credentials: &[u8]) -> SessionId {
        SessionId::derived(&hmac::sign(&self.credentials, credentials))
    }

    /// What the form of the page carries that asks before a session ends, so that no other page can
    /// send it. `session` is a secret of the session.
    #[must_use]
    pub fn sign_out_token(&self, session: &AccessToken) -> String {
        let session = session.expose_secret().as_bytes();
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.sign_out, session))
    }

    /// Whether `token` is the one that [`Keys::sign_out_token`] gave for this session.
    #[must_use]
    pub fn is_sign_out_token(&self, token: &str, session: &AccessToken) -> bool {
        let session = session.expose_secret().as_bytes();
        URL_SAFE_NO_PAD
            .decode(token)
            .is_ok_and(|tag| hmac::verify(&self.sign_out, session, &tag).is_ok())
    }

    /// The nonce (`OpenID` Connect Core section 3.1.2.1) that belongs to a login's random value.
    #[must_use]
    pub fn nonce(&self, random: &str) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.nonce, random.as_bytes()))
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(…)")
    }
}
