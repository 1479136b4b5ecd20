//! The REST API below `/api/v3/`.

pub(crate) mod admin;
mod events;
mod health;
mod keypairs;
mod outposts;
mod paging;

use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use crate::dialect::Dialect;
use crate::message::{self, Answer, Incoming};
use crate::pages;
use crate::state::{Shared, State};

/// Answers an API request; `path` are the segments after `api/v3`.
pub(crate) fn answer(shared: &Shared, request: &Incoming, path: &[&str]) -> Answer {
    let mut state = shared.lock();
    let (status, body) = match (&request.method, path) {
        // Routing comes first: an unknown path is 404 for everyone.
        (_, path) if !exists(path) => return message::not_found(),
        _ if is_admin(&state, request) => admin::answer(shared, &mut state, request, path),
        _ if let Err(refused) = authenticate(&state, request) => refused,
        (&Method::GET, ["outposts", "instances", ""]) => outposts::list(shared, &state, request),
        (&Method::GET, ["outposts", "instances", id, ""]) => outposts::detail(shared, &state, id),
        (&Method::GET, ["outposts", "instances", id, "health", ""]) => {
            match health::list(&state, id) {
                Ok(answer) => answer,
                Err(status) => return message::html(status, pages::error(status)),
            }
        }
        (&Method::GET, ["outposts", "proxy", ""]) => outposts::providers(shared, &state, request),
        (&Method::GET, ["root", "config", ""]) => (StatusCode::OK, config(shared)),
        (&Method::GET, ["admin", "version", ""]) => (StatusCode::OK, version(&state)),
        (&Method::GET, ["crypto", "certificatekeypairs", id, rest @ ..]) => {
            keypairs::answer(shared.settings.dialect, &state, id, rest)
        }
        (&Method::POST, ["events", "events", ""]) => events::create(&mut state, &request.body),
        (&Method::GET, ["core", "users", "me", ""]) => admin::me(false),
        (_, ["providers" | "core" | "flows", ..]) => {
            denied("You do not have permission to perform this action.")
        }
        (method, _) => (
            StatusCode::METHOD_NOT_ALLOWED,
            json!({"detail": format!("Method \"{method}\" not allowed.")}),
        ),
    };
    let mut answer = message::json(status, &body);
    if shared.settings.dialect == Dialect::V2025_6 {
        answer.headers_mut().insert(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static("application/json; charset=utf-8"),
        );
    }
    answer
}

/// What an API handler answers.
type ApiAnswer = (StatusCode, Value);

fn exists(path: &[&str]) -> bool {
    let Some(("", path)) = path.split_last().map(|(last, path)| (*last, path)) else {
        return false;
    };
    match path {
        ["providers", "proxy"]
        | ["providers", "proxy", _]
        | ["core", "applications"]
        | ["core", "applications", _]
        | ["core", "users", "me"]
        | ["outposts", "instances" | "proxy"]
        | ["flows" | "outposts", "instances", _]
        | ["outposts", "instances", _, "health"]
        | ["root", "config"]
        | ["admin", "version"]
        | ["events", "events"]
        | ["crypto", "certificatekeypairs", _] => true,
        ["crypto", "certificatekeypairs", _, view] => {
            ["view_certificate", "view_private_key"].contains(view)
        }
        _ => false,
    }
}

fn is_admin(state: &State, request: &Incoming) -> bool {
    let sent = request.header(AUTHORIZATION.as_str());
    let token = sent.and_then(|value| value.strip_prefix("Bearer "));
    let admin = state.admin.as_ref();
    admin.is_some_and(|admin| token == Some(admin.token.as_str()))
}

fn authenticate(state: &State, request: &Incoming) -> Result<(), ApiAnswer> {
    let sent = request.header(AUTHORIZATION.as_str());
    let Some(token) = sent.and_then(|value| value.strip_prefix("Bearer ")) else {
        return Err(denied("Authentication credentials were not provided."));
    };
    if token == state.token {
        Ok(())
    } else {
        Err(denied("Token invalid/expired"))
    }
}

fn denied(detail: &str) -> ApiAnswer {
    (StatusCode::FORBIDDEN, json!({"detail": detail}))
}

/// The answer for a record that does not exist or belongs to others.
fn no_match(kind: &str) -> ApiAnswer {
    (
        StatusCode::NOT_FOUND,
        json!({"detail": format!("No {kind} matches the given query.")}),
    )
}

fn config(shared: &Shared) -> Value {
    let mut config = json!({
        "error_reporting": {
            "enabled": false,
            "sentry_dsn": "",
            "environment": "customer",
            "send_pii": false,
            "traces_sample_rate": 0.1,
        },
        "capabilities": ["can_impersonate", "is_enterprise"],
        "cache_timeout": 300,
        "cache_timeout_flows": 300,
        "cache_timeout_policies": 300,
    });
    if shared.settings.dialect == Dialect::V2025_6 {
        config["cache_timeout_reputation"] = 0.into();
    }
    config
}

fn version(state: &State) -> Value {
    json!({
        "version_current": state.version,
        "version_latest": "0.0.0",
        "version_latest_valid": false,
        "build_hash": "",
        "outdated": false,
        "outpost_outdated": false,
    })
}
