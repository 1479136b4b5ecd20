//! The claims of an access token that make a session.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::shared::{self, Names};

/// Estimated size of an attribute of a user.
const ATTRIBUTE_BYTES: usize = 128;

/// The claims of an access token that are used (`OpenID` Connect Core section 2, and authentik's
/// `ak_proxy` scope). Anything else in the token is ignored.
#[derive(Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Claims {
    /// Issuer.
    #[serde(deserialize_with = "issuer", serialize_with = "as_text")]
    pub iss: Arc<str>,
    /// The user, stable for this outpost's applications.
    #[serde(deserialize_with = "text", serialize_with = "as_text")]
    pub sub: Arc<str>,
    /// End of validity, Unix seconds. Required; absent is refused at verification.
    #[serde(deserialize_with = "seconds")]
    pub exp: Option<i64>,
    /// Start of validity, Unix seconds.
    #[serde(deserialize_with = "seconds")]
    pub nbf: Option<i64>,
    /// Time of issue, Unix seconds.
    #[serde(deserialize_with = "seconds")]
    pub iat: Option<i64>,
    /// Hex SHA-256 of authentik's session key; absent in client-credentials tokens.
    #[serde(
        deserialize_with = "optional_text",
        serialize_with = "as_optional_text"
    )]
    pub sid: Option<Arc<str>>,
    /// Echo of the value that was sent to the authorization endpoint.
    #[serde(deserialize_with = "or_default")]
    pub nonce: Option<String>,
    /// E-mail address.
    #[serde(deserialize_with = "or_default")]
    pub email: String,
    /// Display name.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// User name.
    #[serde(deserialize_with = "or_default")]
    pub preferred_username: String,
    /// Names of the groups.
    #[serde(deserialize_with = "or_default")]
    pub groups: Names,
    /// Names of the application entitlements.
    #[serde(deserialize_with = "or_default")]
    pub entitlements: Names,
    /// Claims for proxies only.
    #[serde(deserialize_with = "or_default")]
    pub ak_proxy: ProxyClaims,
}

/// The `ak_proxy` claim.
#[derive(Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct ProxyClaims {
    /// Attributes of the user and their groups, merged by authentik. May hold passwords.
    #[serde(deserialize_with = "or_default")]
    pub user_attributes: Map<String, Value>,
    /// Whether the user administers authentik; only administrators see the details of errors.
    #[serde(deserialize_with = "or_default")]
    pub is_superuser: bool,
    /// Another address to proxy this user's requests to; empty if none.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub backend_override: String,
    /// The `Host` that the application is sent; empty for the client's own.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub host_header: String,
}

impl Claims {
    /// Reads the claims of a token. Claims that only describe the user are taken as far as they
    /// can be read, so that a faulty property mapping locks no user out; the names of those that were
    /// left out are returned beside them. `iss`, `exp`, `nbf`, `iat`, `sub`, `sid` and `nonce`
    /// decide, so they have to be well-formed.
    pub fn read(mut token: Map<String, Value>) -> Result<(Self, Vec<String>), serde_json::Error> {
        let mut left_out = Vec::new();
        for name in ["email", "name", "preferred_username"] {
            keep_text(&mut token, name, &mut left_out);
        }
        for name in ["groups", "entitlements"] {
            keep_texts(&mut token, name, &mut left_out);
        }
        match token.get_mut("ak_proxy") {
            Some(Value::Object(proxy)) => {
                let mut inner = Vec::new();
                for name in ["backend_override", "host_header"] {
                    keep_text(proxy, name, &mut inner);
                }
                keep_if(proxy, "user_attributes", Value::is_object, &mut inner);
                keep_if(proxy, "is_superuser", Value::is_boolean, &mut inner);
                left_out.extend(inner.into_iter().map(|name| format!("ak_proxy.{name}")));
            }
            _ => keep_if(&mut token, "ak_proxy", Value::is_null, &mut left_out),
        }
        Ok((serde_json::from_value(Value::Object(token))?, left_out))
    }
}

impl Claims {
    /// Approximate size beyond that of the value itself, in bytes. The names of groups count in
    /// full, though users with the same ones share them.
    #[must_use]
    pub(crate) fn heap_bytes(&self) -> usize {
        let names = self.groups.iter().chain(&*self.entitlements);
        let names = names.map(|name| size_of::<String>() + name.len());
        let sid = self.sid.as_deref().map_or(0, str::len);
        let texts = [&self.email, &self.name, &self.preferred_username];
        let texts = texts.map(String::len).iter().sum::<usize>();
        let attributes = self.ak_proxy.user_attributes.len() * ATTRIBUTE_BYTES;
        names.sum::<usize>() + self.sub.len() + sid + texts + attributes
    }
}

/// Keeps a claim if `is_readable`, or if it is absent or `null`.
fn keep_if(
    claims: &mut Map<String, Value>,
    name: &str,
    is_readable: impl FnOnce(&Value) -> bool,
    left_out: &mut Vec<String>,
) {
    let value = claims.get(name);
    if value.is_some_and(|value| !value.is_null() && !is_readable(value)) {
        claims.remove(name);
        left_out.push(name.to_owned());
    }
}

/// Keeps a claim that is text, or a number as its text.
fn keep_text(claims: &mut Map<String, Value>, name: &str, left_out: &mut Vec<String>) {
    if let Some(number @ Value::Number(_)) = claims.get_mut(name) {
        *number = number.to_string().into();
    }
    keep_if(claims, name, Value::is_string, left_out);
}

