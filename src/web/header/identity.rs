//! The identity headers that applications read (`X-authentik-*`), rendered once per session.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::names;
use crate::model::{AccessToken, BasicAuth, Claims, HeaderEncoding, IdentityOptions};

/// Headers about the user, in the order in which they are sent. Each is on every positive response,
/// possibly empty: a reverse proxy that copies them would otherwise leave the client's own header of
/// that name in place (CVE-2026-30851).
pub static USER: [HeaderName; 7] = [
    HeaderName::from_static("x-authentik-username"),
    HeaderName::from_static("x-authentik-groups"),
    HeaderName::from_static("x-authentik-entitlements"),
    HeaderName::from_static("x-authentik-email"),
    HeaderName::from_static("x-authentik-name"),
    HeaderName::from_static("x-authentik-uid"),
    HeaderName::from_static("x-authentik-jwt"),
];

/// Headers about the application and the outpost.
pub const META: [HeaderName; 5] = [
    HeaderName::from_static("x-authentik-meta-jwks"),
    HeaderName::from_static("x-authentik-meta-outpost"),
    HeaderName::from_static("x-authentik-meta-provider"),
    HeaderName::from_static("x-authentik-meta-app"),
    HeaderName::from_static("x-authentik-meta-version"),
];

/// The headers of one user, as long as there is a session: without the space that a [`HeaderMap`]
/// takes, of which each response has its own.
#[derive(Clone)]
pub struct Identity {
    /// The values of [`USER`].
    user: [HeaderValue; 7],
    /// Basic credentials, and `additionalHeaders`.
    further: Box<[(HeaderName, HeaderValue)]>,
    options: IdentityOptions,
}

impl Default for Identity {
    fn default() -> Self {
        Self::anonymous()
    }
}

impl Identity {
    /// The headers of an anonymous request: every name of [`USER`], empty.
    #[must_use]
    pub fn anonymous() -> Self {
        Self {
            user: [EMPTY; 7],
            further: Box::default(),
            options: IdentityOptions::default(),
        }
    }

    /// The options with which it was rendered.
    #[must_use]
    pub fn options(&self) -> IdentityOptions {
        self.options
    }

    /// The headers, in the order in which they are sent.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        let further = self.further.iter().map(|(name, value)| (name, value));
        USER.iter().zip(&self.user).chain(further)
    }

    /// What the headers take in HTTP/1.1, in bytes.
    #[must_use]
    pub fn line_bytes(&self) -> usize {
        self.iter().map(names::line_bytes).sum()
    }

    /// Sets the headers in `headers`.
    pub fn write_to(&self, headers: &mut HeaderMap) {
        for (name, value) in self.iter() {
            match headers.get_mut(name) {
                Some(old) => *old = value.clone(),
                None => {
                    headers.insert(name.clone(), value.clone());
                }
            }
        }
    }

    /// Size beyond that of the value itself, in bytes; the access token counts at its session.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let [texts @ .., _token] = &self.user;
        let further = self.further.iter();
        let further = further.map(|(name, value)| {
            size_of::<(HeaderName, HeaderValue)>() + name.as_str().len() + value.len()
        });
        texts.iter().map(HeaderValue::len).sum::<usize>() + further.sum::<usize>()
    }
}

/// The headers of one user: [`USER`], basic credentials, then `additionalHeaders`.
#[must_use]
pub fn user(
    claims: &Claims,
    access_token: &AccessToken,
    basic_auth: Option<&BasicAuth>,
    options: IdentityOptions,
) -> Identity {
    let attributes = &claims.ak_proxy.user_attributes;
    let texts = [
        exact(&claims.preferred_username),
        &joined(&claims.groups),
        &joined(&claims.entitlements),
        exact(&claims.email),
        // For display only.
        claims.name.trim(),
        exact(&claims.sub),
    ];
    let [username, groups, entitlements, email, name, uid] = packed(&texts, options.encoding);
    let jwt = options.sends_jwt().then(|| token(access_token, options));
    let jwt = jwt.flatten().unwrap_or(EMPTY);
    let user = [username, groups, entitlements, email, name, uid, jwt];
    let mut headers = HeaderMap::new();
    if let Some(credentials) = basic_auth.and_then(|basic| basic_credentials(basic, claims)) {
        headers.insert(header::AUTHORIZATION, credentials);
    }
    if let Some(Value::Object(additional)) = attributes.get("additionalHeaders") {
        for (name, raw) in additional {
            let Ok(name) = HeaderName::try_from(name.as_str()) else {
                continue;
            };
            let text = text_of(raw);
            if let Some(value) = text.and_then(|text| encoded(&text, options.encoding))
                && !names::is_reserved(name.as_str())
            {
                headers.insert(name, value);
            }
        }
    }
    let further = headers
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()));
    let further = further.collect();
    Identity {
        user,
        further,
        options,
    }
}

