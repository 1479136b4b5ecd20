//! The claims of tokens, and the answer of the token endpoint.

use serde_json::{Value, json};

use crate::dialect::Dialect;
use crate::random;
use crate::records::keys;
use crate::records::user::User;
use crate::records::{Entry, Nulls, merge};
use crate::state::sessions::{Grant, Token, unix_now};
use crate::state::{Shared, State};

const ACR: &str = "goauthentik.io/providers/oauth2/default";

/// Makes an access token and an id token for a grant and answers with them. `base` is that of the
/// token request: the issuer follows it.
pub(crate) fn issue(
    shared: &Shared,
    state: &mut State,
    grant: &Grant,
    user: &User,
    base: &str,
) -> Option<Value> {
    let dialect = shared.settings.dialect;
    let entry = state.provider_by_client(&grant.client_id)?;
    let claims = id_token(dialect, entry, grant, user, base);
    let sign = |claims: &Value| keys::sign(entry.signing, entry.text("client_secret"), claims);
    let access_token = sign(&access_token(dialect, &claims, grant));
    let mut answer = json!({
        "access_token": access_token,
        "token_type": "Bearer",
        "scope": grant.scope.join(" "),
        "expires_in": entry.validity_s(),
        "id_token": sign(&claims),
    });
    if grant.scope.iter().any(|scope| scope == "offline_access") {
        let refresh_token = random::alphanumeric(128);
        answer["refresh_token"] = refresh_token.as_str().into();
        state
            .grants
            .refresh_tokens
            .insert(refresh_token, grant.clone());
    }
    state.remember(access_token, grant, claims);
    Some(answer)
}

impl State {
    /// Keeps what introspection answers for an access token with these claims.
    pub(crate) fn remember(&mut self, access_token: String, grant: &Grant, claims: Value) {
        let token = Token {
            client_id: grant.client_id.clone(),
            session_key: grant.session_key.clone(),
            scope: grant.scope.clone(),
            expires: claims["exp"].as_i64().unwrap_or_default(),
            claims,
        };
        self.grants.tokens.insert(access_token, token);
    }
}

/// The claims of an id token, also those that introspection shows.
pub(crate) fn id_token(
    dialect: Dialect,
    entry: &Entry,
    grant: &Grant,
    user: &User,
    base: &str,
) -> Value {
    let now = unix_now();
    let mut claims = json!({
        "iss": entry.issuer(base),
        "sub": user.sub(),
        "aud": grant.client_id,
        "exp": now + entry.validity_s(),
        "iat": now,
        "auth_time": grant.auth_time,
        "acr": ACR,
    });
    if let Some(sid) = grant.sid() {
        claims["amr"] = json!(["pwd"]);
        claims["sid"] = sid.into();
    }
    if let Some(nonce) = &grant.nonce {
        claims["nonce"] = nonce.as_str().into();
    }
    if dialect == Dialect::V2026_2 {
        claims["jti"] = random::alphanumeric(40).into();
    }
    for scope in &grant.scope {
        merge(&mut claims, scope_claims(dialect, scope, user), Nulls::Keep);
    }
    merge(&mut claims, user.extra_claims.clone(), Nulls::Remove);
    claims
}

/// The claims of the access token that goes with an id token.
pub(crate) fn access_token(dialect: Dialect, id_token: &Value, grant: &Grant) -> Value {
    let mut claims = id_token.clone();
    claims["azp"] = grant.client_id.as_str().into();
    claims["uid"] = random::alphanumeric(40).into();
    if dialect == Dialect::V2026_2 {
        claims["scope"] = grant.scope.join(" ").into();
    }
    claims
}

fn scope_claims(dialect: Dialect, scope: &str, user: &User) -> Value {
    match scope {
        "ak_proxy" => json!({
            "ak_proxy": {"user_attributes": user.attributes, "is_superuser": user.is_superuser},
        }),
        // The newer server no longer vouches for addresses it never checked.
        "email" => json!({
            "email": user.email,
            "email_verified": dialect == Dialect::V2025_6,
        }),
        "entitlements" => json!({"entitlements": user.entitlements, "roles": user.entitlements}),
        "profile" => json!({
            "name": user.name,
            "given_name": user.name,
            "preferred_username": user.username,
            "nickname": user.username,
            "groups": user.groups,
        }),
        _ => json!({}),
    }
}