/// Keeps the texts and numbers of a list; a text alone is a list of one.
fn keep_texts(claims: &mut Map<String, Value>, name: &str, left_out: &mut Vec<String>) {
    if let Some(alone @ Value::String(_)) = claims.get_mut(name) {
        *alone = Value::Array(vec![alone.take()]);
    }
    if let Some(Value::Array(entries)) = claims.get_mut(name) {
        let before = entries.len();
        entries.retain(|entry| entry.is_string() || entry.is_number());
        if entries.len() < before {
            left_out.push(format!("{} entries of {name}", before - entries.len()));
        }
        for number in entries.iter_mut().filter(|entry| entry.is_number()) {
            *number = number.to_string().into();
        }
    }
    keep_if(claims, name, Value::is_array, left_out);
}

/// Attributes hold passwords and tokens, so only the user name is shown.
impl std::fmt::Debug for Claims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claims")
            .field("preferred_username", &self.preferred_username)
            .field("exp", &self.exp)
            .finish_non_exhaustive()
    }
}

/// `null` is read as "absent", as every other reader of authentik's tokens does.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    or_default::<_, String>(deserializer).map(Arc::from)
}

fn issuer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    or_default::<_, String>(deserializer).map(|issuer| shared::text(&issuer))
}

fn optional_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Arc<str>>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    Ok(text.map(Arc::from))
}

fn as_text<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

#[expect(clippy::ref_option, reason = "serde passes the field by reference")]
fn as_optional_text<S: Serializer>(
    text: &Option<Arc<str>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    text.as_deref().serialize(serializer)
}

/// `NumericDate` (RFC 7519 section 2) may carry a fraction.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Whole(i64),
        Fraction(f64),
    }
    Ok(
        Option::deserialize(deserializer)?.map(|number| match number {
            Number::Whole(seconds) => seconds,
            #[expect(
                clippy::cast_possible_truncation,
                reason = "`as` saturates, which keeps the order"
            )]
            Number::Fraction(seconds) => seconds as i64,
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::Claims;

    #[test]
    fn tolerates_absent_null_and_unknown_claims() {
        let claims: Claims = serde_json::from_str(
            r#"{"sub":"s","exp":1795492351.5,"sid":null,"groups":null,"email":null,"new":{"x":1},"ak_proxy":null}"#,
        )
        .expect("claims");
        assert_eq!(claims.exp, Some(1_795_492_351));
        assert!(claims.groups.is_empty() && claims.sid.is_none() && claims.email.is_empty());
    }

    #[test]
    fn odd_claims_about_the_user_are_left_out_and_lock_no_user_out() {
        for (odd, left_out) in [
            (
                r#""acr":1,"amr":"pwd","email_verified":"yes","nickname":5,"auth_time":"now""#,
                &[][..],
            ),
            (r#""email":["a@x.test"]"#, &["email"]),
            (
                r#""name":{"first":"A"},"preferred_username":true"#,
                &["name", "preferred_username"],
            ),
            (r#""groups":{"a":1}"#, &["groups"]),
            (r#""groups":["a",null,["b"]]"#, &["2 entries of groups"]),
            (r#""entitlements":7"#, &["entitlements"]),
            (r#""ak_proxy":"x""#, &["ak_proxy"]),
            (
                r#""ak_proxy":{"user_attributes":[],"is_superuser":"no","host_header":{}}"#,
                &[
                    "ak_proxy.host_header",
                    "ak_proxy.user_attributes",
                    "ak_proxy.is_superuser",
                ],
            ),
        ] {
            let text = format!(r#"{{"sub":"s","exp":9,"sid":"x",{odd}}}"#);
            let token = serde_json::from_str(&text).expect("an object");
            let (claims, found) = Claims::read(token).expect(odd);
            assert_eq!((&*claims.sub, claims.exp), ("s", Some(9)), "{odd}");
            assert_eq!(found, left_out, "{odd}");
            assert!(!claims.ak_proxy.is_superuser, "{odd}");
        }
        let read = |text: &str| Claims::read(serde_json::from_str(text).expect("an object"));
        let (claims, _) =
            read(r#"{"groups":[1,"b"],"entitlements":"one","name":5}"#).expect("claims");
        assert_eq!(*claims.groups, ["1", "b"]);
        assert_eq!(*claims.entitlements, ["one"]);
        assert_eq!(claims.name, "5");
    }

    #[test]
    fn odd_claims_that_decide_are_refused() {
        for odd in [
            r#""iss":["a"]"#,
            r#""sub":5"#,
            r#""exp":"9""#,
            r#""nbf":"now""#,
            r#""iat":{}"#,
            r#""sid":7"#,
            r#""nonce":7"#,
        ] {
            let token = serde_json::from_str(&format!("{{{odd}}}")).expect("an object");
            assert!(Claims::read(token).is_err(), "{odd}");
        }
    }

    #[test]
    fn cve_2026_40166_debug_shows_no_attribute() {
        let claims: Claims = serde_json::from_str(
            r#"{"preferred_username":"alice","nonce":"n-secret","ak_proxy":{"user_attributes":{"p":"hunter2"}}}"#,
        )
        .expect("claims");
        let shown = format!("{claims:?}");
        assert!(
            shown.contains("alice") && !shown.contains("hunter2") && !shown.contains("n-secret")
        );
    }
}
