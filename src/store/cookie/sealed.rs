//! The text of a session cookie: a session, compressed and encrypted.
//!
//! ```text
//! text   = base64url(salt ‖ check ‖ nonce ‖ ciphertext ‖ tag)
//! check  = first 8 bytes of HMAC-SHA256(cookie name ‖ "=" ‖ salt)
//! plain  = expiry ‖ begin ‖ lengths ‖ signature of the token ‖ deflate(header ‖ payload of the token) ‖ zeros
//! ```
//!
//! Each text has an encryption key of its own, derived from the application's secrets and a random
//! salt of 128 bits, so that random nonces never meet under one key (NIST SP 800-38D section 8.3
//! limits a key to 2^32 of them).
//!
//! The check tells texts that were never sealed here from others at the price of one MAC, before the
//! rest of them is read. It protects nothing else: a text with a valid check may still be changed.
//!
//! What is compressed are the header and the claims of the token; its signature stands beside them.
//! The length is rounded up, so that whoever can change a claim of a user and sees the size of that
//! user's encrypted traffic learns little about the other claims (compare CRIME, CVE-2012-4929).

use aws_lc_rs::{constant_time, hmac, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec_with_limit;
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::model::{AccessToken, Claims, Session, SessionId};
use crate::store::seal::{OVERHEAD_BYTES, Seal};

/// The version of the format, which the encryption is bound to.
const CONTEXT: &[u8] = b"authentik-proxy session cookie 1";

/// Random bytes of the key of a text.
const SALT_BYTES: usize = 16;

/// Bytes of the check.
const CHECK_BYTES: usize = 8;

/// Salt and check, of which the key of a text is derived.
const START_BYTES: usize = SALT_BYTES + CHECK_BYTES;

/// Characters of a text that hold them.
const START_LENGTH: usize = START_BYTES / 3 * 4;

/// The length of a plain text is a multiple of this.
const ROUNDED_TO_BYTES: usize = 64;

/// Header and payload of a token, in bytes. Larger tokens are not sealed, and nothing is decompressed
/// beyond it.
const MAX_TOKEN_BYTES: usize = 256 << 10;

/// Effort of the compression, of 10.
const LEVEL: u8 = 8;

/// Expiry, begin, and the lengths of header, signature and compressed token.
const HEAD_BYTES: usize = 8 + 8 + 2 + 2 + 4;

/// Seals the sessions of one application.
pub struct Sealer {
    client_id: String,
    outpost: Uuid,
    key: [u8; 32],
    id_key: hmac::Key,
    check_key: hmac::Key,
}

/// A session that cannot be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The token has more than 256 KiB.
    #[error("the access token has more than {} KiB", MAX_TOKEN_BYTES >> 10)]
    TooLarge,
    /// Not three parts of unpadded base64url (RFC 7515 section 7.1).
    #[error("the access token is no JWT")]
    NoJwt,
}

