//! Authenticated encryption of data at rest: AES-256-GCM with derived keys.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, hmac, rand};

/// Bytes that encryption adds: nonce and tag.
pub const OVERHEAD_BYTES: usize = NONCE_LEN + 16;

/// An encryption key. Each is used for few messages, so that random nonces do not collide.
#[derive(Clone, PartialEq, Eq)]
pub struct Seal([u8; 32]);

impl Seal {
    /// Derives a key for `purpose` from secrets, all of which are needed to decrypt (HKDF-SHA256,
    /// RFC 5869).
    ///
    /// # Panics
    /// Never: the lengths are fixed.
    #[must_use]
    pub fn derive(purpose: &[u8], secrets: &[&[u8]]) -> Self {
        let mut key = [0; 32];
        hkdf::Salt::new(hkdf::HKDF_SHA256, b"authentik-proxy/seal")
            .extract(&secrets.concat())
            .expand(&[purpose], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut key))
            .expect("32 bytes may be taken from HKDF-SHA256");
        Self(key)
    }

    /// Encrypts `plain` with `context` as additional authenticated data. Returns nonce, ciphertext
    /// and tag.
    ///
    /// # Panics
    /// If the operating system has no randomness, without which nothing here is safe.
    #[must_use]
    pub fn seal(&self, context: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).expect("the system's random source works");
        let mut sealed = Vec::with_capacity(plain.len() + OVERHEAD_BYTES);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let tag = self
            .key()
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context),
                &mut sealed[NONCE_LEN..],
            )
            .expect("texts are far shorter than the limit of AES-GCM");
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// Decrypts; `None` if key, context or ciphertext differ.
    #[must_use]
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = text.to_vec();
        let plain = self
            .key()
            .open_in_place(nonce, Aad::from(context), &mut text);
        let length = plain.ok()?.len();
        text.truncate(length);
        Some(text)
    }

    fn key(&self) -> LessSafeKey {
        LessSafeKey::new(
            UnboundKey::new(&AES_256_GCM, &self.0).expect("an AES-256 key has 32 bytes"),
        )
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal(…)")
    }
}

/// A keyed hash (HMAC-SHA256), for index keys of guessable values.
#[derive(Debug)]
pub struct KeyedHash(hmac::Key);

impl KeyedHash {
    /// A hash with this key.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The hash of `text`.
    #[must_use]
    pub fn of(&self, text: &[u8]) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(hmac::sign(&self.0, text).as_ref());
        hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decrypts_what_it_encrypted_and_nothing_else() {
        let seal = Seal::derive(b"p", &[b"secret"]);
        let sealed = seal.seal(b"context", b"plain");
        assert_eq!(sealed.len(), 5 + OVERHEAD_BYTES);
        assert_eq!(
            seal.open(b"context", &sealed).as_deref(),
            Some(&b"plain"[..])
        );
        assert_ne!(seal.seal(b"context", b"plain"), sealed, "a fresh nonce");
        assert_eq!(seal.open(b"other", &sealed), None);
        for other in [
            Seal::derive(b"q", &[b"secret"]),
            Seal::derive(b"p", &[b"secret", b"more"]),
            Seal::derive(b"p", &[b"Secret"]),
        ] {
            assert_eq!(other.open(b"context", &sealed), None);
        }
        for length in 0..sealed.len() {
            assert_eq!(
                seal.open(b"context", &sealed[..length]),
                None,
                "cut at {length}"
            );
        }
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert_eq!(seal.open(b"context", &bad), None, "changed at {at}");
        }
    }
}
