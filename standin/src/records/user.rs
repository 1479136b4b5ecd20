//! The users who can sign in.

use serde_json::{Value, json};

use crate::random::sha256_hex;

/// Someone who can sign in. Fields are public: start from [`User::new`] and set what matters.
#[derive(Debug, Clone)]
pub struct User {
    /// The login name, `preferred_username` in tokens.
    pub username: String,
    /// The password of the sign-in page.
    pub password: String,
    /// The display name.
    pub name: String,
    /// The e-mail address.
    pub email: String,
    /// Names of the groups, as in the `groups` claim.
    pub groups: Vec<String>,
    /// Names of the application entitlements.
    pub entitlements: Vec<String>,
    /// The `user_attributes` of the `ak_proxy` claim: an object.
    pub attributes: Value,
    /// Whether the user is an administrator of authentik.
    pub is_superuser: bool,
    /// The password that HTTP Basic clients use; without one they are refused.
    pub app_password: Option<String>,
    /// Merged into the claims of every token (RFC 7396), as a custom scope mapping would.
    pub extra_claims: Value,
}

impl User {
    /// A user without groups, attributes or an app password.
    #[must_use]
    pub fn new(username: &str, password: &str) -> Self {
        Self {
            username: username.to_owned(),
            password: password.to_owned(),
            name: format!("{username} Example"),
            email: format!("{username}@example.test"),
            groups: Vec::new(),
            entitlements: Vec::new(),
            attributes: json!({}),
            is_superuser: false,
            app_password: None,
            extra_claims: json!({}),
        }
    }

    /// The `sub` claim of this user's tokens: 64 hexadecimal digits that depend on the name only.
    #[must_use]
    pub fn sub(&self) -> String {
        sha256_hex(&format!("authentik-standin user {}", self.username))
    }
}