/// The values of texts, in one piece of memory; empty where [`encoded`] has none.
fn packed<const N: usize>(texts: &[&str; N], encoding: HeaderEncoding) -> [HeaderValue; N] {
    let values = texts.map(|text| encoded(text, encoding).unwrap_or(EMPTY));
    let all: Vec<u8> = values
        .iter()
        .flat_map(HeaderValue::as_bytes)
        .copied()
        .collect();
    let mut rest = Bytes::from(all.into_boxed_slice());
    values.map(|value| {
        let own = rest.split_to(value.len());
        HeaderValue::from_maybe_shared(own).unwrap_or(value)
    })
}

/// The value of the access token, in the memory of the token.
fn token(token: &AccessToken, options: IdentityOptions) -> Option<HeaderValue> {
    let text = token.expose_secret();
    let value = encoded(text, options.encoding)?;
    if value != text {
        return Some(value);
    }
    HeaderValue::from_maybe_shared(token.to_bytes()).ok()
}

/// Names joined by `|`, as applications parse them. A name is omitted if it has a control character,
/// which a header cannot have, a `|`, which would split it, or surrounding space, which would be
/// trimmed.
fn joined(names: &[String]) -> String {
    let is_one = |name: &&str| value(name).is_some() && !name.contains('|') && is_exact(name);
    let names: Vec<_> = names.iter().map(String::as_str).filter(is_one).collect();
    names.join("|")
}

/// An identifier, or nothing if it has surrounding space, which is not part of a header's value
/// (RFC 9110 section 5.5) and would make it another one.
fn exact(text: &str) -> &str {
    if is_exact(text) { text } else { "" }
}

fn is_exact(text: &str) -> bool {
    text.trim() == text
}

/// Characters that are percent-encoded.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

fn encoded(text: &str, encoding: HeaderEncoding) -> Option<HeaderValue> {
    match encoding {
        HeaderEncoding::Utf8 => value(text),
        // Control characters are rejected nevertheless.
        HeaderEncoding::Percent => {
            value(text)?;
            value(&utf8_percent_encode(text, ENCODED).to_string())
        }
    }
}

/// A header value of `text` as UTF-8 bytes; `None` if it has a control character.
#[must_use]
pub fn value(text: &str) -> Option<HeaderValue> {
    if text.contains('\t') {
        return None;
    }
    HeaderValue::from_bytes(text.as_bytes()).ok()
}

/// The empty value.
pub const EMPTY: HeaderValue = HeaderValue::from_static("");

/// `Authorization: Basic` from the user's attributes; nothing without a password (as authentik
/// 2026.2 does).
fn basic_credentials(basic: &BasicAuth, claims: &Claims) -> Option<HeaderValue> {
    let attributes = &claims.ak_proxy.user_attributes;
    let attribute = |name: &str| attributes.get(name).and_then(text_of);
    let password = attribute(&basic.password_attribute)?;
    let user = attribute(&basic.user_attribute).unwrap_or_else(|| claims.email.clone());
    if user.contains(':') {
        // A user name ends at the first colon (RFC 7617 section 2).
        return None;
    }
    let mut text = String::from("Basic ");
    STANDARD.encode_string(format!("{user}:{password}"), &mut text);
    let mut value = value(&text)?;
    value.set_sensitive(true);
    Some(value)
}

