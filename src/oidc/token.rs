//! Verification of authentik's tokens. What passes here is believed.

use arc_swap::ArcSwap;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};

use crate::model::{Claims, Hint, HintText};

/// Tolerated clock skew between authentik and the outpost, in seconds.
pub const LEEWAY: i64 = 60;

/// Why a token is refused. Never carries the token.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Signature, algorithm, key or form.
    #[error("the token's signature, algorithm or form is not acceptable: {0}")]
    Signature(String),
    /// Another issuer.
    #[error("the token was issued by {found:?}, expected {expected:?}")]
    Issuer {
        /// What the token says.
        found: String,
        /// The accepted algorithms.
        expected: String,
    },
    /// No end of validity.
    #[error("the token has no expiry")]
    NoExpiry,
    /// Over.
    #[error("the token has expired")]
    Expired,
    /// Not begun, beyond the leeway.
    #[error("the token is not valid yet")]
    NotYetValid,
}

impl Hint for TokenError {
    fn hint(&self) -> Option<HintText> {
        match self {
            Self::Issuer { .. } => Some("check AUTHENTIK_HOST_BROWSER".into()),
            Self::Expired | Self::NotYetValid => {
                Some("check that the clocks of authentik and this host agree".into())
            }
            Self::Signature(_) | Self::NoExpiry => None,
        }
    }
}

/// What tokens of one application must look like.
pub struct Verifier {
    issuers: Vec<String>,
    client_id: String,
    key: Key,
}

enum Key {
    /// The client secret (RFC 7518 section 3.2), the normal case for proxy providers.
    Secret(DecodingKey),
    /// Keys published by authentik, and the algorithms that it advertises.
    Published {
        keys: ArcSwap<JwkSet>,
        algorithms: Vec<Algorithm>,
    },
}

impl Verifier {
    /// A verifier for what authentik advertises: `HS256` with the client secret if it is among
    /// `algorithms`, else the published keys; never both families.
    #[must_use]
    pub fn new(issuers: Vec<String>, client_id: &str, secret: &str, algorithms: &[String]) -> Self {
        let key = if algorithms.is_empty() || algorithms.iter().any(|name| name == "HS256") {
            Key::Secret(DecodingKey::from_secret(secret.as_bytes()))
        } else {
            let algorithms = algorithms
                .iter()
                .filter_map(|name| name.parse().ok())
                .filter(|a| !matches!(a, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512))
                .collect();
            Key::Published {
                keys: ArcSwap::from_pointee(JwkSet { keys: Vec::new() }),
                algorithms,
            }
        };
        Self {
            issuers,
            client_id: client_id.to_owned(),
            key,
        }
    }

    /// Whether the key that this token names has yet to be fetched.
    #[must_use]
    pub fn lacks_key_of(&self, token: &str) -> bool {
        match &self.key {
            Key::Secret(_) => false,
            Key::Published { keys, .. } => {
                let kid = jsonwebtoken::decode_header(token)
                    .ok()
                    .and_then(|header| header.kid);
                kid.is_none_or(|kid| keys.load().find(&kid).is_none())
            }
        }
    }

    /// The number of authentik's keys that are known; `None` where tokens are signed with the
    /// client secret.
    #[must_use]
    pub fn published_keys(&self) -> Option<usize> {
        match &self.key {
            Key::Secret(_) => None,
            Key::Published { keys, .. } => Some(keys.load().keys.len()),
        }
    }

    /// Takes over freshly fetched keys.
    pub fn replace_keys(&self, fresh: JwkSet) {
        if let Key::Published { keys, .. } = &self.key {
            keys.store(fresh.into());
        }
    }

    /// Verifies signature, issuer, audience and times of a token.
    pub fn verify(&self, token: &str, now: i64) -> Result<Claims, TokenError> {
        let claims = match &self.key {
            Key::Secret(key) => self.decode(token, key, Algorithm::HS256)?,
            Key::Published { keys, algorithms } => {
                let refused = |reason: &str| TokenError::Signature(reason.to_owned());
                let header = jsonwebtoken::decode_header(token)
                    .map_err(|error| TokenError::Signature(error.to_string()))?;
                if !algorithms.contains(&header.alg) {
                    return Err(refused(
                        "the algorithm is not one that authentik advertises",
                    ));
                }
                let keys = keys.load();
                let jwk = header.kid.as_deref().and_then(|kid| keys.find(kid));
                let jwk = jwk.ok_or_else(|| refused("authentik publishes no such key"))?;
                let key = DecodingKey::from_jwk(jwk)
                    .map_err(|error| TokenError::Signature(error.to_string()))?;
                self.decode(token, &key, header.alg)?
            }
        };
        if !self.issuers.iter().any(|issuer| **issuer == *claims.iss) {
            return Err(TokenError::Issuer {
                found: claims.iss.to_string(),
                expected: self.issuers.join(" or "),
            });
        }
        let expires = claims.exp.ok_or(TokenError::NoExpiry)?;
        if now >= expires {
            return Err(TokenError::Expired);
        }
        if claims
            .nbf
            .or(claims.iat)
            .is_some_and(|begin| begin > now + LEEWAY)
        {
            return Err(TokenError::NotYetValid);
        }
        Ok(claims)
    }

