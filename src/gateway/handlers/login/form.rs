//! Forms that are sent without a session: what they carry cannot be kept over a login.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tracing::Level;

use super::long_target;
use crate::gateway::request::endpoint::{Endpoint, own_url, start_url};
use crate::gateway::response::{BEARER, GatewayResponse, html};
use crate::model::{ExternalUrl, Mode, RequestedUrl};
use crate::route::Site;
use crate::telemetry::metrics::Rejection;
use crate::web::page::Page;
use crate::web::request::navigation::is_navigation;

/// Whether a request is a navigation that submits a form (RFC 9110 section 9.2.1).
pub(crate) fn is_submission(method: &Method, headers: &HeaderMap) -> bool {
    !method.is_safe() && is_navigation(method, headers)
}

/// The response to a form that is submitted to `url` without a session: a page that says so and leads to
/// a login. A redirect would lose the form without a word, and the policy of the page that the form is on
/// may forbid it to lead to authentik (CSP `form-action`): the browser then does nothing at all.
pub(crate) fn lost(
    site: &Arc<Site>,
    headers: &HeaderMap,
    url: &RequestedUrl<'_>,
) -> GatewayResponse {
    let text = "What you sent was not passed on. Sign in, then send it again.";
    sign_in_page(site, headers, url, text)
}

/// The same for a form whose session ends while the application has it, in part or as a whole.
pub(crate) fn interrupted(
    site: &Arc<Site>,
    headers: &HeaderMap,
    url: &RequestedUrl<'_>,
) -> GatewayResponse {
    let text = "Your session ended before the application answered what you sent. Sign in, then look whether it was processed.";
    sign_in_page(site, headers, url, text)
}

fn sign_in_page(
    site: &Arc<Site>,
    headers: &HeaderMap,
    url: &RequestedUrl<'_>,
    text: &str,
) -> GatewayResponse {
    site.metrics.rejections.count(Rejection::LoginRequired);
    let application = &site.application;
    let target = page(&application.external, headers, url)
        .map_or_else(|| Cow::Owned(url.to_string()), Cow::Borrowed);
    // A link has no room for what a login keeps in cookies.
    let target = if long_target::is_long(&target) {
        Cow::Borrowed(application.external.as_str())
    } else {
        target
    };
    let mut start = start_url(&target);
    if application.mode == Mode::Proxy {
        // Nothing but the application's own path may lead to the outpost.
        start = own_url(&application.external, &start);
    }
    let page = Page {
        title: "You are not signed in",
        text,
        application: Some(&application.title),
        links: &[("Sign in", &start)],
        ..Page::default()
    };
    let mut response = html(StatusCode::UNAUTHORIZED, &page);
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, BEARER);
    GatewayResponse {
        level: Level::DEBUG,
        ..GatewayResponse::of(site, response)
    }
}

/// The page whose form a navigation to `url` submits, by its `Referer`: a browser returns from a login
/// with GET, which the form's own URL often does not answer. `None` if the page is of another host, or
/// the outpost's own.
fn page<'a>(
    external: &ExternalUrl,
    headers: &'a HeaderMap,
    url: &RequestedUrl<'_>,
) -> Option<&'a str> {
    let referer = headers
        .get(header::REFERER)
        .map(HeaderValue::to_str)?
        .ok()?;
    let page = RequestedUrl::parse(referer).ok()?;
    let is_of_application = {
        let target = page.path_and_query();
        let endpoint = Endpoint::of(&target, |path| external.own_path(path));
        matches!(endpoint, Endpoint::Application)
    };
    let is_same_host = page.authority().canonical_host() == url.authority().canonical_host();
    (is_of_application && is_same_host).then_some(referer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Application, Mode};

    #[test]
    fn a_form_returns_to_its_page_or_to_its_url() {
        let application = Application::sample("https://a.test/wiki/", Mode::ForwardSingle);
        let url = RequestedUrl::parse("https://a.test/wiki/save?id=1").expect("a URL");
        let form = "https://a.test/wiki/edit?id=1&x=%2F";
        for (referer, expected) in [
            (form, Some(form)),
            ("https://A.test:8443/", Some("https://A.test:8443/")),
            ("", None),
            ("https://other.test/wiki/edit", None),
            ("https://a.test@other.test/", None),
            ("javascript:alert(1)", None),
            ("/wiki/edit", None),
            ("https://a.test/outpost.goauthentik.io/sign_out", None),
            ("https://a.test/wiki/outpost.goauthentik.io/start", None),
            ("https://a.test/wiki?X-authentik-auth-callback=true", None),
        ] {
            let mut headers = HeaderMap::new();
            if !referer.is_empty() {
                headers.insert(header::REFERER, referer.parse().expect("a value"));
            }
            let found = page(&application.external, &headers, &url);
            assert_eq!(found, expected, "{referer}");
        }
    }
}