fn text_of(raw: &Value) -> Option<String> {
    match raw {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => {
            let mut text = String::new();
            write!(text, "{number}").ok()?;
            Some(text)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(json: &str) -> Claims {
        serde_json::from_str(json).expect("claims")
    }

    fn user(
        claims: &Claims,
        token: &str,
        basic_auth: Option<&BasicAuth>,
        options: IdentityOptions,
    ) -> HeaderMap {
        written(&super::user(claims, &token.into(), basic_auth, options))
    }

    fn written(identity: &Identity) -> HeaderMap {
        let mut headers = HeaderMap::new();
        identity.write_to(&mut headers);
        assert_eq!(headers.len(), identity.iter().count());
        headers
    }

    #[test]
    fn renders_what_authentik_documents() {
        let claims = claims(
            r#"{"sub":"u1","preferred_username":"dave","name":"Dävid 测试","email":"d@x.test",
                "groups":["a","größ","b|admins"," c"],
                "ak_proxy":{"user_attributes":{"pw":"p","additionalHeaders":
                {"X-Num":5,"X-Uni":"ünï","X-Bool":true,"X-Bad":"a\r\nb","Content-Length":"3","no name":"x"}}}}"#,
        );
        let basic = BasicAuth {
            user_attribute: "un".into(),
            password_attribute: "pw".into(),
        };
        let headers = user(&claims, "jwt", Some(&basic), IdentityOptions::default());
        for (name, expected) in [
            ("x-authentik-username", "dave"),
            ("x-authentik-groups", "a|größ"),
            ("x-authentik-entitlements", ""),
            ("x-authentik-email", "d@x.test"),
            ("x-authentik-name", "Dävid 测试"),
            ("x-authentik-uid", "u1"),
            ("x-authentik-jwt", "jwt"),
            ("x-num", "5"),
            ("x-uni", "ünï"),
            ("authorization", "Basic ZEB4LnRlc3Q6cA=="),
        ] {
            let found = headers.get(name).map(HeaderValue::as_bytes);
            assert_eq!(found, Some(expected.as_bytes()), "{name}");
        }
        for absent in ["x-bool", "x-bad", "content-length", "no name"] {
            assert!(!headers.contains_key(absent), "{absent}");
        }
    }

    #[test]
    fn cve_2026_30851_every_identity_header_is_always_there() {
        let control = claims(r#"{"preferred_username":"a\nb"}"#);
        for headers in [
            user(&control, "", None, IdentityOptions::default()),
            written(&Identity::anonymous()),
        ] {
            for name in &USER {
                assert_eq!(
                    headers.get(name).map(HeaderValue::as_bytes),
                    Some(b"".as_slice()),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn ap_2026_05_attributes_set_no_header_of_the_outposts() {
        let mut headers = serde_json::Map::new();
        for name in [
            "X-authentik-username",
            "x_authentik_username",
            "x!authentik!groups",
            "X-authentik-new",
            "X-Forwarded-For",
            "x_forwarded_host",
            "X-Real-IP",
            "Forwarded",
            "X-Original-URL",
            "X-Rewrite-URL",
            "X-HTTP-Method-Override",
            "X-Envoy-Auth-Headers-To-Remove",
            "X-Accel-Redirect",
            "Cookie",
            "Keep-Alive",
            "Proxy-Authorization",
            "Transfer_Encoding",
        ] {
            headers.insert(name.into(), "forged".into());
        }
        for name in ["X-Forwarded-User", "Remote-User", "Authorization", "X_Own"] {
            headers.insert(name.into(), "kept".into());
        }
        let mut claims = claims(r#"{"preferred_username":"dave"}"#);
        let attributes = &mut claims.ak_proxy.user_attributes;
        attributes.insert("additionalHeaders".into(), headers.into());
        let said = user(&claims, "jwt", None, IdentityOptions::default());
        assert_eq!(said["x-authentik-username"], "dave");
        let with = |value: &str| said.iter().filter(|(_, v)| *v == value).count();
        assert_eq!((with("forged"), with("kept")), (0, 4), "{said:?}");
    }

    #[test]
    fn ap_2026_05_no_user_is_taken_for_another_because_of_space_or_a_separator() {
        let claims = claims(
            r#"{"sub":"u1 ","preferred_username":"admin ","name":" Dave ","email":"\u00a0a@x.test",
                "groups":["users|admins","a "," b","c d","ok"],"entitlements":["x|y"],
                "ak_proxy":{"user_attributes":{"un":"root:x","pw":"p"}}}"#,
        );
        let basic = BasicAuth {
            user_attribute: "un".into(),
            password_attribute: "pw".into(),
        };
        let headers = user(&claims, "", Some(&basic), IdentityOptions::default());
        for (name, expected) in [
            ("x-authentik-username", ""),
            ("x-authentik-uid", ""),
            ("x-authentik-email", ""),
            ("x-authentik-name", "Dave"),
            ("x-authentik-groups", "c d|ok"),
            ("x-authentik-entitlements", ""),
        ] {
            assert_eq!(headers[name], expected, "{name}");
        }
        assert!(!headers.contains_key(header::AUTHORIZATION));
    }

    #[test]
    fn issue_24156_names_may_be_percent_encoded_and_the_token_left_out() {
        let options = IdentityOptions {
            send_jwt: Some(false),
            encoding: HeaderEncoding::Percent,
        };
        let claims = claims(r#"{"preferred_username":"a b","name":"Dävid 100%","email":"a\nb"}"#);
        let headers = user(&claims, "jwt", None, options);
        for (name, expected) in [
            ("x-authentik-username", "a b"),
            ("x-authentik-name", "D%C3%A4vid 100%25"),
            ("x-authentik-email", ""),
            ("x-authentik-jwt", ""),
        ] {
            assert_eq!(headers[name], expected, "{name}");
        }
    }

    #[test]
    fn a_group_with_a_control_character_is_left_out_alone_and_numbers_are_passwords() {
        let claims = claims(
            r#"{"groups":["a","b\nc","d"],"ak_proxy":{"user_attributes":{"un":7,"pw":1234}}}"#,
        );
        let basic = BasicAuth {
            user_attribute: "un".into(),
            password_attribute: "pw".into(),
        };
        let headers = user(&claims, "", Some(&basic), IdentityOptions::default());
        assert_eq!(headers["x-authentik-groups"], "a|d");
        assert_eq!(headers[header::AUTHORIZATION], "Basic NzoxMjM0");
    }

    #[test]
    fn no_basic_credentials_without_a_password() {
        let basic = BasicAuth {
            user_attribute: "un".into(),
            password_attribute: "pw".into(),
        };
        let claims = claims(r#"{"ak_proxy":{"user_attributes":{"un":"x"}}}"#);
        assert!(
            !user(&claims, "", Some(&basic), IdentityOptions::default())
                .contains_key(header::AUTHORIZATION)
        );
    }
}
