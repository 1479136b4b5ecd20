//! Cookies: parsing without allocation, and the outpost's signed cookies.

use aws_lc_rs::{constant_time, digest, hmac};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header};

use crate::config::CookiePrefix;
use crate::model::SessionId;

/// Length of a MAC in its text form: 32 bytes of unpadded base64url.
const MAC_LENGTH: usize = 43;

/// Length of the value of a session cookie: id, dot, MAC.
pub const VALUE_LENGTH: usize = SessionId::TEXT_LENGTH + 1 + MAC_LENGTH;

/// How the names of the outpost's cookies start at every application, after a prefix.
const NAME_START: &[u8] = b"authentik_proxy_";

/// Prefix of names that browsers accept only over TLS and from the host itself, so that no other
/// host of the domain can set them (RFC 6265bis section 4.1.3.2).
const HOST_PREFIX: &str = "__Host-";

/// Prefixes with a meaning to browsers, in lower case: they are compared case-insensitively.
const PREFIXES: [&[u8]; 4] = [b"__host-http-", b"__host-", b"__secure-", b"__http-"];

/// The form of an outpost's cookie. The signed value includes it, so that a cookie of one form is
/// not accepted as one of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// With the name that every release accepts.
    Plain,
    /// With a name with the prefix `__Host-`.
    Host,
}

impl From<CookiePrefix> for Form {
    fn from(prefix: CookiePrefix) -> Self {
        match prefix {
            CookiePrefix::None => Self::Plain,
            CookiePrefix::Host => Self::Host,
        }
    }
}

impl Form {
    /// What distinguishes values of this form.
    #[must_use]
    pub fn context(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Host => HOST_PREFIX,
        }
    }
}

/// The names of an application's cookies, in one form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Of the session cookie.
    pub session: String,
    /// Of the cookie that binds a login to its browser.
    pub login: String,
}

/// The names of an application's cookies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cookies {
    /// Those that every release accepts.
    pub plain: Names,
    /// Those with the prefix `__Host-`, where browsers accept them.
    pub host: Option<Names>,
}

impl Cookies {
    /// The names for a client: `authentik_proxy_` and the first 8 hex digits of the SHA-256 of its
    /// id. Browsers accept `__Host-` over TLS and for one host, which `host` tells.
    #[must_use]
    pub fn of(client_id: &str, host: bool) -> Self {
        use std::fmt::Write as _;
        let digest = digest::digest(&digest::SHA256, client_id.as_bytes());
        let mut session = String::from("authentik_proxy_");
        for byte in &digest.as_ref()[..4] {
            // Writing to a string cannot fail.
            let _ = write!(session, "{byte:02x}");
        }
        let names = |prefix: &str| Names {
            session: format!("{prefix}{session}"),
            login: format!("{prefix}{session}_login"),
        };
        Self {
            plain: names(Form::Plain.context()),
            host: host.then(|| names(Form::Host.context())),
        }
    }

    /// The names in the form `wanted`, or in the form that can be set instead.
    #[must_use]
    pub fn in_form(&self, wanted: Form) -> (Form, &Names) {
        match (&self.host, wanted) {
            (Some(host), Form::Host) => (Form::Host, host),
            _ => (Form::Plain, &self.plain),
        }
    }

    /// The names in all forms. Those that no other host can set come first.
    pub fn all(&self) -> impl Iterator<Item = (Form, &Names)> {
        let host = self.host.iter().map(|names| (Form::Host, names));
        host.chain(std::iter::once((Form::Plain, &self.plain)))
    }
}

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

/// The session cookie's value: the id and a MAC over it, so that a forged cookie is rejected
/// without a look-up in the store.
#[must_use]
pub fn sign(key: &hmac::Key, id: &SessionId, form: Form) -> String {
    let mut text = id.to_text();
    let mut mac = hmac::Context::with_key(key);
    mac.update(form.context().as_bytes());
    mac.update(text.as_bytes());
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(mac.sign(), &mut text);
    text
}

/// Whether a value has the form of a signed id; checked before the MAC is computed.
#[must_use]
pub fn has_shape(value: &[u8]) -> bool {
    value.len() == VALUE_LENGTH && value[SessionId::TEXT_LENGTH] == b'.'
}

