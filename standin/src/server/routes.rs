//! Which handler answers which path.

use http::{Method, StatusCode};

use crate::message::{Answer, Incoming, empty, html, not_found};
use crate::state::Shared;
use crate::{api, oidc, pages};

/// Answers a request that is not for the websocket.
pub(crate) fn answer(shared: &Shared, request: &Incoming) -> Answer {
    let segments: Vec<&str> = request.path.split('/').collect();
    let post = request.method == Method::POST;
    match segments.as_slice() {
        ["api", "v3", path @ ..] => api::answer(shared, request, path),
        ["application", "o", "authorize", ""] => oidc::authorize(shared, request),
        ["application", "o", "token", ""] if post => oidc::token(shared, request),
        ["application", "o", "introspect", ""] if post => oidc::introspect(shared, request),
        ["application", "o", "revoke", ""] if post => oidc::revoke(shared, request),
        ["application", "o", "userinfo", ""] => oidc::userinfo(shared, request),
        ["application", "o", slug, "jwks", ""] => oidc::jwks(shared, slug),
        ["application", "o", slug, "end-session", ""] => oidc::end_session(shared, request, slug),
        [
            "application",
            "o",
            slug,
            ".well-known",
            "openid-configuration",
        ] => oidc::discovery(shared, request, slug),
        ["flows", "-", "default", "authentication", ""] => oidc::start_login(shared, request),
        ["flows", "-", "default", "invalidation", ""] => oidc::sign_out(shared, request),
        ["if", "flow", "default-authentication-flow", ""] => oidc::login(shared, request),
        ["if", "flow", "default-invalidation-flow", ""] => {
            html(StatusCode::OK, pages::signed_out())
        }
        ["-", "health", "live" | "ready", ""] => empty(StatusCode::OK),
        [""] => html(
            StatusCode::OK,
            pages::home(oidc::signed_in(shared, request).as_deref()),
        ),
        _ => not_found(),
    }
}
