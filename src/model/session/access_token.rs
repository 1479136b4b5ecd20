//! The access token of a session.

use std::fmt;

use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};

/// An access token as received. Cheap to clone: the header that carries it to the application has the
/// same memory, since a token is most of what a session takes.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken(Bytes);

impl AccessToken {
    /// The bytes, for a header.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }
}

impl ExposeSecret<str> for AccessToken {
    fn expose_secret(&self) -> &str {
        std::str::from_utf8(&self.0).expect("it was made of a string")
    }
}

impl From<String> for AccessToken {
    fn from(token: String) -> Self {
        // Without the spare capacity.
        Self(Bytes::from(token.into_boxed_str().into_boxed_bytes()))
    }
}

impl From<&str> for AccessToken {
    fn from(token: &str) -> Self {
        Self::from(token.to_owned())
    }
}

impl From<SecretString> for AccessToken {
    fn from(token: SecretString) -> Self {
        Self::from(token.expose_secret())
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(…)")
    }
}
