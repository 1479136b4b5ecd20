//! Signing in, and the session cookie.

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderValue, Method, StatusCode};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};

use crate::message::{Answer, Form, Incoming, html, redirect};
use crate::pages;
use crate::state::{Shared, State};

const COOKIE_NAME: &str = "authentik_session";

/// The older server's way to the sign-in page.
pub(crate) fn start_login(shared: &Shared, request: &Incoming) -> Answer {
    let prefix = &shared.settings.prefix;
    redirect(&format!(
        "{prefix}if/flow/default-authentication-flow/?{}",
        request.raw_query
    ))
}

/// The sign-in page, and what happens when its form comes back.
pub(crate) fn login(shared: &Shared, request: &Incoming) -> Answer {
    // The real page loads the application's name by script; the query of the newer server names
    // the client.
    let next = local_target(shared, &request.query);
    if request.method != Method::POST {
        return html(
            StatusCode::OK,
            pages::login(application(shared, &next).as_deref(), None),
        );
    }
    let form = request.form();
    let username = form.get("username").unwrap_or_default();
    let mut state = shared.lock();
    let right = state
        .active_user(username)
        .is_some_and(|user| Some(user.password.as_str()) == form.get("password"));
    if !right {
        drop(state);
        let page = pages::login(application(shared, &next).as_deref(), Some(username));
        return html(StatusCode::OK, page);
    }
    let key = state.sign_in(username);
    if let Some(session) = state.sessions.get_mut(&key) {
        session.satisfies_prompt = next.contains("prompt=login");
    }
    let mut answer = redirect(&next);
    answer
        .headers_mut()
        .insert(SET_COOKIE, cookie(shared, &state, &key, request));
    answer
}

/// Who is signed in in this browser.
pub(crate) fn signed_in(shared: &Shared, request: &Incoming) -> Option<String> {
    let state = shared.lock();
    let key = session_key(shared, &state, request)?;
    Some(state.sessions[&key].username.clone())
}

/// The key of the browser's session, if it has one that has not ended.
pub(super) fn session_key(shared: &Shared, state: &State, request: &Incoming) -> Option<String> {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.required_spec_claims.clear();
    validation.set_issuer(&["authentik"]);
    let secret = DecodingKey::from_secret(shared.settings.cookie_key.as_bytes());
    request
        .headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'))
        .filter_map(|pair| pair.trim().strip_prefix(COOKIE_NAME)?.strip_prefix('='))
        .filter_map(|jwt| jsonwebtoken::decode::<Value>(jwt, &secret, &validation).ok())
        .filter_map(|cookie| cookie.claims["sid"].as_str().map(str::to_owned))
        .find(|key| state.sessions.contains_key(key))
}

/// The session cookie: a signed statement of the session's key and user.
pub(super) fn cookie(
    shared: &Shared,
    state: &State,
    session_key: &str,
    request: &Incoming,
) -> HeaderValue {
    let session = state.sessions.get(session_key);
    let user = session.and_then(|session| state.active_user(&session.username));
    let claims = json!({
        "sid": session_key,
        "iss": "authentik",
        "sub": user.map(crate::User::sub),
        "authenticated": true,
        "acr": "goauthentik.io/core/default",
    });
    let key = EncodingKey::from_secret(shared.settings.cookie_key.as_bytes());
    let jwt = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)
        .expect("claims are JSON and the key is a secret");
    set_cookie(&jwt, "", request, shared)
}

/// A `Set-Cookie` that takes the session cookie away.
pub(super) fn expired_cookie(shared: &Shared, request: &Incoming) -> HeaderValue {
    set_cookie(
        "\"\"",
        "; expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0",
        request,
        shared,
    )
}

fn set_cookie(value: &str, life: &str, request: &Incoming, shared: &Shared) -> HeaderValue {
    let site = if request.is_https() {
        "None; Secure"
    } else {
        "Lax"
    };
    let path = &shared.settings.prefix;
    let cookie = format!("{COOKIE_NAME}={value}{life}; HttpOnly; Path={path}; SameSite={site}");
    HeaderValue::from_str(&cookie).expect("tokens and paths are ASCII")
}

/// Where to go after signing in: `next` if it is a path of this host.
pub(super) fn local_target(shared: &Shared, query: &Form) -> String {
    query
        .get("next")
        .filter(|next| next.starts_with('/') && !next.starts_with("//") && next.is_ascii())
        .filter(|next| !next.bytes().any(|byte| byte.is_ascii_control()))
        .unwrap_or(&shared.settings.prefix)
        .to_owned()
}

/// The display name of the application that an authorize request is about.
fn application(shared: &Shared, target: &str) -> Option<String> {
    let (_, query) = target.split_once('?')?;
    let form = Form::parse(query.as_bytes());
    let state = shared.lock();
    let entry = state.provider_by_client(form.get("client_id")?)?;
    Some(entry.application_name().to_owned())
}
