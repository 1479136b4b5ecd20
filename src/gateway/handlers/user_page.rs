//! The page for a signed-in user: their session, and how to end it. An administrator of authentik also
//! sees what the outpost reads from the request.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use time::OffsetDateTime;

use super::login::{LoginFlow, may_start_login, target, too_long};
use crate::gateway::auth::authenticator::Authenticator;
use crate::gateway::auth::reauthorization::due_at;
use crate::gateway::error::GatewayError;
use crate::gateway::request::target::RequestTarget;
use crate::gateway::response::{GatewayResponse, html, unauthorized};
use crate::model::{AuthorizationRequest, Dialect, Mode, RequestedUrl};
use crate::route::{LiveSession, Site};
use crate::telemetry::metrics::Rejection;
use crate::web::header::names::{X_FORWARDED_FOR, X_FORWARDED_HOST, line_bytes};
use crate::web::page::{Page, Row};
use crate::web::request::inbound::Inbound;
use crate::web::request::navigation::Opened;

/// Names of groups and of headers that are shown; more are counted.
const MAX_NAMES: usize = 100;

/// Answers requests for the page.
pub(crate) struct UserPage {
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) login: Arc<LoginFlow>,
    pub(crate) is_enabled: bool,
}

impl UserPage {
    /// The page, or a redirect to the login.
    pub(crate) async fn answer(
        &self,
        target: RequestTarget<'_>,
        parts: &Parts,
        inbound: &Inbound<'_>,
    ) -> Result<GatewayResponse, GatewayError> {
        let site = target.site()?;
        if !self.is_enabled {
            return Err(GatewayError::NotFound(Arc::clone(site)));
        }
        let RequestTarget {
            method, headers, ..
        } = target;
        let application = &site.application;
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Err(GatewayError::PageMethod {
                site: Arc::clone(site),
                allow: "GET, HEAD",
            });
        }
        let Some((session, now)) = self.authenticator.current(site, headers).await? else {
            if !may_start_login(site, method, headers) {
                return Ok(unauthorized(site, headers, true, Rejection::LoginRequired));
            }
            let (scheme, host) = (application.external.scheme(), target.host.authority());
            let page = format!("{}://{host}{}", scheme.as_str(), target.path);
            let page = target::of(application, Some(&page)).map_err(|_| too_long(site))?;
            return self.login.start(method, site, headers, page);
        };
        // Not to a script of the application: the page holds the tokens of its forms.
        if Opened::of(method, headers, &target.host.authority()) == Opened::InBackground {
            return Err(GatewayError::Background(Arc::clone(site)));
        }
        let user = user(site, &session);
        let times = self.times(site, &session, now);
        let mut sections = vec![("", user), ("Session", times)];
        if session.claims.ak_proxy.is_superuser {
            let request = request(target, parts, inbound);
            sections.push(("Request, as the outpost sees it", request));
            sections.push(("Application", decision(site, &session, inbound)));
        }
        let token = site.keys.sign_out_token(&session.access_token);
        // Below the path of the page, so that they lead to this application.
        let here = format!("sign_out?session=this&confirm={token}");
        let everywhere = format!("sign_out?confirm={token}");
        let account = site
            .relying_party
            .endpoints()
            .authorization
            .join("../../../if/user/");
        let account = account.map(String::from).unwrap_or_default();
        let page = Page {
            title: "You are signed in",
            text: "Signing out here ends this session; authentik may sign you in again without a prompt. Signing out everywhere ends your sessions on all devices at all applications of this outpost, then leads to authentik.",
            application: Some(&application.title),
            sections: &sections,
            actions: &[
                ("Sign out here", &here),
                ("Sign out everywhere", &everywhere),
            ],
            links: &[
                ("Open the application", application.external.as_str()),
                ("Account at authentik", &account),
            ],
            ..Page::default()
        };
        let response = html(StatusCode::OK, &page);
        Ok(GatewayResponse {
            session: Some(session),
            ..GatewayResponse::of(site, response)
        })
    }

    fn times(&self, site: &Site, session: &LiveSession, now: i64) -> Vec<Row> {
        let sessions = &self.authenticator.sessions;
        let started_at = session.started_at();
        let mut rows = vec![
            ("Since", ago(started_at, now)),
            ("Until", until(session.expires_at, now)),
        ];
        if let Some(refresh) = &session.refresh {
            let limit = refresh.started_at.saturating_add(sessions.max_age);
            rows.push(("Extended while in use, until", until(limit, now)));
        }
        if let Some(due_at) = due_at(site, session) {
            rows.push(("Authorized again by authentik after", until(due_at, now)));
        }
        rows
    }
}

