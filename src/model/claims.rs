//! What authentik says about a person: the claims of the access token that make a session.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// The claims of an access token that we use (`OpenID` Connect Core section 2, and authentik's
/// `ak_proxy` scope). Anything else in the token is ignored.
#[derive(Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Claims {
    /// Issuer.
    #[serde(deserialize_with = "or_default")]
    pub iss: String,
    /// The person, stable for this outpost's applications.
    #[serde(deserialize_with = "or_default")]
    pub sub: String,
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
    #[serde(deserialize_with = "or_default")]
    pub sid: Option<String>,
    /// Echo of the value that we sent to the authorization endpoint.
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
    pub groups: Vec<String>,
    /// Names of the application entitlements.
    #[serde(deserialize_with = "or_default")]
    pub entitlements: Vec<String>,
    /// What authentik says to proxies only.
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
    /// Whether the person administers authentik; only they see the detail of errors.
    #[serde(deserialize_with = "or_default")]
    pub is_superuser: bool,
    /// Another place to pass this person's requests on to; empty if none.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub backend_override: String,
    /// The `Host` that the application is sent; empty for the person's own.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub host_header: String,
}

/// Attributes hold passwords and tokens, so only who it is is shown.
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
