//! Codes and tokens for tests that need no browser.

use serde_json::Value;

use super::Standin;
use crate::oidc::claims::{access_token, id_token};
use crate::records::keys;
use crate::records::{Nulls, merge};
use crate::state::State;
use crate::state::sessions::{Challenge, Code, Grant, unix_now};

impl Standin {
    /// Signs a user in and returns an authorization code for all scopes of the provider, as if
    /// their browser had come back with it. The challenge is one of method S256.
    ///
    /// # Panics
    ///
    /// If there is no such provider or active user.
    #[must_use]
    pub fn issue_code(
        &self,
        client_id: &str,
        username: &str,
        redirect_uri: &str,
        nonce: Option<&str>,
        code_challenge: Option<&str>,
    ) -> String {
        let mut state = self.shared().lock();
        let mut grant = full_grant(&mut state, client_id, username);
        grant.nonce = nonce.map(str::to_owned);
        let challenge = code_challenge.map(|value| Challenge {
            value: value.to_owned(),
            hashed: true,
        });
        state.new_code(Code::new(grant, redirect_uri.to_owned(), challenge))
    }

    /// Signs a user in and returns an access token of the provider with `claims` merged into the
    /// usual ones (RFC 7396: `null` removes). Introspection knows it, with the merged claims. The
    /// issuer is the one browsers see, as in the outpost's `authentik_host`.
    ///
    /// # Panics
    ///
    /// If there is no such provider or active user.
    #[must_use]
    pub fn mint(&self, client_id: &str, username: &str, claims: Value) -> String {
        let dialect = self.shared().settings.dialect;
        let base = self.shared().settings.authentik_host();
        let mut state = self.shared().lock();
        let grant = full_grant(&mut state, client_id, username);
        let entry = state
            .provider_by_client(client_id)
            .expect("checked with the grant");
        let user = state.active_user(username).expect("checked with the grant");
        let mut shown = id_token(dialect, entry, &grant, user, base.as_str());
        merge(&mut shown, claims.clone(), Nulls::Remove);
        let mut signed = access_token(dialect, &shown, &grant);
        merge(&mut signed, claims, Nulls::Remove);
        let token = keys::sign(entry.signing, entry.text("client_secret"), &signed);
        state.remember(token.clone(), &grant, shown);
        token
    }
}

/// A new session of the user with access to everything the provider offers.
fn full_grant(state: &mut State, client_id: &str, username: &str) -> Grant {
    let entry = state
        .provider_by_client(client_id)
        .expect("the provider exists");
    let scope = entry.scopes.clone();
    assert!(
        state.active_user(username).is_some(),
        "the user {username} exists and is active"
    );
    let session_key = state.sign_in(username);
    Grant {
        client_id: client_id.to_owned(),
        username: username.to_owned(),
        scope,
        nonce: None,
        session_key: Some(session_key),
        auth_time: unix_now(),
    }
}