impl Sealer {
    /// A sealer with keys from the application's `seal_key` and its client secret: sessions end when
    /// either changes.
    ///
    /// # Panics
    /// Never: HMAC accepts keys of this length.
    #[must_use]
    pub fn new(seal_key: &[u8; 32], secret: &[u8], client_id: &str, outpost: Uuid) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, seal_key);
        let derive = |purpose: &[u8]| {
            let mut mac = hmac::Context::with_key(&root);
            mac.update(purpose);
            mac.update(secret);
            let mut key = [0; 32];
            key.copy_from_slice(mac.sign().as_ref());
            key
        };
        Self {
            client_id: client_id.to_owned(),
            outpost,
            key: derive(b"session cookie/1/encryption/"),
            id_key: hmac::Key::new(hmac::HMAC_SHA256, &derive(b"session cookie/1/id/")),
            check_key: hmac::Key::new(hmac::HMAC_SHA256, &derive(b"session cookie/1/check/")),
        }
    }

    /// The text of a session for the cookie `name`.
    ///
    /// # Panics
    /// If the operating system has no randomness.
    pub fn seal(&self, name: &str, session: &Session) -> Result<String, SealError> {
        let plain = encode(session)?;
        let mut start = [0; START_BYTES];
        let (salt, check) = start.split_at_mut(SALT_BYTES);
        rand::fill(salt).expect("the system's random source works");
        check.copy_from_slice(&self.check(name, salt));
        let mut sealed = Vec::with_capacity(START_BYTES + OVERHEAD_BYTES + plain.len());
        sealed.extend_from_slice(&start);
        sealed.extend(self.key(&start).seal(&self.context(name), &plain));
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Whether a text for the cookie `name` that starts like this was sealed by this application, as far
    /// as its check tells. Nothing that was never sealed here passes.
    #[must_use]
    pub fn is_start(&self, name: &str, text: &[u8]) -> bool {
        let mut start = [0; START_BYTES];
        let decoded = text
            .get(..START_LENGTH)
            .map(|text| URL_SAFE_NO_PAD.decode_slice(text, &mut start));
        let (salt, check) = start.split_at(SALT_BYTES);
        matches!(decoded, Some(Ok(_)))
            && constant_time::verify_slices_are_equal(&self.check(name, salt), check).is_ok()
    }

    /// The session in a text of the cookie `name`; `None` unless the text was sealed by this
    /// application, at this outpost, for a cookie of this name.
    #[must_use]
    pub fn open(&self, name: &str, text: &[u8]) -> Option<Session> {
        let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (start, sealed) = sealed.split_at_checked(START_BYTES)?;
        let plain = self.key(start).open(&self.context(name), sealed)?;
        decode(&self.client_id, &plain)
    }

    /// The id of the session in a text, given in parts. Equal texts have equal ids, whether they can be
    /// opened or not; two with the same id cannot be made without the key.
    #[must_use]
    pub fn id<'a>(&self, name: &str, parts: impl IntoIterator<Item = &'a [u8]>) -> SessionId {
        let mut mac = hmac::Context::with_key(&self.id_key);
        mac.update(name.as_bytes());
        mac.update(b"=");
        for part in parts {
            mac.update(part);
        }
        SessionId::derived(&mac.sign())
    }

    fn check(&self, name: &str, salt: &[u8]) -> [u8; CHECK_BYTES] {
        let mut mac = hmac::Context::with_key(&self.check_key);
        mac.update(name.as_bytes());
        mac.update(b"=");
        mac.update(salt);
        let mut check = [0; CHECK_BYTES];
        check.copy_from_slice(&mac.sign().as_ref()[..CHECK_BYTES]);
        check
    }

    fn key(&self, start: &[u8]) -> Seal {
        Seal::derive(CONTEXT, &[&self.key, start])
    }

    fn context(&self, name: &str) -> Vec<u8> {
        [CONTEXT, self.outpost.as_bytes(), name.as_bytes()].concat()
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(…)")
    }
}

fn encode(session: &Session) -> Result<Vec<u8>, SealError> {
    let token = session.access_token.expose_secret();
    let mut parts = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part));
    let mut next = || parts.next()?.ok();
    let (Some(header), Some(payload), Some(signature)) = (next(), next(), next()) else {
        return Err(SealError::NoJwt);
    };
    if parts.next().is_some() {
        return Err(SealError::NoJwt);
    }
    if header.len() + payload.len() > MAX_TOKEN_BYTES {
        return Err(SealError::TooLarge);
    }
    let too_large = |_| SealError::TooLarge;
    let header_length = u16::try_from(header.len()).map_err(too_large)?;
    let signature_length = u16::try_from(signature.len()).map_err(too_large)?;
    let token = compress_to_vec(&[header, payload].concat(), LEVEL);
    let token_length = u32::try_from(token.len()).map_err(too_large)?;
    let mut plain = Vec::new();
    plain.extend_from_slice(&session.expires_at.to_be_bytes());
    plain.extend_from_slice(&session.started_at().to_be_bytes());
    plain.extend_from_slice(&header_length.to_be_bytes());
    plain.extend_from_slice(&signature_length.to_be_bytes());
    plain.extend_from_slice(&token_length.to_be_bytes());
    plain.extend_from_slice(&signature);
    plain.extend_from_slice(&token);
    plain.resize(plain.len().next_multiple_of(ROUNDED_TO_BYTES), 0);
    Ok(plain)
}

