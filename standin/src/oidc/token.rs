//! The token endpoint.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::authorize::granted;
use super::claims;
use super::credentials::{Credentials, user_and_password};
use crate::dialect::Dialect;
use crate::message::{Answer, Form, Incoming, uncached_json};
use crate::records::Entry;
use crate::records::user::User;
use crate::state::sessions::{Challenge, Grant, unix_now};
use crate::state::{Shared, State};

/// An OAuth error code.
type Refused = &'static str;

const INVALID_CLIENT: Refused = "invalid_client";
const INVALID_GRANT: Refused = "invalid_grant";

/// Exchanges a code, a refresh token or a password for tokens.
pub(crate) fn token(shared: &Shared, request: &Incoming) -> Answer {
    let form = request.form();
    let client = Credentials::of(request, &form);
    let mut state = shared.lock();
    let state = &mut *state;
    let outcome = match form.get("grant_type") {
        Some("authorization_code") => redeem(state, &client, &form),
        Some("refresh_token") => refresh(state, &client, &form),
        Some("client_credentials" | "password") => password(state, &client, &form),
        _ => Err("unsupported_grant_type"),
    };
    let issued = outcome.and_then(|(grant, user)| {
        claims::issue(shared, state, &grant, &user, &request.base).ok_or(INVALID_CLIENT)
    });
    match issued {
        Ok(tokens) => uncached_json(StatusCode::OK, &tokens),
        Err(code) => error(shared, code),
    }
}

/// The answer for a refused request.
pub(super) fn error(shared: &Shared, code: &str) -> Answer {
    let description = match code {
        INVALID_CLIENT => {
            "Client authentication failed (e.g., unknown client, no client authentication \
             included, or unsupported authentication method)"
        }
        INVALID_GRANT => {
            "The provided authorization grant or refresh token is invalid, expired, revoked, does \
             not match the redirection URI used in the authorization request, or was issued to \
             another client"
        }
        _ => "The authorization grant type is not supported by the authorization server",
    };
    let mut body = json!({"error": code, "error_description": description});
    if shared.settings.dialect == Dialect::V2026_2 {
        body["request_id"] = Value::String(Uuid::new_v4().simple().to_string());
    }
    uncached_json(StatusCode::BAD_REQUEST, &body)
}

fn redeem(state: &mut State, client: &Credentials, form: &Form) -> Result<(Grant, User), Refused> {
    let entry = client.provider(state).ok_or(INVALID_CLIENT)?;
    let redirect_uri = form.get("redirect_uri").unwrap_or_default();
    if !entry
        .redirect_uris()
        .iter()
        .any(|known| known == redirect_uri)
    {
        return Err(INVALID_CLIENT);
    }
    let secret = form.get("code").ok_or(INVALID_GRANT)?;
    let code = state.grants.codes.get(secret).ok_or(INVALID_GRANT)?;
    if code.grant.client_id != client.client_id
        || code.redirect_uri != redirect_uri
        || !code.is_fresh()
        || !verified(code.challenge.as_ref(), form.get("code_verifier"))
    {
        return Err(INVALID_GRANT);
    }
    let user = state
        .active_user(&code.grant.username)
        .ok_or(INVALID_GRANT)?
        .clone();
    // Only a code that was good for something is used up.
    let code = state.grants.codes.remove(secret).ok_or(INVALID_GRANT)?;
    Ok((code.grant, user))
}

/// Whether the verifier fits. One without a challenge is refused too: it hints at a code that was
/// injected from another flow.
fn verified(challenge: Option<&Challenge>, verifier: Option<&str>) -> bool {
    match (challenge, verifier) {
        (None, None) => true,
        (Some(challenge), Some(verifier)) if challenge.hashed => {
            let hash = digest(&SHA256, verifier.as_bytes());
            challenge.value == BASE64_URL_SAFE_NO_PAD.encode(hash)
        }
        (Some(challenge), Some(verifier)) => challenge.value == verifier,
        _ => false,
    }
}

fn refresh(state: &mut State, client: &Credentials, form: &Form) -> Result<(Grant, User), Refused> {
    client.provider(state).ok_or(INVALID_CLIENT)?;
    let secret = form.get("refresh_token").ok_or(INVALID_GRANT)?;
    let grant = state.grants.refresh_tokens.get(secret);
    let grant = grant
        .filter(|grant| grant.client_id == client.client_id)
        .ok_or(INVALID_GRANT)?;
    let user = state
        .active_user(&grant.username)
        .ok_or(INVALID_GRANT)?
        .clone();
    let grant = state
        .grants
        .refresh_tokens
        .remove(secret)
        .ok_or(INVALID_GRANT)?;
    Ok((grant, user))
}

/// A user's app password; `client_secret` may carry name and password in base64. The client's own
/// secret alone stands for a service account.
fn password(state: &State, client: &Credentials, form: &Form) -> Result<(Grant, User), Refused> {
    let entry = state
        .provider_by_client(&client.client_id)
        .ok_or(INVALID_CLIENT)?;
    let user = if let (Some(name), Some(password)) = (form.get("username"), form.get("password")) {
        with_app_password(state, name, password)?
    } else if entry.text("client_secret") == client.client_secret {
        service_account(entry)
    } else {
        let (name, password) = user_and_password(&client.client_secret).ok_or(INVALID_GRANT)?;
        with_app_password(state, &name, &password)?
    };
    if !entry.admits(&user) {
        return Err(INVALID_GRANT);
    }
    let grant = Grant {
        client_id: client.client_id.clone(),
        username: user.username.clone(),
        scope: granted(&entry.scopes, form.get("scope")),
        nonce: None,
        session_key: None,
        auth_time: unix_now(),
    };
    Ok((grant, user))
}

fn with_app_password(state: &State, name: &str, password: &str) -> Result<User, Refused> {
    let user = state.active_user(name);
    let right = user.filter(|user| user.app_password.as_deref() == Some(password));
    right.cloned().ok_or(INVALID_GRANT)
}

/// The account that authentik makes for a client that authenticates as itself.
fn service_account(entry: &Entry) -> User {
    let application = entry.application_name();
    User {
        name: format!("Autogenerated user from application {application} (client credentials)"),
        email: String::new(),
        attributes: json!({"goauthentik.io/user/generated": true}),
        ..User::new(&format!("ak-{}-client_credentials", entry.slug()), "")
    }
}