    fn decode(
        &self,
        token: &str,
        key: &DecodingKey,
        algorithm: Algorithm,
    ) -> Result<Claims, TokenError> {
        let mut validation = Validation::new(algorithm);
        validation.set_audience(&[&self.client_id]);
        validation.set_required_spec_claims(&["aud"]);
        // Times are compared with the local clock, below.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let decoded = jsonwebtoken::decode::<Map<String, Value>>(token, key, &validation)
            .map_err(|error| TokenError::Signature(error.to_string()))?;
        read(decoded.claims)
    }
}

/// Reads claims, and logs which of them could not be read.
pub(super) fn read(claims: Map<String, Value>) -> Result<Claims, TokenError> {
    let (claims, left_out) =
        Claims::read(claims).map_err(|error| TokenError::Signature(error.to_string()))?;
    if !left_out.is_empty() {
        tracing::warn!(
            claims = left_out.join(", "),
            hint = "correct the scope mapping of the provider in authentik",
            "malformed claims of a token are ignored",
        );
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::json;

    use super::*;

    fn token(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
        let key = EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&Header::new(algorithm), claims, &key).expect("a token")
    }

    fn verifier() -> Verifier {
        Verifier::new(
            vec!["https://a/".into()],
            "client",
            "secret",
            &["HS256".into()],
        )
    }

    #[test]
    fn go_2022_0783_and_kin_every_check_counts() {
        let good = json!({"iss":"https://a/","aud":"client","exp":1000,"iat":900,"sub":"s"});
        let verify = |token: &str| verifier().verify(token, 950);
        let claims = verify(&token(Algorithm::HS256, "secret", &good)).expect("good");
        assert_eq!(&*claims.sub, "s");
        let with = |key: &str, value: Value| {
            let mut claims = good.clone();
            claims[key] = value;
            verify(&token(Algorithm::HS256, "secret", &claims))
        };
        assert!(matches!(
            with("iss", json!("https://b/")),
            Err(TokenError::Issuer { .. })
        ));
        assert!(matches!(
            with("aud", json!("other")),
            Err(TokenError::Signature(_))
        ));
        assert!(matches!(
            with("aud", Value::Null),
            Err(TokenError::Signature(_))
        ));
        assert_eq!(with("exp", json!(950)), Err(TokenError::Expired));
        assert_eq!(with("exp", Value::Null), Err(TokenError::NoExpiry));
        assert_eq!(with("iat", json!(1011)), Err(TokenError::NotYetValid));
        assert!(
            with("iat", json!(1010)).is_ok(),
            "60 s of clock skew are tolerated"
        );
        assert_eq!(with("nbf", json!(1011)), Err(TokenError::NotYetValid));
        assert!(matches!(
            verify(&token(Algorithm::HS256, "wrong", &good)),
            Err(TokenError::Signature(_))
        ));
        assert!(matches!(
            verify(&token(Algorithm::HS512, "secret", &good)),
            Err(TokenError::Signature(_))
        ));
        let payload = token(Algorithm::HS256, "secret", &good);
        let payload = payload.split('.').nth(1).expect("a payload");
        for bad in ["", "a.b.c", &format!("eyJhbGciOiJub25lIn0.{payload}.")] {
            assert!(
                matches!(verify(bad), Err(TokenError::Signature(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn no_shared_secret_where_authentik_advertises_a_public_key() {
        let verifier = Verifier::new(
            vec!["https://a/".into()],
            "client",
            "secret",
            &["RS256".into()],
        );
        let claims = json!({"iss":"https://a/","aud":"client","exp":1000});
        let token = token(Algorithm::HS256, "secret", &claims);
        assert!(matches!(
            verifier.verify(&token, 950),
            Err(TokenError::Signature(_))
        ));
        assert!(verifier.lacks_key_of(&token));
    }
}
