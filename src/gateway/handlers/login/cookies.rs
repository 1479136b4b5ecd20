//! The cookies of a login: which browser started it.

use axum::body::Body;
use http::{HeaderMap, Response};

use super::attempts::LoginAttempts;
use crate::gateway::auth::cookie_sessions::removals;
use crate::gateway::response::append_cookie;
use crate::oidc::LoginState;
use crate::route::Site;
use crate::web::cookie::{self, Form};

/// Whether the browser at the callback is the one that started the login. A login that began with a
/// cookie that no other host can set does not end with one that another host may have set.
pub(super) fn bound_to_browser(site: &Site, headers: &HeaderMap, state: &LoginState) -> bool {
    sent_attempts(site, headers)
        .any(|(form, attempts)| browser_binding(&attempts, form) == state.sid)
}

/// Whether the browser sent a login cookie, of whatever login.
pub(super) fn sends_login_cookie(site: &Site, headers: &HeaderMap) -> bool {
    sent_attempts(site, headers).next().is_some()
}

/// The value in the state of a login for the browser's cookie and its form.
pub(super) fn browser_binding(attempts: &LoginAttempts, form: Form) -> String {
    format!("{}{}", form.context(), attempts.browser.key().to_text())
}

/// The login cookies of a request, with their form.
fn sent_attempts<'a>(
    site: &'a Site,
    headers: &'a HeaderMap,
) -> impl Iterator<Item = (Form, LoginAttempts)> + 'a {
    site.cookies.all().flat_map(move |(form, names)| {
        let values = cookie::values(headers, &names.login).filter_map(LoginAttempts::parse);
        values.map(move |attempts| (form, attempts))
    })
}

/// The login cookies of one form.
pub(super) fn attempts_of<'a>(
    site: &'a Site,
    headers: &'a HeaderMap,
    form: Form,
) -> impl Iterator<Item = LoginAttempts> + 'a {
    let sent = sent_attempts(site, headers).filter(move |(sent, _)| *sent == form);
    sent.map(|(_, attempts)| attempts)
}

/// Removes the session cookies of these forms that the browser sent.
pub(super) fn remove_cookies(
    response: &mut Response<Body>,
    site: &Site,
    headers: &HeaderMap,
    forms: impl Fn(Form) -> bool,
) {
    for removal in removals(site, headers, |form, _| forms(form)) {
        append_cookie(response, &removal);
    }
}
