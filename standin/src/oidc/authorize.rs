//! The authorization endpoint.

use http::StatusCode;
use http::header::SET_COOKIE;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::login;
use crate::dialect::Dialect;
use crate::message::{Answer, Form, Incoming, html, redirect};
use crate::pages;
use crate::state::Shared;
use crate::state::sessions::{Challenge, Code, Grant};

/// Answers an authorize request: an error page when the client cannot be trusted, an error
/// redirect when it can, the sign-in page, a refusal, or a code.
pub(crate) fn authorize(shared: &Shared, request: &Incoming) -> Answer {
    let mut state = shared.lock();
    let query = &request.query;
    if query.is_empty() {
        return html(StatusCode::NOT_FOUND, pages::error(StatusCode::NOT_FOUND));
    }
    let field = |name: &str| query.get(name).unwrap_or_default();
    let redirect_uri = field("redirect_uri");
    let Some(entry) = state.provider_by_client(field("client_id")) else {
        return refuse("The client identifier (client_id) is missing or invalid.");
    };
    if !entry
        .redirect_uris()
        .iter()
        .any(|known| known == redirect_uri)
    {
        return refuse(
            "The request fails due to a missing, invalid, or mismatching redirection URI.",
        );
    }
    if field("response_type") != "code" {
        return error_redirect(
            query,
            "unsupported_response_type",
            "The authorization server does not support obtaining an authorization code using \
             this method",
        );
    }
    let session_key = login::session_key(shared, &state, request);
    let prompt = field("prompt");
    let session = session_key.and_then(|key| Some((state.sessions.get(&key)?.clone(), key)));
    let Some((session, session_key)) = session else {
        return if prompt == "none" {
            error_redirect(
                query,
                "login_required",
                "The Authorization Server requires End-User authentication",
            )
        } else {
            to_login(shared, request)
        };
    };
    if prompt == "login" && !session.satisfies_prompt {
        return to_login(shared, request);
    }
    let Some(user) = state.active_user(&session.username) else {
        return to_login(shared, request);
    };
    if !entry.admits(user) {
        return html(StatusCode::OK, pages::denied(entry.application_name()));
    }
    let grant = Grant {
        client_id: entry.text("client_id").to_owned(),
        username: session.username,
        scope: granted(&entry.scopes, query.get("scope")),
        nonce: query.get("nonce").map(str::to_owned),
        session_key: Some(session_key.clone()),
        auth_time: session.auth_time,
    };
    if let Some(session) = state.sessions.get_mut(&session_key) {
        session.satisfies_prompt = false;
    }
    let code = state.new_code(Code::new(grant, redirect_uri.to_owned(), challenge(query)));
    let mut answer = redirect(&success(redirect_uri, &code, field("state")));
    let cookie = login::cookie(shared, &state, &session_key, request);
    answer.headers_mut().insert(SET_COOKIE, cookie);
    answer
}

/// The scopes of a request that exist; all of them when it names none.
pub(super) fn granted(existing: &[String], requested: Option<&str>) -> Vec<String> {
    match requested {
        None | Some("") => existing.to_vec(),
        Some(requested) => requested
            .split_ascii_whitespace()
            .filter(|scope| existing.iter().any(|known| known == scope))
            .map(str::to_owned)
            .collect(),
    }
}

fn challenge(query: &Form) -> Option<Challenge> {
    let value = query
        .get("code_challenge")
        .filter(|value| !value.is_empty())?;
    let hashed = query.get("code_challenge_method") == Some("S256");
    Some(Challenge {
        value: value.to_owned(),
        hashed,
    })
}

/// The redirect URI, which has a query, with the code and the state.
fn success(redirect_uri: &str, code: &str, state: &str) -> String {
    let fields = form_urlencoded::Serializer::new(String::new())
        .append_pair("code", code)
        .append_pair("state", state)
        .finish();
    format!("{redirect_uri}&{fields}")
}

/// Sends the browser back with an error. The second question mark is the real server's.
fn error_redirect(query: &Form, error: &str, description: &str) -> Answer {
    let quoted = |text: &str| utf8_percent_encode(text, QUOTED).to_string();
    let mut location = format!(
        "{}?error={error}&error_description={}",
        query.get("redirect_uri").unwrap_or_default(),
        quoted(description)
    );
    if let Some(state) = query.get("state").filter(|state| !state.is_empty()) {
        location.push_str("&state=");
        location.push_str(&utf8_percent_encode(state, STATE).to_string());
    }
    redirect(&location)
}

/// What is escaped in a description: what Python's `quote` escapes.
const QUOTED: &percent_encoding::AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// What is escaped in a state that goes back with an error: only what a header cannot carry.
const STATE: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b' ');

fn refuse(reason: &str) -> Answer {
    html(StatusCode::BAD_REQUEST, pages::bad_request(reason))
}

/// Sends the browser to sign in and then back here. The two servers take different ways.
fn to_login(shared: &Shared, request: &Incoming) -> Answer {
    let prefix = &shared.settings.prefix;
    let here = format!("{prefix}{}?{}", request.path, request.raw_query);
    let next = form_urlencoded::Serializer::new(String::new())
        .append_pair("next", &here)
        .finish();
    redirect(&match shared.settings.dialect {
        Dialect::V2025_6 => format!("{prefix}flows/-/default/authentication/?{next}"),
        Dialect::V2026_2 => {
            format!(
                "{prefix}if/flow/default-authentication-flow/?{}&{next}",
                request.raw_query
            )
        }
    })
}