/// The id in a signed cookie of this form; `None` unless it was signed with `key`.
#[must_use]
pub fn verify(key: &hmac::Key, value: &[u8], form: Form) -> Option<SessionId> {
    if !has_shape(value) {
        return None;
    }
    let (text, mac) = value.split_at(SessionId::TEXT_LENGTH);
    let mac = mac.strip_prefix(b".")?;
    let mut tag = [0; 32];
    URL_SAFE_NO_PAD
        .decode_slice(mac, &mut tag)
        .ok()
        .filter(|length| *length == 32)?;
    let mut computed = hmac::Context::with_key(key);
    computed.update(form.context().as_bytes());
    computed.update(text);
    constant_time::verify_slices_are_equal(computed.sign().as_ref(), &tag).ok()?;
    SessionId::parse(text)
}

/// Whether a `Set-Cookie` value, or one cookie of a `Cookie` header, has a name of the outpost's
/// cookies. Browsers skip space before a name and compare prefixes case-insensitively; a cookie
/// without a name is sent as its value alone, so that `=authentik_proxy_…` counts too.
#[must_use]
pub fn is_own(cookie: &[u8]) -> bool {
    let begins = |text: &[u8], with: &[u8]| {
        let start = text.get(..with.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(with))
    };
    let start = cookie
        .iter()
        .position(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let name = &cookie[start.unwrap_or(cookie.len())..];
    let prefix = PREFIXES.iter().find(|prefix| begins(name, prefix));
    begins(&name[prefix.map_or(0, |prefix| prefix.len())..], NAME_START)
}

/// The cookies of a request that are passed on to an application.
#[derive(Debug, PartialEq, Eq)]
pub enum Foreign {
    /// All: none is the outpost's.
    Unchanged,
    /// The remaining ones.
    Changed(HeaderValue),
    /// None.
    Removed,
}

impl Foreign {
    /// Of a request with these headers.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        match (foreign(headers), headers.get(header::COOKIE)) {
            (None, None) => Self::Unchanged,
            (None, Some(_)) => Self::Removed,
            (Some(left), sent) if Some(&left) == sent => Self::Unchanged,
            (Some(left), _) => Self::Changed(left),
        }
    }
}

/// All cookies of a request but the outpost's, in one field line; `None` if there are none.
#[must_use]
pub fn foreign(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = headers.get_all(header::COOKIE).into_iter();
    let first = lines.next()?;
    let rest: Vec<_> = lines.collect();
    let has_ours = |line: &HeaderValue| {
        let mut places = line.as_bytes().windows(NAME_START.len());
        places.any(|place| place == NAME_START)
    };
    if rest.is_empty() && !has_ours(first) {
        return Some(first.clone());
    }
    let mut kept: Vec<u8> = Vec::with_capacity(first.len());
    for line in std::iter::once(first).chain(rest) {
        for cookie in line.as_bytes().split(|b| *b == b';') {
            // What joins two lines as it does others writes a comma.
            let mut others = cookie.split(|b| *b == b',').filter(|part| !is_own(part));
            let Some(cookie) = others.next() else {
                continue;
            };
            let begun = kept.len();
            if begun > 0 {
                kept.extend_from_slice(b"; ");
            }
            let begins = kept.len();
            kept.extend_from_slice(cookie.trim_ascii_start());
            for part in others {
                kept.push(b',');
                kept.extend_from_slice(part);
            }
            kept.truncate(begins + kept[begins..].trim_ascii_end().len());
            if kept.len() == begins {
                kept.truncate(begun);
            }
        }
    }
    if kept.is_empty() {
        return None;
    }
    HeaderValue::from_maybe_shared(bytes::Bytes::from(kept)).ok()
}

/// Attributes of an outpost's cookie (RFC 6265 section 4.1): always `HttpOnly` and `SameSite=Lax`.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    /// Only over TLS.
    pub secure: bool,
    /// For a whole domain; otherwise for this host only.
    pub domain: Option<&'a str>,
    /// Seconds to live; zero or less removes the cookie.
    pub max_age: i64,
}

/// A `Set-Cookie` value with `Path=/`.
#[must_use]
pub fn set(name: &str, value: &str, attributes: Attributes<'_>) -> String {
    set_below("/", name, value, attributes)
}

