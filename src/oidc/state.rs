//! The `state` of a login (RFC 6749 section 10.12): everything about it, signed, kept nowhere.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

/// One attempt to log in. Travels through the browser as a JWT.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct LoginState {
    /// `goauthentik.io/outpost/<client_id>`: finds the application at the callback.
    pub iss: String,
    /// Hash of the browser's pre-login cookie: only that browser can finish.
    pub sid: String,
    /// Random value of this attempt; PKCE verifier and nonce derive from it.
    pub state: String,
    /// The return target; the application's external URL if that is too long.
    pub redirect: String,
    /// SHA-256 of a return target that is too long, base64url. Empty for any other.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target_hash: String,
    /// Until when the attempt may be finished, Unix seconds.
    pub exp: i64,
    /// 1 for a first attempt; more where a callback had to start over.
    pub attempt: u8,
}

/// Why a state is not accepted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Not signed for this application.
    #[error("the state is missing or was not signed by this application")]
    Invalid,
    /// Too old. The state is given, since it has the return target.
    #[error("the login was started too long ago")]
    Expired(Box<LoginState>),
}

impl LoginState {
    /// The issuer of an application's states.
    #[must_use]
    pub fn issuer(client_id: &str) -> String {
        format!("goauthentik.io/outpost/{client_id}")
    }

    /// Signs the state with the application's state key.
    ///
    /// # Panics
    /// Never: strings and numbers always serialise.
    #[must_use]
    pub fn sign(&self, key: &[u8; 32]) -> String {
        jsonwebtoken::encode(
            &Header::new(Algorithm::HS256),
            self,
            &EncodingKey::from_secret(key),
        )
        .expect("strings and numbers serialise")
    }

    /// Reads a state that was signed with `key` for `client_id`.
    pub fn verify(
        text: &str,
        key: &[u8; 32],
        client_id: &str,
        now: i64,
    ) -> Result<Self, StateError> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let state: Self = jsonwebtoken::decode(text, &DecodingKey::from_secret(key), &validation)
            .map_err(|_| StateError::Invalid)?
            .claims;
        if state.iss != Self::issuer(client_id) {
            return Err(StateError::Invalid);
        }
        if now >= state.exp {
            Err(StateError::Expired(Box::new(state)))
        } else {
            Ok(state)
        }
    }
}

/// The redirect may hold what a user searched for; only the attempt is shown.
impl std::fmt::Debug for LoginState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginState")
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> LoginState {
        LoginState {
            iss: LoginState::issuer("c"),
            sid: "b".into(),
            state: "r".into(),
            redirect: "https://a.test/p?q=1&r=%20".into(),
            target_hash: String::new(),
            exp: 100,
            attempt: 1,
        }
    }

    #[test]
    fn only_our_own_unexpired_state_of_this_application_is_read() {
        let text = state().sign(&[1; 32]);
        assert_eq!(LoginState::verify(&text, &[1; 32], "c", 99), Ok(state()));
        assert_eq!(
            LoginState::verify(&text, &[2; 32], "c", 99),
            Err(StateError::Invalid)
        );
        assert_eq!(
            LoginState::verify(&text, &[1; 32], "d", 99),
            Err(StateError::Invalid)
        );
        assert_eq!(
            LoginState::verify(&text, &[1; 32], "c", 100),
            Err(StateError::Expired(Box::new(state())))
        );
        for bad in ["", "a.b.c", &text[1..], &format!("{text}x")] {
            assert_eq!(
                LoginState::verify(bad, &[1; 32], "c", 99),
                Err(StateError::Invalid),
                "{bad}"
            );
        }
        let none = format!(
            "eyJhbGciOiJub25lIn0.{}.",
            text.split('.').nth(1).expect("a payload")
        );
        assert_eq!(
            LoginState::verify(&none, &[1; 32], "c", 99),
            Err(StateError::Invalid)
        );
    }
}