/// Reads what [`encode`] wrote. The claims are those of the token, which was verified before it was
/// sealed.
fn decode(client_id: &str, plain: &[u8]) -> Option<Session> {
    let (head, rest) = plain.split_at_checked(HEAD_BYTES)?;
    let expires_at = i64::from_be_bytes(head[..8].try_into().ok()?);
    let started_at = i64::from_be_bytes(head[8..16].try_into().ok()?);
    let header_length = u16::from_be_bytes(head[16..18].try_into().ok()?);
    let signature_length = u16::from_be_bytes(head[18..20].try_into().ok()?);
    let token_length = u32::from_be_bytes(head[20..].try_into().ok()?);
    let (signature, rest) = rest.split_at_checked(signature_length.into())?;
    let token = rest.get(..usize::try_from(token_length).ok()?)?;
    let token = decompress_to_vec_with_limit(token, MAX_TOKEN_BYTES).ok()?;
    let (header, payload) = token.split_at_checked(header_length.into())?;
    let claims: Map<String, Value> = serde_json::from_slice(payload).ok()?;
    let (mut claims, _) = Claims::read(claims).ok()?;
    claims.iat.get_or_insert(started_at);
    let token = [header, payload, signature].map(|part| URL_SAFE_NO_PAD.encode(part));
    let token = AccessToken::from(token.join("."));
    Some(Session::new(client_id, claims, token, expires_at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "authentik_proxy_948fe603";

    fn sealer() -> Sealer {
        Sealer::new(&[7; 32], b"secret", "client", Uuid::from_u128(1))
    }

    fn session(groups: usize) -> Session {
        let groups: Vec<_> = (0..groups).map(|n| format!("department-{n:03}")).collect();
        let payload = serde_json::json!({
            "iss": "https://authentik.company/application/o/wiki/",
            "sub": "5f9e6e7e1c1f4c8e9c1b8d4c9b1a7c2d5f9e6e7e1c1f4c8e9c1b8d4c9b1a7c2d",
            "aud": "client", "exp": 2_000, "iat": 1_000, "sid": "alice-sid",
            "email": "alice@home.test", "name": "Alice", "preferred_username": "alice",
            "groups": groups, "ak_proxy": {"user_attributes": {}, "is_superuser": false},
        });
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let payload = payload.to_string();
        let token = format!(
            "{}.{}.{}",
            part(br#"{"alg":"HS256","typ":"JWT"}"#),
            part(payload.as_bytes()),
            part(&[0xa5; 32])
        );
        let claims = serde_json::from_str(&payload).expect("an object");
        let (claims, _) = Claims::read(claims).expect("claims");
        Session::new("client", claims, token.into(), 1_900)
    }

    #[test]
    fn a_sealed_session_is_read_back_as_it_was() {
        for groups in [0, 10, 400, 4_000] {
            let (sealer, session) = (sealer(), session(groups));
            let text = sealer.seal(NAME, &session).expect("sealed");
            let read = sealer.open(NAME, text.as_bytes()).expect("read");
            assert!(read.claims == session.claims && read.has_same_token(&session));
            assert_eq!((&*read.client_id, read.expires_at), ("client", 1_900));
            assert_eq!(read.started_at(), 1_000);
            assert!(read.refresh.is_none());
        }
    }

    #[test]
    fn cve_2026_25748_only_an_untouched_text_in_its_place_is_opened() {
        let sealer = sealer();
        let text = sealer.seal(NAME, &session(1)).expect("sealed").into_bytes();
        let host = format!("__Host-{NAME}");
        assert!(sealer.open(NAME, &text).is_some());
        assert!(sealer.open(&host, &text).is_none(), "another name");
        for (what, other) in [
            ("another application", (8, "secret", 1)),
            ("another client secret", (7, "Secret", 1)),
            ("another outpost", (7, "secret", 2)),
        ] {
            let (key, secret, outpost) = other;
            let outpost = Uuid::from_u128(outpost);
            let other = Sealer::new(&[key; 32], secret.as_bytes(), "client", outpost);
            assert!(other.open(NAME, &text).is_none(), "{what}");
            let is_ours = what == "another outpost";
            assert_eq!(other.is_start(NAME, &text), is_ours, "{what}");
        }
        for length in 0..text.len() {
            assert!(
                sealer.open(NAME, &text[..length]).is_none(),
                "cut at {length}"
            );
        }
        for length in 0..START_LENGTH {
            assert!(!sealer.is_start(NAME, &text[..length]), "cut at {length}");
        }
        assert!(sealer.is_start(NAME, &text[..START_LENGTH]));
        assert!(!sealer.is_start(&host, &text), "another name");
        for at in 0..text.len() {
            let mut bad = text.clone();
            bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
            assert!(sealer.open(NAME, &bad).is_none(), "changed at {at}");
            let is_start = sealer.is_start(NAME, &bad);
            assert_eq!(is_start, at >= START_LENGTH, "changed at {at}");
            assert_ne!(sealer.id(NAME, [&bad[..]]), sealer.id(NAME, [&text[..]]));
        }
    }

    #[test]
    fn every_text_is_another_one_and_has_its_own_id() {
        let (sealer, session) = (sealer(), session(1));
        let texts = [(); 2].map(|()| sealer.seal(NAME, &session).expect("sealed"));
        assert_ne!(texts[0], texts[1]);
        let ids = texts
            .each_ref()
            .map(|text| sealer.id(NAME, [text.as_bytes()]));
        assert_ne!(ids[0], ids[1]);
        let (start, end) = texts[0].as_bytes().split_at(7);
        assert_eq!(sealer.id(NAME, [start, end]), ids[0], "in parts");
        assert_ne!(sealer.id("other", [start, end]), ids[0]);
    }

    #[test]
    fn tokens_that_are_no_jwt_and_huge_ones_are_refused() {
        for (token, expected) in [
            ("opaque", SealError::NoJwt),
            ("a.b", SealError::NoJwt),
            ("YQ.YQ.YQ.YQ", SealError::NoJwt),
            ("YQ.Y.YQ", SealError::NoJwt),
            ("YQ.YR.YQ", SealError::NoJwt),
            (
                &format!("YQ.{}.YQ", "YWFh".repeat(100_000)),
                SealError::TooLarge,
            ),
        ] {
            let session = Session::new("client", Claims::default(), token.into(), 1);
            assert_eq!(sealer().seal(NAME, &session), Err(expected));
        }
    }

    #[test]
    fn ap_2026_04_what_is_decompressed_is_bounded() {
        let plain = |length: usize| {
            let mut token = br#"{"sub":"alice"}"#.to_vec();
            token.resize(length, b' ');
            let token = compress_to_vec(&token, LEVEL);
            assert!(token.len() < 1_000);
            let mut plain = vec![0; HEAD_BYTES];
            let length = u32::try_from(token.len()).expect("small");
            plain[20..].copy_from_slice(&length.to_be_bytes());
            [plain, token].concat()
        };
        assert!(decode("client", &plain(MAX_TOKEN_BYTES)).is_some());
        assert!(decode("client", &plain(MAX_TOKEN_BYTES + 1)).is_none());
        let plain = plain(100);
        for length in 0..plain.len() {
            assert!(decode("client", &plain[..length]).is_none());
        }
    }

    /// The lengths of the texts of which `docs/RELIABILITY.md` tells the sizes of cookies.
    #[test]
    fn ap_2026_04_texts_grow_in_steps_and_stay_below_the_tokens() {
        let lengths = [0, 10, 100, 400].map(|groups| {
            let session = session(groups);
            let text = sealer().seal(NAME, &session).expect("sealed").len();
            assert!(text < session.access_token.expose_secret().len() + 100);
            let plain = text * 3 / 4 - START_BYTES - OVERHEAD_BYTES;
            assert_eq!(plain % ROUNDED_TO_BYTES, 0);
            text
        });
        assert_eq!(lengths, [496, 582, 838, 1_691]);
    }
}