/// A `Set-Cookie` value for requests whose path is `path` or below.
#[must_use]
pub fn set_below(path: &str, name: &str, value: &str, attributes: Attributes<'_>) -> String {
    let max_age = attributes.max_age.max(0);
    let mut text =
        format!("{name}={value}; Path={path}; Max-Age={max_age}; HttpOnly; SameSite=Lax");
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
        let verify = |key: &hmac::Key, value: &[u8]| super::verify(key, value, Form::Plain);
        let good = sign(&key(1), &id, Form::Plain);
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
    fn ap_2026_05_a_cookie_of_one_form_is_none_of_the_other() {
        let id = SessionId::random();
        for (form, other) in [(Form::Plain, Form::Host), (Form::Host, Form::Plain)] {
            let value = sign(&key(1), &id, form);
            assert_eq!(verify(&key(1), value.as_bytes(), form), Some(id.clone()));
            assert_eq!(verify(&key(1), value.as_bytes(), other), None, "{form:?}");
        }
    }

    #[test]
    fn the_cookie_is_named_as_the_vendor_names_it() {
        // `printf %s client | sha256sum`
        let cookies = Cookies::of("client", true);
        assert_eq!(cookies.plain.session, "authentik_proxy_948fe603");
        let (form, names) = cookies.in_form(Form::Host);
        assert_eq!(form, Form::Host);
        assert_eq!(names.session, "__Host-authentik_proxy_948fe603");
        assert_eq!(names.login, "__Host-authentik_proxy_948fe603_login");
        let cookies = Cookies::of("client", false);
        let (form, names) = cookies.in_form(Form::Host);
        assert_eq!((form, names), (Form::Plain, &cookies.plain));
    }

    /// What browsers make of `Set-Cookie`: RFC 6265bis section 5.6, and Chromium and Firefox, which
    /// send a cookie without a name as its value alone.
    #[test]
    fn ap_2026_06_our_names_are_known_in_every_spelling_that_browsers_accept() {
        for own in [
            "authentik_proxy_948fe603=x; Path=/",
            "authentik_proxy_948fe603_login=x",
            "authentik_proxy_=",
            " \t authentik_proxy_1=x",
            "authentik_proxy_1 =x",
            "authentik_proxy_1",
            "=authentik_proxy_1=x",
            " = authentik_proxy_1=x",
            "==__Host-authentik_proxy_1=x",
            "__Host-authentik_proxy_1=x; Secure; Path=/",
            "__host-authentik_proxy_1=x",
            "__HOST-authentik_proxy_1=x",
            "__Secure-authentik_proxy_1=x",
            "__Http-authentik_proxy_1=x",
            "__Host-Http-authentik_proxy_1=x",
            "Authentik_Proxy_1=x",
            "\"authentik_proxy_1=x\"",
        ] {
            assert!(is_own(own.as_bytes()), "{own:?}");
        }
        for other in [
            "",
            "=",
            "a=1",
            "xauthentik_proxy_1=x",
            "authentik_prox=1",
            "authentik=authentik_proxy_1",
            "__Host-a=authentik_proxy_1",
            "__Host-xauthentik_proxy_1=x",
            "authentik_session=x",
            "_authentik_proxy_1=x",
        ] {
            assert!(!is_own(other.as_bytes()), "{other:?}");
        }
    }

    #[test]
    fn ap_2026_05_applications_see_no_cookie_of_the_outposts() {
        for (lines, expected) in [
            (&["a=1; b=2"][..], Some("a=1; b=2")),
            (&["a=1;b=2", "c=3"], Some("a=1; b=2; c=3")),
            (&["authentik_proxy_1=x"], None),
            (&["__Host-authentik_proxy_1=x; a=1"], Some("a=1")),
            (
                &["a=1; __Host-authentik_proxy_1_login=x ;b=2"],
                Some("a=1; b=2"),
            ),
            (&["a=1; =authentik_proxy_1=x"], Some("a=1")),
            (&["a=1, authentik_proxy_1=x"], Some("a=1")),
            (&["authentik_proxy_1=x, a=1,2; b=3"], Some("a=1,2; b=3")),
            (&["a=\"; authentik_proxy_1=x; \""], Some("a=\"; \"")),
            (
                &["xauthentik_proxy_1=kept; authentik_proxy_2=x"],
                Some("xauthentik_proxy_1=kept"),
            ),
            (&[";; ,; authentik_proxy_2=x"], Some(",")),
            (&["", "authentik_proxy_2=x"], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::COOKIE, line.parse().expect("a header"));
            }
            let seen = foreign(&headers);
            let seen = seen.as_ref().map(|line| line.to_str().expect("text"));
            assert_eq!(seen, expected, "{lines:?}");
        }
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
