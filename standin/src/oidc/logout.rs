//! Signing out of an application and out of authentik.

use http::StatusCode;
use http::header::SET_COOKIE;

use super::login;
use crate::message::{Answer, Incoming, answer, html, redirect};
use crate::state::Shared;
use crate::state::sessions::Ended;
use crate::{message, pages};

/// The end-session page of an application. It ends nothing at authentik, but offers to.
pub(crate) fn end_session(shared: &Shared, request: &Incoming, slug: &str) -> Answer {
    let state = shared.lock();
    let Some(entry) = state.provider_by_slug(slug) else {
        return message::not_found();
    };
    let prefix = &shared.settings.prefix;
    if login::session_key(shared, &state, request).is_some() {
        let page = pages::end_session(
            entry.application_name(),
            entry.text("external_host"),
            prefix,
        );
        return html(StatusCode::OK, page);
    }
    if request.query.get("id_token_hint").is_some() {
        let body = "<html><body>Logout successful</body></html>";
        return answer(StatusCode::OK, "text/html", body.into());
    }
    let here = format!("{prefix}{}", request.path);
    let next = form_urlencoded::Serializer::new(String::new())
        .append_pair("next", &here)
        .finish();
    redirect(&format!(
        "{prefix}if/flow/default-authentication-flow/?{next}"
    ))
}

/// Ends the browser's session at authentik.
pub(crate) fn sign_out(shared: &Shared, request: &Incoming) -> Answer {
    let key = login::session_key(shared, &shared.lock(), request);
    if let Some(key) = key {
        shared.end_session(&key, Ended::SignedOut);
    }
    let mut answer = redirect(&format!(
        "{}if/flow/default-invalidation-flow/",
        shared.settings.prefix
    ));
    answer
        .headers_mut()
        .insert(SET_COOKIE, login::expired_cookie(shared, request));
    answer
}
