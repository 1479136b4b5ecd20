//! Reauthorization: some time after a sign-in a session goes on only with a new authorization by
//! authentik, which evaluates its policies then. authentik announces no change of a policy or a group.

use std::time::Duration;

use http::{HeaderMap, Method, header};

use crate::model::{AuthorizationRequest, Session};
use crate::route::Site;
use crate::web::request::navigation::Opened;

/// How far a session may be used without a new authorization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// In full.
    Current,
    /// By scripts, streams and forms. The next navigation leads to authentik.
    Due,
    /// Not at all.
    Suspended,
}

/// The standing of a session at `now` (Unix seconds). `grace_period` follows the application's interval.
pub(crate) fn standing(site: &Site, session: &Session, grace_period: i64, now: i64) -> Standing {
    let Some(interval) = site.application.policy.reauthorize_interval else {
        return Standing::Current;
    };
    standing_at(now - session.started_at(), seconds(interval), grace_period)
}

/// When a new authorization is due, Unix seconds; `None` if it never is.
pub(crate) fn due_at(site: &Site, session: &Session) -> Option<i64> {
    let interval = site.application.policy.reauthorize_interval?;
    Some(session.started_at().saturating_add(seconds(interval)))
}

/// When the session is suspended, Unix seconds; `None` if it never is.
pub(crate) fn suspended_at(site: &Site, session: &Session, grace_period: i64) -> Option<i64> {
    Some(due_at(site, session)?.saturating_add(grace_period))
}

fn standing_at(age: i64, interval: i64, grace_period: i64) -> Standing {
    if age < interval {
        Standing::Current
    } else if age < interval.saturating_add(grace_period) {
        Standing::Due
    } else {
        Standing::Suspended
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// Whether a request may be answered with a redirect to authentik: the user sees the response, and
/// nothing is lost that the request carries. Where the reverse proxy does not send the method, browsers
/// tell a form by its `Content-Type` or `Origin` (Fetch standard section 3.2).
pub(crate) fn may_lead_to_authentik(
    request: &AuthorizationRequest<'_>,
    headers: &HeaderMap,
) -> bool {
    let is_get = match request.method {
        Some(method) => *method == Method::GET,
        None => [header::CONTENT_TYPE, header::ORIGIN]
            .iter()
            .all(|name| !headers.contains_key(name)),
    };
    let opened = || Opened::of(&Method::GET, headers, &request.url.authority());
    is_get && opened() != Opened::InBackground
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RequestedUrl;

    #[test]
    fn a_session_is_due_after_the_interval_and_suspended_after_the_grace_period() {
        use Standing::{Current, Due, Suspended};
        for (age, interval, grace_period, expected) in [
            (-5, 60, 30, Current),
            (59, 60, 30, Current),
            (60, 60, 30, Due),
            (89, 60, 30, Due),
            (90, 60, 30, Suspended),
            (60, 60, 0, Suspended),
        ] {
            let found = standing_at(age, interval, grace_period);
            assert_eq!(found, expected, "{age} {interval} {grace_period}");
        }
    }

    #[test]
    fn only_what_shows_a_page_and_loses_nothing_leads_to_authentik() {
        let html = ("accept", "text/html,*/*;q=0.8");
        let mode = |mode| ("sec-fetch-mode", mode);
        let dest = |dest| ("sec-fetch-dest", dest);
        for (method, headers, expected) in [
            (Some(Method::GET), vec![html], true),
            (None, vec![html], true),
            (None, vec![html, mode("navigate"), dest("document")], true),
            (None, vec![html, mode("navigate"), dest("iframe")], false),
            (None, vec![mode("cors"), dest("empty")], false),
            (None, vec![mode("websocket")], false),
            (None, vec![("accept", "application/json")], false),
            (None, vec![("accept", "*/*")], false),
            (
                None,
                vec![html, ("x-requested-with", "XMLHttpRequest")],
                false,
            ),
            (
                None,
                vec![html, mode("navigate"), ("sec-purpose", "prefetch")],
                false,
            ),
            // Forms.
            (Some(Method::POST), vec![html, mode("navigate")], false),
            (
                None,
                vec![html, ("content-type", "multipart/form-data")],
                false,
            ),
            (None, vec![html, ("origin", "https://a.test")], false),
            (
                Some(Method::GET),
                vec![html, ("origin", "https://a.test")],
                true,
            ),
            (Some(Method::HEAD), vec![html], false),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in &headers {
                map.insert(*name, value.parse().expect("a value"));
            }
            let url = RequestedUrl::parse("https://a.test/").expect("a URL");
            let request = AuthorizationRequest {
                url: &url,
                method: method.as_ref(),
                client: None,
                preflight: false,
                routed_host: None,
            };
            let found = may_lead_to_authentik(&request, &map);
            assert_eq!(found, expected, "{method:?} {headers:?}");
        }
    }
}