fn user(site: &Site, session: &LiveSession) -> Vec<Row> {
    let claims = &session.claims;
    let groups = listed(claims.groups.iter());
    let rows = [
        ("Name", claims.name.clone()),
        ("User name", claims.preferred_username.clone()),
        ("E-mail", claims.email.clone()),
        ("Groups", groups),
        ("Application", site.application.title.clone()),
    ];
    rows.into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

/// What the outpost reads from a request. Of headers no value is shown: they may hold secrets.
fn request(target: RequestTarget<'_>, parts: &Parts, inbound: &Inbound<'_>) -> Vec<Row> {
    let headers = &parts.headers;
    let trust = if inbound.trusted {
        "trusted: its forwarded headers count"
    } else {
        "not trusted: forwarded headers are ignored"
    };
    let from = |name: &HeaderName, own: &str| {
        if inbound.trusted && headers.contains_key(name) {
            format!("from {name} of the peer")
        } else {
            own.to_owned()
        }
    };
    let client = if inbound.is_client_address {
        from(&X_FORWARDED_FOR, "the peer itself")
    } else {
        "the peer itself: it does not name its client in X-Forwarded-For".to_owned()
    };
    let scheme = match inbound.forwarded_scheme {
        Some(_) => "from X-Forwarded-Proto of the peer",
        None => "of the connection",
    };
    let host = from(&X_FORWARDED_HOST, "from the request itself");
    let names: BTreeSet<_> = headers.keys().map(HeaderName::as_str).collect();
    vec![
        ("Host", format!("{} ({host})", target.host.authority())),
        ("Scheme", format!("{} ({scheme})", inbound.scheme.as_str())),
        ("Client", format!("{} ({client})", inbound.client)),
        ("Peer", format!("{} ({trust})", inbound.peer)),
        ("Protocol", format!("{:?}", parts.version)),
        ("Headers", listed(names.iter())),
        (
            "Size of the headers",
            format!(
                "{} bytes, of these {} in Cookie",
                size(headers, None),
                size(headers, Some(&header::COOKIE))
            ),
        ),
    ]
}

fn decision(site: &Site, session: &LiveSession, inbound: &Inbound<'_>) -> Vec<Row> {
    let application = &site.application;
    let mode = match &application.mode {
        Mode::Proxy => "proxy".to_owned(),
        Mode::ForwardSingle => "forward_single".to_owned(),
        Mode::ForwardDomain(domain) => format!("forward_domain, {}", domain.as_str()),
    };
    let mut rows = vec![
        ("Slug", application.slug.clone()),
        ("Provider", application.name.clone()),
        ("Mode", mode),
        ("External host", application.external.as_str().to_owned()),
    ];
    let home = application.external.as_str();
    let home = format!("{}/", home.trim_end_matches('/'));
    if let Ok(url) = RequestedUrl::parse(&home) {
        let request = AuthorizationRequest {
            url: &url,
            method: Some(&Method::GET),
            client: inbound.known_client(),
            preflight: false,
            routed_host: None,
        };
        let groups = &*session.claims.groups;
        let (decision, reason) = application.decide(&request, Some(groups));
        rows.push(("GET of its first page", format!("{decision:?}: {reason}")));
    }
    let sent = session.prepared().line_bytes();
    rows.push(("Size of the identity headers", format!("{sent} bytes")));
    if application.mode != Mode::Proxy {
        let asked = Dialect::ALL.iter().filter_map(|dialect| {
            let count = site.metrics.authorizations.get(*dialect);
            (count > 0).then(|| format!("{dialect} ({count})"))
        });
        let asked: Vec<_> = asked.collect();
        let asked = if asked.is_empty() {
            "none at this replica since its start".to_owned()
        } else {
            asked.join(", ")
        };
        rows.push(("Authorization requests, by dialect", asked));
    }
    rows
}

fn size(headers: &HeaderMap, only: Option<&HeaderName>) -> usize {
    let headers = headers.iter();
    let counted = headers.filter(|(name, _)| only.is_none_or(|only| only == *name));
    counted.map(line_bytes).sum()
}

fn listed<T: Display>(names: impl ExactSizeIterator<Item = T>) -> String {
    let more = names.len().saturating_sub(MAX_NAMES);
    let shown: Vec<_> = names.take(MAX_NAMES).map(|name| name.to_string()).collect();
    let shown = shown.join(", ");
    if more == 0 {
        shown
    } else {
        format!("{shown} and {more} more")
    }
}

/// A time in the past.
fn ago(time: i64, now: i64) -> String {
    format!("{} ({} ago)", date(time), span(now - time))
}

/// A time in the future; it may just have passed.
fn until(time: i64, now: i64) -> String {
    format!("{} (in {})", date(time), span(time - now))
}

/// A point in time, Unix seconds, in UTC.
fn date(time: i64) -> String {
    let Ok(date) = OffsetDateTime::from_unix_timestamp(time) else {
        return "an unknown time".to_owned();
    };
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    let (hour, minute) = (date.hour(), date.minute());
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

/// A number of seconds in the two largest units that it has.
fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_by_people() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(1_795_488_061), "2026-11-24 02:41 UTC");
        assert_eq!(date(i64::MAX), "an unknown time");
        for (seconds, expected) in [
            (-1, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3_600, "1 h 0 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(span(seconds), expected);
        }
    }

    #[test]
    fn long_lists_are_cut() {
        let names = |count: usize| listed((0..count).map(|number| format!("g{number}")));
        assert_eq!(names(2), "g0, g1");
        assert!(names(MAX_NAMES).ends_with(", g99"));
        assert!(names(MAX_NAMES + 5).ends_with(", g99 and 5 more"));
    }
}
