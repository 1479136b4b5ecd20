//! Introspection, revocation and user information.

use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::credentials::Credentials;
use super::token;
use crate::message::{Answer, Incoming, empty, uncached_json};
use crate::state::sessions::{Token, unix_now};
use crate::state::{Shared, State};

/// Fields of an id token that are about the token, not about the user.
const ABOUT_THE_TOKEN: [&str; 10] = [
    "iss",
    "aud",
    "exp",
    "iat",
    "auth_time",
    "acr",
    "amr",
    "nonce",
    "sid",
    "jti",
];

/// What a client may know of a token. Whatever is wrong, the answer is that it is not active.
pub(crate) fn introspect(shared: &Shared, request: &Incoming) -> Answer {
    let state = shared.lock();
    let form = request.form();
    let client = Credentials::of(request, &form);
    let token = form.get("token").and_then(|token| active(&state, token));
    let body = match token {
        Some(token) if client.provider(&state).is_some() && client.client_id == token.client_id => {
            let mut body = token.claims.clone();
            body["active"] = true.into();
            body["scope"] = token.scope.join(" ").into();
            body["client_id"] = token.client_id.as_str().into();
            body
        }
        _ => json!({"active": false}),
    };
    uncached_json(StatusCode::OK, &body)
}

/// Makes a token inactive. The session goes on.
pub(crate) fn revoke(shared: &Shared, request: &Incoming) -> Answer {
    let mut state = shared.lock();
    let form = request.form();
    let client = Credentials::of(request, &form);
    if client.provider(&state).is_none() {
        return token::error(shared, "invalid_client");
    }
    if let Some(secret) = form.get("token") {
        state
            .grants
            .tokens
            .retain(|token, kept| token != secret || kept.client_id != client.client_id);
        state
            .grants
            .refresh_tokens
            .retain(|token, kept| token != secret || kept.client_id != client.client_id);
    }
    uncached_json(StatusCode::OK, &json!({}))
}

/// The claims about the user of an access token.
pub(crate) fn userinfo(shared: &Shared, request: &Incoming) -> Answer {
    let state = shared.lock();
    let sent = request
        .header("authorization")
        .and_then(|value| value.strip_prefix("Bearer "));
    let Some(token) = sent.and_then(|token| active(&state, token)) else {
        let mut answer = empty(StatusCode::UNAUTHORIZED);
        answer.headers_mut().insert(
            WWW_AUTHENTICATE,
            HeaderValue::from_static(
                "error=\"invalid_token\", error_description=\"The access token provided is \
                 expired, revoked, malformed, or invalid for other reasons\"",
            ),
        );
        return answer;
    };
    let mut claims = token.claims.clone();
    if let Value::Object(fields) = &mut claims {
        fields.retain(|name, _| !ABOUT_THE_TOKEN.contains(&name.as_str()));
    }
    uncached_json(StatusCode::OK, &claims)
}

fn active<'a>(state: &'a State, token: &str) -> Option<&'a Token> {
    state
        .grants
        .tokens
        .get(token)
        .filter(|token| token.expires > unix_now())
}
