//! Cookies: reading them from a request without allocating, and signing what we hand out.

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, header};

use crate::model::SessionId;

/// Length of a MAC in its text form: 32 bytes of unpadded base64url.
const MAC_LENGTH: usize = 43;

/// Every value of the cookie `name` in a request, in order. Browsers send several when cookies of
/// different paths or domains share a name, so the first one is not always the right one.
pub fn values<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(header::COOKIE)
        .into_iter()
        .flat_map(move |line| {
            line.as_bytes()
                .split(|b| *b == b';')
                .filter_map(move |pair| {
                    let pair = pair.trim_ascii();
                    pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
                })
        })
}

/// The session cookie's text: the id and a MAC over it, so that a made-up cookie is refused
/// without asking the store.
#[must_use]
pub fn sign(key: &hmac::Key, id: &SessionId) -> String {
    let mut text = id.to_text();
    let mac = hmac::sign(key, text.as_bytes());
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(mac, &mut text);
    text
}

/// The id in a signed cookie; anything that we did not sign with `key` is `None`.
#[must_use]
pub fn verify(key: &hmac::Key, value: &[u8]) -> Option<SessionId> {
    if value.len() != SessionId::TEXT_LENGTH + 1 + MAC_LENGTH {
        return None;
    }
    let (id, mac) = value.split_at(SessionId::TEXT_LENGTH);
    let mac = mac.strip_prefix(b".")?;
    let mut tag = [0; 32];
    URL_SAFE_NO_PAD
        .decode_slice(mac, &mut tag)
        .ok()
        .filter(|length| *length == 32)?;
    hmac::verify(key, id, &tag).ok()?;
    SessionId::parse(id)
}

/// Attributes of a cookie of ours (RFC 6265 section 4.1): always `HttpOnly`, `Path=/`,
/// `SameSite=Lax`.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    /// Only over TLS.
    pub secure: bool,
    /// For a whole domain; otherwise for this host only.
    pub domain: Option<&'a str>,
    /// Seconds to live; zero or less removes the cookie.
    pub max_age: i64,
}

/// A `Set-Cookie` value.
#[must_use]
pub fn set(name: &str, value: &str, attributes: Attributes<'_>) -> String {
    let max_age = attributes.max_age.max(0);
    let mut text = format!("{name}={value}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Lax");
    if attributes.secure {
        text.push_str("; Secure");
    }
    if let Some(domain) = attributes.domain {
        text.push_str("; Domain=");
        text.push_str(domain);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &[byte; 32])
    }

    #[test]
    fn cve_2026_25748_only_our_own_signature_is_read() {
        let id = SessionId::random();
        let good = sign(&key(1), &id);
        assert_eq!(verify(&key(1), good.as_bytes()), Some(id));
        assert_eq!(verify(&key(2), good.as_bytes()), None, "another key");
        for length in 0..good.len() {
            assert_eq!(
                verify(&key(1), &good.as_bytes()[..length]),
                None,
                "cut at {length}"
            );
        }
        for position in 0..good.len() {
            let mut bad = good.clone().into_bytes();
            bad[position] = if bad[position] == b'A' { b'B' } else { b'A' };
            assert_eq!(verify(&key(1), &bad), None, "changed at {position}");
        }
        assert_eq!(verify(&key(1), &[0xff; 87]), None);
        assert_eq!(verify(&key(1), &vec![b'A'; 8192]), None);
    }

    #[test]
    fn finds_all_cookies_of_a_name() {
        let mut headers = HeaderMap::new();
        headers.append(
            header::COOKIE,
            "a=1; ab=2;a=3 ; b=a=4".parse().expect("a header"),
        );
        headers.append(header::COOKIE, "a=5".parse().expect("a header"));
        let found: Vec<&[u8]> = values(&headers, "a").collect();
        assert_eq!(found, [b"1".as_slice(), b"3", b"5"]);
        assert_eq!(values(&headers, "c").count(), 0);
    }
}
